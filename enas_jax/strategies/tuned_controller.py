"""REINFORCE that also learns from candidates trained alone (Section 2.2).

Shared weights say what an architecture is worth to all; training it alone for
a few steps says what it is worth to itself, at a price. So every few epochs the
best of the controller's samples are trained so, and from then on a second
policy gradient is added to the step, from their rewards (Williams, 1992).

These rewards are of another level than those of shared weights, and of another
one after each epoch. So the baseline of each is the mean of the others of its
set (leave-one-out, Kool et al., 2019), and the moving average knows none of
them. A set is used until the next one is there; as the policy moves away from
it meanwhile, its terms are weighed by pi(m; theta now) / pi(m; theta then), at
most 1.

Candidates are the best of several samples by shared weights, and not plain
samples of the policy: the second gradient is biased towards telling good ones
apart. Until the first set is there this is the plain controller, bit for bit.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import fields
from enas_jax.strategies import base, reinforce


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedControllerConfig(config_lib.ReinforceConfig):
  """The controller's options, and what is trained alone how often."""

  tuned_every: int = fields.field(
    "tuned_controller: epochs of theta's training between two sets of"
    " candidates that are trained alone",
    default=1,
  )
  tuned_arcs: int = fields.field(
    "tuned_controller: candidates of a set, the best of theta_tuned_pool"
    " samples by reward",
    default=4,
  )
  tuned_pool: int = fields.field(
    "tuned_controller: samples that the candidates of a set are chosen from",
    default=20,
  )
  tuned_steps: int = fields.field(
    "tuned_controller: steps that each is trained, from the shared weights",
    default=50,
  )
  tuned_weight: float = fields.field(
    "tuned_controller: weight of the policy gradient of their rewards",
    default=1.0,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_positive(
      self, "theta_", "tuned_every", "tuned_steps", "tuned_weight"
    )
    fields.check(
      2 <= self.tuned_arcs <= self.tuned_pool,
      "theta_tuned_arcs",
      f"from 2 to theta_tuned_pool, {self.tuned_pool}",
      self.tuned_arcs,
    )


class State(NamedTuple):
  """What the strategy has learnt, and the last set of candidates.

  K is the number of candidates of a set, C that of choices.

  Attributes:
    policy: the controller and its update.
    choices: [K, C] int32, the candidates.
    log_probs: [K] float32, log pi(m; theta) when their rewards came, nats.
    advantages: [K] float32, their rewards over those of the others.
    sets: [] int32, sets that there were; 0: the three above say nothing yet.
  """

  policy: reinforce.State
  choices: types.Array
  log_probs: types.Array
  advantages: types.Array
  sets: types.Array


@dataclasses.dataclass(frozen=True)
class TunedController(base.Strategy):
  """pi(m; theta), trained on rewards of shared weights and of trained ones.

  Attributes:
    space: the search space.
    options: the controller's, the update's and those of sets.
    num_arcs: S, architectures a theta step, their gradients averaged.
  """

  space: Any
  options: TunedControllerConfig
  num_arcs: int

  @property
  def learns(self) -> bool:
    """Yes."""
    return self.options.learns

  @property
  def reinforce(self) -> reinforce.Reinforce:
    """The same without candidates that are trained alone."""
    return reinforce.Reinforce(self.space, self.options, self.num_arcs)

  def init(self, key: types.PRNGKey) -> State:
    """A controller that has seen no reward, and no set."""
    count = self.options.tuned_arcs
    width = sum(decision.width for decision in self.space.decisions())
    return State(
      policy=self.reinforce.init(key),
      choices=jnp.zeros((count, width), jnp.int32),
      log_probs=jnp.zeros((count,)),
      advantages=jnp.zeros((count,)),
      sets=jnp.int32(0),
    )

  def propose(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Samples of the policy, leaves [S, ...] int32."""
    return self.reinforce.propose(state.policy, key, num_arcs)

  def update(
    self, state: State, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[State, base.Metrics]:
    """A step of REINFORCE whose loss has a term of the last set.

    Args:
      state: the state before the step.
      key: for everything random.
      judge: says what an architecture earns.

    Returns:
      The state after the step; and metrics, [] float32: those of
      `reinforce.Reinforce.learn`; "tuned_loss", the term unweighted, 0 while
      there is none.
    """
    key_arc, key_batch = jax.random.split(key)  # as the plain controller does
    policy = self.reinforce
    sample, earned = policy.earn(state.policy, key_arc, key_batch, judge)
    arcs = self.space.from_choices(state.choices)

    def add_loss(theta: types.Theta) -> tuple[types.Array, base.Metrics]:
      # A conditional: without a set, scoring its zeros would be for nothing.
      loss = lax.cond(
        state.sets > 0,
        lambda: set_loss(
          policy.controller.score(theta, arcs).log_prob,
          state.log_probs,
          state.advantages,
        ),
        lambda: jnp.float32(0.0),
      )
      return self.options.tuned_weight * loss, {"tuned_loss": loss}

    learnt, metrics = policy.learn(state.policy, sample, earned, add_loss)
    return state._replace(policy=learnt), metrics

  def asks(self, epoch: int) -> base.Request | None:
    """A set every `tuned_every` epochs."""
    options = self.options
    if epoch % options.tuned_every:
      return None
    return base.Request(options.tuned_arcs, options.tuned_steps)

  def ask(
    self, state: State, key: types.PRNGKey, judge: base.Judge
  ) -> types.Arc:
    """The best of several samples, all judged on the same minibatch.

    An architecture that was sampled twice comes once, unless too few different
    ones were sampled.
    """
    key_arcs, key_batch = jax.random.split(key)
    arcs = self.propose(state, key_arcs, self.options.tuned_pool)
    keys = jnp.broadcast_to(key_batch, (self.options.tuned_pool,))
    earned = judge.rewards(arcs, keys)
    choices = self.space.to_choices(arcs)
    # [tuned_pool, tuned_pool]
    same = jnp.all(choices[:, None] == choices[None], axis=-1)
    # Below the diagonal: the first of equal ones is not one that comes again.
    again = jnp.any(jnp.tril(same, -1), axis=1)
    worth = jnp.where(jnp.isfinite(earned) & ~again, earned, -jnp.inf)
    # Those that come again are -inf: taken last, if at all.
    _, best = lax.top_k(worth, self.options.tuned_arcs)
    return self.space.from_choices(choices[best])

  def tell(
    self, state: State, arcs: types.Arc, rewards: types.Array
  ) -> tuple[State, base.Metrics]:
    """Keeps the set for the steps to come.

    Args:
      state: the state in which it was asked for.
      arcs: leaves [K, ...] int32, as `ask` returned them.
      rewards: [K] float32, after training alone; one that is not finite teaches
        nothing.

    Returns:
      The new state; and the metrics of `base.reward_metrics`.
    """
    chex.assert_shape(rewards, (self.options.tuned_arcs,))
    controller = self.reinforce.controller
    state = state._replace(
      choices=self.space.to_choices(arcs),
      # Of the policy that chose them: theta has not moved since `ask`.
      log_probs=controller.score(state.policy.theta, arcs).log_prob,
      advantages=leave_one_out(rewards),
      sets=state.sets + 1,
    )
    return state, base.reward_metrics(rewards)

  def inspect(self, state: State, arcs: types.Arc) -> base.Inspection:
    """What the controller thinks as it decides on arcs [S, ...]."""
    return self.reinforce.inspect(state.policy, arcs)


def leave_one_out(rewards: types.Array) -> types.Array:
  """Each reward over the mean of the others (Kool et al., 2019).

  Args:
    rewards: [K] float32, unitless; one that is not finite counts for none.

  Returns:
    [K] float32; 0 for one that is not finite, or is alone.
  """
  chex.assert_rank(rewards, 1)
  known = jnp.isfinite(rewards)
  rewards = jnp.where(known, rewards, 0.0)
  others = jnp.sum(known) - 1
  # Without the reward itself, which would bias the gradient.
  mean = (jnp.sum(rewards) - rewards) / jnp.maximum(others, 1)
  return jnp.where(known & (others > 0), rewards - mean, 0.0)


def set_loss(
  log_prob: types.Array, log_prob_then: types.Array, advantage: types.Array
) -> types.Array:
  """REINFORCE loss of architectures that an earlier policy has sampled.

  Gradient flows through `log_prob` alone, and not through its ratio to what it
  was, which is cut at 1.

  Args:
    log_prob: [K] float32, log pi(m; theta), nats, summed over decisions.
    log_prob_then: [K] float32, the same when the advantages were measured.
    advantage: [K] float32.

  Returns:
    [] float32, mean over K; minimise.
  """
  chex.assert_equal_shape([log_prob, log_prob_then, advantage])
  # pi(m; theta now) / pi(m; theta then): what the policy has left counts less.
  ratio = jnp.exp(jnp.minimum(log_prob - log_prob_then, 0.0))
  return -jnp.mean(log_prob * lax.stop_gradient(ratio * advantage))


DEFINITION = base.Definition(
  "tuned_controller", TunedController, TunedControllerConfig
)
