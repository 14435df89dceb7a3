"""Schedules and optimizers against formulas and the authors' code."""

import pathlib

import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.search import optimizers
from enas_jax.spaces import registry

GOLDEN = pathlib.Path(__file__).parent / "golden" / "misc" / "semantics.npz"


def omega_config(**changes):
  config = registry.preset("paper", "macro")
  return config_lib.override(config, "omega", **changes).omega


def rates(config, steps_per_epoch, count):
  schedule = optimizers.omega_learning_rate(config, steps_per_epoch)
  return np.array([float(schedule(jnp.int32(step))) for step in range(count)])


class CosineTest(parameterized.TestCase):
  def test_by_step_falls_from_the_highest_to_the_least(self):
    config = omega_config(restart_epochs=2, restart_factor=2)
    found = rates(config, 5, 30)
    # Periods of 10 and 20 steps.
    for start, length in ((0, 10), (10, 20)):
      expected = [
        0.001 + 0.049 * (1 + np.cos(np.pi * t / length)) / 2
        for t in range(length)
      ]
      np.testing.assert_allclose(
        found[start : start + length], expected, rtol=1e-5
      )

  def test_every_period_is_optax_cosine_decay(self):
    config = omega_config(restart_epochs=3, restart_factor=1)
    found = rates(config, 4, 36)
    decay = optax.cosine_decay_schedule(0.05, 12, alpha=0.001 / 0.05)
    expected = [float(decay(step % 12)) for step in range(36)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)

  def test_by_epoch_as_the_authors_code(self):
    """But for one step after each restart, at which theirs takes the middle."""
    config = omega_config(schedule="cosine_epochs", restart_epochs=2)
    golden = np.load(GOLDEN)["cosine_lr"]
    found = rates(config, 3, len(golden))
    differs = np.abs(found - golden) > 1e-6
    restarts = [6, 18, 42]
    self.assertEqual(list(np.flatnonzero(differs)), restarts)
    np.testing.assert_allclose(golden[restarts], 0.0255, rtol=1e-6)
    np.testing.assert_allclose(found[restarts], 0.05, rtol=1e-6)

  def test_far_restarts_stay_within_int32(self):
    config = omega_config(restart_epochs=10, restart_factor=2)
    schedule = optimizers.omega_learning_rate(config, 350)
    last = float(schedule(jnp.int32(2**31 - 2)))
    self.assertBetween(last, 0.001, 0.05)
    # Nor do they if the first one is so far that it never comes.
    config = omega_config(restart_epochs=2**31 - 1, restart_factor=2)
    np.testing.assert_allclose(rates(config, 350, 3), 0.05)


class ExponentialTest(parameterized.TestCase):
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


class OmegaOptimizerTest(absltest.TestCase):
  def test_nesterov_as_the_authors_code(self):
    """Their loss is |w - t|^2 + 0.01 |w|^2; their clipping does nothing."""
    golden = np.load(GOLDEN)
    config = omega_config(
      schedule="exponential", decay_rate=1.0, learning_rate=0.01
    )
    optimizer = optimizers.make_omega_optimizer(config, 1)
    weights = jnp.asarray(golden["mom_w"][0])
    state = optimizer.init(weights)
    for step in range(4):
      grads = 2 * (weights - golden["mom_t"]) + 0.02 * weights
      updates, state = optimizer.update(grads, state, weights)
      weights = optax.apply_updates(weights, updates)
      np.testing.assert_allclose(
        weights, golden["mom_w"][step + 1], rtol=1e-5, atol=1e-5
      )

  def test_clip_norm_of_zero_clips_nothing(self):
    for clip, expected in ((0.0, [-3.0, -4.0]), (1.0, [-0.6, -0.8])):
      config = omega_config(
        schedule="exponential",
        learning_rate=1.0,
        decay_rate=1.0,
        momentum=0.0,
        clip_norm=clip,
      )
      optimizer = optimizers.make_omega_optimizer(config, 1)
      grads = jnp.array([3.0, 4.0])
      updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
      np.testing.assert_allclose(updates, expected, rtol=1e-6)

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
