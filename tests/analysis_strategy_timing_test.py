"""Ratios of strategies' steps, of seconds that are given."""

from unittest import mock

from absl.testing import absltest

from enas_jax.analysis import stopwatch, strategy_timing


class CompareTest(absltest.TestCase):
  def test_medians_and_ratios_by_hand(self):
    """CPU seconds of both steps: 1, 1 and 3; of the other 2, 4 and 9."""
    cpu = {
      ("controller", "omega"): [0.5, 0.5, 0.5],
      ("controller", "theta"): [0.5, 0.5, 2.5],
      ("darts", "omega"): [1.0, 2.0, 3.0],
      ("darts", "theta"): [1.0, 2.0, 6.0],
    }
    calls = []

    def steps(config, space, vocabulary_size):
      self.assertEqual((space, vocabulary_size), ("macro", 7))
      return {
        phase: lambda phase=phase: calls.append((config, phase))
        for phase in ("omega", "theta")
      }

    def seconds_of(run):
      run()
      return stopwatch.Seconds(10.0, cpu[calls[-1]].pop(0))

    with (
      mock.patch.object(strategy_timing, "_steps", steps),
      mock.patch.object(stopwatch, "seconds_of", seconds_of),
    ):
      record = strategy_timing.compare(
        {"controller": "controller", "darts": "darts"}, "macro", 7, 3
      )
    self.assertEqual(record["rounds"], 3)
    # Ratios by turn: 2 / 1, 4 / 1 and 9 / 3.
    self.assertEqual(record["darts_over_controller_cpu"], 3.0)
    self.assertEqual(record["darts_omega_cpu_seconds"], 2.0 / 5)
    self.assertEqual(record["controller_theta_cpu_seconds"], 0.5 / 5)
    self.assertEqual(record["darts_theta_seconds"], 2.0)
    self.assertEqual(record["darts_theta_compilations"], 0)
    # They take turns: five steps of each, after two that compile.
    self.assertEqual(calls[:2], [("controller", "omega")] * 2)
    self.assertEqual(
      calls[8:28:5],
      [(p, s) for p in ("controller", "darts") for s in ("omega", "theta")],
    )


if __name__ == "__main__":
  absltest.main()
