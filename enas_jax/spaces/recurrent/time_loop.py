"""The time loop of a recurrent cell (Eqs. 3-5) and its derivative.

The derivative is written by hand, for two reasons: it leaves only the
pre-activation gradients in the backward scan and forms every weight gradient
afterwards in one matrix product over all time steps; and it keeps the chosen
input of a node from being copied through the whole loop. With that a traced
arc costs little more than a fixed one (`experiments/benchmark.py`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import ops
from enas_jax.spaces.recurrent import arc as space_lib

_BN_EPSILON = 1e-5
# Gradients of batch norm's scale and offset, [D] float32 each, if there is one.
_Affine = tuple[types.Array, types.Array] | None


class CellWeights(NamedTuple):
  """What the time loop differentiates besides the state.

  Attributes:
    x_in: [T, B, 2D] float32, x_t times node 1's input matrix, for all t.
    w_h: [D, 2D] float32, node 1's matrix for h_(t-1).
    w_edge: [N - 1, D, 2D] float32, the child's matrices.
    bn_scale: [D] float32, or None without batch norm.
    bn_offset: [D] float32, or None without batch norm.
  """

  x_in: types.Array
  w_h: types.Array
  w_edge: types.Array
  bn_scale: types.Array | None
  bn_offset: types.Array | None


class _Trace(NamedTuple):
  """What one time step keeps for the backward pass.

  Attributes:
    nodes: [N, B, D] float32, h_l of Eqs. 3 and 5.
    values: [N, B, D] float32, f_l(...), the candidate after its activation.
    gates: [N, B, D] float32, c_l, after the sigmoid.
  """

  nodes: types.Array
  values: types.Array
  gates: types.Array


def masked(x: types.Array, mask: types.Array | None) -> types.Array:
  """An array with what a dropout mask drops left out.

  Args:
    x: [..., D] float32.
    mask: [..., D] float32, 0 or 1 / (1 - rate), which broadcasts to `x`; None
      drops nothing.

  Returns:
    [..., D] float32.
  """
  return x if mask is None else x * mask


def unroll(
  arc: space_lib.RecurrentArc,
  output: str,
  weights: CellWeights,
  state: types.Array,
  mask: types.Array | None,
) -> types.Array:
  """Runs the cell over a window.

  Args:
    arc: the cell, traced or of Python ints; it has no gradient.
    output: "loose_ends" or "all_nodes"; see `RecurrentConfig.output`.
    weights: the child's weights; x_t comes multiplied.
    state: [B, D] float32, h_0.
    mask: [B, D] float32, dropout mask on what enters every matrix product, or
      None; it has no gradient.

  Returns:
    [T, B, D] float32, h_1 ... h_T.

  Raises:
    AssertionError: if an array has another rank or type (at trace time).
  """
  chex.assert_rank([weights.x_in, weights.w_edge, state], [3, 3, 2])
  chex.assert_type([weights.x_in, state], float)
  fixed = arc if ops.is_static(arc) else None

  def run(traced: types.Arc, *operands: Any) -> tuple[types.Array, _Trace]:
    return _forward(fixed or traced, output, *operands)

  # A fixed arc is closed over: as an argument its ints would become arrays.
  @jax.custom_vjp
  def loop(
    traced: types.Arc,
    weights: CellWeights,
    state: types.Array,
    mask: types.Array | None,
  ) -> types.Array:
    return run(traced, weights, state, mask)[0]

  def forward(*operands: Any) -> tuple[types.Array, tuple[Any, ...]]:
    states, trace = run(*operands)
    return states, (*operands, states, trace)

  def backward(
    residuals: tuple[Any, ...], d_states: types.Array
  ) -> tuple[None, CellWeights, types.Array, None]:
    traced, weights, state, mask, states, trace = residuals
    d_weights, d_state = _backward(
      fixed or traced, output, weights, state, mask, states, trace, d_states
    )
    return None, d_weights, d_state, None

  loop.defvjp(forward, backward)
  return loop(None if fixed else arc, weights, state, mask)


def _output_weights(
  arc: space_lib.RecurrentArc, output: str
) -> np.ndarray | types.Array:
  """[N] float32 weights of the average that is h_t: Section 2.1, step 5."""
  count = np.shape(arc.prev)[0]
  if output == "all_nodes":
    # The released code leaves out its fixed first node.
    return np.append(0.0, np.full(count - 1, 1.0 / (count - 1)))
  loose = space_lib.are_loose(arc)
  # Not by 0: nothing can read the last node.
  return loose / loose.sum()


def _average(
  weights: np.ndarray | types.Array, nodes: Sequence[types.Array] | types.Array
) -> types.Array:
  """The weighted sum of nodes, leaving out those known to have weight 0."""
  used = list(range(len(nodes)))
  if isinstance(weights, np.ndarray):
    used = [i for i in used if weights[i]]
  return sum(
    (jnp.float32(weights[i]) * nodes[i] for i in used), start=jnp.float32(0.0)
  )


def normalise(
  x: types.Array, scale: types.Array | None, offset: types.Array | None
) -> types.Array:
  """Batch norm over the batch, with the batch's own statistics.

  Args:
    x: [B, D] float32.
    scale: [D] float32, or None without batch norm.
    offset: [D] float32, or None without batch norm.

  Returns:
    [B, D] float32.
  """
  if scale is None or offset is None:
    return x
  # Each time step by itself: x is the batch at one t.
  mean = jnp.mean(x, axis=0)
  variance = jnp.mean(jnp.square(x - mean), axis=0)
  return (x - mean) * (lax.rsqrt(variance + _BN_EPSILON) * scale) + offset


def _forward(
  arc: space_lib.RecurrentArc,
  output: str,
  weights: CellWeights,
  state: types.Array,
  mask: types.Array | None,
) -> tuple[types.Array, _Trace]:
  """Returns h_t and the trace of all time steps, leading axis T."""
  average = _output_weights(arc, output)

  def step(
    h: types.Array, x_in: types.Array
  ) -> tuple[types.Array, tuple[types.Array, _Trace]]:
    nodes: list[types.Array] = []
    values: list[types.Array] = []
    gates: list[types.Array] = []
    for row in range(np.shape(arc.prev)[0]):
      if row == 0:
        # x_t comes multiplied: one product of all t, before the scan.
        source, z = h, x_in + masked(h, mask) @ weights.w_h
      else:
        source = ops.pick(arc.prev[row], nodes)
        z = masked(source, mask) @ weights.w_edge[row - 1]
      value, gate = jnp.split(z, 2, axis=-1)
      value, gate = ops.activate(arc.ops[row], value), jax.nn.sigmoid(gate)
      nodes.append(source + gate * (value - source))
      values.append(value)
      gates.append(gate)
    mean = _average(average, nodes)
    mean = normalise(mean, weights.bn_scale, weights.bn_offset)
    # Average and batch norm are float32; the state keeps the type that it has.
    h = mean.astype(h.dtype)
    return h, (h, _Trace(*map(jnp.stack, (nodes, values, gates))))

  _, (states, trace) = lax.scan(step, state, weights.x_in)
  return states, trace


def _backward(
  arc: space_lib.RecurrentArc,
  output: str,
  weights: CellWeights,
  state: types.Array,
  mask: types.Array | None,
  states: types.Array,
  trace: _Trace,
  d_states: types.Array,
) -> tuple[CellWeights, types.Array]:
  """Gradients of `_forward`'s states.

  Args:
    arc: the cell, traced or of Python ints.
    output: "loose_ends" or "all_nodes".
    weights: the child's weights.
    state: [B, D] float32, h_0.
    mask: [B, D] float32, or None.
    states: [T, B, D] float32, h_1 ... h_T.
    trace: what the forward pass kept, leading axis T.
    d_states: [T, B, D] float32, the gradient for `states`.

  Returns:
    The gradients for the weights, and [B, D] float32, for h_0.
  """
  average = _output_weights(arc, output)
  count = np.shape(arc.prev)[0]
  inputs = jnp.concatenate([state[None], states[:-1]])  # h_(t-1)

  def step(
    carry: tuple[types.Array, _Affine],
    now: tuple[types.Array, _Trace, types.Array],
  ) -> tuple[tuple[types.Array, _Affine], types.Array]:
    d_h, d_bn = carry
    h_tm1, trace, d_state = now
    d_mean, d_bn = _normalise_vjp(
      weights, _average(average, trace.nodes), d_state + d_h, d_bn
    )
    # Cotangent of each node, so far from the output alone.
    d_nodes = jnp.stack(
      [jnp.float32(average[i]) * d_mean for i in range(count)]
    )
    d_z: dict[int, types.Array] = {}
    for row in reversed(range(count)):
      # An index, where the forward pass needs `ops.pick`: nothing writes to
      # these nodes any more, so XLA does not copy them.
      source = h_tm1 if row == 0 else trace.nodes[arc.prev[row]]
      value, gate = trace.values[row], trace.gates[row]
      d_node = d_nodes[row]
      # Eq. 5: h_l = c f(z_h) + (1 - c) h_j with c = sigmoid(z_c), side by side.
      # The slope is known from f(z_h) itself, so z_h need not be kept.
      slope = ops.activation_grad(arc.ops[row], value)
      d_z[row] = jnp.concatenate(
        [
          d_node * gate * slope,
          d_node * (value - source) * gate * (1.0 - gate),
        ],
        axis=-1,
      ).astype(value.dtype)
      matrix = weights.w_h if row == 0 else weights.w_edge[row - 1]
      d_source = d_node * (1.0 - gate) + masked(d_z[row] @ matrix.T, mask)
      if row == 0:
        d_h = d_source.astype(d_h.dtype)
      else:
        # Several nodes may read one: it is whole when its row comes.
        d_nodes = d_nodes.at[arc.prev[row]].add(d_source)
    return (d_h, d_bn), jnp.stack([d_z[row] for row in range(count)])

  d_bn = (
    None
    if weights.bn_scale is None
    else (jnp.zeros_like(weights.bn_scale),) * 2
  )
  carry = (jnp.zeros_like(state), d_bn)
  (d_h, d_bn), d_z = lax.scan(
    step, carry, (inputs, trace, d_states), reverse=True
  )
  grads = _weight_grads(arc, weights, inputs, trace, mask, d_z, d_bn)
  return grads, d_h


def _weight_grads(
  arc: space_lib.RecurrentArc,
  weights: CellWeights,
  inputs: types.Array,
  trace: _Trace,
  mask: types.Array | None,
  d_z: types.Array,
  d_bn: _Affine,
) -> CellWeights:
  """Gradients of the weights, from those of all pre-activations.

  Args:
    arc: the cell, traced or of Python ints.
    weights: the child's weights.
    inputs: [T, B, D] float32, h_(t-1).
    trace: what the forward pass kept, leading axis T.
    mask: [B, D] float32, or None.
    d_z: [T, N, B, 2D] float32, the gradient for each matrix product.
    d_bn: the gradients for scale and offset, which need no product.
  """
  count = np.shape(arc.prev)[0]

  def weight_grad(source: types.Array, row: int) -> types.Array:
    # One product over all time steps and the batch, outside the scan.
    return jnp.einsum("tbi,tbo->io", masked(source, mask), d_z[:, row])

  edges = [
    weight_grad(trace.nodes[:, arc.prev[row]], row) for row in range(1, count)
  ]
  d_scale, d_offset = d_bn if d_bn is not None else (None, None)
  return CellWeights(
    x_in=d_z[:, 0],
    w_h=weight_grad(inputs, 0),
    w_edge=jnp.stack(edges) if edges else jnp.zeros_like(weights.w_edge),
    bn_scale=d_scale,
    bn_offset=d_offset,
  )


def _normalise_vjp(
  weights: CellWeights, x: types.Array, d_out: types.Array, d_bn: _Affine
) -> tuple[types.Array, _Affine]:
  """Pulls `d_out` back through `normalise`, adding to the affine's grads."""
  if d_bn is None:
    return d_out, None
  y, pull = jax.vjp(normalise, x, weights.bn_scale, weights.bn_offset)
  d_x, d_scale, d_offset = pull(d_out.astype(y.dtype))
  return d_x, (d_bn[0] + d_scale, d_bn[1] + d_offset)
