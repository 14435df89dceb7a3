"""The time loop of a mixture of recurrent cells.

A node's input and its activation are relaxed choices (`nn.ops.switch`). Every
pair of nodes has its own matrix, so what is mixed is what a node would read
times that pair's matrix. JAX differentiates it: the derivative by hand of
`time_loop` is for one cell.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import types
from enas_jax.nn import ops
from enas_jax.spaces.recurrent import arc as space_lib
from enas_jax.spaces.recurrent import time_loop as loop


def unroll(
  arc: space_lib.RecurrentArc,
  output: str,
  weights: loop.CellWeights,
  edges: Sequence[types.Array],
  state: types.Array,
  mask: types.Array | None,
) -> types.Array:
  """Runs a mixture of cells over a window.

  Args:
    arc: the cells, relaxed: N entries each of `prev` and `ops`.
    output: "loose_ends" or "all_nodes"; see `RecurrentConfig.output`.
    weights: what all cells share; its `w_edge` is not read.
    edges: of node l > 0 the matrices of its l edges, [l, D, 2D] float32, or for
      each of K activations [K, l, D, 2D].
    state: [B, D] float32, h_0.
    mask: [B, D] float32, dropout mask on what enters every matrix product, or
      None.

  Returns:
    [T, B, D] float32, h_1 ... h_T.

  Raises:
    AssertionError: if an array has another rank or type (at trace time).
  """
  chex.assert_rank([weights.x_in, state], [3, 2])
  chex.assert_type([weights.x_in, state], float)
  shares = output_weights(arc, output)

  def step(
    h: types.Array, x_in: types.Array
  ) -> tuple[types.Array, types.Array]:
    z = x_in + loop.masked(h, mask) @ weights.w_h
    nodes = [_highway(arc.ops[0], h, z)]
    for row, matrices in enumerate(edges, start=1):
      nodes.append(
        _node(arc.prev[row], arc.ops[row], tuple(nodes), matrices, mask)
      )
    pairs = zip(shares, nodes, strict=True)
    mean = sum((s * node for s, node in pairs), start=jnp.float32(0.0))
    mean = loop.normalise(mean, weights.bn_scale, weights.bn_offset)
    h = mean.astype(h.dtype)
    return h, h

  return lax.scan(step, state, weights.x_in)[1]


def output_weights(
  arc: space_lib.RecurrentArc, output: str
) -> Sequence[types.Array | float]:
  """The N weights of the average that is h_t (Section 2.1, step 5).

  Args:
    arc: relaxed, N entries of `prev`.
    output: "loose_ends": a node weighs as much as it is likely that no later
      node reads it; "all_nodes": all alike but the first, as released.

  Returns:
    N weights, [] float32, whose sum is 1.
  """
  count = len(arc.prev)
  if output == "all_nodes":
    # As `time_loop` has it: the first node is left out.
    return [0.0] + [1.0 / (count - 1)] * (count - 1)
  loose: list[types.Array | float] = [1.0] * count
  for row in range(1, count):
    choice = arc.prev[row]
    read = choice.weights if isinstance(choice, ops.Sampled) else choice
    chex.assert_shape(read, (row,))
    for node in range(row):
      # Nodes choose independently of each other: the chances multiply.
      loose[node] = loose[node] * (1.0 - read[node])
  # At least 1, the weight of the last node, which none can read.
  total = sum(loose, start=jnp.float32(0.0))
  return [weight / total for weight in loose]


def _node(
  prev: ops.Index,
  op: ops.Index,
  nodes: tuple[types.Array, ...],
  matrices: types.Array,
  mask: types.Array | None,
) -> types.Array:
  """A node after the first, [B, D]."""
  # What a node reads is mixed first, as it is the same for every activation;
  # with matrices for each activation it is not, and these are mixed last.
  if matrices.ndim == 3:
    return _highway(op, *_read(prev, nodes, matrices, mask))
  branches = [
    lambda k=k: _highway(k, *_read(prev, nodes, matrices[k], mask))
    for k in range(matrices.shape[0])
  ]
  return ops.switch(op, branches)


def _read(
  prev: ops.Index,
  nodes: tuple[types.Array, ...],
  matrices: types.Array,
  mask: types.Array | None,
) -> tuple[types.Array, types.Array]:
  """What a node reads, [B, D], and that times the matrices, [B, 2D]."""
  branches = [
    lambda x=x, matrix=matrix: (x, loop.masked(x, mask) @ matrix)
    for x, matrix in zip(nodes, matrices, strict=True)
  ]
  return ops.switch(prev, branches)


def _highway(op: ops.Index, source: types.Array, z: types.Array) -> types.Array:
  """Eqs. 3 and 5, with value and gate side by side in z."""
  value, gate = jnp.split(z, 2, axis=-1)
  gate = jax.nn.sigmoid(gate)
  return source + gate * (ops.activate(op, value) - source)
