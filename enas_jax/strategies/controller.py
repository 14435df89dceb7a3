"""The controller: an LSTM policy over the decisions of a space (Section 2.2).

It knows nothing of networks: a space lists its decisions, and the controller
samples or scores choices for them, each decision's choice being the input of
the next step. Operations are scored by a softmax classifier. Earlier nodes are
scored by attention over the states in which they were decided; the paper says
only "softmax classifiers", the authors' code does this. Skip connections are
scored in the same way, each earlier node with a yes or no of its own.
"""

import dataclasses
import itertools
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces import base

# The first operations, which `op_bias` and `op_prior` favour: the separable
# convolutions of the space of cells.
_NUM_FAVOURED = 2


class Sample(NamedTuple):
  """Architectures with what the policy says of them.

  C is the number of choices, D that of decisions: one choice for each
  decision, but as many as there are bits for one of the kind "skips".

  Attributes:
    arc: the architectures, leaves [S, ...] int32.
    log_prob: [S] float32, log pi(m; theta), nats, summed over choices.
    entropy: [S] float32, nats, summed over choices; see
      `ControllerConfig.entropy`.
    step_log_probs: [S, C] float32, the log-probability of each choice, nats.
    step_probs: [S, C, max choices] float32, each choice's softmax, padded
      with zeros.
    hidden: [S, D, H] float32, the LSTM's output at each decision.
    skip_kl: [S] float32, nats, how far the skip probabilities are from
      `ControllerConfig.skip_target`: the divergence of each, summed over the
      skips of a layer, the mean over layers that have any; 0 in a space
      without skips. To be minimised, weighted, with the loss.
  """

  arc: types.Arc
  log_prob: types.Array
  entropy: types.Array
  step_log_probs: types.Array
  step_probs: types.Array
  hidden: types.Array
  skip_kl: types.Array


@dataclasses.dataclass(frozen=True)
class Controller:
  """The policy of one space. Every method is pure and may be jitted.

  Attributes:
    space: lists its `decisions()` and maps choices to arcs and back.
    config: the LSTM's options.
  """

  space: base.Space
  config: config_lib.ControllerConfig

  def init(self, key: types.PRNGKey) -> types.Theta:
    """Initialises theta uniformly in [-init_range, init_range] (Appendix A).

    But for the biases of operations, see `ControllerConfig.op_bias`.

    Args:
      key: consumed.

    Returns:
      A dict of float32 arrays, with H units and K operations: "lstm" [2H, 4H],
      "start" [H], "op_embedding" [K, H], "attend_key" and "attend_query"
      [H, H], "attend_v" [H]; "op_softmax" [H, K] and "op_bias" [K] by options;
      and the same of other vocabularies, such as "width_embedding".
    """
    width = sum(d.width for d in self.space.decisions())
    choices = jnp.zeros((1, width), jnp.int32)
    return self._module().init(key, choices, None, 1)["params"]

  def sample(
    self, theta: types.Theta, key: types.PRNGKey, num_arcs: int
  ) -> Sample:
    """Samples architectures from pi(m; theta) (Section 2.2).

    Args:
      theta: arrays as `init` lays them out.
      key: consumed.
      num_arcs: how many architectures, S.

    Returns:
      The S architectures, [S, ...], and what the policy says of them.
    """
    choices, rest = self._module().apply({"params": theta}, None, key, num_arcs)
    return Sample(self.space.from_choices(choices), *rest)

  def score(self, theta: types.Theta, arc: types.Arc) -> Sample:
    """Scores given architectures; `score` of a sample's arc is that sample.

    Args:
      theta: arrays as `init` lays them out.
      arc: the architectures, leaves [S, ...] int32.

    Returns:
      The same S architectures, and what the policy says of them.

    Raises:
      AssertionError: if there is no axis S (at trace time).
    """
    choices = self.space.to_choices(arc)
    chex.assert_rank(choices, 2)
    _, rest = self._module().apply(
      {"params": theta}, choices, None, choices.shape[0]
    )
    return Sample(arc, *rest)

  def _module(self) -> "_Policy":
    return _Policy(decisions=self.space.decisions(), config=self.config)


_Nodes = dict[tuple[int, int], types.Array]  # by cell and node, [S, H]


@dataclasses.dataclass
class _State:
  """Where the LSTM is, and what is known of the nodes so far.

  Changed in place from decision to decision, while the policy is traced.

  Attributes:
    memory: [S, H] float32, the LSTM's cell.
    hidden: [S, H] float32, its output.
    x: [S, H] float32, its next input.
    anchors: the output that a node's attention key is made of.
    vectors: the next input after a node is taken.
  """

  memory: types.Array
  hidden: types.Array
  x: types.Array
  anchors: _Nodes
  vectors: _Nodes

  def before(self, nodes: _Nodes, decision: base.Decision) -> types.Array:
    """[S, l, H]: of `nodes` those before node l, zeros where it has none."""
    zero = jnp.zeros_like(self.hidden)
    places = [(decision.cell, node) for node in range(decision.node)]
    return jnp.stack([nodes.get(place, zero) for place in places], axis=1)


class _Policy(nn.Module):
  """The network behind `Controller`.

  Attributes:
    decisions: what to decide, in order.
    config: the LSTM's options.
  """

  decisions: tuple[base.Decision, ...]
  config: config_lib.ControllerConfig

  def setup(self) -> None:
    """Declares theta."""
    cfg, size = self.config, self.config.hidden_size
    sizes = self._vocabularies()
    num_ops = sizes.pop(base.OPERATIONS, 0)

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

  def _vocabularies(self) -> dict[str, int]:
    """How many alternatives each vocabulary has."""
    sizes: dict[str, int] = {}
    for decision in self.decisions:
      if decision.kind == "op":
        known = sizes.get(decision.vocabulary, 0)
        sizes[decision.vocabulary] = max(known, decision.num_choices)
    return sizes

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
      [S, C] int32, the choices; and the fields of `Sample` but the arc.
    """
    if choices is not None:
      width = sum(decision.width for decision in self.decisions)
      chex.assert_shape(choices, (num_arcs, width))
      chex.assert_type(choices, int)
    zero = jnp.zeros((num_arcs, self.config.hidden_size))
    start = jnp.broadcast_to(self.start, zero.shape)
    state = _State(zero, zero, start, anchors={}, vectors={})
    given = None if choices is None else self._split(choices)
    taken, tables, all_hidden = [], [], []
    for step, decision in enumerate(self.decisions):
      self._begin_cell(state, step)
      self._lstm_step(state)
      all_hidden.append(state.hidden)
      log_probs = jax.nn.log_softmax(self._logits(decision, state), axis=-1)
      if given is None:
        assert key is not None
        # By its number, so that a space's later decisions move no earlier one.
        choice = jax.random.categorical(
          jax.random.fold_in(key, step), log_probs
        )
      else:
        choice = given[step]
      # Before the node ends, which may be a step of the LSTM that reads it.
      state.x = self._next_input(decision, choice, state)
      self._end_node(state, step)
      shape = (num_arcs, decision.width)
      taken.append(choice.astype(jnp.int32).reshape(shape))
      tables.append(log_probs.reshape((*shape, -1)))
    taken_array = jnp.concatenate(taken, axis=1)
    rest = self._summary(taken_array, tables)
    hidden, skip_kl = jnp.stack(all_hidden, axis=1), self._skip_kl(tables)
    return taken_array, (*rest, hidden, skip_kl)

  def _split(self, choices: types.Array) -> list[types.Array]:
    """The choice of each decision: [S] or, of "skips", [S, num_choices]."""
    ends = itertools.accumulate(d.width for d in self.decisions)
    return [
      choices[:, end - d.width : end]
      if d.kind == "skips"
      else choices[:, end - 1]
      for d, end in zip(self.decisions, ends, strict=True)
    ]

  def _lstm_step(self, state: _State) -> None:
    """Moves memory and output one step, after reading `state.x`."""
    gates = jnp.concatenate([state.x, state.hidden], axis=-1) @ self.lstm
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    state.memory = (
      jax.nn.sigmoid(i) * jnp.tanh(g) + jax.nn.sigmoid(f) * state.memory
    )
    state.hidden = jax.nn.sigmoid(o) * jnp.tanh(state.memory)

  def _begin_cell(self, state: _State, step: int) -> None:
    """Anchors the inputs of a cell, about which nothing is decided.

    The LSTM goes on where the cell before left it. An input has no vector:
    after it is taken the next input is zero.
    """
    decision = self.decisions[step]
    begins = step == 0 or self.decisions[step - 1].cell != decision.cell
    if begins and self.config.anchor == "own_step":
      for node in range(decision.node):
        self._lstm_step(state)
        state.anchors[decision.cell, node] = state.hidden

  def _end_node(self, state: _State, step: int) -> None:
    """Anchors the node that was decided about, when its time has come."""
    decision = self.decisions[step]
    place = (decision.cell, decision.node)
    if self.config.anchor == "first_decision":
      due = place not in state.anchors
    else:
      # The last node has none after it that could attend to it.
      after = self.decisions[step + 1 : step + 2]
      due = any((d.cell, d.node) != place for d in after)
      # Skips have been decided at the node's own step.
      if due and decision.kind != "skips":
        self._lstm_step(state)
        state.x = jnp.broadcast_to(self.start, state.x.shape)
    if due:
      state.anchors[place] = state.vectors[place] = state.hidden

  def _logits(self, decision: base.Decision, state: _State) -> types.Array:
    """[S, num_choices]: scores, cooled and squashed (Section 3.1).

    Of "skips" [S, num_choices, 2], for no and yes.
    """
    cfg, constant = self.config, self.config.tanh_constant
    numbers = jnp.arange(decision.num_choices)
    if decision.kind == "op":
      scores = self._op_scores(decision, state.hidden)
      constant /= cfg.op_tanh_reduce
    else:
      keys = state.before(state.anchors, decision) @ self.attend_key
      query = state.hidden @ self.attend_query
      scores = jnp.tanh(keys + query[:, None]) @ self.attend_v
    if decision.kind == "skips":
      # So that the odds of a skip are e^(2 score), as in the release.
      scores = jnp.stack([-scores, scores], axis=-1)
    logits = constant * jnp.tanh(scores / cfg.temperature)
    if decision.kind == "index":
      distance = decision.node - numbers
      logits -= cfg.distance_prior * jnp.square(distance)[None]
    if self._of_ops(decision) and decision.cell == 0 and cfg.op_prior > 0:
      favoured = numbers < _NUM_FAVOURED
      logits += jnp.where(favoured, cfg.op_prior, -cfg.op_prior)[None]
    return logits

  def _op_scores(
    self, decision: base.Decision, hidden: types.Array
  ) -> types.Array:
    """[S, num_choices]: what the classifier of its vocabulary says."""
    name = decision.vocabulary
    if self.config.tied_ops:
      weights = self.embeddings[name].T
    else:
      weights = self.classifiers[name]
    scores = hidden @ weights[:, : decision.num_choices]
    if self._of_ops(decision) and self.config.op_bias > 0:
      scores += self.op_bias[: decision.num_choices]
    return scores

  def _of_ops(self, decision: base.Decision) -> bool:
    """Whether operations are decided between."""
    return decision.kind == "op" and (decision.vocabulary == base.OPERATIONS)

  def _next_input(
    self,
    decision: base.Decision,
    choice: types.Array,
    state: _State,
  ) -> types.Array:
    """[S, H]: the embedding of what was just decided."""
    if decision.kind == "op":
      return self.embeddings[decision.vocabulary][choice]
    vectors = state.before(state.vectors, decision)
    if decision.kind == "skips":
      taken = choice.astype(jnp.float32)[..., None]
      # As in the release, not quite the mean; and zero if none is taken.
      return jnp.sum(taken * vectors, axis=1) / (1 + jnp.sum(taken, axis=1))
    x = jnp.take_along_axis(vectors, choice[:, None, None], axis=1)[:, 0]
    if self.config.scale_index_input:
      x = x / (0.1 + decision.node - choice)[:, None]
    return x

  def _summary(
    self, choices: types.Array, tables: list[types.Array]
  ) -> tuple[types.Array, ...]:
    """log_prob, entropy, step_log_probs and step_probs of `Sample`.

    Args:
      choices: [S, C] int32.
      tables: log-probabilities [S, width, alternatives], one for each decision.
    """
    most = max(table.shape[-1] for table in tables)
    padded = jnp.concatenate(
      [
        jnp.pad(
          table,
          ((0, 0), (0, 0), (0, most - table.shape[-1])),
          constant_values=-jnp.inf,  # probability 0; it is never picked
        )
        for table in tables
      ],
      axis=1,
    )
    picked = jnp.take_along_axis(padded, choices[..., None], axis=-1)[..., 0]
    probs = jnp.exp(padded)
    if self.config.entropy == "sampled":
      # The release's: of the choices taken alone, not of the distributions.
      entropy = -jnp.sum(jnp.exp(picked) * picked, axis=-1)
    else:
      entropy = sum(
        (-jnp.sum(jnp.exp(t) * t, axis=(-2, -1)) for t in tables),
        start=jnp.float32(0.0),
      )
    return jnp.sum(picked, axis=-1), entropy, picked, probs

  def _skip_kl(self, tables: list[types.Array]) -> types.Array:
    """skip_kl of `Sample`, [S]: how far skips are from their target rate.

    Args:
      tables: log-probabilities [S, width, alternatives], one for each decision.
    """
    target, divergences = self.config.skip_target, []
    for decision, table in zip(self.decisions, tables, strict=True):
      if decision.kind == "skips":
        log_odds = table[..., 1] - table[..., 0]
        if self.config.skip_kl == "released":
          # The release takes the sigmoid of the score, but the odds that it
          # samples with are those of two scores, the second with a minus.
          log_odds /= 2
        yes, no = jax.nn.log_sigmoid(log_odds), jax.nn.log_sigmoid(-log_odds)
        kl = jnp.exp(yes) * (yes - jnp.log(target))
        kl += jnp.exp(no) * (no - jnp.log(1 - target))
        divergences.append(jnp.sum(kl, axis=-1))
    if not divergences:
      return jnp.zeros(tables[0].shape[:1])
    return jnp.mean(jnp.stack(divergences), axis=0)
