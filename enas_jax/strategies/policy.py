"""The LSTM policy: one decision after another (Section 2.2).

What differs from step to step of the LSTM is a table of numbers, so one loop
runs them all: written out, the 20 to 50 steps of a space took a minute to
compile, with their derivatives. `strategies.controller` says what it is for.
"""

import functools
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces import base
from enas_jax.strategies import policy_steps

# The first operations, which `op_bias` and `op_prior` favour: the separable
# convolutions of the space of cells.
_NUM_FAVOURED = 2
_BITS = 2  # no and yes


class _Carry(NamedTuple):
  """Where the LSTM is, and what is known of the nodes so far.

  Attributes:
    memory: [S, H] float32, the LSTM's cell.
    hidden: [S, H] float32, its output.
    x: [S, H] float32, its next input.
    keys: [P + 1, S, H], the attention key of each place; zero at first.
    vectors: [P + 1, S, H], the next input after a place is taken.
  """

  memory: types.Array
  hidden: types.Array
  x: types.Array
  keys: types.Array
  vectors: types.Array


class _Chosen(NamedTuple):
  """One step's decision among K alternatives at most, or of N bits at most.

  Attributes:
    one: [S] int32, what an "op" or "index" decision takes.
    one_log_probs: [S, K] float32, -inf beyond its alternatives.
    bits: [S, N] int32, what a "skips" decision takes; 0 beyond its bits.
    bit_log_probs: [S, N, 2] float32.
  """

  one: types.Array
  one_log_probs: types.Array
  bits: types.Array
  bit_log_probs: types.Array


class Policy(nn.Module):
  """The network behind `controller.Controller`.

  Attributes:
    decisions: what to decide, in order.
    config: the LSTM's options.
  """

  decisions: tuple[base.Decision, ...]
  config: config_lib.ControllerConfig

  def setup(self) -> None:
    """Declares theta."""
    cfg, size = self.config, self.config.hidden_size
    sizes = policy_steps.vocabularies_of(self.decisions)
    num_ops = sizes.pop(base.OPERATIONS)

    def init(key: types.PRNGKey, shape: tuple[int, ...]) -> types.Array:
      limit = cfg.init_range
      return jax.random.uniform(key, shape, jnp.float32, -limit, limit)

    # Gates input, forget, output, candidate; no biases, as in the release.
    self.lstm = self.param("lstm", init, (2 * size, 4 * size))
    self.start = self.param("start", init, (size,))
    self.op_embedding = self.param("op_embedding", init, (num_ops, size))
    if not cfg.tied_ops:
      self.op_softmax = self.param("op_softmax", init, (size, num_ops))
    self.attend_key = self.param("attend_key", init, (size, size))
    self.attend_query = self.param("attend_query", init, (size, size))
    self.attend_v = self.param("attend_v", init, (size,))
    if cfg.op_bias > 0:
      favoured = jnp.arange(num_ops) < _NUM_FAVOURED
      self.op_bias = self.param(
        "op_bias", lambda _: jnp.where(favoured, jnp.float32(cfg.op_bias), 0)
      )
    embeddings = {base.OPERATIONS: self.op_embedding}
    classifiers = {} if cfg.tied_ops else {
      base.OPERATIONS: self.op_softmax
    }  # fmt: skip
    # Last, so that they move no number of a space of operations alone.
    for name, count in sizes.items():
      embeddings[name] = self.param(f"{name}_embedding", init, (count, size))
      if not cfg.tied_ops:
        classifiers[name] = self.param(f"{name}_softmax", init, (size, count))
    self.embeddings, self.classifiers = embeddings, classifiers

  def __call__(
    self,
    choices: types.Array | None,
    key: types.PRNGKey | None,
    num_arcs: int,
  ) -> tuple[types.Array, tuple[types.Array, ...]]:
    """Runs the policy over all decisions, one LSTM step after another.

    Args:
      choices: [S, C] int32, the choices to score; None samples them.
      key: consumed by sampling, else None.
      num_arcs: how many architectures, S.

    Returns:
      [S, C] int32, the choices; and the fields of `controller.Sample` but the
      arc.
    """
    if choices is not None:
      width = sum(decision.width for decision in self.decisions)
      chex.assert_shape(choices, (num_arcs, width))
      chex.assert_type(choices, int)
    steps = policy_steps.make(self.decisions, self.config)
    zero = jnp.zeros((num_arcs, self.config.hidden_size))
    nodes = jnp.zeros((self._num_places() + 1, *zero.shape))
    start = jnp.broadcast_to(self.start, zero.shape)
    given = None if choices is None else self._split(choices, steps)
    run = functools.partial(self._step, start, key)
    _, (hidden, chosen) = lax.scan(
      run, _Carry(zero, zero, start, nodes, nodes), (steps, given)
    )
    # Of the steps that decide, in the order of the decisions.
    at = np.flatnonzero(steps.decision >= 0)
    chosen = jax.tree.map(lambda leaf: leaf[at], chosen)
    # [S, C]; [S, C, alternatives]
    taken, tables = self._flat(chosen)
    return taken, (
      *self._summary(taken, tables),
      jnp.swapaxes(hidden[at], 0, 1),
      self._skip_kl(chosen.bit_log_probs),
    )

  def _num_places(self) -> int:
    cells = 1 + max(decision.cell for decision in self.decisions)
    return cells * policy_steps.num_nodes_of(self.decisions)

  def _most(self, *kinds: str) -> int:
    """The most alternatives, or bits, of decisions of some kinds."""
    counts = [d.num_choices for d in self.decisions if d.kind in kinds]
    return max(counts, default=0)

  def _split(
    self, choices: types.Array, steps: policy_steps.Steps
  ) -> tuple[types.Array, types.Array]:
    """What each step takes: [T, S], and bits [T, S, N]."""
    starts = np.cumsum([0, *(d.width for d in self.decisions)])[steps.decision]
    most = max(self._most("skips"), 1)
    # A step without a decision, or with fewer bits, reads what it ignores.
    places = np.minimum(starts[:, None] + np.arange(most), choices.shape[1] - 1)
    bits = jnp.moveaxis(choices[:, places], 0, 1)
    return bits[..., 0], bits

  def _step(
    self,
    start: types.Array,
    key: types.PRNGKey | None,
    carry: _Carry,
    now: tuple[policy_steps.Steps, tuple[types.Array, types.Array] | None],
  ) -> tuple[_Carry, tuple[types.Array, _Chosen]]:
    """One step of the LSTM, what is decided at it, and its next input."""
    step, given = now
    memory, hidden = self._lstm_step(carry)
    num_nodes = policy_steps.num_nodes_of(self.decisions)
    # Other cells' nodes lie outside the window, and so does the place P, to
    # which steps write that are no node's.
    keys, vectors = (
      # Each [S, N, H].
      lax.dynamic_slice_in_dim(nodes, step.window, num_nodes).swapaxes(0, 1)
      for nodes in (carry.keys, carry.vectors)
    )
    attention = None
    if self._most("index", "skips"):
      query = hidden @ self.attend_query
      # [S, N]: v . tanh(W1 anchor + W2 h), as released.
      attention = jnp.tanh(keys + query[:, None]) @ self.attend_v
    key_step = None
    if key is not None:
      # By its number, so that a space's later decisions move no earlier one.
      key_step = jax.random.fold_in(key, step.decision)
    # Both may draw with the same key, as only one of them is what is decided.
    one, log_probs = self._choose_one(step, hidden, attention, given, key_step)
    bits, bit_log_probs = self._choose_bits(
      step, len(hidden), attention, given, key_step
    )
    chosen = _Chosen(one, log_probs, bits, bit_log_probs)
    # Before the node ends, which may be a step of the LSTM that reads it.
    x = self._next_input(step, chosen, vectors)
    x = jnp.where(step.decision >= 0, x, carry.x)
    x = jnp.where(step.restarts, start, x)
    put = lambda nodes, place, new: lax.dynamic_update_index_in_dim(
      nodes, new, place, axis=0
    )
    carry = _Carry(
      memory,
      hidden,
      x,
      keys=put(carry.keys, step.anchor, hidden @ self.attend_key),
      vectors=put(carry.vectors, step.vector, hidden),
    )
    return carry, (hidden, chosen)

  def _lstm_step(self, carry: _Carry) -> tuple[types.Array, types.Array]:
    """Memory and output after `carry.x` is read."""
    gates = jnp.concatenate([carry.x, carry.hidden], axis=-1) @ self.lstm
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    memory = jax.nn.sigmoid(i) * jnp.tanh(g) + jax.nn.sigmoid(f) * carry.memory
    return memory, jax.nn.sigmoid(o) * jnp.tanh(memory)

  def _choose_one(
    self,
    step: policy_steps.Steps,
    hidden: types.Array,
    attention: types.Array | None,
    given: tuple[types.Array, types.Array] | None,
    key: types.PRNGKey | None,
  ) -> tuple[types.Array, types.Array]:
    """An "op" or "index" decision: [S] int32; log-probabilities [S, K]."""
    cfg, size = self.config, self._most("op", "index")
    numbers = jnp.arange(size)
    if not size:
      return jnp.zeros(len(hidden), jnp.int32), jnp.zeros((len(hidden), 0))
    logits = self._squash(
      self._op_scores(step, hidden, size), cfg.op_tanh_reduce
    )
    favoured = numbers < _NUM_FAVOURED
    logits += jnp.where(favoured, step.prior, -step.prior)[None]
    if attention is not None and self._most("index"):
      # [S, K], of [S, N].
      index = self._squash(_resize(attention, size))
      distance = jnp.square(step.node - numbers)
      index -= cfg.distance_prior * distance[None]
      logits = jnp.where(step.kind == policy_steps.INDEX, index, logits)
    # Steps share one table, as wide as the widest: the rest has no probability.
    logits = jnp.where(numbers < step.size, logits, -jnp.inf)
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    if given is not None:
      return given[0], log_probs
    places = jnp.arange(len(hidden))[:, None] * step.size + numbers
    return _sample(key, log_probs, places), log_probs

  def _choose_bits(
    self,
    step: policy_steps.Steps,
    num_arcs: int,
    attention: types.Array | None,
    given: tuple[types.Array, types.Array] | None,
    key: types.PRNGKey | None,
  ) -> tuple[types.Array, types.Array]:
    """A "skips" decision: [S, N] int32; log-probabilities [S, N, 2]."""
    size = self._most("skips")
    if attention is None or not size:
      return (
        jnp.zeros((num_arcs, 0), jnp.int32),
        jnp.zeros((num_arcs, 0, _BITS)),
      )
    scores = attention[:, :size]
    # So that the odds of a skip are e^(2 score), as in the release.
    logits = self._squash(jnp.stack([-scores, scores], axis=-1))
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    numbers = jnp.arange(size)
    if given is not None:
      bits = given[1]
    else:
      rows = jnp.arange(num_arcs)[:, None] * step.size + numbers
      places = rows[..., None] * _BITS + jnp.arange(_BITS)
      bits = _sample(key, log_probs, places)
    return jnp.where(numbers < step.size, bits, 0), log_probs

  def _squash(self, scores: types.Array, reduce: float = 1.0) -> types.Array:
    """Scores, cooled and squashed (Section 3.1)."""
    constant = self.config.tanh_constant / reduce
    return constant * jnp.tanh(scores / self.config.temperature)

  def _op_scores(
    self, step: policy_steps.Steps, hidden: types.Array, size: int
  ) -> types.Array:
    """[S, K]: what the classifier of the step's vocabulary says."""
    scores = jnp.zeros((len(hidden), size))
    for number, name in enumerate(self.embeddings):
      if self.config.tied_ops:
        weights = self.embeddings[name].T
      else:
        weights = self.classifiers[name]
      of_name = hidden @ weights
      if name == base.OPERATIONS and self.config.op_bias > 0:
        of_name += self.op_bias
      of_name = _resize(of_name, size)
      scores = jnp.where(step.vocabulary == number, of_name, scores)
    return scores

  def _next_input(
    self, step: policy_steps.Steps, chosen: _Chosen, vectors: types.Array
  ) -> types.Array:
    """[S, H]: the embedding of what was just decided.

    Args:
      step: the step.
      chosen: what was decided.
      vectors: [S, N, H], those of the cell's nodes.
    """
    x = jnp.zeros(vectors.shape[::2])
    for number, table in enumerate(self.embeddings.values()):
      if len(table):
        embedded = table[jnp.minimum(chosen.one, len(table) - 1)]
        x = jnp.where(step.vocabulary == number, embedded, x)
    if self._most("index"):
      at = jnp.minimum(chosen.one, vectors.shape[1] - 1)
      taken = jnp.take_along_axis(vectors, at[:, None, None], axis=1)[:, 0]
      if self.config.scale_index_input:
        taken = taken / (0.1 + step.node - chosen.one)[:, None]
      x = jnp.where(step.kind == policy_steps.INDEX, taken, x)
    if size := self._most("skips"):
      bits = chosen.bits.astype(jnp.float32)[..., None]
      # As in the release, not quite the mean; and zero if none is taken.
      total = jnp.sum(bits * vectors[:, :size], axis=1)
      mean = total / (1 + jnp.sum(bits, axis=1))
      x = jnp.where(step.kind == policy_steps.SKIPS, mean, x)
    return x

  def _flat(self, chosen: _Chosen) -> tuple[types.Array, types.Array]:
    """Choices [S, C], and log-probabilities [S, C, alternatives].

    Args:
      chosen: leaves [D, ...], of the decisions.
    """
    kinds = np.array([d.kind for d in self.decisions])
    single = np.flatnonzero(kinds != "skips")
    pairs = [
      (at, bit)
      for at in np.flatnonzero(kinds == "skips")
      for bit in range(self.decisions[at].num_choices)
    ]
    most = max(self._most("op", "index"), _BITS * bool(pairs))
    taken = chosen.one[single]
    tables = _resize(chosen.one_log_probs[single], most)
    owners = [*single]
    if pairs:
      rows, bits = np.array(pairs).T
      taken = jnp.concatenate([taken, chosen.bits[rows, :, bits]])
      added = _resize(chosen.bit_log_probs[rows, :, bits], most)
      tables, owners = jnp.concatenate([tables, added]), [*owners, *rows]
    # Bits were gathered after all else: back to the order of the decisions.
    order = np.argsort(owners, kind="stable")
    swap = lambda leaf: jnp.swapaxes(leaf[order], 0, 1)
    return swap(taken.astype(jnp.int32)), swap(tables)

  def _summary(
    self, choices: types.Array, tables: types.Array
  ) -> tuple[types.Array, ...]:
    """log_prob, entropy, step_log_probs and step_probs of `Sample`.

    Args:
      choices: [S, C] int32.
      tables: log-probabilities [S, C, alternatives], -inf where there is none.
    """
    picked = jnp.take_along_axis(tables, choices[..., None], axis=-1)[..., 0]
    probs = jnp.exp(tables)
    if self.config.entropy == "sampled":
      # The release's: of the choices taken alone, not of the distributions.
      entropy = -jnp.sum(jnp.exp(picked) * picked, axis=-1)
    else:
      finite = jnp.where(tables > -jnp.inf, tables, 0.0)
      entropy = -jnp.sum(probs * finite, axis=(-2, -1))
    return jnp.sum(picked, axis=-1), entropy, picked, probs

  def _skip_kl(self, tables: types.Array) -> types.Array:
    """skip_kl of `Sample`, [S]: how far skips are from their target rate.

    Args:
      tables: log-probabilities [D, S, N, 2], of the bits of each decision.
    """
    counts = np.array(
      [d.num_choices if d.kind == "skips" else 0 for d in self.decisions]
    )
    # [D, S, N]
    log_odds = tables[..., 1] - tables[..., 0]
    if not counts.any():
      return jnp.zeros(log_odds.shape[1])
    target = self.config.skip_target
    if self.config.skip_kl == "released":
      # The release takes the sigmoid of the score, but the odds that it
      # samples with are those of two scores, the second with a minus.
      log_odds /= 2
    yes, no = jax.nn.log_sigmoid(log_odds), jax.nn.log_sigmoid(-log_odds)
    kl = jnp.exp(yes) * (yes - jnp.log(target))
    kl += jnp.exp(no) * (no - jnp.log(1 - target))
    known = np.arange(kl.shape[-1]) < counts[:, None, None]
    return jnp.sum(jnp.where(known, kl, 0.0), axis=(0, 2)) / np.sum(counts > 0)


def _resize(x: types.Array, size: int) -> types.Array:
  """[..., size]: the last axis cut off, or filled up with -inf."""
  x = x[..., :size]
  widths = [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])]
  return jnp.pad(x, widths, constant_values=-jnp.inf)


def _sample(
  key: types.PRNGKey | None, log_probs: types.Array, places: types.Array
) -> types.Array:
  """`jax.random.categorical`, of decisions with fewer alternatives.

  Args:
    key: consumed.
    log_probs: [..., K] float32, -inf for what is no alternative.
    places: [..., K] int32, where each entry would be if there were no others
      than alternatives: so what is drawn does not depend on K.

  Returns:
    [...] int32.
  """
  assert key is not None
  noise = jax.random.gumbel(key, (log_probs.size,))
  last = log_probs.size - 1
  return jnp.argmax(noise[jnp.minimum(places, last)] + log_probs, axis=-1)
