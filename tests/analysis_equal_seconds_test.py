"""Steps of different cost, scaled to the same seconds."""

import time
from unittest import mock

from absl.testing import absltest, parameterized

from enas_jax.analysis import equal_seconds
from tests import tiny


class ScaleTest(parameterized.TestCase):
  @parameterized.parameters(
    # 4 epochs of 10 omega steps, of which 3 have 20 theta steps.
    (0.5, 0.1, 26.0, 10, 20),  # 4 * 10 * 0.5 + 3 * 20 * 0.1 = 26
    (0.5, 0.1, 52.0, 20, 40),
    (1.0, 0.2, 26.0, 5, 10),
    (0.5, 0.0, 10.0, 5, 10),  # a strategy that learns nothing
    (0.5, 0.1, 1e-9, 1, 1),
  )
  def test_by_hand(self, omega, theta, seconds, omega_steps, theta_steps):
    config = tiny.make_image_config(
      "nasbench201",
      run={"num_epochs": 4},
      theta={"steps": 20, "warmup_epochs": 1},
    )
    costs = equal_seconds.Costs(omega, theta)
    scaled = equal_seconds.scale(config, costs, 10, seconds)
    self.assertEqual(scaled.omega.steps, omega_steps)
    self.assertEqual(scaled.theta.steps, theta_steps)
    self.assertEqual(scaled.run, config.run)


class TimeTest(absltest.TestCase):
  def test_the_least_mean_without_the_first_call(self):
    clock = [0.0]

    def step(state):
      # Blocks in which the machine was busy.
      clock[0] += 99.0 if state in (5, 30, 120) else 0.25
      return state + 1, {}

    def compiling(state):
      clock[0] -= 99.0 if state == 0 else 0.0  # would be the least by far
      return step(state)

    with mock.patch.object(time, "perf_counter", lambda: clock[0]):
      state, seconds = equal_seconds._time(compiling, 0)
    self.assertEqual((state, seconds), (201, 0.25))


if __name__ == "__main__":
  absltest.main()
