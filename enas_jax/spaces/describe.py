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
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend import core

from enas_jax import types
from enas_jax.nn import image_ops, programs
from enas_jax.spaces import base, registry

_AUX_HEAD = "aux_head"
_BATCH_NORM = ("scale", "offset", "bn_scale", "bn_offset")


def describe(
  space: str,
  options: base.Options,
  arc: types.Arc | None = None,
  data: base.DataShape | None = None,
) -> dict[str, Any]:
  """Describes one child, or the supergraph.

  Args:
    space: the name of the search space.
    options: the options of the space and its network: `SearchConfig.child`.
    arc: an architecture of Python ints, leaves [...]; None for the supergraph.
    data: what the network works on; None for Penn Treebank or CIFAR-10.

  Returns:
    JSON-ready: "space"; "params", without the auxiliary head's,
    "params_without_batch_norm", "params_aux_head" and "params_by_part", by the
    top-level names of omega; "multiply_adds" of one image or token and
    "activation_bytes" of one example, without auxiliary head; "depth",
    "loose_ends" and "shape", of `base.Shape`. The last five are None for the
    supergraph, which never runs as a whole.
  """
  definition = registry.get(space)
  weights, forward = _traceable(
    definition, options, arc, data or base.DataShape()
  )
  parts = {name: _size(weights[name]) for name in sorted(weights, key=_order)}
  # Apart, as the authors' code counts: it serves in training alone.
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
    shape = definition.shape(options, arc)
    record |= {
      "multiply_adds": cost.multiply_adds,
      "activation_bytes": cost.output_bytes,
      "depth": shape.depth,
      "loose_ends": shape.loose_ends,
      "shape": shape.detail,
    }
  return record


def _traceable(
  definition: base.Definition,
  options: base.Options,
  arc: types.Arc | None,
  data: base.DataShape,
) -> tuple[types.Omega, Callable[[types.Omega], types.Array]]:
  """The shapes of the weights, and the forward pass of one example."""
  network = definition.network
  if arc is not None:
    network = definition.fixed(options, arc)
  weights = jax.eval_shape(
    lambda key: network.init_for(key, options, data), jax.random.key(0)
  )

  def forward(child: types.Omega) -> types.Array:
    # The forms for CPU compute the same by other operations.
    with image_ops.using("plain"):
      return network.apply_one(child, arc, options, data)

  return weights, forward


def _order(name: str) -> tuple[str, int]:
  """Puts layer_10 behind layer_9."""
  kind, _, number = name.rpartition("_")
  return (kind, int(number)) if number.isdigit() else (name, 0)


def _size(tree: types.Omega, without: tuple[str, ...] = ()) -> int:
  """How many numbers a tree of dicts holds, leaving out leaves by name."""
  return sum(
    math.prod(leaf.shape)
    for path, leaf in jax.tree.leaves_with_path(tree)
    if not path or path[-1].key not in without
  )


class _Cost(NamedTuple):
  """What a program costs.

  Attributes:
    multiply_adds: how many its matrix products and convolutions have.
    output_bytes: the size of what these and poolings return.
  """

  multiply_adds: int
  output_bytes: int


def _cost(program: programs.Program) -> _Cost:
  """Sums over a program and those inside it."""
  costs = [_cost_of(eqn) for eqn in programs.operations(program)]
  # The zeros are for a program without operations.
  return _Cost(*(sum(column) for column in zip((0, 0), *costs, strict=True)))


def _cost_of(eqn: core.JaxprEqn) -> _Cost:
  """The cost of one operation; a loop costs its body as often as it runs."""
  name = eqn.primitive.name
  out: Any = eqn.outvars[0].aval if eqn.outvars else None
  if count := programs.multiply_adds(eqn):
    return _Cost(count, programs.num_bytes(out))
  if name.startswith("reduce_window"):
    # One channel alone counts the pixels that an average is over.
    return _Cost(0, programs.num_bytes(out) if out.shape[-1] > 1 else 0)
  # What a conditional costs depends on its index: a fixed child has none.
  assert name != "cond"
  inner = [_cost(program) for program in programs.inside(eqn)]
  times = programs.repetitions(eqn)
  return _Cost(
    times * sum(cost.multiply_adds for cost in inner),
    times * sum(cost.output_bytes for cost in inner),
  )
