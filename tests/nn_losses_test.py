"""Penalties, the schedule and a step of SGD, by hand."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.nn import losses
from enas_jax.search import optimizers
from enas_jax.spaces import registry


class LossesTest(parameterized.TestCase):
  def test_slowness(self):
    states = jnp.array([[[1.0]], [[3.0]], [[0.0]]])
    # (2^2 + 3^2) / 2
    self.assertAlmostEqual(float(losses.slowness_penalty(states)), 6.5)
    self.assertEqual(float(losses.slowness_penalty(states[:1])), 0.0)


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
