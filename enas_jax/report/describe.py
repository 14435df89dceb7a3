"""How large an architecture is: parameters, multiply-adds, depth, loose ends.

Nothing is formula here: parameters are the shapes of what `init` and
`child_params` of the supergraph return, multiply-adds and activations are read
off the traced forward pass of the fixed child. Nothing is compiled or run.

Multiply-adds are those of matrix products and convolutions; padding counts as
if it were image, and layers that nothing reads count too. The bytes of
activations are the sum of the outputs of these and of poolings; what batch norm
and nonlinearities return is left out.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.nn import image_ops
from enas_jax.spaces import networks
from enas_jax.spaces.macro import arc as macro_space
from enas_jax.spaces.macro import presets as macro_presets
from enas_jax.spaces.micro import arc as micro_space
from enas_jax.spaces.micro import presets as micro_presets
from enas_jax.spaces.nasbench201 import arc as nasbench201_space
from enas_jax.spaces.nasbench201 import presets as nasbench201_p
from enas_jax.spaces.recurrent import arc as recurrent_space
from enas_jax.spaces.recurrent import network as recurrent
from enas_jax.spaces.recurrent import presets as recurrent_p

_AUX_HEAD = "aux_head"
_BATCH_NORM = ("scale", "offset", "bn_scale", "bn_offset")


class Data(NamedTuple):
  """What an architecture is described for.

  Attributes:
    vocabulary_size: V, of text.
    image_shape: (H, W, C), of images.
    num_classes: of images.
  """

  vocabulary_size: int = 10000  # Penn Treebank's
  image_shape: tuple[int, int, int] = (32, 32, 3)  # CIFAR-10's, as the next
  num_classes: int = 10


class Shape(NamedTuple):
  """The form of an architecture.

  Attributes:
    depth: nodes, or layers, on the longest way from an input to the output;
      of two cells that of the deeper one.
    loose_ends: how many nodes no node reads; of two cells, in both. Of a whole
      network: layers that neither a layer nor the classifier reads.
    detail: which they are, counted from 1 as in the paper.
  """

  depth: int
  loose_ends: int
  detail: dict[str, Any]


def describe(
  space: str, config: Any, arc: Any = None, data: Data | None = None
) -> dict[str, Any]:
  """Describes one child, or the supergraph.

  Args:
    space: of `config.SPACES`.
    config: options of the space and its network: `SearchConfig.child`.
    arc: of Python ints; None for the supergraph.
    data: what the network works on; None for Penn Treebank or CIFAR-10.

  Returns:
    JSON-ready: "space"; "params", without the auxiliary head's,
    "params_without_batch_norm", "params_aux_head" and "params_by_part", by the
    top-level names of omega; "multiply_adds" of one image or token and
    "activation_bytes" of one example, without auxiliary head; "depth",
    "loose_ends" and "shape", of `Shape`. The last five are None for the
    supergraph, which never runs as a whole.
  """
  data = data or Data()
  weights, forward = _traceable(space, config, arc, data)
  parts = {name: _size(weights[name]) for name in sorted(weights, key=_order)}
  aux = parts.pop(_AUX_HEAD, 0)
  body = {name: part for name, part in weights.items() if name != _AUX_HEAD}
  record: dict[str, Any] = {
    "space": space,
    "params": sum(parts.values()),
    "params_without_batch_norm": _size(body, without=_BATCH_NORM),
    "params_aux_head": aux,
    "multiply_adds": None,
    "activation_bytes": None,
    "depth": None,
    "loose_ends": None,
    "shape": None,
    "params_by_part": parts,
  }
  if arc is not None:
    cost = _cost(jax.make_jaxpr(forward)(weights))
    shape = shape_of(space, config, arc)
    record |= {
      "multiply_adds": cost.multiply_adds,
      "activation_bytes": cost.output_bytes,
      "depth": shape.depth,
      "loose_ends": shape.loose_ends,
      "shape": shape.detail,
    }
  return record


def _traceable(
  space: str, config: Any, arc: Any, data: Data
) -> tuple[types.Omega, Callable[[types.Omega], Any]]:
  """The shapes of the weights, and the forward pass of one example."""
  key = jax.eval_shape(lambda: jax.random.key(0))
  if space == "recurrent":
    return _recurrent(key, config, arc, data.vocabulary_size)
  shape = data.image_shape
  net = networks.SHARED[space]
  if arc is not None:
    net = networks.of_arc(space, config, arc)
  weights = jax.eval_shape(
    lambda k: net.init(k, config, data.num_classes, shape), key
  )

  def forward(child: types.Omega) -> types.Array:
    with image_ops.using("plain"):
      logits, _ = net.apply_child(
        child,
        net.init_statistics(config),
        arc,
        jnp.zeros((1, *shape)),
        config=config,
        train=False,
        key=None,
      )
    return logits.main

  return weights, forward


def _recurrent(
  key: Any,
  config: recurrent_p.RecurrentConfig,
  arc: Any,
  vocabulary_size: int,
) -> tuple[types.Omega, Callable[[types.Omega], Any]]:
  weights = jax.eval_shape(
    lambda k: recurrent.init(k, config, vocabulary_size), key
  )
  if arc is not None:
    weights = jax.eval_shape(
      lambda omega: recurrent.child_params(omega, arc), weights
    )

  def forward(child: types.Omega) -> types.Array:
    tokens = jnp.zeros((1, 1), jnp.int32)
    state = jnp.zeros((1, config.hidden_size))
    states = recurrent.apply_child(child, arc, tokens, state, config=config)
    return recurrent.logits(child, states)

  return weights, forward


def _order(name: str) -> tuple[str, int]:
  """Puts layer_10 behind layer_9."""
  kind, _, number = name.rpartition("_")
  return (kind, int(number)) if number.isdigit() else (name, 0)


def _size(tree: Any, without: tuple[str, ...] = ()) -> int:
  """How many numbers a tree of dicts holds, leaving out leaves by name."""
  return sum(
    math.prod(leaf.shape)
    for path, leaf in jax.tree.leaves_with_path(tree)
    if not path or path[-1].key not in without
  )


class _Cost(NamedTuple):
  multiply_adds: int
  output_bytes: int


def _cost(jaxpr: Any) -> _Cost:
  """Sums over a program and those inside it."""
  found = [_cost_of(eqn) for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns]
  return _Cost(*(sum(column) for column in zip((0, 0), *found, strict=True)))


def _cost_of(eqn: Any) -> _Cost:
  """Of one operation; a loop costs its body as often as it runs."""
  name = eqn.primitive.name
  out: Any = eqn.outvars[0].aval if eqn.outvars else None
  if name == "dot_general":
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    each = math.prod(shape[axis] for axis in contracted)
    return _Cost(out.size * each, _bytes(out))
  if name == "conv_general_dilated":
    kernel = eqn.invars[1].aval.shape
    channels_out = eqn.params["dimension_numbers"].rhs_spec[0]
    each = math.prod(kernel) // kernel[channels_out]
    return _Cost(out.size * each, _bytes(out))
  if name.startswith("reduce_window"):
    # One channel alone counts the pixels that an average is over.
    return _Cost(0, _bytes(out) if out.shape[-1] > 1 else 0)
  # What a conditional costs depends on its index: a fixed child has none.
  assert name != "cond"
  inner = [_cost(program) for program in _programs(eqn.params)]
  times = eqn.params["length"] if name == "scan" else 1
  return _Cost(
    times * sum(cost.multiply_adds for cost in inner),
    times * sum(cost.output_bytes for cost in inner),
  )


def _bytes(out: Any) -> int:
  return out.size * out.dtype.itemsize


def _programs(params: Mapping[str, Any]) -> Iterator[Any]:
  """The programs inside an operation: a loop's body, a function's."""
  for value in params.values():
    if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
      yield value


def shape_of(space: str, config: Any, arc: Any) -> Shape:
  """The form of an architecture of Python ints; arguments as `describe`."""
  measure: dict[str, Callable[[Any, Any], Shape]] = {
    "recurrent": _recurrent_shape,
    "macro": _macro_shape,
    "micro": _micro_shape,
    "nasbench201": _nasbench201_shape,
  }
  return measure[space](config, arc)


def _recurrent_shape(
  config: recurrent_p.RecurrentConfig, arc: recurrent_space.RecurrentArc
) -> Shape:
  depths = [1]
  for source in arc.prev[1:]:
    depths.append(depths[source] + 1)
  loose = config.space().output_nodes(arc)
  ends = {"loose_ends": [node + 1 for node in loose]}
  return Shape(max(depths), len(loose), {"depth": max(depths), **ends})


def _macro_shape(
  config: macro_presets.MacroConfig, arc: macro_space.MacroArc
) -> Shape:
  """Node 0 is the stem here, and node l layer l of the paper."""
  reads: list[set[int]] = []
  for layer, row in enumerate(arc.skips):
    taken = [node for node, bit in enumerate(row) if bit]
    if config.main_input == "previous":
      reads.append({layer, *taken})
    else:
      reads.append({node + 1 for node in taken} or {0})
  depths = [0]
  for sources in reads:
    depths.append(1 + max(depths[node] for node in sources))
  read = set().union(*reads)
  loose = [node for node in range(1, len(reads)) if node not in read]
  detail = {"depth": depths[-1], "loose_ends": loose}
  return Shape(depths[-1], len(loose), detail)


def _micro_shape(
  config: micro_presets.MicroConfig, arc: micro_space.MicroArc
) -> Shape:
  detail: dict[str, Any] = {}
  for name, cell in zip(arc._fields, arc, strict=True):
    depths = [0] * micro_space.NUM_INPUTS
    for sources in cell.inputs:
      depths.append(1 + max(depths[node] for node in sources))
    loose = config.loose_ends(cell)
    ends = [node + 1 for node in loose]
    detail[name] = {"depth": max(depths), "loose_ends": ends}
  return Shape(
    max(cell["depth"] for cell in detail.values()),
    sum(len(cell["loose_ends"]) for cell in detail.values()),
    detail,
  )


def _nasbench201_shape(
  config: nasbench201_p.NasBench201Config,
  arc: nasbench201_space.NasBench201Arc,
) -> Shape:
  """Of the cell: its depth, 0 if nothing of its input reaches its output."""
  del config
  edges = [
    edge
    for edge, op in zip(nasbench201_space.EDGES, arc.ops, strict=True)
    if nasbench201_space.OPS[op] != "none"
  ]
  depths: dict[int, int] = {0: 0}
  for source, node in edges:  # in the order of nodes
    if source in depths:
      depths[node] = max(depths.get(node, 0), depths[source] + 1)
  last = nasbench201_space.NUM_NODES - 1
  read = {source for source, _ in edges}
  loose = [node for node in range(1, last) if node not in read]
  depth = depths.get(last, 0)
  return Shape(depth, len(loose), {"depth": depth, "loose_ends": loose})
