"""The shared recurrent network of all cells (Section 2.1, Appendix A).

One function serves search and retraining: with a traced arc every architecture
runs through the same compiled program; with an arc of Python ints the same
code compiles to the plain cell. Each pair of nodes (j, l) has one matrix, the
highway candidate's and the gate's columns side by side (Eqs. 4-5).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import losses, ops
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.base import TextNetwork
from enas_jax.spaces.recurrent import arc as space_lib
from enas_jax.spaces.recurrent import presets, relaxed_loop
from enas_jax.spaces.recurrent import time_loop as loop


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


def edge_index(row: types.Indices, prev: types.Indices) -> types.Indices:
  """The row of `omega["w_edge"]` that holds the matrix of edge (prev, row).

  Args:
    row: [...] int, the later node, from 0; a Python int serves too.
    prev: [...] int, the node that it reads, in [0, row).

  Returns:
    [...] int, in [0, E).
  """
  # The nodes before it have 0 + 1 + ... + (row - 1) edges.
  return row * (row - 1) // 2 + prev


def init(
  key: types.PRNGKey,
  config: presets.RecurrentConfig,
  vocabulary_size: int,
) -> types.Omega:
  """Initialises omega uniformly in [-init_range, init_range] (Appendix A).

  Args:
    key: consumed.
    config: the network's options; D is its `hidden_size`.
    vocabulary_size: words of the vocabulary, V.

  Returns:
    A dict of float32 arrays: "embedding" [V, D], tied with the softmax; "w_x"
    and "w_h" [D, 2D], node 1's; "w_edge" [E, D, 2D], or [K, E, D, 2D] with
    `weights_per_op`; with batch norm also "bn_scale" and "bn_offset" [D].
  """
  d, rows = config.hidden_size, config.space().num_rows
  # A row for each pair of nodes j < l: a square has more than twice as many.
  edges: tuple[int, ...] = (rows * (rows - 1) // 2, d, 2 * d)
  if config.weights_per_op:
    edges = (len(space_lib.OPS), *edges)
  shapes: dict[str, tuple[int, ...]] = {
    "embedding": (vocabulary_size, d),
    "w_x": (d, 2 * d),
    "w_h": (d, 2 * d),
    "w_edge": edges,
  }
  specs = {
    name: weights_lib.Spec(shape, limit=config.init_range)
    for name, shape in shapes.items()
  }
  if config.batch_norm:
    norm = weights_lib.norm_specs((d,))
    specs |= {f"bn_{name}": spec for name, spec in norm.items()}
  return weights_lib.draw(key, specs)


def child_params(
  omega: types.Omega, arc: space_lib.RecurrentArc
) -> types.Omega:
  """Gathers the weights of one child, once for all time steps of a window.

  Args:
    omega: the shared weights, as `init` lays them out.
    arc: the cell, traced int32 arrays or Python ints; or relaxed.

  Returns:
    omega with "w_edge" [N - 1, D, 2D] float32: of node l the matrix of the edge
    from `arc.prev[l]`. All of omega for a relaxed arc, which uses every edge.
  """
  chex.assert_rank(omega["w_edge"], {3, 4})  # 4 with weights_per_op
  if ops.is_relaxed(arc):
    return omega
  index = _edge_rows(omega, arc)
  return {**omega, "w_edge": omega["w_edge"][index]}


def add_to_omega(
  omega: types.Omega, arc: space_lib.RecurrentArc, update: types.Omega
) -> types.Omega:
  """Adds an update of one child's weights to omega.

  Args:
    omega: the shared weights, as `init` lays them out.
    arc: the cell whose weights `update` changes.
    update: what to add, as `child_params` lays the weights out: "w_edge"
      [N - 1, D, 2D] float32, the others as in `omega`; of a relaxed arc all.

  Returns:
    omega, changed in the child's weights alone.
  """
  if ops.is_relaxed(arc):
    return {name: omega[name] + update[name] for name in omega}
  chex.assert_rank(update["w_edge"], 3)
  index = _edge_rows(omega, arc)
  # Rows of different nodes are different edges, so none occurs twice.
  edges = omega["w_edge"].at[index].add(update["w_edge"], unique_indices=True)
  dense = {k: omega[k] + update[k] for k in omega if k != "w_edge"}
  return {**dense, "w_edge": edges}


def _edge_rows(
  omega: types.Omega, arc: space_lib.RecurrentArc
) -> types.Indices:
  """The index of the child's matrices into "w_edge", nodes 1 to N - 1."""
  rows = np.arange(1, np.shape(arc.prev)[0])
  index = edge_index(rows, jnp.asarray(arc.prev)[1:])
  if omega["w_edge"].ndim == 4:
    # [K, E, D, 2D]: activation and edge name a matrix.
    return jnp.asarray(arc.ops)[1:], index
  return index


def sample_masks(
  key: types.PRNGKey,
  config: presets.RecurrentConfig,
  batch_size: int,
  vocabulary_size: int,
) -> Masks:
  """Draws the dropout masks of one window.

  Args:
    key: consumed.
    config: the rates, and D.
    batch_size: sequences of the window, B.
    vocabulary_size: words of the vocabulary, V.

  Returns:
    Masks [V] and [B, D] float32, 0 or 1 / (1 - rate).
  """
  unit = (batch_size, config.hidden_size)
  plan = {
    "word": (config.drop_word, (vocabulary_size,)),
    "embedding": (config.drop_embedding, unit),
    "x": (config.drop_x, unit),
    "state": (config.drop_state, unit),
    "output": (config.drop_output, unit),
  }
  # One for each, drawn or not: a rate of 0 leaves the other masks as they are.
  keys = jax.random.split(key, len(plan))
  masks = {}
  for k, (name, (rate, shape)) in zip(keys, plan.items(), strict=True):
    if rate > 0:
      kept = jax.random.bernoulli(k, 1.0 - rate, shape)
      masks[name] = kept.astype(jnp.float32) / (1.0 - rate)
  return Masks(**masks)


def apply_child(
  child: types.Omega,
  arc: space_lib.RecurrentArc,
  tokens: types.Array,
  state: types.Array,
  *,
  config: presets.RecurrentConfig,
  masks: Masks | None = None,
) -> types.Array:
  """Runs one cell over a window.

  Args:
    child: the weights that `child_params` gathers, "w_edge" [N - 1, D, 2D].
    arc: the cell; traced int32 arrays, or Python ints for a fixed child; or
      relaxed, with all of omega as its child.
    tokens: [T, B] int32.
    state: [B, D] float32, h_0.
    config: the network's options.
    masks: dropout masks, or None to drop nothing (evaluation).

  Returns:
    [T, B, D] float32: h_t before output dropout. Batch norm, where on, uses
    the statistics of the batch, also in evaluation.

  Raises:
    AssertionError: if an array has another rank or type (at trace time).
  """
  relaxed = ops.is_relaxed(arc)
  rank = {3, 4} if relaxed else 3
  chex.assert_rank([tokens, state, child["w_edge"]], [2, 2, rank])
  chex.assert_type([tokens, state], [int, float])
  masks = masks or Masks()
  x = child["embedding"][tokens]  # [T, B, D]
  if masks.word is not None:
    # A dropped word is zero wherever it occurs in the window.
    x = x * masks.word[tokens][..., None]
  # Embedded words pass both masks on their way into node 1.
  for mask in (masks.embedding, masks.x):
    x = loop.masked(x, mask)
  weights = loop.CellWeights(
    # Of all time steps at once, so that the loop multiplies by w_h alone.
    x_in=x @ child["w_x"],
    w_h=child["w_h"],
    w_edge=child["w_edge"],
    bn_scale=child.get("bn_scale"),
    bn_offset=child.get("bn_offset"),
  )
  if not relaxed:
    return loop.unroll(arc, config.output, weights, state, masks.state)
  # Of node l [..., l, D, 2D]: its edges lie side by side in the table.
  edges = [
    child["w_edge"][..., edge_index(row, 0) : edge_index(row + 1, 0), :, :]
    for row in range(1, len(arc.prev))
  ]
  return relaxed_loop.unroll(
    arc, config.output, weights, edges, state, masks.state
  )


def softmax_loss(
  child: types.Omega,
  states: types.Array,
  targets: types.Array,
  masks: Masks | None = None,
) -> types.Array:
  """Cross-entropy with the embedding as softmax weights (Section 3.1).

  Args:
    child: the child's weights, of which "embedding" [V, D] is read.
    states: [T, B, D] float32, h_t, as `apply_child` returns them.
    targets: [T, B] int32, the word that follows each state.
    masks: dropout masks, of which `output` is read; None drops nothing.

  Returns:
    [T, B] float32, nats per token.

  Raises:
    AssertionError: if an array has another rank or type (at trace time).
  """
  chex.assert_rank(states, 3)
  chex.assert_shape(targets, states.shape[:2])
  chex.assert_type([states, targets], [float, int])
  states = loop.masked(states, masks.output if masks else None)
  embedding = child["embedding"]
  flat = states.reshape(-1, states.shape[-1])  # [T * B, D]
  normaliser = jax.nn.logsumexp(_products(flat, embedding), axis=-1)
  # The target's logit as a dot product: gathering it from the [T * B, V]
  # logits would make the gradient scatter into an array of that size.
  wanted = embedding[targets.reshape(-1)]
  wide = _wide(flat)
  gold = jnp.sum(flat.astype(wide) * wanted.astype(wide), axis=-1)
  return (normaliser - gold).reshape(targets.shape)


def logits(
  child: types.Omega, states: types.Array, masks: Masks | None = None
) -> types.Array:
  """Unnormalised log-probabilities of the next word.

  Args:
    child: the child's weights, of which "embedding" [V, D] is read.
    states: [T, B, D] float32, h_t, as `apply_child` returns them.
    masks: dropout masks, of which `output` is read; None drops nothing.

  Returns:
    [T, B, V] float32.
  """
  chex.assert_rank(states, 3)
  states = loop.masked(states, masks.output if masks else None)
  return _products(states, child["embedding"])


def _products(states: types.Array, embedding: types.Array) -> types.Array:
  """[..., V] of type float32 at least, whatever that of the operands."""
  return jnp.matmul(states, embedding.T, preferred_element_type=_wide(states))


def _wide(states: types.Array) -> jnp.dtype:
  """The type of a softmax: float32, or float64 where states are that."""
  return jnp.promote_types(states.dtype, jnp.float32)


def l2_penalty(child: types.Omega, form: str) -> types.Array:
  """The l2 penalty on one child's weights (Section 3.1), unweighted.

  Only the sampled child's weights are penalised: L(m; omega) in Eqn 1 is a
  loss of that child, and the released code does the same.

  Args:
    child: float32 arrays, as `child_params` lays them out.
    form: how to compute it, "squares" or "released"; see
      `OmegaConfig.l2_form`.

  Returns:
    [] float32.
  """
  if form == "squares":
    return losses.sum_of_squares(child)
  # enas_lm squares twice, and skips its first sampled node and the embedding.
  matrices = (child["w_x"], child["w_h"], child["w_edge"][..., 1:, :, :])
  return sum((jnp.sum(w**4) / 2 for w in matrices), start=jnp.float32(0.0))


NETWORK = TextNetwork(
  init=init,
  child_params=lambda omega, arc, options: child_params(omega, arc),
  add_to_omega=add_to_omega,
  sample_masks=sample_masks,
  apply_child=apply_child,
  nats=softmax_loss,
  logits=logits,
  penalty=l2_penalty,
)
