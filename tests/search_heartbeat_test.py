"""Rates, what remains, and the lines that tell of it."""

from unittest import mock

from absl.testing import absltest

from enas_jax.search import heartbeat


class HeartbeatTest(absltest.TestCase):
  def test_what_remains_is_of_the_phases_that_were_timed(self):
    beats = heartbeat.Heartbeat(0.0, lambda line: self.fail(line))
    left = {"omega": 100, "theta": 30}
    first = beats.measure("omega", 0.5, left)
    self.assertEqual(first["sec_per_step"], 0.5)
    self.assertEqual(first["remaining_seconds"], 50.0)
    self.assertGreater(first["host_peak_mb"], 1.0)
    second = beats.measure("theta", 0.1, left)
    self.assertAlmostEqual(second["remaining_seconds"], 53.0)
    self.assertContainsSubset(second, heartbeat.FIELDS)
    beats.beat("here", lambda: left)  # 0 minutes: it tells nothing

  def test_a_line_comes_once_in_its_time(self):
    lines = []
    with mock.patch.object(heartbeat.time, "monotonic") as now:
      now.return_value = 0.0
      beats = heartbeat.Heartbeat(2.0, lines.append)
      beats.measure("omega", 0.5, {"omega": 1})
      for now.return_value in (119.0, 120.0, 239.0, 241.0):
        beats.beat("epoch 1", lambda: {"omega": 9000})
      self.assertLen(lines, 2)
      self.assertStartsWith(
        lines[0],
        "epoch 1, 0.5 s per omega step, 1 h 15 min of such steps to go, ",
      )
      # 7,199 seconds: a second before two hours.
      now.return_value = 1000.0
      beats.beat("later", lambda: {"omega": 14398})
    self.assertIn(" 1 h 59 min of ", lines[2])

  def test_a_line_tells_what_is_held(self):
    lines, held = [], {"host_peak_mb": 1234.4}
    with mock.patch.object(heartbeat, "memory", lambda: held):
      beats = heartbeat.Heartbeat(1e-9, lines.append)
      for device in ({}, {"device_mb": 56.7}):
        held |= device
        beats.beat("here", dict)
    self.assertEndsWith(lines[0], "to go, 1,234 MB at most")
    self.assertEndsWith(lines[1], "1,234 MB at most, 57 MB on the device")

  def test_the_peak_is_in_megabytes_wherever_it_is_counted(self):
    usage = mock.Mock(ru_maxrss=3 * 2**20)
    with mock.patch.object(heartbeat.resource, "getrusage", lambda who: usage):
      for platform, expected in (("linux", 3 * 1024), ("darwin", 3)):
        with mock.patch.object(heartbeat.sys, "platform", platform):
          self.assertEqual(heartbeat.memory()["host_peak_mb"], expected)

  def test_a_device_says_what_it_holds(self):
    device = mock.Mock()
    device.memory_stats.return_value = {"bytes_in_use": 3 * 2**20}
    with mock.patch.object(heartbeat.jax, "local_devices", lambda: [device]):
      self.assertEqual(heartbeat.memory()["device_mb"], 3.0)
      device.memory_stats.return_value = {"other": 1}
      self.assertNotIn("device_mb", heartbeat.memory())
      device.memory_stats.return_value = None  # a CPU's
      self.assertNotIn("device_mb", heartbeat.memory())


if __name__ == "__main__":
  absltest.main()
