"""Convolutional cells: what happens between two inputs and an output.

Every branch of a cell (one of the two halves of a node) has its own weights
for each node that it may take, in tables with a row per pair of a node and
one before it. The arc picks the rows.

A traced arc runs its branches one after another in a `lax.scan` (see
`micro_scan`), and so do neighbouring cells of one size: a program with every
cell written out would compile for minutes. An arc of Python ints writes its
branches out.
"""

import collections
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import drop_path, parts
from enas_jax.spaces.micro import scan as micro_scan

SEP_CONVS = {"sep_conv_3x3": 3, "sep_conv_5x5": 5}  # kernel widths
OPERATIONS = (*SEP_CONVS, "identity")  # those that have weights
SIDES = 2  # the branches of a node
STACK = 2  # a separable convolution is applied twice (Appendix B)

_Branch = Callable[[types.Omega, types.Array], tuple[types.Array, Any]]


def edge_index(row: Any, node: Any) -> Any:
  """The table row of the weights with which row `row` of an arc takes `node`.

  Row r has r + 2 nodes before it.
  """
  return row * (row + 3) // 2 + node


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
    num_nodes: of a cell, with its inputs.
    filters: F, channels of every node.
    include_inputs: whether an input may be a loose end.
    released_init: see `MicroConfig.weight_init`.
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
  fan_in: tuple[Any, Any] = (width * width, filters)
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
    cells: weights of L cells, of `cell_specs`.
    arcs: of the L cells, of Python ints.
    include_inputs: whether an input may be a loose end.

  Returns:
    "run_0" and so on, one for neighbouring cells of equal arcs: as `cells`,
    but [n, uses, ...] in the order of the arc's branches, and an output kernel
    of the loose ends alone.
  """
  child, start = {}, 0
  for at, (arc, count) in enumerate(_runs(arcs)):
    part = jax.tree.map(lambda a, s=start, n=count: a[s : s + n], cells)
    loose = np.flatnonzero(space_lib.are_loose(arc, include_inputs))
    kernel = part["output"]["kernel"][:, loose]
    own = {"output": {**part["output"], "kernel": kernel}}
    for name, places in _uses(arc, "identity" in cells).items():
      sides, rows = (np.array(index) for index in zip(*places, strict=True))
      own[name] = jax.tree.map(
        lambda leaf, i=sides, j=rows: leaf[:, i, j], part[name]
      )
    child[f"run_{at}"] = own
    start += count
  return child


def child_statistics(
  cells: types.Statistics, arcs: Sequence[space_lib.CellArc]
) -> types.Statistics:
  """The statistics of L fixed cells, laid out as `child_cells`."""
  child, start = {}, 0
  for at, (_, count) in enumerate(_runs(arcs)):
    child[f"run_{at}"] = jax.tree.map(
      lambda a, s=start, n=count: a[s : s + n], cells
    )
    start += count
  return child


def shared_statistics(
  child: types.Statistics, arcs: Sequence[space_lib.CellArc]
) -> types.Statistics:
  """The inverse of `child_statistics`; drops those of operations."""
  outputs = [child[f"run_{at}"]["output"] for at in range(len(_runs(arcs)))]
  join = lambda *leaves: jnp.concatenate(leaves)
  return {"output": jax.tree.map(join, *outputs)}


def _runs(
  arcs: Sequence[space_lib.CellArc],
) -> list[tuple[space_lib.CellArc, int]]:
  return [(arc, len(list(group))) for arc, group in itertools.groupby(arcs)]


def _uses(
  arc: space_lib.CellArc, strided: bool
) -> dict[str, list[tuple[int, int]]]:
  """Which weights a fixed cell uses: (side, table row), in its order."""
  found: dict[str, list[tuple[int, int]]] = {}
  for row, (taken, chosen) in enumerate(zip(arc.inputs, arc.ops, strict=True)):
    for side, (node, op) in enumerate(zip(taken, chosen, strict=True)):
      name = space_lib.OPS[op]
      if name in SEP_CONVS:
        found.setdefault(name, []).append((side, edge_index(row, node)))
      elif name == "identity" and strided and node < space_lib.NUM_INPUTS:
        at = row * space_lib.NUM_INPUTS + node
        found.setdefault(name, []).append((side, at))
  return found


def chain(
  cells: types.Omega,
  arcs: Sequence[space_lib.CellArc],
  first: tuple[types.Array, types.Array],
  second_0: types.Array,
  *,
  include_inputs: bool,
  strided: bool = False,
  masks: types.Array | None = None,
) -> tuple[types.Array, types.Statistics]:
  """Runs cells of one size, each on the outputs of the two before it.

  Args:
    cells: weights of L cells, of `cell_specs`, or of `child_cells`.
    arcs: of the L cells, all traced or all of Python ints.
    first: inputs of the first cell, [B, H, W, F] each.
    second_0: input 0 of the second cell, whose input 1 is the first's output.
    include_inputs: whether an input may be a loose end.
    strided: whether operations on inputs have stride 2; then L is 1.
    masks: [L, nodes - 2, 2, B] of `drop_path.draw`, or None.

  Returns:
    [L, B, H', W', F], the outputs, half as high and wide if strided; and what
    batch norms have seen: of traced cells those after their output
    convolutions, "output" [L, F] each; of fixed cells all, laid out as the
    weights of `child_cells`.
  """
  carry = (*first, second_0)
  if not ops.is_static(arcs):

    def step(carry: Any, now: Any) -> Any:
      cell, arc, mask = now
      return _pass_on(carry, _traced_cell(cell, arc, carry[:2], strided, mask))

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arcs)
    _, (outs, seen) = _over_cells(
      step, carry, (cells, stacked, masks), len(arcs)
    )
    return outs, {"output": seen}

  if "run_0" not in cells:
    cells = child_cells(cells, arcs, include_inputs=include_inputs)
  images, found, start = [], {}, 0
  for at, (arc, count) in enumerate(_runs(arcs)):

    def fixed(carry: Any, now: Any, arc: space_lib.CellArc = arc) -> Any:
      cell, mask = now
      nodes, seen = _fixed_nodes(cell, arc, carry[:2], strided, mask)
      out, seen["output"] = _fixed_output(
        cell["output"], arc, nodes, include_inputs=include_inputs
      )
      return _pass_on(carry, (out, seen))

    run = f"run_{at}"
    own = None if masks is None else masks[start : start + count]
    carry, (out, found[run]) = _over_cells(
      fixed, carry, (cells[run], own), count
    )
    images.append(out)
    start += count
  return jnp.concatenate(images), found


def _over_cells(
  step: Callable[[Any, Any], Any], carry: Any, cells: Any, count: int
) -> tuple[Any, tuple[types.Array, types.Statistics]]:
  """`lax.scan`, which a strided cell could not pass: it changes the size."""
  if count > 1:
    return lax.scan(step, carry, cells)
  carry, found = step(carry, jax.tree.map(lambda a: a[0], cells))
  return carry, jax.tree.map(lambda a: a[None], found)


def _pass_on(carry: Any, found: tuple[types.Array, types.Statistics]) -> Any:
  """What the next cell gets, and this one's output."""
  _, _, kept = carry
  out, _ = found
  return (kept, out, out), found


def _gather(cell: types.Omega, arc: space_lib.CellArc) -> types.Omega:
  """The weights that a traced arc picks: arrays [B - 2, 2, ...]."""
  inputs = jnp.asarray(arc.inputs)
  sides = np.arange(SIDES)
  rows = np.arange(inputs.shape[0])[:, None]
  index = dict.fromkeys(SEP_CONVS, edge_index(rows, inputs))
  if "identity" in cell:
    # Of other nodes identity is itself: what they gather is not used.
    last = space_lib.NUM_INPUTS - 1
    at = rows * space_lib.NUM_INPUTS + jnp.minimum(inputs, last)
    index["identity"] = at
  return {
    name: jax.tree.map(lambda leaf, at=at: leaf[sides, at], cell[name])
    for name, at in index.items()
  }


def _sep_conv(name: str, stride: int) -> _Branch:
  def branch(
    weights: types.Omega, x: types.Array
  ) -> tuple[types.Array, types.Statistics]:
    found: list[types.Statistics] = []
    for at in range(STACK):
      one = jax.tree.map(lambda leaf, at=at: leaf[at], weights[name])
      x = image_ops.separable_conv(
        jax.nn.relu(x),
        one["depthwise"],
        one["pointwise"],
        stride if at == 0 else 1,
      )
      x, seen = batch_norm.normalise(x, one)
      found.append(seen)
    return x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

  return branch


def _branches(stride: int) -> tuple[_Branch, ...]:
  """The operations in the order of the space's `OPS`.

  Each returns an image and what its batch norms have seen, None without any.
  """
  by_name: dict[str, _Branch] = {
    **{name: _sep_conv(name, stride) for name in SEP_CONVS},
    "avg_pool_3x3": lambda weights, x: (image_ops.avg_pool(x, stride), None),
    "max_pool_3x3": lambda weights, x: (image_ops.max_pool(x, stride), None),
    "identity": lambda weights, x: (
      (x, None) if stride == 1 else parts.reduce_size(weights["identity"], x)
    ),
  }
  return tuple(by_name[name] for name in space_lib.OPS)


def _traced_branches(stride: int) -> tuple[micro_scan.Branch, ...]:
  """The operations alone: as the release, a search averages no statistics."""
  return tuple(lambda w, x, f=f: f(w, x)[0] for f in _branches(stride))


def _fixed_nodes(
  cell: types.Omega,
  arc: space_lib.CellArc,
  inputs: tuple[types.Array, types.Array],
  strided: bool,
  masks: types.Array | None,
) -> tuple[list[types.Array], types.Statistics]:
  """All nodes of a cell of Python ints, with no branch but its own.

  Returns:
    The nodes, and what the batch norms of each operation have seen, in the
    order of its weights.
  """
  nodes = list(inputs)
  found: dict[str, list[types.Statistics]] = collections.defaultdict(list)
  next_use: dict[str, int] = collections.Counter()
  for row, (taken, chosen) in enumerate(zip(arc.inputs, arc.ops, strict=True)):
    halves = []
    for side, (node, op) in enumerate(zip(taken, chosen, strict=True)):
      stride = 2 if strided and node < space_lib.NUM_INPUTS else 1
      name = space_lib.OPS[op]
      own = {}
      if name in SEP_CONVS or (name == "identity" and stride > 1):
        at = next_use[name]
        own = {name: jax.tree.map(lambda leaf, at=at: leaf[at], cell[name])}
        next_use[name] += 1
      mask = None if masks is None else masks[row, side]
      half, seen = _branches(stride)[op](own, nodes[node])
      halves.append(drop_path.apply(mask, op, half))
      if own:
        found[name].append(seen)
    nodes.append(halves[0] + halves[1])
  stack = lambda *leaves: jnp.stack(leaves)
  return nodes, {n: jax.tree.map(stack, *each) for n, each in found.items()}


def _traced_cell(
  cell: types.Omega,
  arc: space_lib.CellArc,
  inputs: tuple[types.Array, types.Array],
  strided: bool,
  masks: types.Array | None,
) -> tuple[types.Array, types.Statistics]:
  """The output of a traced cell, one branch after another."""
  kernel = cell["output"]["kernel"]
  flat = lambda leaf: leaf.reshape(-1, *leaf.shape[SIDES:])
  weights = jax.tree.map(flat, _gather(cell, arc))
  sources, chosen = (flat(jnp.asarray(leaf)) for leaf in arc)
  nodes = np.arange(np.shape(arc.inputs)[0] + space_lib.NUM_INPUTS)
  include_inputs = kernel.shape[0] == len(nodes)
  if masks is not None:
    masks = drop_path.for_traced(flat(masks), chosen)
  branches = _traced_branches(1)
  if strided:
    chosen = chosen + len(branches) * (sources < space_lib.NUM_INPUTS)
    branches = _either_stride()
  plan = micro_scan.Plan(
    sources,
    chosen,
    targets=np.repeat(nodes[space_lib.NUM_INPUTS :], SIDES),
    loose=space_lib.are_loose(arc, include_inputs),
    masks=masks,
  )
  buffers = _buffers(inputs, len(nodes), strided)
  out = micro_scan.run(branches, plan, weights, kernel, buffers)
  return batch_norm.normalise(out, cell["output"])


def _buffers(
  inputs: tuple[types.Array, types.Array], count: int, strided: bool
) -> micro_scan.Buffers:
  """A cell's nodes before anything is added to them.

  Strided cells have their inputs beside the nodes, being too big; their places
  among the nodes are not used.
  """
  batch, height, width, filters = inputs[0].shape
  stacked = jnp.stack(inputs)
  if strided:
    size = (batch, -(-height // 2), -(-width // 2), filters)
    return jnp.zeros((count, *size), stacked.dtype), stacked
  empty = jnp.zeros((count - len(inputs), *inputs[0].shape), stacked.dtype)
  return (jnp.concatenate([stacked, empty]),)


def _either_stride() -> tuple[micro_scan.Branch, ...]:
  """A strided cell's branches: on its nodes, then on its inputs."""
  return (
    *(lambda w, node, big, f=f: f(w, node) for f in _traced_branches(1)),
    *(lambda w, node, big, f=f: f(w, big) for f in _traced_branches(2)),
  )


def _fixed_output(
  output: types.Omega,
  arc: space_lib.CellArc,
  nodes: list[types.Array],
  *,
  include_inputs: bool,
) -> tuple[types.Array, types.Statistics]:
  """The loose ends side by side, through ReLU, 1x1 convolution, batch norm."""
  loose = space_lib.are_loose(arc, include_inputs)
  last = nodes[-len(loose) :]
  ends = itertools.compress(last, loose)
  x = jnp.concatenate(list(ends), axis=-1)
  kernel = output["kernel"]
  x = image_ops.pointwise_conv(
    jax.nn.relu(x), kernel.reshape(-1, kernel.shape[-1])
  )
  return batch_norm.normalise(x, output)
