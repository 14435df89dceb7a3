"""REINFORCE that must remember what it decided (Adam & Lorraine, 2019, 3.3).

They found that the controller's hidden state converges to one vector whatever
was chosen, so that p(a_t | a_1, ..., a_(t-1)) is close to p(a_t). So its loss
gains a supervised term: it is to reconstruct architectures out of a memory of
those that it sampled in earlier epochs, L = L_PG + L_Sup. A memory, since a
controller that reconstructs its own present samples can do so by always
proposing the same one.

What they leave open is said by options: epochs are counted from the first in
which theta moves; L_Sup is the mean over a batch of -log pi(m; theta), nats,
summed over decisions.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import fields
from enas_jax.strategies import base, reinforce


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedConfig(config_lib.ReinforceConfig):
  """The controller's options and those of its memory, Section 3.3's numbers."""

  memory_size: int = fields.field(
    "supervised: architectures in the memory at most", default=10_000
  )
  memory_start: int = fields.field(
    "supervised: epochs of theta's training after which the memory is filled,"
    " at the end of each",
    default=5,
  )
  memory_add: int = fields.field(
    "supervised: sampled architectures stored at the end of an epoch, until the"
    " memory is full",
    default=1000,
  )
  memory_replace: int = fields.field(
    "supervised: architectures that others replace at the end of an epoch, once"
    " the memory is full",
    default=100,
  )
  supervised_start: int = fields.field(
    "supervised: the epoch of theta's training, from 1, in which the loss of"
    " reconstruction begins; later if nothing is stored yet",
    default=10,
  )
  supervised_batch: int = fields.field(
    "supervised: architectures of the memory in the loss of a step",
    default=100,
  )
  supervised_weight: float = fields.field(
    "supervised: weight of the loss of reconstruction, nats an architecture",
    default=1.0,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_positive(
      self,
      "theta_",
      *("memory_size", "memory_add", "supervised_start", "supervised_batch"),
      "supervised_weight",
    )
    fields.check_not_negative(self, "theta_", "memory_start", "memory_replace")
    fields.check(
      self.memory_replace <= self.memory_size,
      "theta_memory_replace",
      f"at most theta_memory_size, {self.memory_size}",
      self.memory_replace,
    )


class State(NamedTuple):
  """What the strategy has learnt, and the memory.

  Attributes:
    policy: the controller and its update.
    memory: [memory_size, C] int32, choices of stored architectures.
    stored: [] int32, how many there are, in the first rows.
    epochs: [] int32, epochs of theta's training that are finished.
  """

  policy: reinforce.State
  memory: types.Array
  stored: types.Array
  epochs: types.Array


@dataclasses.dataclass(frozen=True)
class Supervised(base.Strategy):
  """pi(m; theta), trained with REINFORCE and to reconstruct its past samples.

  Attributes:
    space: the search space.
    options: the controller's, the update's and the memory's.
    num_arcs: S, architectures a theta step, their gradients averaged.
  """

  space: Any
  options: SupervisedConfig
  num_arcs: int

  @property
  def learns(self) -> bool:
    """Yes."""
    return self.options.learns

  @property
  def reinforce(self) -> reinforce.Reinforce:
    """The same without a memory."""
    return reinforce.Reinforce(self.space, self.options, self.num_arcs)

  def init(self, key: types.PRNGKey) -> State:
    """A controller that has seen no reward, and an empty memory."""
    width = sum(decision.width for decision in self.space.decisions())
    return State(
      policy=self.reinforce.init(key),
      memory=jnp.zeros((self.options.memory_size, width), jnp.int32),
      stored=jnp.int32(0),
      epochs=jnp.int32(0),
    )

  def propose(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Samples of the policy, leaves [S, ...] int32."""
    return self.reinforce.propose(state.policy, key, num_arcs)

  def update(
    self, state: State, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[State, base.Metrics]:
    """A step of REINFORCE whose loss has the term of reconstruction.

    Args:
      state: the state before the step.
      key: for everything random.
      judge: says what an architecture earns.

    Returns:
      The state after the step; and metrics, [] float32: those of
      `reinforce.Reinforce.learn`; "supervised_nats", the term unweighted, 0
      while there is none; and "memory", how many architectures are stored.
    """
    # The first two are those of REINFORCE, so that until the term begins this
    # is the same search; a test holds it.
    key_arc, key_batch, key_memory = jax.random.split(key, 3)
    policy = self.reinforce
    sample, earned = policy.earn(state.policy, key_arc, key_batch, judge)
    arcs = self._remember(state, key_memory)
    begun = state.epochs + 1 >= self.options.supervised_start
    active = begun & (state.stored > 0)

    def reconstruct(theta: types.Theta) -> tuple[types.Array, base.Metrics]:
      # Scoring the batch costs more than the rest of the controller's step.
      nats = lax.cond(
        active,
        lambda: -jnp.mean(policy.controller.score(theta, arcs).log_prob),
        lambda: jnp.float32(0.0),
      )
      return self.options.supervised_weight * nats, {"supervised_nats": nats}

    learnt, metrics = policy.learn(state.policy, sample, earned, reconstruct)
    metrics["memory"] = state.stored.astype(jnp.float32)
    return state._replace(policy=learnt), metrics

  def end_epoch(self, state: State, key: types.PRNGKey) -> State:
    """Counts the epoch, and stores samples of the policy.

    Of a memory that is full some architectures, drawn by chance, are replaced.
    """
    options = self.options
    # An epoch in which theta rested, at the start, is not one of its training.
    moved = state.policy.baseline.num_rewards > 0
    epochs = state.epochs + moved
    key_arcs, key_places = jax.random.split(key)
    # Enough for either: whether the memory is full is known on the device.
    count = max(options.memory_add, options.memory_replace)
    samples = self.propose(state, key_arcs, count)
    choices = self.space.to_choices(samples)
    size, replace = options.memory_size, options.memory_replace
    # Rows beyond the last one are dropped: the memory is full then.
    rows = state.stored + jnp.arange(options.memory_add)
    added = state.memory.at[rows].set(
      choices[: options.memory_add], mode="drop"
    )
    places = jax.random.choice(key_places, size, (replace,), replace=False)
    replaced = state.memory.at[places].set(choices[:replace])
    storing = epochs >= options.memory_start
    full = state.stored == size
    memory = jnp.where(full, replaced, added)
    stored = jnp.minimum(state.stored + options.memory_add, size)
    return state._replace(
      memory=jnp.where(storing, memory, state.memory),
      stored=jnp.where(storing, stored, state.stored),
      epochs=epochs,
    )

  def inspect(self, state: State, arcs: types.Arc) -> base.Inspection:
    """What the controller thinks as it decides on arcs [S, ...]."""
    return self.reinforce.inspect(state.policy, arcs)

  def _remember(self, state: State, key: types.PRNGKey) -> types.Arc:
    """A batch of stored architectures; of an empty memory the zeros in it."""
    shape = (self.options.supervised_batch,)
    rows = jax.random.randint(key, shape, 0, jnp.maximum(state.stored, 1))
    return self.space.from_choices(state.memory[rows])


DEFINITION = base.Definition("supervised", Supervised, SupervisedConfig)
