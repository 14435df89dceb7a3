"""The space of NAS-Bench-201 as the registry hands it over."""

import re

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.spaces import base, fixed
from enas_jax.spaces.nasbench201 import arc as arc_lib
from enas_jax.spaces.nasbench201 import drawing, network, presets

# A cell as in a table of the benchmark.
_DIGITS = re.compile(r"[0-4]{6}")


def fix(
  options: presets.NasBench201Config, arc: arc_lib.NasBench201Arc
) -> base.Network:
  """The network of one cell alone.

  Args:
    options: the network's options, of which none changes what is fixed.
    arc: the cell, of Python ints: ops [6].
  """
  del options
  shared = network.NETWORK
  # Every operation of the shared network has statistics, and no scale.
  return fixed.fix_image_network(shared, arc)._replace(
    init_statistics=shared.init_statistics
  )


def shape(
  options: presets.NasBench201Config, arc: arc_lib.NasBench201Arc
) -> base.Shape:
  """The form of a cell: depth 0 if nothing of its input reaches its output.

  Args:
    options: the network's options, of which none changes the form.
    arc: the cell, of Python ints: ops [6].
  """
  del options
  edges = [
    edge
    for edge, op in zip(arc_lib.EDGES, arc.ops, strict=True)
    if arc_lib.OPS[op] != "none"
  ]
  depths: dict[int, int] = {0: 0}
  for source, node in edges:  # in the order of nodes
    # Else only zeros come this way.
    if source in depths:
      depths[node] = max(depths.get(node, 0), depths[source] + 1)
  last = arc_lib.NUM_NODES - 1
  read = {source for source, _ in edges}
  loose = [node for node in range(1, last) if node not in read]
  depth = depths.get(last, 0)
  return base.Shape(depth, len(loose), {"depth": depth, "loose_ends": loose})


def live(
  options: presets.NasBench201Config, arc: arc_lib.NasBench201Arc
) -> arc_lib.NasBench201Arc:
  """`arc.live`; no option changes the form of a cell."""
  del options
  return arc_lib.live(arc)


def features(
  options: presets.NasBench201Config, arc: arc_lib.NasBench201Arc
) -> types.Array:
  """The operation of each edge that is on a way to the output.

  Args:
    options: the network's options, of which none matters.
    arc: the cell, of arrays: ops [6] int32.

  Returns:
    [30] float32: for each edge 1 at its operation, or zeros; see `live`.
  """
  del options
  open_edges = arc.ops != arc_lib.OPS.index("none")
  # As in `live`, but traced.
  last = arc_lib.NUM_NODES - 1
  reached = [jnp.bool_(node == 0) for node in range(arc_lib.NUM_NODES)]
  leading = [jnp.bool_(node == last) for node in range(arc_lib.NUM_NODES)]
  edges = list(zip(arc_lib.EDGES, open_edges, strict=True))
  for (source, node), is_open in sorted(edges, key=lambda edge: edge[0]):
    reached[node] |= is_open & reached[source]
  for (source, node), is_open in sorted(
    edges, key=lambda edge: edge[0], reverse=True
  ):
    leading[source] |= is_open & leading[node]
  on_a_way = jnp.stack(
    [reached[source] & leading[node] for source, node in arc_lib.EDGES]
  )
  count = len(arc_lib.OPS)
  chosen = jax.nn.one_hot(arc.ops, count, dtype=jnp.float32)
  return (chosen * (on_a_way & open_edges)[:, None]).ravel()


def read(
  text: str,
) -> tuple[arc_lib.NasBench201Space, arc_lib.NasBench201Arc] | None:
  """A cell in the benchmark's notation, or as the six digits of a table.

  Args:
    text: the notation, as a user gave it.

  Returns:
    The space and the cell, of Python ints: ops [6]; None if it is neither.

  Raises:
    InputError: if it begins like the benchmark's notation and is none.
  """
  space = arc_lib.NasBench201Space()
  if text.startswith("|"):
    return space, space.from_arc_str(text)
  if _DIGITS.fullmatch(text):
    return space, space.from_digits(text)
  return None


def in_torch(
  options: presets.NasBench201Config, arc: arc_lib.NasBench201Arc
) -> base.TorchChild:
  """The architecture in PyTorch; see `Definition.torch_child`."""
  from enas_jax.spaces.nasbench201 import torch_child  # PyTorch is an extra

  return torch_child.make(options, arc)


DEFINITION = base.Definition(
  name="nasbench201",
  title="a cell of NAS-Bench-201",
  about="a convolutional network of one repeated cell of NAS-Bench-201",
  task="image_classifier",
  options=presets.NasBench201Config,
  presets=presets.PRESETS,
  train_presets={},
  network=network.NETWORK,
  fixed=fix,
  of_record=arc_lib.from_dict,
  of_count=lambda count: arc_lib.NasBench201Space(),
  read=read,
  vocabularies={"op": arc_lib.OPS},
  draw=drawing.graphs,
  text=drawing.text,
  shape=shape,
  live=live,
  features=features,
  benchmark={"data": {"batch_size": 64, "reward_batch_size": 64}},
  torch_child=in_torch,
)
