"""REINFORCE: every term of the loss, and the baseline, by hand."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.spaces import registry
from enas_jax.strategies import reinforce

GOLDEN = pathlib.Path(__file__).parent / "golden" / "misc" / "semantics.npz"


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
      reinforce.init_baseline(), jnp.array([1.0, 2.0]), config
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
      reinforce.init_baseline(), jnp.array(rewards), config
    )
    # Before the third: (0.9 * 1 + 2) / (0.9 + 1).
    np.testing.assert_allclose(used, [1.0, 1.0, 2.9 / 1.9], rtol=1e-5)
    # All three: (0.81 * 1 + 0.9 * 2 + 4) / (0.81 + 0.9 + 1).
    found = float(reinforce.read_baseline(state, config))
    self.assertAlmostEqual(found, 6.61 / 2.71, places=5)

  def test_a_constant_reward_leaves_no_advantage(self):
    config = make_options(baseline_decay=0.99)
    _, used = reinforce.update_baseline(
      reinforce.init_baseline(), jnp.full(50, 0.3), config
    )
    np.testing.assert_allclose(used, 0.3, rtol=1e-5)


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


if __name__ == "__main__":
  absltest.main()
