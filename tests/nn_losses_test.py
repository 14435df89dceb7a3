"""Penalties and means over windows, by hand."""

import jax.numpy as jnp
from absl.testing import absltest

from enas_jax.nn import losses


class LossesTest(absltest.TestCase):
  def test_sum_of_squares(self):
    weights = {"a": jnp.array([1.0, -2.0]), "b": {"c": jnp.array([[3.0]])}}
    self.assertEqual(float(losses.sum_of_squares(weights)), 14.0)
    self.assertEqual(float(losses.sum_of_squares({})), 0.0)

  def test_mean_over_the_steps_that_count(self):
    values = jnp.array([[1.0, 3.0], [4.0, 8.0], [50.0, 70.0]])
    for length, expected in ((0, 0.0), (1, 2.0), (2, 4.0), (3, 68 / 3)):
      found = losses.mean_over_steps(values, jnp.int32(length))
      self.assertAlmostEqual(float(found), expected, places=5)
    whole = losses.mean_over_steps(values, None)
    self.assertAlmostEqual(float(whole), 68 / 3, places=5)

  def test_slowness(self):
    states = jnp.array([[[1.0]], [[3.0]], [[0.0]]])
    # (2^2 + 3^2) / 2
    self.assertAlmostEqual(float(losses.slowness_penalty(states)), 6.5)
    self.assertEqual(float(losses.slowness_penalty(states[:1])), 0.0)
    self.assertEqual(float(losses.slowness_penalty(states[:2])), 4.0)

  def test_slowness_of_a_shorter_window(self):
    states = jnp.array([[[1.0]], [[3.0]], [[0.0]]])
    # Of two steps the first difference alone; of one step none.
    for length, expected in ((1, 0.0), (2, 4.0), (3, 6.5)):
      found = losses.slowness_penalty(states, jnp.int32(length))
      self.assertAlmostEqual(float(found), expected)


if __name__ == "__main__":
  absltest.main()
