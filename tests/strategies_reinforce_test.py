"""REINFORCE: every term of the loss, and the baseline, by hand."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.search import theta_steps
from enas_jax.spaces import registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.strategies import registry as strategies
from enas_jax.strategies import reinforce
from tests import tiny

GOLDEN = pathlib.Path(__file__).parent / "golden" / "misc" / "semantics.npz"

ALL = jnp.ones(50, bool)
SPACE = macro.MacroSpace(2)


def make_options(**changes):
  config = config_lib.override(registry.preset("paper"), "strategy", **changes)
  return config.strategy


class LossTest(parameterized.TestCase):
  def test_reinforce_loss(self):
    # -mean(-1 * (3 - 1), -2 * (0 - 1)) = -((-2) + 2) / 2 = 0; and gradients
    # -(R - b) / 2 for each log-probability.
    log_prob = jnp.array([-1.0, -2.0])
    reward, baseline = jnp.array([3.0, 0.0]), jnp.array([1.0, 1.0])
    loss, grads = jax.value_and_grad(reinforce.reinforce_loss, argnums=(0, 1))(
      log_prob, reward, baseline
    )
    self.assertAlmostEqual(float(loss), 0.0)
    np.testing.assert_allclose(grads[0], [-1.0, 0.5])
    np.testing.assert_array_equal(grads[1], 0.0)


class BaselineTest(parameterized.TestCase):
  def test_released_order(self):
    config = make_options(
      baseline_decay=0.9, baseline_debias=False, baseline_first=True
    )
    state, used = reinforce.update_baseline(
      reinforce.init_baseline(), jnp.array([1.0, 2.0]), config, ALL[:2]
    )
    # 0.1 * 1, then 0.9 * 0.1 + 0.1 * 2.
    np.testing.assert_allclose(used, [0.1, 0.29], rtol=1e-6)
    self.assertAlmostEqual(float(state.value), 0.29, places=6)

  def test_corrected_baseline_is_the_weighted_mean_of_the_past(self):
    config = make_options(
      baseline_decay=0.9, baseline_debias=True, baseline_first=False
    )
    rewards = [1.0, 2.0, 4.0]
    state, used = reinforce.update_baseline(
      reinforce.init_baseline(), jnp.array(rewards), config, ALL[:3]
    )
    # Before the third: (0.9 * 1 + 2) / (0.9 + 1).
    np.testing.assert_allclose(used, [1.0, 1.0, 2.9 / 1.9], rtol=1e-5)
    # All three: (0.81 * 1 + 0.9 * 2 + 4) / (0.81 + 0.9 + 1).
    found = float(reinforce.read_baseline(state, config))
    self.assertAlmostEqual(found, 6.61 / 2.71, places=5)

  def test_a_constant_reward_leaves_no_advantage(self):
    config = make_options(baseline_decay=0.99)
    _, used = reinforce.update_baseline(
      reinforce.init_baseline(), jnp.full(50, 0.3), config, ALL
    )
    np.testing.assert_allclose(used, 0.3, rtol=1e-5)

  def test_a_reward_that_is_no_number_moves_nothing(self):
    config = make_options(
      baseline_decay=0.9, baseline_debias=False, baseline_first=False
    )
    known = jnp.array([True, False, True])
    state, used = reinforce.update_baseline(
      reinforce.init_baseline(), jnp.array([1.0, 7.0, 2.0]), config, known
    )
    # 0, its own value, 0.1 * 1; then 0.9 * 0.1 + 0.1 * 2.
    np.testing.assert_allclose(used, [0.0, 7.0, 0.1], rtol=1e-6)
    self.assertAlmostEqual(float(state.value), 0.29, places=6)
    self.assertEqual(int(state.num_rewards), 2)


class LearnTest(absltest.TestCase):
  """A whole step, where Adam's is as long as the gradient."""

  def _learn(self, earned):
    options = make_options(
      controller={"hidden_size": 4, "init_range": 1.0, "skip_target": 0.7},
      learning_rate=1e4,
      # Adam divides by this and the gradient's size, which is far smaller.
      adam_epsilon=1e4,
      entropy_weight=0.5,
      skip_weight=0.8,
      baseline_decay=0.9,
      baseline_debias=False,
    )
    strategy = reinforce.Reinforce(SPACE, options, 3)
    start = strategy.init(jax.random.key(0))
    start = start._replace(
      baseline=reinforce.Baseline(jnp.float32(0.3), jnp.int32(5))
    )
    sample = strategy.controller.sample(start.theta, jax.random.key(1), 3)
    state, metrics = strategy.learn(start, sample, jnp.array(earned))
    return strategy, start, sample, state, metrics

  def _check(self, earned, bonus_of, baselines):
    """Each weight moves against the gradient of the loss, term by term."""
    strategy, start, sample, state, metrics = self._learn(earned)
    entropy = np.asarray(sample.entropy)
    advantage = bonus_of(entropy) - np.asarray(baselines(entropy))

    def loss(theta):
      scored = strategy.controller.score(theta, sample.arc)
      # More of what earned more than the baseline; and skips that come as
      # often as they should.
      likely = jnp.sum(scored.log_prob * advantage) / 3
      return -likely + 0.8 * jnp.mean(scored.skip_kl)

    grads = jax.grad(loss)(start.theta)
    self.assertGreater(np.abs(grads["lstm"]).max(), 1e-3)
    np.testing.assert_allclose(
      metrics["grad_norm"], optax.tree.norm(grads), rtol=1e-3
    )
    for name, grad in grads.items():
      np.testing.assert_allclose(
        state.theta[name] - start.theta[name], -grad, rtol=2e-3, atol=1e-5,
        err_msg=name,
      )  # fmt: skip
    return state, metrics, entropy

  def test_every_term_has_its_sign_and_weight(self):
    earned = np.array([1.0, 0.2, 0.6], np.float32)

    def baselines(entropy):
      values = [0.3]
      for reward in (earned + 0.5 * entropy)[:2]:
        values.append(0.9 * values[-1] + 0.1 * reward)
      return values

    state, metrics, entropy = self._check(
      earned, lambda entropy: earned + 0.5 * entropy, baselines
    )
    # Without the bonus, which the baseline has seen.
    self.assertAlmostEqual(float(metrics["reward"]), 0.6, places=6)
    self.assertEqual(float(metrics["rewards_not_finite"]), 0.0)
    self.assertAlmostEqual(
      float(metrics["entropy_nats"]), entropy.mean(), places=5
    )
    last = 0.9 * baselines(entropy)[2] + 0.1 * (0.6 + 0.5 * entropy[2])
    self.assertAlmostEqual(float(metrics["baseline"]), last, places=5)
    self.assertEqual(int(state.baseline.num_rewards), 8)

  def test_a_sample_that_overflowed_teaches_nothing(self):
    for bad in (np.nan, np.inf, -np.inf):
      earned = np.array([1.0, bad, 0.6], np.float32)
      keeps = np.array([1.0, 0.0, 1.0])

      def rewards(entropy, keeps=keeps):
        return keeps * (np.array([1.0, 0.0, 0.6]) + 0.5 * entropy)

      def baselines(entropy, rewards=rewards):
        return [0.3, 0.0, 0.27 + 0.1 * rewards(entropy)[0]]

      state, metrics, _ = self._check(earned, rewards, baselines)
      self.assertAlmostEqual(float(metrics["reward"]), 0.8, places=6)
      self.assertEqual(float(metrics["rewards_not_finite"]), 1.0)
      self.assertEqual(int(state.baseline.num_rewards), 7)
      self.assertTrue(np.isfinite(float(metrics["baseline"])))


class OptimizerTest(absltest.TestCase):
  def test_adam_as_the_authors_code(self):
    """But for TensorFlow's epsilon, added before v is corrected for its start.

    A step is 0.01 long; at the first, epsilon is 32 times larger there.
    """
    golden = np.load(GOLDEN)
    options = registry.preset("released", "macro").strategy
    options = dataclasses.replace(options, learning_rate=0.01)
    optimizer = reinforce.make_optimizer(options)
    weights = jnp.asarray(golden["adam_w"][0])
    state = optimizer.init(weights)
    for step in range(4):
      grads = 2 * (weights - golden["adam_t"])
      updates, state = optimizer.update(grads, state, weights)
      weights = optax.apply_updates(weights, updates)
      np.testing.assert_allclose(
        weights, golden["adam_w"][step + 1], rtol=1e-4, atol=2e-4
      )


class SkipTermTest(absltest.TestCase):
  def test_it_draws_probabilities_to_its_target(self):
    """All rewards are alike: nothing else moves the policy."""
    changes = {
      "learning_rate": 0.03,
      "skip_weight": 1.0,
      "controller": {"skip_target": 0.8, "temperature": 1.0},
    }
    config = tiny.make_image_config("macro", strategy=changes)
    strategy = strategies.create(config, config.child.space())
    ask, tell = theta_steps.make_ask_and_tell(strategy)
    state = jax.jit(strategy.init)(jax.random.key(0))
    propose = jax.jit(lambda state: strategy.propose(state, key, 500))
    key = jax.random.key(1)

    def share(state):
      return float(np.asarray(propose(state).skips).sum() / 500)

    self.assertBetween(share(state), 0.4, 0.6)
    earned = jnp.full(strategy.num_arcs, 0.5)
    for step in range(80):
      sample = ask(state, jax.random.fold_in(key, step))
      state, _ = tell(state, sample, earned)
    self.assertBetween(share(state), 0.72, 0.88)


if __name__ == "__main__":
  absltest.main()
