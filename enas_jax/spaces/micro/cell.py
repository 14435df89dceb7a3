"""Convolutional cells: what happens between two inputs and an output.

A traced arc runs its branches one after another in a `lax.scan` (see
`micro.scan`), and so do neighbouring cells of one size: a program with every
cell written out would compile for minutes. An arc of Python ints writes its
branches out. The weights are those of `cell_weights`.
"""

import collections
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import cell_weights, drop_path, parts, relaxed_cell
from enas_jax.spaces.micro import scan as micro_scan

# What a batch norm saw is None for an operation that has none.
_Branch = Callable[
  [types.Omega, types.Array], tuple[types.Array, types.Statistics | None]
]
# Inputs 0 and 1 of the next cell, and input 0 of the one after it.
_Carry = tuple[types.Array, types.Array, types.Array]
_CellOut = tuple[types.Array, types.Statistics]  # [B, H, W, F]


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
    cells: weights of L cells, as `cell_weights.cell_specs` or `child_cells`
      lays them out.
    arcs: the L cells, all traced, all relaxed or all of Python ints.
    first: two arrays [B, H, W, F] float32, the inputs of the first cell.
    second_0: [B, H, W, F] float32, input 0 of the second cell, whose input 1
      is the first's output.
    include_inputs: whether an input may be a loose end.
    strided: whether operations on inputs have stride 2; then L is 1.
    masks: [L, nodes - 2, 2, B] float32, from `drop_path.draw`; or None.

  Returns:
    [L, B, H', W', F] float32, the outputs, half as high and wide if
    strided; and what batch norms have seen: of traced cells those after their
    output convolutions, "output" with "mean" and "variance" [L, F]; of fixed
    cells all, laid out as the weights of `cell_weights.child_cells`.

  Raises:
    AssertionError: if an array has another rank, or an input another shape.
  """
  chex.assert_rank(second_0, 4)
  chex.assert_equal_shape([*first, second_0])
  if masks is not None:
    chex.assert_rank(masks, 4)
  carry = (*first, second_0)
  if not ops.is_static(arcs):

    def step(carry: _Carry, now: tuple[Any, ...]) -> tuple[_Carry, _CellOut]:
      cell, arc, mask = now
      if ops.is_relaxed(arc):
        branches = _either_stride() if strided else _traced_branches(1)
        out = relaxed_cell.run(branches, cell, arc, carry[:2], masks=mask)
      else:
        out = _traced_cell(cell, arc, carry[:2], strided, mask)
      return _pass_on(carry, out)

    # Arcs of one stage differ where a reduction cell is among its cells.
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arcs)
    _, (outs, seen) = _over_cells(
      step, carry, (cells, stacked, masks), len(arcs)
    )
    return outs, {"output": seen}

  if "run_0" not in cells:
    cells = cell_weights.child_cells(cells, arcs, include_inputs=include_inputs)
  images, seen, start = [], {}, 0
  for at, (arc, count) in enumerate(cell_weights.runs(arcs)):

    def fixed(
      carry: _Carry, now: tuple[Any, ...], arc: space_lib.CellArc = arc
    ) -> tuple[_Carry, _CellOut]:
      cell, mask = now
      nodes, seen = _fixed_nodes(cell, arc, carry[:2], strided, mask)
      out, seen["output"] = _fixed_output(
        cell["output"], arc, nodes, include_inputs=include_inputs
      )
      return _pass_on(carry, (out, seen))

    run = f"run_{at}"
    run_masks = None if masks is None else masks[start : start + count]
    carry, (out, seen[run]) = _over_cells(
      fixed, carry, (cells[run], run_masks), count
    )
    images.append(out)
    start += count
  return jnp.concatenate(images), seen


def _over_cells(
  step: Callable[[_Carry, tuple[Any, ...]], tuple[_Carry, _CellOut]],
  carry: _Carry,
  cells: tuple[Any, ...],
  count: int,
) -> tuple[_Carry, _CellOut]:
  """`lax.scan`, which a strided cell could not pass: it changes the size."""
  if count > 1:
    return lax.scan(step, carry, cells)
  carry, cell_out = step(carry, jax.tree.map(lambda a: a[0], cells))
  return carry, jax.tree.map(lambda a: a[None], cell_out)


def _pass_on(carry: _Carry, cell_out: _CellOut) -> tuple[_Carry, _CellOut]:
  """What the next cell gets, and this one's output."""
  # The second cell's input 0 was given; from then on it is an earlier output.
  _, _, kept = carry
  image, _ = cell_out
  return (kept, image, image), cell_out


def _sep_conv(name: str, stride: int) -> _Branch:
  def branch(
    weights: types.Omega, x: types.Array
  ) -> tuple[types.Array, types.Statistics]:
    all_seen: list[types.Statistics] = []
    for at in range(cell_weights.STACK):
      one = jax.tree.map(lambda leaf, at=at: leaf[at], weights[name])
      x = image_ops.separable_conv(
        jax.nn.relu(x),
        one["depthwise"],
        one["pointwise"],
        # The image is halved once: the second application sees the small one.
        stride if at == 0 else 1,
      )
      x, seen = batch_norm.normalise(x, one)
      all_seen.append(seen)
    return x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *all_seen)

  return branch


def _branches(stride: int) -> tuple[_Branch, ...]:
  """The operations in the order of the space's `OPS`.

  Each returns an image and what its batch norms have seen, None without any.
  """
  by_name: dict[str, _Branch] = {
    **{name: _sep_conv(name, stride) for name in cell_weights.SEP_CONVS},
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
  by_name: dict[str, list[types.Statistics]] = collections.defaultdict(list)
  next_use: dict[str, int] = collections.Counter()
  for row, (taken, chosen) in enumerate(zip(arc.inputs, arc.ops, strict=True)):
    halves = []
    for side, (node, op) in enumerate(zip(taken, chosen, strict=True)):
      stride = 2 if strided and node < space_lib.NUM_INPUTS else 1
      name = space_lib.OPS[op]
      weights = {}
      if name in cell_weights.SEP_CONVS or (name == "identity" and stride > 1):
        # An operation's weights lie in the order of the branches that use it.
        at = next_use[name]
        weights = {name: jax.tree.map(lambda a, at=at: a[at], cell[name])}
        next_use[name] += 1
      mask = None if masks is None else masks[row, side]
      half, seen = _branches(stride)[op](weights, nodes[node])
      halves.append(drop_path.apply(mask, op, half))
      if weights:
        by_name[name].append(seen)
    nodes.append(halves[0] + halves[1])
  stack = lambda *leaves: jnp.stack(leaves)
  return nodes, {n: jax.tree.map(stack, *seen) for n, seen in by_name.items()}


def _traced_cell(
  cell: types.Omega,
  arc: space_lib.CellArc,
  inputs: tuple[types.Array, types.Array],
  strided: bool,
  masks: types.Array | None,
) -> tuple[types.Array, types.Statistics]:
  """The output of a traced cell, one branch after another.

  Args:
    cell: the cell's tables, as `cell_weights.cell_specs` without the axis L.
    arc: the cell, traced.
    inputs: two arrays [B, H, W, F] float32.
    strided: whether operations on the inputs have stride 2.
    masks: [nodes - 2, 2, B] float32, or None.
  """
  kernel = cell["output"]["kernel"]
  # From [B - 2, 2] to [S]: two branches a node, one after another.
  sources, chosen = (jnp.asarray(leaf).reshape(-1) for leaf in arc)
  row, side = np.indices(np.shape(arc.inputs)).reshape(2, -1)
  weights = cell_weights.gather(cell, row, side, sources)
  num_nodes = np.shape(arc.inputs)[0] + space_lib.NUM_INPUTS
  # The kernel has a block for each node that may be a loose end.
  include_inputs = kernel.shape[0] == num_nodes
  if masks is not None:
    # Which branch is identity, and so is never dropped, only the arc knows.
    masks = drop_path.for_traced(masks[row, side], chosen)
  branches = _traced_branches(1)
  if strided:
    chosen = micro_scan.at_stride(chosen, sources, len(branches))
    branches = _either_stride()
  plan = micro_scan.Plan(
    sources,
    chosen,
    # Both branches of a row add to the same node.
    targets=row + space_lib.NUM_INPUTS,
    loose=space_lib.are_loose(arc, include_inputs),
    masks=masks,
  )
  buffers = micro_scan.start(inputs, num_nodes, strided)
  out = micro_scan.run(branches, plan, weights, kernel, buffers)
  return batch_norm.normalise(out, cell["output"])


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
  # `are_loose` begins with node 2 unless the inputs may be loose ends.
  last = nodes[-len(loose) :]
  ends = itertools.compress(last, loose)
  x = jnp.concatenate(list(ends), axis=-1)
  kernel = output["kernel"]
  x = image_ops.pointwise_conv(
    jax.nn.relu(x), kernel.reshape(-1, kernel.shape[-1])
  )
  return batch_norm.normalise(x, output)
