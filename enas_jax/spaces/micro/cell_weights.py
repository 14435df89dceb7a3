"""The weights of convolutional cells: tables, and what a fixed cell takes.

Every branch of a cell (one of the two halves of a node) has its own weights
for each node that it may take, in tables with a row per pair of a node and
one before it. The arc picks the rows.
"""

import itertools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import parts

SEP_CONVS = {"sep_conv_3x3": 3, "sep_conv_5x5": 5}  # kernel widths
OPERATIONS = (*SEP_CONVS, "identity")  # those that have weights
SIDES = 2  # the branches of a node
STACK = 2  # a separable convolution is applied twice (Appendix B)


def edge_index(row: types.Indices, node: types.Indices) -> types.Indices:
  """The table row of the weights with which row `row` of an arc takes `node`.

  Row r has r + 2 nodes before it.

  Args:
    row: [...] int, a row of `CellArc.inputs`, from 0; a Python int serves too.
    node: [...] int, the node that is taken, in [0, row + 2).

  Returns:
    [...] int, in [0, E).
  """
  # The rows before it have 2 + 3 + ... + (row + 1) nodes to take.
  return row * (row + 3) // 2 + node


def gather(
  cell: types.Omega,
  rows: types.Indices,
  sides: types.Indices,
  nodes: types.Indices,
) -> types.Omega:
  """The weights with which branches take nodes.

  Args:
    cell: the cell's tables, as `cell_specs` without the axis L.
    rows: [S] int32, the rows of the branches in the arc.
    sides: [S] int32, which of a row's two branches they are.
    nodes: [S] int32, the nodes that they take.

  Returns:
    By operation arrays [S, ...].
  """
  chex.assert_rank([rows, sides, nodes], 1)
  index = dict.fromkeys(SEP_CONVS, edge_index(rows, nodes))
  if "identity" in cell:
    # Of other nodes identity is itself: what they gather is not used.
    last = space_lib.NUM_INPUTS - 1
    index["identity"] = rows * space_lib.NUM_INPUTS + jnp.minimum(nodes, last)
  return {
    name: jax.tree.map(lambda leaf, at=at: leaf[sides, at], cell[name])
    for name, at in index.items()
  }


def cell_specs(
  count: int,
  *,
  num_nodes: int,
  filters: int,
  include_inputs: bool,
  released_init: bool,
  strided: bool = False,
) -> dict[str, dict[str, weights_lib.Spec]]:
  """The weights of `count` cells of one size.

  Args:
    count: L, the leading axis of every array.
    num_nodes: nodes of a cell with its two inputs, B.
    filters: F, channels of every node.
    include_inputs: whether an input may be a loose end.
    released_init: whether fan-in is the number of nodes to choose from; see
      `MicroConfig.weight_init`.
    strided: whether operations on the inputs have stride 2.

  Returns:
    By operation "depthwise" [L, 2, E, 2, k, k, F], "pointwise"
    [L, 2, E, 2, F, F], "scale" and "offset" [L, 2, E, 2, F], for each side,
    edge and application; "output" with "kernel" [L, nodes, F, F], "scale"
    and "offset" [L, F]. Strided cells also have "identity": the factorized
    reductions [L, 2, 2(B - 2), ...] that stand for identity on an input.
  """
  rows = num_nodes - space_lib.NUM_INPUTS
  specs = {
    name: _sep_conv_specs(count, rows, width, filters, released_init)
    for name, width in SEP_CONVS.items()
  }
  candidates = num_nodes if include_inputs else rows
  specs["output"] = {
    "kernel": weights_lib.Spec(
      (count, candidates, filters, filters),
      candidates if released_init else filters,
    ),
    **weights_lib.norm_specs((count, filters)),
  }
  if strided:
    lead = (count, SIDES, space_lib.NUM_INPUTS * rows)
    specs["identity"] = parts.reduction_specs(filters, filters, lead)
  return specs


def _sep_conv_specs(
  count: int, rows: int, width: int, filters: int, released_init: bool
) -> dict[str, weights_lib.Spec]:
  lead = (count, SIDES, edge_index(rows, 0), STACK)
  fan_in: tuple[int | np.ndarray, ...] = (width * width, filters)
  if released_init:
    # The release takes the number of rows of its weight matrices: how many
    # nodes there are to choose from.
    choices = np.repeat(np.arange(rows) + 2, np.arange(rows) + 2)
    fan_in = choices[:, None, None, None, None], choices[:, None, None, None]
  return {
    "depthwise": weights_lib.Spec((*lead, width, width, filters), fan_in[0]),
    "pointwise": weights_lib.Spec((*lead, filters, filters), fan_in[1]),
    **weights_lib.norm_specs((*lead, filters)),
  }


def child_cells(
  cells: types.Omega,
  arcs: Sequence[space_lib.CellArc],
  *,
  include_inputs: bool,
) -> types.Omega:
  """The weights of fixed cells: of what each of them computes, and no more.

  Args:
    cells: weights of L cells, [L, ...], laid out as `cell_specs` says.
    arcs: the L cells, of Python ints.
    include_inputs: whether an input may be a loose end.

  Returns:
    "run_0" and so on, one for neighbouring cells of equal arcs: as `cells`,
    but [n, uses, ...] in the order of the arc's branches, and an output kernel
    of the loose ends alone.
  """
  # [L, candidates, F, F]: without its first axis rows would be read as cells.
  chex.assert_rank(cells["output"]["kernel"], 4)
  child, start = {}, 0
  for at, (arc, count) in enumerate(runs(arcs)):
    part = jax.tree.map(lambda a, s=start, n=count: a[s : s + n], cells)
    loose = np.flatnonzero(space_lib.are_loose(arc, include_inputs))
    kernel = part["output"]["kernel"][:, loose]
    run = {"output": {**part["output"], "kernel": kernel}}
    for name, places in _uses(arc, "identity" in cells).items():
      sides, rows = (np.array(index) for index in zip(*places, strict=True))
      run[name] = jax.tree.map(
        lambda leaf, i=sides, j=rows: leaf[:, i, j], part[name]
      )
    child[f"run_{at}"] = run
    start += count
  return child


def child_statistics(
  cells: types.Statistics, arcs: Sequence[space_lib.CellArc]
) -> types.Statistics:
  """The statistics of fixed cells, laid out as `child_cells` lays out weights.

  Args:
    cells: "output" with "mean" and "variance" [L, F] float32.
    arcs: the L cells, of Python ints.

  Returns:
    "run_0" and so on, with arrays [n, F] for n neighbouring cells alike.
  """
  chex.assert_rank(jax.tree.leaves(cells), 2)
  child, start = {}, 0
  for at, (_, count) in enumerate(runs(arcs)):
    child[f"run_{at}"] = jax.tree.map(
      lambda a, s=start, n=count: a[s : s + n], cells
    )
    start += count
  return child


def shared_statistics(
  child: types.Statistics, arcs: Sequence[space_lib.CellArc]
) -> types.Statistics:
  """The inverse of `child_statistics`.

  Args:
    child: "run_0" and so on; statistics of operations are dropped.
    arcs: the L cells, of Python ints.

  Returns:
    "output" with "mean" and "variance" [L, F] float32.
  """
  outputs = [child[f"run_{at}"]["output"] for at in range(len(runs(arcs)))]
  join = lambda *leaves: jnp.concatenate(leaves)
  return {"output": jax.tree.map(join, *outputs)}


def runs(
  arcs: Sequence[space_lib.CellArc],
) -> list[tuple[space_lib.CellArc, int]]:
  """Groups neighbouring cells of equal arcs.

  Args:
    arcs: the L cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2].

  Returns:
    Of each run of equal cells its arc, and how many cells it has.
  """
  return [(arc, len(list(group))) for arc, group in itertools.groupby(arcs)]


def _uses(
  arc: space_lib.CellArc, strided: bool
) -> dict[str, list[tuple[int, int]]]:
  """By operation the (side, table row) that a fixed cell uses, in its order."""
  places: dict[str, list[tuple[int, int]]] = {}
  for row, (taken, chosen) in enumerate(zip(arc.inputs, arc.ops, strict=True)):
    for side, (node, op) in enumerate(zip(taken, chosen, strict=True)):
      name = space_lib.OPS[op]
      if name in SEP_CONVS:
        at = edge_index(row, node)
      elif name == "identity" and strided and node < space_lib.NUM_INPUTS:
        at = row * space_lib.NUM_INPUTS + node
      else:
        continue
      places.setdefault(name, []).append((side, at))
  return places
