"""REINFORCE with an LSTM controller, the paper's strategy (Section 2.2).

The controller samples architectures; each earns a reward on a validation
minibatch, with a bonus for the entropy of the policy; the advantage over a
moving average of rewards weighs the gradient of its log-probability
(Williams, 1992). The step is Adam's.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.strategies import base
from enas_jax.strategies import controller as controller_lib


class Baseline(NamedTuple):
  """The moving average of past rewards.

  Attributes:
    value: [] float32, starts at 0.
    num_rewards: [] int32, rewards seen.
  """

  value: types.Array
  num_rewards: types.Array


class State(NamedTuple):
  """What the strategy has learnt.

  Attributes:
    theta: the controller's weights.
    opt: Adam's state.
    baseline: the moving average of rewards.
  """

  theta: types.Theta
  opt: optax.OptState
  baseline: Baseline


@dataclasses.dataclass(frozen=True)
class Reinforce(base.Strategy):
  """pi(m; theta), trained with REINFORCE.

  Attributes:
    space: the search space.
    options: the controller's and the update's.
    num_arcs: S, architectures a theta step, their gradients averaged.
  """

  space: Any
  options: config_lib.ReinforceConfig
  num_arcs: int

  @property
  def learns(self) -> bool:
    """Yes."""
    return self.options.learns

  @property
  def controller(self) -> controller_lib.Controller:
    """The policy."""
    return controller_lib.Controller(self.space, self.options.controller)

  def init(self, key: types.PRNGKey) -> State:
    """A controller that has seen no reward."""
    theta = self.controller.init(key)
    opt = make_optimizer(self.options).init(theta)
    return State(theta, opt, init_baseline())

  def propose(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Samples of the policy, leaves [S, ...] int32."""
    return self.controller.sample(state.theta, key, num_arcs).arc

  def update(
    self, state: State, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[State, base.Metrics]:
    """Samples S architectures and learns from what they earn; see `learn`."""
    key_arc, key_batch = jax.random.split(key)
    sample, earned = self.earn(state, key_arc, key_batch, judge)
    return self.learn(state, sample, earned)

  def inspect(self, state: State, arcs: types.Arc) -> base.Inspection:
    """What the controller thinks as it decides on arcs [S, ...]."""
    sample = self.controller.score(state.theta, arcs)
    return base.Inspection(sample.log_prob, sample.step_probs, sample.hidden)

  def earn(
    self,
    state: State,
    key_arc: types.PRNGKey,
    key_batch: types.PRNGKey,
    judge: base.Judge,
  ) -> tuple[controller_lib.Sample, types.Array]:
    """Samples S architectures and asks what they earn, [S] float32."""
    sample = self.controller.sample(state.theta, key_arc, self.num_arcs)
    # A minibatch for each, as the runs have that the release averages.
    keys = jax.random.split(key_batch, self.num_arcs)
    return sample, judge.rewards(sample.arc, keys)

  def learn(
    self,
    state: State,
    sample: controller_lib.Sample,
    earned: types.Array,
    add_loss: Callable[[types.Theta], tuple[types.Array, base.Metrics]]
    | None = None,
  ) -> tuple[State, base.Metrics]:
    """Trains theta on what sampled architectures earned.

    A sample whose reward is not finite teaches nothing: it has no advantage and
    leaves the baseline where it is.

    Args:
      state: the state before the step.
      sample: S architectures, with what the policy says of them.
      earned: [S] float32, their rewards.
      add_loss: theta -> a term of the loss, [] float32, and metrics of it; None
        for none.

    Returns:
      The state after the step; and metrics, [] float32: those of
      `base.reward_metrics`, without the entropy bonus; the means over the
      samples "entropy_nats" and "log_prob"; "baseline" after the step; and
      "grad_norm", that of the whole loss's gradient in theta.
    """
    chex.assert_shape(earned, sample.log_prob.shape)
    options = self.options
    # The entropy is part of the reward (Section 3.1): no gradient through it.
    known = jnp.isfinite(earned)
    # 0 in place of NaN, which an advantage of 0 would not cancel.
    rewards = (
      jnp.where(known, earned, 0.0) + options.entropy_weight * sample.entropy
    )
    baseline, subtract = update_baseline(
      state.baseline, rewards, options, known
    )

    def loss_of(theta: types.Theta) -> tuple[types.Array, base.Metrics]:
      # Scored anew, as a function of theta: a sample's own numbers are given.
      scored = self.controller.score(theta, sample.arc)
      loss = reinforce_loss(scored.log_prob, rewards, subtract)
      # Added to the loss as in the release: a term of the reward, as Section
      # 3.2 puts it, would only reach theta through the sampled arcs.
      loss += options.skip_weight * jnp.mean(scored.skip_kl)
      if add_loss is None:
        return loss, {}
      term, metrics = add_loss(theta)
      return loss + term, metrics

    grads, more = jax.grad(loss_of, has_aux=True)(state.theta)
    # Made anew: it holds no arrays, only `State.opt` does.
    optimizer = make_optimizer(options)
    updates, opt = optimizer.update(grads, state.opt, state.theta)
    metrics = base.reward_metrics(earned) | more
    metrics |= {
      "entropy_nats": jnp.mean(sample.entropy),
      "log_prob": jnp.mean(sample.log_prob),
      "baseline": read_baseline(baseline, options),
      "grad_norm": optax.tree.norm(grads),
    }
    theta = optax.apply_updates(state.theta, updates)
    return State(theta, opt, baseline), metrics


def make_optimizer(
  options: config_lib.ReinforceConfig,
) -> optax.GradientTransformation:
  """Adam (Section 2.2)."""
  return optax.adam(
    options.learning_rate, b1=options.adam_beta1, eps=options.adam_epsilon
  )


def reinforce_loss(
  log_prob: types.Array, reward: types.Array, baseline: types.Array
) -> types.Array:
  """REINFORCE loss for theta with a baseline (Section 2.2).

  Gradient flows through `log_prob` alone.

  Args:
    log_prob: [S] float32, log pi(m; theta), nats, summed over decisions.
    reward: [S] float32, with the entropy bonus in it (Section 3.1).
    baseline: [S] float32, subtracted from the reward.

  Returns:
    [] float32, mean over S; minimise.
  """
  chex.assert_equal_shape([log_prob, reward, baseline])
  advantage = lax.stop_gradient(reward - baseline)
  # Its gradient is minus the policy gradient (Williams, 1992): optax descends.
  return -jnp.mean(log_prob * advantage)


def init_baseline() -> Baseline:
  """A baseline that has seen no reward."""
  return Baseline(jnp.float32(0.0), jnp.int32(0))


def update_baseline(
  baseline: Baseline,
  rewards: types.Array,
  options: config_lib.ReinforceConfig,
  known: types.Array,
) -> tuple[Baseline, types.Array]:
  """Takes in rewards one after the other.

  Args:
    baseline: the average so far.
    rewards: [S] float32.
    options: decay, order and bias correction.
    known: [S] bool, which of the rewards count; the others meet their own value
      and move nothing.

  Returns:
    The new average, and the baseline to subtract from each reward, [S] float32.
    The first reward of all meets its own value where `baseline_debias` is on,
    so that a start at 0 does not push every early sample up.
  """
  chex.assert_rank(rewards, 1)
  chex.assert_equal_shape([rewards, known])

  def step(
    old: Baseline, pair: tuple[types.Array, types.Array]
  ) -> tuple[Baseline, types.Array]:
    reward, counts = pair
    # As released: b <- b - (1 - decay) (b - R).
    value = old.value - (1.0 - options.baseline_decay) * (old.value - reward)
    new = Baseline(value, old.num_rewards + 1)
    # The new one has the reward in it: R - b_new = decay (R - b_old).
    used = read_baseline(new if options.baseline_first else old, options)
    if options.baseline_debias:
      used = jnp.where(old.num_rewards == 0, reward, used)
    both = zip(new, old, strict=True)
    new = Baseline(*(jnp.where(counts, *values) for values in both))
    return new, jnp.where(counts, used, reward)

  return lax.scan(step, baseline, (rewards, known))


def read_baseline(
  baseline: Baseline, options: config_lib.ReinforceConfig
) -> types.Array:
  """The baseline's present value, [] float32."""
  if not options.baseline_debias:
    return baseline.value
  # Not by 0 before the first reward.
  count = jnp.maximum(baseline.num_rewards, 1).astype(jnp.float32)
  return baseline.value / (1.0 - options.baseline_decay**count)


DEFINITION = base.Definition(
  "controller",
  Reinforce,
  config_lib.ReinforceConfig,
  {"nasbench201": "53.89 +- 0.58"},
)
