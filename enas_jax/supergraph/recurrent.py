"""The shared recurrent network of all cells (Section 2.1, Appendix A).

One `apply` serves search and retraining: with a traced arc every architecture
runs through the same compiled program; with an arc of Python ints the same
code compiles to the plain cell. Each pair of nodes (j, l) has one matrix, the
highway candidate's and the gate's columns side by side (Eqs. 4-5).

The time loop has a hand-written derivative, for two reasons: it leaves only
the pre-activation gradients in the backward scan and forms every weight
gradient afterwards in one matrix product over all time steps; and it keeps the
chosen input of a node from being copied through the whole loop.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import config as config_lib
from enas_jax import ops, types
from enas_jax.spaces import recurrent as space_lib

_BN_EPSILON = 1e-5


class Masks(NamedTuple):
  """Variational dropout masks of one window; `None` where the rate is 0.

  Every mask is drawn once a window and holds for all its time steps (Gal &
  Ghahramani, 2016). They are scaled by 1 / (1 - rate). Masks multiply what
  goes into a matrix product, never the highway carry.

  Attributes:
    word: [V] float32, whole words of the input embedding.
    embedding: [B, D] float32, the embedded words.
    x: [B, D] float32, x_t into node 1.
    state: [B, D] float32, one mask for h_(t-1) and every node's input.
    output: [B, D] float32, h_t into the softmax.
  """

  word: types.Array | None = None
  embedding: types.Array | None = None
  x: types.Array | None = None
  state: types.Array | None = None
  output: types.Array | None = None


def edge_index(row: Any, prev: Any) -> Any:
  """The row of `omega["w_edge"]` that holds the matrix of edge (prev, row)."""
  return row * (row - 1) // 2 + prev


def init(
  key: types.PRNGKey, config: config_lib.RecurrentConfig, vocabulary_size: int
) -> types.Omega:
  """Initialises omega uniformly in [-init_range, init_range] (Appendix A).

  Returns:
    A dict of float32 arrays: "embedding" [V, D], tied with the softmax; "w_x"
    and "w_h" [D, 2D], node 1's; "w_edge" [E, D, 2D], or [K, E, D, 2D] with
    `weights_per_op`; with batch norm also "bn_scale" and "bn_offset" [D].
  """
  d, rows = config.hidden_size, config.space().num_rows
  edges: tuple[int, ...] = (rows * (rows - 1) // 2, d, 2 * d)
  if config.weights_per_op:
    edges = (len(space_lib.OPS), *edges)
  shapes = {
    "embedding": (vocabulary_size, d),
    "w_x": (d, 2 * d),
    "w_h": (d, 2 * d),
    "w_edge": edges,
  }
  r = config.init_range
  omega = {
    name: jax.random.uniform(k, shape, jnp.float32, -r, r)
    for (name, shape), k in zip(
      shapes.items(), jax.random.split(key, len(shapes)), strict=True
    )
  }
  if config.batch_norm:
    omega |= {"bn_scale": jnp.ones(d), "bn_offset": jnp.zeros(d)}
  return omega


def child_params(
  omega: types.Omega, arc: space_lib.RecurrentArc
) -> types.Omega:
  """Gathers the weights of one child: "w_edge" becomes [N - 1, D, 2D]."""
  index = _edge_rows(omega, arc)
  return {**omega, "w_edge": omega["w_edge"][index]}


def add_to_child(
  omega: types.Omega, arc: space_lib.RecurrentArc, update: types.Omega
) -> types.Omega:
  """Adds `update`, shaped as `child_params` returns, to the child's weights."""
  index = _edge_rows(omega, arc)
  # Rows of different nodes are different edges, so none occurs twice.
  edges = omega["w_edge"].at[index].add(update["w_edge"], unique_indices=True)
  dense = {k: omega[k] + update[k] for k in omega if k != "w_edge"}
  return {**dense, "w_edge": edges}


def _edge_rows(omega: types.Omega, arc: space_lib.RecurrentArc) -> Any:
  rows = np.arange(1, np.shape(arc.prev)[0])
  index = edge_index(rows, jnp.asarray(arc.prev)[1:])
  if omega["w_edge"].ndim == 4:
    return jnp.asarray(arc.ops)[1:], index
  return index


def sample_masks(
  key: types.PRNGKey,
  config: config_lib.RecurrentConfig,
  batch_size: int,
  vocabulary_size: int,
) -> Masks:
  """Draws the dropout masks of one window."""
  unit = (batch_size, config.hidden_size)
  plan = {
    "word": (config.drop_word, (vocabulary_size,)),
    "embedding": (config.drop_embedding, unit),
    "x": (config.drop_x, unit),
    "state": (config.drop_state, unit),
    "output": (config.drop_output, unit),
  }
  keys = jax.random.split(key, len(plan))
  masks = {}
  for k, (name, (rate, shape)) in zip(keys, plan.items(), strict=True):
    if rate > 0:
      kept = jax.random.bernoulli(k, 1.0 - rate, shape)
      masks[name] = kept.astype(jnp.float32) / (1.0 - rate)
  return Masks(**masks)


def apply(
  omega: types.Omega,
  arc: space_lib.RecurrentArc,
  tokens: types.Array,
  state: types.Array,
  *,
  config: config_lib.RecurrentConfig,
  masks: Masks | None = None,
) -> types.Array:
  """Runs one cell over a window.

  Args:
    omega: the shared weights, of `init`.
    arc: the cell; traced int32 arrays, or Python ints for a fixed child.
    tokens: [T, B] int32.
    state: [B, D] float32, h_0.
    config: the network's options.
    masks: dropout masks, or None to drop nothing (evaluation).

  Returns:
    [T, B, D] float32: h_t before output dropout. Batch norm, where on, uses
    the statistics of the batch, also in evaluation.
  """
  child = child_params(omega, arc)
  return apply_child(child, arc, tokens, state, config=config, masks=masks)


def apply_child(
  child: types.Omega,
  arc: space_lib.RecurrentArc,
  tokens: types.Array,
  state: types.Array,
  *,
  config: config_lib.RecurrentConfig,
  masks: Masks | None = None,
) -> types.Array:
  """`apply` on weights that `child_params` has gathered."""
  masks = masks or Masks()
  x = child["embedding"][tokens]
  if masks.word is not None:
    x = x * masks.word[tokens][..., None]
  for mask in (masks.embedding, masks.x):
    x = _masked(x, mask)
  weights = _CellWeights(
    x_in=x @ child["w_x"],
    w_h=child["w_h"],
    w_edge=child["w_edge"],
    bn_scale=child.get("bn_scale"),
    bn_offset=child.get("bn_offset"),
  )
  return _unroll(arc, config.output, weights, state, masks.state)


def softmax_loss(
  child: types.Omega,
  states: types.Array,
  targets: types.Array,
  masks: Masks | None = None,
) -> types.Array:
  """Cross-entropy with the embedding as softmax weights (Section 3.1).

  Args:
    child: holds "embedding" [V, D].
    states: [T, B, D] float32, of `apply`.
    targets: [T, B] int32.
    masks: dropout masks, or None.

  Returns:
    [T, B] float32, nats per token.
  """
  states = _masked(states, masks.output if masks else None)
  embedding = child["embedding"]
  flat = states.reshape(-1, states.shape[-1])
  normaliser = jax.nn.logsumexp(flat @ embedding.T, axis=-1)
  # The target's logit as a dot product: gathering it from the [T * B, V]
  # logits would make the gradient scatter into an array of that size.
  gold = jnp.sum(flat * embedding[targets.reshape(-1)], axis=-1)
  return (normaliser - gold).reshape(targets.shape)


def logits(child: types.Omega, states: types.Array) -> types.Array:
  """[T, B, V] float32: unnormalised log-probabilities of the next word."""
  return states @ child["embedding"].T


class _CellWeights(NamedTuple):
  """What the time loop differentiates besides the state.

  Attributes:
    x_in: [T, B, 2D], x_t times node 1's input matrix, for all t at once.
    w_h: [D, 2D].
    w_edge: [N - 1, D, 2D], the child's own matrices.
    bn_scale: [D], or None without batch norm.
    bn_offset: [D], or None.
  """

  x_in: types.Array
  w_h: types.Array
  w_edge: types.Array
  bn_scale: types.Array | None
  bn_offset: types.Array | None


class _Trace(NamedTuple):
  """What one time step keeps for the backward pass, each [N, B, D].

  Attributes:
    nodes: h_l of Eqs. 3 and 5.
    values: f_l(...), the candidate after its activation.
    gates: c_l, after the sigmoid.
  """

  nodes: types.Array
  values: types.Array
  gates: types.Array


def _masked(x: types.Array, mask: types.Array | None) -> types.Array:
  return x if mask is None else x * mask


def _is_static(arc: space_lib.RecurrentArc) -> bool:
  return isinstance(arc.prev, tuple)


def _unroll(
  arc: space_lib.RecurrentArc,
  output: str,
  weights: _CellWeights,
  state: types.Array,
  mask: types.Array | None,
) -> types.Array:
  """h_1 ... h_T, [T, B, D], with the hand-written derivative."""
  fixed = arc if _is_static(arc) else None

  def run(traced: Any, weights: _CellWeights, state: Any, mask: Any) -> Any:
    cell = fixed or traced
    return _forward(cell, output, weights, state, mask)

  @jax.custom_vjp
  def unroll(traced: Any, weights: Any, state: Any, mask: Any) -> Any:
    return run(traced, weights, state, mask)[0]

  def forward(traced: Any, weights: Any, state: Any, mask: Any) -> Any:
    states, trace = run(traced, weights, state, mask)
    return states, (traced, weights, state, mask, states, trace)

  def backward(residuals: Any, d_states: types.Array) -> Any:
    traced, weights, state, mask, states, trace = residuals
    grads = _backward(
      fixed or traced, output, weights, state, mask, states, trace, d_states
    )
    return (None, *grads, None)

  unroll.defvjp(forward, backward)
  return unroll(None if fixed else arc, weights, state, mask)


def _output_weights(arc: space_lib.RecurrentArc, output: str) -> Any:
  """[N] float32 weights of the average that is h_t: Section 2.1, step 5."""
  count = np.shape(arc.prev)[0]
  if output == "all_nodes":
    # The released code leaves out its fixed first node.
    return np.append(0.0, np.full(count - 1, 1.0 / (count - 1)))
  xp = np if _is_static(arc) else jnp
  prev = xp.asarray(arc.prev)[1:]
  loose = 1.0 - xp.max(
    xp.equal(prev[:, None], np.arange(count)[None]), axis=0, initial=0.0
  )
  return loose / xp.sum(loose)


def _average(weights: Any, nodes: Any) -> types.Array:
  """The weighted sum of nodes, leaving out those known to have weight 0."""
  used = list(range(len(nodes)))
  if isinstance(weights, np.ndarray):
    used = [i for i in used if weights[i]]
  return sum(
    (jnp.float32(weights[i]) * nodes[i] for i in used), start=jnp.float32(0.0)
  )


def _normalise(
  x: types.Array, scale: types.Array | None, offset: types.Array | None
) -> types.Array:
  """Batch norm over the batch, [B, D], with the batch's own statistics."""
  if scale is None or offset is None:
    return x
  mean = jnp.mean(x, axis=0)
  variance = jnp.mean(jnp.square(x - mean), axis=0)
  return (x - mean) * (lax.rsqrt(variance + _BN_EPSILON) * scale) + offset


def _forward(
  arc: space_lib.RecurrentArc,
  output: str,
  weights: _CellWeights,
  state: types.Array,
  mask: types.Array | None,
) -> tuple[types.Array, _Trace]:
  """Returns h_t and the trace of all time steps, leading axis T."""
  average = _output_weights(arc, output)

  def step(h: types.Array, x_in: types.Array) -> Any:
    nodes: list[types.Array] = []
    values: list[types.Array] = []
    gates: list[types.Array] = []
    for row in range(np.shape(arc.prev)[0]):
      if row == 0:
        source, z = h, x_in + _masked(h, mask) @ weights.w_h
      else:
        source = ops.pick(arc.prev[row], nodes)
        z = _masked(source, mask) @ weights.w_edge[row - 1]
      value, gate = jnp.split(z, 2, axis=-1)
      value, gate = ops.activate(arc.ops[row], value), jax.nn.sigmoid(gate)
      nodes.append(source + gate * (value - source))
      values.append(value)
      gates.append(gate)
    h = _normalise(
      _average(average, nodes), weights.bn_scale, weights.bn_offset
    )
    return h, (h, _Trace(*map(jnp.stack, (nodes, values, gates))))

  _, (states, trace) = lax.scan(step, state, weights.x_in)
  return states, trace


def _backward(
  arc: space_lib.RecurrentArc,
  output: str,
  weights: _CellWeights,
  state: types.Array,
  mask: types.Array | None,
  states: types.Array,
  trace: _Trace,
  d_states: types.Array,
) -> tuple[_CellWeights, types.Array]:
  """Gradients of `_forward`'s states: for the weights and for h_0."""
  average = _output_weights(arc, output)
  count = np.shape(arc.prev)[0]
  inputs = jnp.concatenate([state[None], states[:-1]])

  def step(carry: Any, now: Any) -> Any:
    d_h, d_bn = carry
    h_tm1, trace, d_state = now
    d_mean, d_bn = _normalise_vjp(
      weights, _average(average, trace.nodes), d_state + d_h, d_bn
    )
    # Cotangent of each node, so far from the output alone.
    d_nodes = jnp.stack(
      [jnp.float32(average[i]) * d_mean for i in range(count)]
    )
    d_z: list[Any] = [None] * count
    for row in reversed(range(count)):
      source = h_tm1 if row == 0 else trace.nodes[arc.prev[row]]
      value, gate = trace.values[row], trace.gates[row]
      d_node = d_nodes[row]
      slope = ops.activation_grad(arc.ops[row], value)
      d_z[row] = jnp.concatenate(
        [
          d_node * gate * slope,
          d_node * (value - source) * gate * (1.0 - gate),
        ],
        axis=-1,
      )
      matrix = weights.w_h if row == 0 else weights.w_edge[row - 1]
      d_source = d_node * (1.0 - gate) + _masked(d_z[row] @ matrix.T, mask)
      if row == 0:
        d_h = d_source
      else:
        d_nodes = d_nodes.at[arc.prev[row]].add(d_source)
    return (d_h, d_bn), jnp.stack(d_z)

  d_bn = (
    None
    if weights.bn_scale is None
    else (jnp.zeros_like(weights.bn_scale),) * 2
  )
  carry = (jnp.zeros_like(state), d_bn)
  (d_h, d_bn), d_z = lax.scan(
    step, carry, (inputs, trace, d_states), reverse=True
  )

  def weight_grad(source: types.Array, row: int) -> types.Array:
    return jnp.einsum("tbi,tbo->io", _masked(source, mask), d_z[:, row])

  edges = [
    weight_grad(trace.nodes[:, arc.prev[row]], row) for row in range(1, count)
  ]
  d_scale, d_offset = d_bn if d_bn is not None else (None, None)
  grads = _CellWeights(
    x_in=d_z[:, 0],
    w_h=weight_grad(inputs, 0),
    w_edge=jnp.stack(edges) if edges else jnp.zeros_like(weights.w_edge),
    bn_scale=d_scale,
    bn_offset=d_offset,
  )
  return grads, d_h


def _normalise_vjp(
  weights: _CellWeights, x: types.Array, d_out: types.Array, d_bn: Any
) -> tuple[types.Array, Any]:
  """Pulls `d_out` back through `_normalise`, adding to the affine's grads."""
  if d_bn is None:
    return d_out, None
  _, pull = jax.vjp(_normalise, x, weights.bn_scale, weights.bn_offset)
  d_x, d_scale, d_offset = pull(d_out)
  return d_x, (d_bn[0] + d_scale, d_bn[1] + d_offset)
