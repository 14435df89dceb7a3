"""Penalties, REINFORCE, the baseline and the schedule, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.nn import losses
from enas_jax.search import optimizers
from enas_jax.spaces import registry
from enas_jax.strategies import baseline as reward_lib


def theta_config(**changes):
  config = config_lib.override(registry.preset("paper"), "theta", **changes)
  return config.theta


class LossesTest(parameterized.TestCase):
  def test_reinforce_loss(self):
    # -mean(-1 * (3 - 1), -2 * (0 - 1)) = -((-2) + 2) / 2 = 0; and gradients
    # -(R - b) / 2 for each log-probability.
    log_prob = jnp.array([-1.0, -2.0])
    reward, baseline = jnp.array([3.0, 0.0]), jnp.array([1.0, 1.0])
    loss, grads = jax.value_and_grad(losses.reinforce_loss, argnums=(0, 1))(
      log_prob, reward, baseline
    )
    self.assertAlmostEqual(float(loss), 0.0)
    np.testing.assert_allclose(grads[0], [-1.0, 0.5])
    np.testing.assert_array_equal(grads[1], 0.0)

  def test_slowness(self):
    states = jnp.array([[[1.0]], [[3.0]], [[0.0]]])
    # (2^2 + 3^2) / 2
    self.assertAlmostEqual(float(losses.slowness_penalty(states)), 6.5)
    self.assertEqual(float(losses.slowness_penalty(states[:1])), 0.0)


class BaselineTest(parameterized.TestCase):
  def test_released_order(self):
    config = theta_config(
      baseline_decay=0.9, baseline_debias=False, baseline_first=True
    )
    state, used = reward_lib.update_baseline(
      reward_lib.init_baseline(), jnp.array([1.0, 2.0]), config
    )
    # 0.1 * 1, then 0.9 * 0.1 + 0.1 * 2.
    np.testing.assert_allclose(used, [0.1, 0.29], rtol=1e-6)
    self.assertAlmostEqual(float(state.value), 0.29, places=6)

  def test_corrected_baseline_is_the_weighted_mean_of_the_past(self):
    config = theta_config(
      baseline_decay=0.9, baseline_debias=True, baseline_first=False
    )
    rewards = [1.0, 2.0, 4.0]
    state, used = reward_lib.update_baseline(
      reward_lib.init_baseline(), jnp.array(rewards), config
    )
    # Before the third: (0.9 * 1 + 2) / (0.9 + 1).
    np.testing.assert_allclose(used, [1.0, 1.0, 2.9 / 1.9], rtol=1e-5)
    # All three: (0.81 * 1 + 0.9 * 2 + 4) / (0.81 + 0.9 + 1).
    found = float(reward_lib.read_baseline(state, config))
    self.assertAlmostEqual(found, 6.61 / 2.71, places=5)

  def test_a_constant_reward_leaves_no_advantage(self):
    config = theta_config(baseline_decay=0.99)
    _, used = reward_lib.update_baseline(
      reward_lib.init_baseline(), jnp.full(50, 0.3), config
    )
    np.testing.assert_allclose(used, 0.3, rtol=1e-5)


class ScheduleTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 20.0), (14, 20.0), (15, 20.0 * 0.96), (17, 20.0 * 0.96**3)
  )
  def test_decay_starts_after_epoch_15(self, epoch, expected):
    omega = registry.preset("paper").omega
    schedule = optimizers.omega_learning_rate(omega, steps_per_epoch=10)
    for step in (10 * epoch, 10 * epoch + 9):
      self.assertAlmostEqual(
        float(schedule(jnp.int32(step))), expected, places=4
      )

  def test_a_clipped_sgd_step(self):
    config = config_lib.override(
      registry.preset("paper"), "omega", clip_norm=0.5, learning_rate=2.0
    )
    optimizer = optimizers.make_omega_optimizer(config.omega, 10)
    params = {"w": jnp.zeros(2)}
    updates, _ = optimizer.update(
      {"w": jnp.array([3.0, 4.0])}, optimizer.init(params), params
    )
    # Norm 5 clipped to 0.5: (0.3, 0.4), times -2.
    np.testing.assert_allclose(updates["w"], [-0.6, -0.8], rtol=1e-6)


if __name__ == "__main__":
  absltest.main()
