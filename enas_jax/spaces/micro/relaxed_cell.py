"""A mixture of cells: weighed operations on weighed nodes.

Each pair of nodes has weights of its own, and an input of a strided cell a
stride of its own: so what is mixed is every operation on every node before.
Which nodes are loose ends is a matter of likelihood. JAX differentiates it.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import cell_weights, drop_path

_Branch = Callable[[types.Omega, types.Array], types.Array]


def run(
  branches: Sequence[Sequence[_Branch]],
  cell: types.Omega,
  arc: space_lib.CellArc,
  inputs: tuple[types.Array, types.Array],
  *,
  strided: bool,
  masks: types.Array | None,
) -> tuple[types.Array, types.Statistics]:
  """The output of a mixture of cells.

  Args:
    branches: the operations in the order of the space's `OPS`, of stride 1 and
      of stride 2: (weights, [B, H, W, F]) -> [B, H', W', F].
    cell: the cell's tables, as `cell_weights.cell_specs` without the axis L.
    arc: the cells, relaxed: `inputs` and `ops` have an entry a row and side.
    inputs: two arrays [B, H, W, F] float32.
    strided: whether operations on the inputs have stride 2.
    masks: [nodes - 2, 2, B] float32, from `drop_path.draw`; or None.

  Returns:
    [B, H', W', F] float32; and what the last batch norm saw.

  Raises:
    AssertionError: if an input has another rank or shape.
  """
  chex.assert_rank(inputs, 4)
  chex.assert_equal_shape(inputs)
  nodes = list(inputs)
  for row, (taken, chosen) in enumerate(zip(arc.inputs, arc.ops, strict=True)):
    halves = []
    for side, (prev, op) in enumerate(zip(taken, chosen, strict=True)):
      mask = None if masks is None else masks[row, side]
      reads = []
      for node, x in enumerate(nodes):
        far = strided and node < space_lib.NUM_INPUTS
        weights = _weights_of(cell, row, side, node)
        # Bound by defaults: they run when the loop is over.
        reads.append(
          lambda x=x, w=weights, far=far, op=op, mask=mask: _operate(
            op, branches[int(far)], w, x, mask
          )
        )
      halves.append(ops.switch(prev, reads))
    nodes.append(halves[0] + halves[1])
  kernel = cell["output"]["kernel"]
  # The kernel's blocks are of the last nodes: of all, or all but the inputs.
  loose = likely_loose(arc)[-kernel.shape[0] :]
  ends = zip(loose, nodes[-kernel.shape[0] :], kernel, strict=True)
  out = sum(
    (
      share * image_ops.pointwise_conv(jax.nn.relu(x), matrix)
      for share, x, matrix in ends
    ),
    start=jnp.float32(0.0),
  )
  out, seen = batch_norm.normalise(out, cell["output"])
  # The sum is float32, as the likelihoods are; cells pass on what they got.
  return out.astype(inputs[0].dtype), seen


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


def _weights_of(
  cell: types.Omega, row: int, side: int, node: int
) -> types.Omega:
  """The weights with which a branch takes a node, by operation."""
  at = dict.fromkeys(cell_weights.SEP_CONVS, cell_weights.edge_index(row, node))
  if "identity" in cell:
    # Of other nodes identity is itself: what is taken here is not used.
    last = min(node, space_lib.NUM_INPUTS - 1)
    at["identity"] = row * space_lib.NUM_INPUTS + last
  return {
    name: jax.tree.map(lambda leaf, i=i: leaf[side, i], cell[name])
    for name, i in at.items()
  }


def _operate(
  op: ops.Index,
  branches: Sequence[_Branch],
  weights: types.Omega,
  x: types.Array,
  mask: types.Array | None,
) -> types.Array:
  """The operations on one node, with what drop path drops left out."""
  masked = [
    lambda w, x, i=i, f=f: drop_path.apply(mask, i, f(w, x))
    for i, f in enumerate(branches)
  ]
  return ops.switch(op, masked, weights, x)
