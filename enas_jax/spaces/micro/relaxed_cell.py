"""A mixture of cells: weighed operations on weighed nodes.

Each pair of nodes has weights of its own, and an input of a strided cell a
stride of its own: so what is mixed is every operation on every node before.
Which nodes are loose ends is a matter of likelihood. A sampled cell runs what
was sampled alone. Both run as a traced cell does, one branch after another
(`micro.scan`): written out, a mixture compiles for many minutes.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, ops
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import cell_weights, drop_path
from enas_jax.spaces.micro import scan as micro_scan

_Branches = Sequence[micro_scan.Branch]
_NUM_OPS = len(space_lib.OPS)


def run(
  branches: _Branches,
  cell: types.Omega,
  arc: space_lib.CellArc,
  inputs: tuple[types.Array, types.Array],
  *,
  masks: types.Array | None,
) -> tuple[types.Array, types.Statistics]:
  """The output of a mixture of cells.

  Args:
    branches: the operations in the order of the space's `OPS`, (weights,
      [B, H, W, F]) -> [B, H, W, F]; of a strided cell those on its nodes and
      then those on its inputs, which are given both, [B, H', W', F] and
      [B, H, W, F].
    cell: the cell's tables, as `cell_weights.cell_specs` without the axis L.
    arc: the cells, relaxed: `inputs` and `ops` have an entry a row and side.
    inputs: two arrays [B, H, W, F] float32.
    masks: [nodes - 2, 2, B] float32, from `drop_path.draw`; or None.

  Returns:
    [B, H', W', F] float32; and what the last batch norm saw.

  Raises:
    AssertionError: if an input has another rank or shape.
  """
  count = len(arc.inputs) + space_lib.NUM_INPUTS
  strided = len(branches) > _NUM_OPS
  if isinstance(arc.ops[0][0], ops.Sampled):
    functions, plan, weights = _sampled(branches, cell, arc, masks)
  else:
    functions, plan, weights = _mixed(branches, cell, arc, masks)
  kernel = cell["output"]["kernel"]
  # The kernel's blocks are of the last nodes: of all, or all but the inputs.
  loose = jnp.stack(likely_loose(arc)[-kernel.shape[0] :])
  # All are taken: what a block is worth is its likelihood, which needs a
  # gradient, and a plan has none.
  share = loose[:, None, None].astype(kernel.dtype)
  plan = plan._replace(loose=jnp.ones(kernel.shape[0], bool))
  buffers = micro_scan.start(inputs, count, strided)
  out = micro_scan.run(functions, plan, weights, share * kernel, buffers)
  return batch_norm.normalise(out, cell["output"])


def likely_loose(arc: space_lib.CellArc) -> list[types.Array]:
  """How likely it is that no node takes a node, the two inputs first.

  Args:
    arc: the cells, relaxed.

  Returns:
    B probabilities, [] float32.
  """
  count = len(arc.inputs) + space_lib.NUM_INPUTS
  loose = [jnp.float32(1.0)] * count
  for taken in arc.inputs:
    for choice in taken:
      read = choice.weights if isinstance(choice, ops.Sampled) else choice
      for node in range(read.shape[0]):
        # Choices are independent of each other: the chances multiply.
        loose[node] = loose[node] * (1.0 - read[node])
  return loose


_Work = tuple[tuple[micro_scan.Branch, ...], micro_scan.Plan, types.Omega]


def _mixed(
  branches: _Branches,
  cell: types.Omega,
  arc: space_lib.CellArc,
  masks: types.Array | None,
) -> _Work:
  """Every operation on every node that a row may take, a step for each pair."""
  # Row by row, so that a node is complete before another one takes it.
  places = [
    (row, node, side)
    for row in range(len(arc.inputs))
    for node in range(row + space_lib.NUM_INPUTS)
    for side in range(cell_weights.SIDES)
  ]
  row, node, side = np.array(places).T
  at = dict.fromkeys(cell_weights.SEP_CONVS, cell_weights.edge_index(row, node))
  if "identity" in cell:
    # Of other nodes identity is itself: what is taken here is not used.
    last = np.minimum(node, space_lib.NUM_INPUTS - 1)
    at["identity"] = row * space_lib.NUM_INPUTS + last
  weights: types.Omega = {
    "tables": {
      name: jax.tree.map(lambda leaf, i=i: leaf[side, i], cell[name])
      for name, i in at.items()
    },
    "ops": jnp.stack([arc.ops[r][s] for r, _, s in places]),
    "read": jnp.stack([arc.inputs[r][s][n] for r, n, s in places]),
  }
  if masks is not None:
    weights["mask"] = masks[row, side]

  def mixture(parts: _Branches) -> micro_scan.Branch:
    def branch(weights: types.Omega, *taken: types.Array) -> types.Array:
      masked = [
        lambda *a, i=i, f=f: drop_path.apply(_mask_of(weights), i, f(*a))
        for i, f in enumerate(parts)
      ]
      out = ops.switch(weights["ops"], masked, weights["tables"], *taken)
      return weights["read"].astype(out.dtype) * out

    return branch

  plan = micro_scan.Plan(
    sources=jnp.asarray(node),
    # Of a strided cell the second mixture is that of the inputs.
    ops=jnp.asarray(node < space_lib.NUM_INPUTS, jnp.int32),
    targets=row + space_lib.NUM_INPUTS,
    loose=jnp.zeros(0, bool),
  )
  starts = range(0, len(branches), _NUM_OPS)
  functions = [mixture(branches[at : at + _NUM_OPS]) for at in starts]
  if len(functions) == 1:
    plan = plan._replace(ops=jnp.zeros_like(plan.ops))
  return tuple(functions), plan, weights


def _sampled(
  branches: _Branches,
  cell: types.Omega,
  arc: space_lib.CellArc,
  masks: types.Array | None,
) -> _Work:
  """What was sampled, times its weights, plus the weights of all else.

  The latter are 0. What comes back to an output is their gradient, as
  `ops.switch` has it of a sampled choice: of an operation's weights, and then
  of those of the node that it takes.
  """
  leaves = lambda choices: [choice for pair in choices for choice in pair]
  read, used = leaves(arc.inputs), leaves(arc.ops)
  sources = jnp.stack([choice.chosen for choice in read])
  chosen = jnp.stack([choice.chosen for choice in used])
  inner, outer = (
    map(jnp.stack, zip(*map(ops.taken_and_others, choices), strict=True))
    for choices in (used, read)
  )
  (taken_op, other_ops), (taken_node, other_nodes) = inner, outer
  flat = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])
  tables = cell_weights.gather(cell, sources.reshape(-1, cell_weights.SIDES))
  weights: types.Omega = {
    "tables": jax.tree.map(flat, tables),
    # Of (x taken_op + other_ops) taken_node + other_nodes.
    "scale": taken_op * taken_node,
    "shift": other_ops * taken_node + other_nodes,
  }
  if masks is not None:
    # Which branch is identity, and so is never dropped, only the arc knows.
    weights["mask"] = drop_path.for_traced(flat(masks), chosen)

  def weighed(function: micro_scan.Branch) -> micro_scan.Branch:
    def branch(weights: types.Omega, *taken: types.Array) -> types.Array:
      out = function(weights["tables"], *taken)
      if (mask := _mask_of(weights)) is not None:
        out = mask[:, None, None, None].astype(out.dtype) * out
      scale, shift = weights["scale"], weights["shift"]
      return out * scale.astype(out.dtype) + shift.astype(out.dtype)

    return branch

  if len(branches) > _NUM_OPS:
    # On an input an operation has stride 2: it is a branch of its own there.
    chosen = chosen + _NUM_OPS * (sources < space_lib.NUM_INPUTS)
  row = np.repeat(np.arange(len(arc.inputs)), cell_weights.SIDES)
  plan = micro_scan.Plan(
    sources, chosen, row + space_lib.NUM_INPUTS, loose=jnp.zeros(0, bool)
  )
  return tuple(map(weighed, branches)), plan, weights


def _mask_of(weights: dict[str, Any]) -> types.Array | None:
  """[B], what is dropped of a branch: chance, and no weight to be trained."""
  mask = weights.get("mask")
  return None if mask is None else lax.stop_gradient(mask)
