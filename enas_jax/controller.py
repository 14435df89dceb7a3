"""The controller: an LSTM policy over the decisions of a space (Section 2.2).

It knows nothing of networks: a space lists its decisions, and the controller
samples or scores choices for them, each decision's choice being the input of
the next step. Operations are scored by a softmax classifier. Earlier nodes are
scored by attention over the states in which they were decided; the paper says
only "softmax classifiers", the authors' code does this.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces import decisions as decisions_lib


class Sample(NamedTuple):
  """Architectures with what the policy says of them.

  Attributes:
    arc: of the space; leaves [S, ...] int32.
    log_prob: [S] float32, log pi(m; theta), nats, summed over decisions.
    entropy: [S] float32, nats, summed over decisions; see
      `ControllerConfig.entropy`.
    step_log_probs: [S, C] float32, nats, of each choice.
    step_probs: [S, C, max choices] float32, each decision's softmax, padded
      with zeros.
    hidden: [S, C, H] float32, the LSTM's output at each decision.
  """

  arc: types.Arc
  log_prob: types.Array
  entropy: types.Array
  step_log_probs: types.Array
  step_probs: types.Array
  hidden: types.Array


@dataclasses.dataclass(frozen=True)
class Controller:
  """The policy of one space. Every method is pure and may be jitted.

  Attributes:
    space: lists its `decisions()` and maps choices to arcs and back.
    config: the LSTM's options.
  """

  space: Any
  config: config_lib.ControllerConfig

  def init(self, key: types.PRNGKey) -> types.Theta:
    """Initialises theta uniformly in [-init_range, init_range] (App. A)."""
    choices = jnp.zeros((1, len(self.space.decisions())), jnp.int32)
    return self._module().init(key, choices, None, 1)["params"]

  def sample(
    self, theta: types.Theta, key: types.PRNGKey, num_arcs: int
  ) -> Sample:
    """Samples `num_arcs` architectures (S) from pi(m; theta)."""
    choices, rest = self._module().apply({"params": theta}, None, key, num_arcs)
    return Sample(self.space.from_choices(choices), *rest)

  def score(self, theta: types.Theta, arc: types.Arc) -> Sample:
    """What the policy says of given architectures, leaves [S, ...]."""
    choices = self.space.to_choices(arc)
    _, rest = self._module().apply(
      {"params": theta}, choices, None, choices.shape[0]
    )
    return Sample(arc, *rest)

  def _module(self) -> "_Policy":
    return _Policy(decisions=self.space.decisions(), config=self.config)


class _Policy(nn.Module):
  """The network behind `Controller`.

  Attributes:
    decisions: what to decide, in order.
    config: the LSTM's options.
  """

  decisions: tuple[decisions_lib.Decision, ...]
  config: config_lib.ControllerConfig

  def setup(self) -> None:
    """Declares theta."""
    cfg, size = self.config, self.config.hidden_size
    num_ops = max(d.num_choices for d in self.decisions if d.kind == "op")

    def init(key: Any, shape: Any) -> types.Array:
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

  def __call__(
    self,
    choices: types.Array | None,
    key: types.PRNGKey | None,
    num_arcs: int,
  ) -> tuple[types.Array, tuple[types.Array, ...]]:
    """Scores `choices` [S, C], or samples them where they are None."""
    size = self.config.hidden_size
    cell = hidden = jnp.zeros((num_arcs, size))
    x = jnp.broadcast_to(self.start, (num_arcs, size))
    anchors: dict[int, types.Array] = {}
    taken, all_log_probs, all_hidden = [], [], []
    for step, decision in enumerate(self.decisions):
      cell, hidden = self._lstm_step(x, cell, hidden)
      anchors.setdefault(decision.node, hidden)
      candidates = [
        anchors.get(j, jnp.zeros_like(hidden)) for j in range(decision.node)
      ]
      log_probs = jax.nn.log_softmax(
        self._logits(decision, hidden, candidates), axis=-1
      )
      if choices is None:
        assert key is not None
        choice = jax.random.categorical(
          jax.random.fold_in(key, step), log_probs
        )
      else:
        choice = choices[:, step]
      x = self._next_input(decision, choice, candidates)
      taken.append(choice.astype(jnp.int32))
      all_log_probs.append(log_probs)
      all_hidden.append(hidden)
    taken_array = jnp.stack(taken, axis=1)
    rest = self._summary(taken_array, all_log_probs)
    return taken_array, (*rest, jnp.stack(all_hidden, axis=1))

  def _lstm_step(
    self, x: types.Array, cell: types.Array, hidden: types.Array
  ) -> tuple[types.Array, types.Array]:
    gates = jnp.concatenate([x, hidden], axis=-1) @ self.lstm
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(i) * jnp.tanh(g) + jax.nn.sigmoid(f) * cell
    return cell, jax.nn.sigmoid(o) * jnp.tanh(cell)

  def _logits(
    self,
    decision: decisions_lib.Decision,
    hidden: types.Array,
    candidates: list[types.Array],
  ) -> types.Array:
    """[S, num_choices]: scores, cooled and squashed (Section 3.1)."""
    cfg = self.config
    if decision.kind == "op":
      weights = self.op_embedding.T if cfg.tied_ops else self.op_softmax
      scores = hidden @ weights[:, : decision.num_choices]
    else:
      keys = jnp.stack(candidates, axis=1) @ self.attend_key
      query = hidden @ self.attend_query
      scores = jnp.tanh(keys + query[:, None]) @ self.attend_v
    logits = cfg.tanh_constant * jnp.tanh(scores / cfg.temperature)
    if decision.kind == "index":
      distance = decision.node - jnp.arange(decision.num_choices)
      logits -= cfg.distance_prior * jnp.square(distance)[None]
    return logits

  def _next_input(
    self,
    decision: decisions_lib.Decision,
    choice: types.Array,
    candidates: list[types.Array],
  ) -> types.Array:
    """[S, H]: the embedding of what was just decided."""
    if decision.kind == "op":
      return self.op_embedding[choice]
    stacked = jnp.stack(candidates, axis=1)
    x = jnp.take_along_axis(stacked, choice[:, None, None], axis=1)[:, 0]
    if self.config.scale_index_input:
      x = x / (0.1 + decision.node - choice)[:, None]
    return x

  def _summary(
    self, choices: types.Array, all_log_probs: list[types.Array]
  ) -> tuple[types.Array, ...]:
    """log_prob, entropy, step_log_probs and step_probs of `Sample`."""
    width = max(p.shape[-1] for p in all_log_probs)
    padded = jnp.stack(
      [
        jnp.pad(p, ((0, 0), (0, width - p.shape[-1])), constant_values=-jnp.inf)
        for p in all_log_probs
      ],
      axis=1,
    )
    picked = jnp.take_along_axis(padded, choices[..., None], axis=-1)[..., 0]
    probs = jnp.exp(padded)
    if self.config.entropy == "sampled":
      entropy = -jnp.sum(jnp.exp(picked) * picked, axis=-1)
    else:
      entropy = sum(
        (-jnp.sum(jnp.exp(p) * p, axis=-1) for p in all_log_probs),
        start=jnp.float32(0.0),
      )
    return jnp.sum(picked, axis=-1), entropy, picked, probs
