"""A mixture of cells: weighed operations on weighed nodes.

Each pair of nodes has weights of its own, and an input of a strided cell a
stride of its own: so what is mixed is every operation on every node before.
Which nodes are loose ends is a matter of likelihood. A sampled cell runs what
was sampled alone. Both run as a traced cell does, one branch after another
(`micro.scan`): written out, a mixture compiles for many minutes.
"""

from collections.abc import Sequence

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
      [B, H, W, F]) -> [B, H, W, F]. A strided cell has those on its nodes and
      then those on its inputs; all of them are given a node [B, H', W', F] and
      an input [B, H, W, F], and read one of the two.
    cell: the cell's tables, as `cell_weights.cell_specs` without the axis L.
    arc: the cells, relaxed: `inputs` and `ops` have an entry a row and side.
    inputs: two arrays [B, H, W, F] float32.
    masks: [nodes - 2, 2, B] float32, from `drop_path.draw`; or None.

  Returns:
    [B, H', W', F] float32; and what the last batch norm saw.

  Raises:
    AssertionError: if an input has another rank or shape.
  """
  num_nodes = len(arc.inputs) + space_lib.NUM_INPUTS
  kernel = cell["output"]["kernel"]
  # The kernel's blocks are of the last nodes: of all, or all but the inputs.
  likely = jnp.stack(likely_loose(arc)[-kernel.shape[0] :])
  # All are taken: what a block is worth is its likelihood, which needs a
  # gradient, and a plan has none.
  kernel = likely[:, None, None].astype(kernel.dtype) * kernel
  loose = jnp.ones(kernel.shape[0], bool)
  sampled = isinstance(arc.ops[0][0], ops.Sampled)
  lay_out = _sampled if sampled else _mixed
  functions, plan, weights = lay_out(branches, cell, arc, masks, loose)
  strided = len(branches) > _NUM_OPS
  buffers = micro_scan.start(inputs, num_nodes, strided)
  out = micro_scan.run(functions, plan, weights, kernel, buffers)
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


# What `micro_scan.run` runs: branches, what they do, and a row for each step.
_Work = tuple[tuple[micro_scan.Branch, ...], micro_scan.Plan, types.Omega]


def _mixed(
  branches: _Branches,
  cell: types.Omega,
  arc: space_lib.CellArc,
  masks: types.Array | None,
  loose: types.Array,
) -> _Work:
  """Every operation on every node that a row may take, a step for each pair."""
  # Row by row, so that a node is complete before another one takes it.
  places = [
    (row, side, node)
    for row in range(len(arc.inputs))
    for node in range(row + space_lib.NUM_INPUTS)
    for side in range(cell_weights.SIDES)
  ]
  row, side, node = np.array(places).T
  weights: types.Omega = {
    "tables": cell_weights.gather(cell, row, side, node),
    "ops": jnp.stack([arc.ops[r][s] for r, s, _ in places]),
    "read": jnp.stack([arc.inputs[r][s][n] for r, s, n in places]),
  }
  if masks is not None:
    weights["mask"] = masks[row, side]

  def mixture(parts: _Branches) -> micro_scan.Branch:
    def branch(weights: types.Omega, *taken: types.Array) -> types.Array:
      masked = [
        lambda *a, i=i, f=f: _masked(weights, i, f(*a))
        for i, f in enumerate(parts)
      ]
      out = ops.switch(weights["ops"], masked, weights["tables"], *taken)
      return weights["read"].astype(out.dtype) * out

    return branch

  # One mixture; a strided cell has two.
  starts = range(0, len(branches), _NUM_OPS)
  mixtures = tuple(mixture(branches[at : at + _NUM_OPS]) for at in starts)
  which = jnp.zeros(len(places), jnp.int32)
  if len(mixtures) > 1:
    which = micro_scan.at_stride(which, node, 1)
  targets = row + space_lib.NUM_INPUTS
  plan = micro_scan.Plan(jnp.asarray(node), which, targets, loose)
  return mixtures, plan, weights


def _sampled(
  branches: _Branches,
  cell: types.Omega,
  arc: space_lib.CellArc,
  masks: types.Array | None,
  loose: types.Array,
) -> _Work:
  """What was sampled, times its weights, plus the weights of all else.

  The latter are 0. What comes back to an output is their gradient, as
  `ops.switch` has it of a sampled choice: of an operation's weights, and then
  of those of the node that it takes.
  """
  row, side = np.indices((len(arc.inputs), cell_weights.SIDES)).reshape(2, -1)
  read = [choice for pair in arc.inputs for choice in pair]
  used = [choice for pair in arc.ops for choice in pair]
  sources = jnp.stack([choice.chosen for choice in read])
  chosen = jnp.stack([choice.chosen for choice in used])
  taken_op, other_ops = _weights(used)
  taken_node, other_nodes = _weights(read)
  weights: types.Omega = {
    "tables": cell_weights.gather(cell, row, side, sources),
    # Of (x taken_op + other_ops) taken_node + other_nodes.
    "scale": taken_op * taken_node,
    "shift": other_ops * taken_node + other_nodes,
  }
  if masks is not None:
    weights["mask"] = masks[row, side]

  def weighed(at: int) -> micro_scan.Branch:
    def branch(weights: types.Omega, *taken: types.Array) -> types.Array:
      out = branches[at](weights["tables"], *taken)
      out = _masked(weights, at % _NUM_OPS, out)
      scale, shift = weights["scale"], weights["shift"]
      return out * scale.astype(out.dtype) + shift.astype(out.dtype)

    return branch

  if len(branches) > _NUM_OPS:
    chosen = micro_scan.at_stride(chosen, sources, _NUM_OPS)
  targets = row + space_lib.NUM_INPUTS
  plan = micro_scan.Plan(sources, chosen, targets, loose)
  return tuple(map(weighed, range(len(branches)))), plan, weights


def _weights(choices: Sequence[ops.Sampled]) -> tuple[types.Array, types.Array]:
  """Of sampled choices `ops.taken_and_others`, [S] float32 each."""
  pairs = [ops.taken_and_others(choice) for choice in choices]
  taken, others = zip(*pairs, strict=True)
  return jnp.stack(taken), jnp.stack(others)


def _masked(weights: types.Omega, op: int, x: types.Array) -> types.Array:
  """An operation's output with what drop path drops left out."""
  mask = weights.get("mask")
  if mask is not None:
    mask = lax.stop_gradient(mask)  # chance, and no weight to be trained
  return drop_path.apply(mask, op, x)
