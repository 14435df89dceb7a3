"""What the clocks count."""

import pathlib
from unittest import mock

from absl.testing import absltest

from enas_jax.analysis import stopwatch


class PeakTest(absltest.TestCase):
  def test_it_is_in_mebibytes_where_there_is_no_proc(self):
    usage = mock.Mock(ru_maxrss=3 * 2**20)
    with (
      mock.patch.object(pathlib.Path, "read_text", side_effect=OSError),
      mock.patch.object(stopwatch.resource, "getrusage", lambda who: usage),
    ):
      for platform, expected in (("linux", 3 * 1024), ("darwin", 3)):
        with mock.patch.object(stopwatch.sys, "platform", platform):
          self.assertEqual(stopwatch.peak_rss_mb(), expected)


if __name__ == "__main__":
  absltest.main()
