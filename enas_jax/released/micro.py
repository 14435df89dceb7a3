"""The micro graphs of the authors' CIFAR-10 code, and their controller.

In its search graph each cell and branch has variables of its own, where ours
are rows of one table; and what a node's choice of input picks is a row of a
matrix. Its moving statistics are never read, and are written alone. Its fixed
graph is that of `spaces.micro.final_network`.
"""

import functools
import itertools
from collections.abc import Iterator

import jax

from enas_jax import types
from enas_jax.released import controllers, tables
from enas_jax.spaces.base import Network
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import aux_head, cell_weights
from enas_jax.spaces.micro import final_network as micro_final
from enas_jax.spaces.micro import network as supergraph
from enas_jax.spaces.micro.presets import MicroConfig

_SIDES = {"x": 0, "y": 1}
_STACK = {at: at for at in range(cell_weights.STACK)}
# What both graphs have before and after their cells.
_ENDS = (
  *tables.unit("stem", "stem_conv"),
  tables.Entry("fc", "fc/w"),
  tables.Entry("aux_head/fc", "aux_head/fc/w"),
  *tables.unit("aux_head/narrow", "aux_head/proj"),
  *tables.unit("aux_head/wide", "aux_head/avg_pool"),
)


def _search_entries(config: MicroConfig) -> Iterator[tables.Entry]:
  yield from _ENDS
  layer = 0
  for stage, normal in enumerate(config.normal_cells()):
    count = normal + (stage > 0)  # with the reduction cell
    yield from _stage_inputs(f"stage_{stage}", layer)
    yield from _cells(f"stage_{stage}/cells", layer, count, config)
    layer += count


def _stage_inputs(stage: str, layer: int) -> Iterator[tables.Entry]:
  """What brings the inputs of a stage's cells to its size."""
  first = f"layer_{layer}"
  # All but the first begin with a reduction cell, and its reduction.
  y = first if layer else f"{first}/calibrate/pool_y"
  yield from tables.unit(f"{stage}/first_0", f"{first}/calibrate/pool_x")
  yield from tables.unit(f"{stage}/first_1", y)
  second = f"layer_{layer + 1}/calibrate/pool_x"
  yield from tables.unit(f"{stage}/second_0", second)


def _cells(
  ours: str, layer: int, count: int, config: MicroConfig
) -> Iterator[tables.Entry]:
  """Cells of one size, the release's layers from `layer` on."""
  layers = ("l", {layer + at: at for at in range(count)})
  yield from tables.unit(
    f"{ours}/output", "layer_{l}/final_conv", (layers,), kernel=tables.ROWS
  )
  rows = range(config.num_nodes - space_lib.NUM_INPUTS + 1)
  starts = [cell_weights.edge_index(row, 0) for row in rows]
  edges = dict(enumerate(itertools.starmap(slice, itertools.pairwise(starts))))
  axes = (layers, ("side", _SIDES), ("row", edges), ("at", _STACK))
  for op, k in cell_weights.SEP_CONVS.items():
    theirs = f"layer_{{l}}/cell_{{row}}/{{side}}/conv_{k}x{k}/stack_{{at}}"
    rows_of = {"depthwise": tables.ROWS, "pointwise": tables.ROWS}
    yield from tables.unit(f"{ours}/{op}", theirs, axes, **rows_of)


def _fixed_entries(config: MicroConfig) -> Iterator[tables.Entry]:
  yield from _ENDS
  units = {
    "base": "layer_base",
    "input_0": "calibrate/pool_x",
    "input_1": "calibrate/pool_y",
    "output_{i}": "final_combine/calibrate_{i}",
  }
  rows = range(config.num_nodes - space_lib.NUM_INPUTS)
  for row, (letter, side) in itertools.product(rows, _SIDES.items()):
    # An operation is a reduction, or a separable convolution.
    ours = f"node_{row + space_lib.NUM_INPUTS}_side_{side}"
    units[ours] = f"cell_{row}/{letter}_conv"
    units[f"{ours}/conv_{{at}}"] = f"{units[ours]}/sep_conv_{{at}}"
  for ours, theirs in units.items():
    yield from tables.unit(f"cell_{{l}}/{ours}", f"layer_{{l}}/{theirs}")


def _shapes(
  network: Network, variables: tables.Variables, config: MicroConfig
) -> types.Omega:
  channels = tables.size(variables, "child/stem_conv/w", -2)
  classes = tables.size(variables, "child/fc/w", -1)
  size = 1  # no weight depends on it but the auxiliary head's
  if config.aux_head:
    # Any size that gives the wide convolution's kernel its shape.
    wide = tables.size(variables, "child/aux_head/avg_pool/w", 0)
    size = aux_head.least_image_size(wide)
  return jax.eval_shape(
    lambda key: network.init(key, config, classes, (size, size, channels)),
    jax.random.key(0),
  )


SEARCH = tables.Graph(
  scope="child/",
  entries=_search_entries,
  shapes=functools.partial(_shapes, supergraph.NETWORK),
  requires={"reduction": "factorized", "include_inputs": True},
  size="num_layers",
)


def fixed(arc: space_lib.MicroArc) -> tables.Graph:
  """The graph of the network that is trained for one architecture.

  Args:
    arc: the cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2] each.
  """
  network = micro_final.network(arc)
  shapes = functools.partial(_shapes, network)
  return tables.Graph("child/", _fixed_entries, shapes, {}, "num_layers")


CONTROLLER = controllers.cifar10(range(len(space_lib.OPS)), op_bias=True)
