"""What the clocks count, and for how long."""

import gc
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
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


class CompilationsTest(absltest.TestCase):
  def test_one_that_is_gone_listens_no_more(self):
    if not hasattr(jax.monitoring, "unregister_event_duration_listener"):
      self.skipTest("this JAX keeps every listener")
    listening = set()
    register = jax.monitoring.register_event_duration_secs_listener
    unregister = jax.monitoring.unregister_event_duration_listener

    def add(listener):
      listening.add(listener)
      register(listener)

    def remove(listener):
      listening.remove(listener)
      unregister(listener)

    names = (register.__name__, unregister.__name__)
    with (
      mock.patch.object(jax.monitoring, names[0], add),
      mock.patch.object(jax.monitoring, names[1], remove),
    ):
      kept, gone = stopwatch.Compilations(), stopwatch.Compilations()
      self.assertLen(listening, 2)
      del gone
      gc.collect()
      self.assertLen(listening, 1)
      jax.jit(lambda x: x * 17.25)(jnp.ones(3))
      self.assertGreater(kept.count, 0)
      self.assertGreater(kept.seconds, 0.0)


if __name__ == "__main__":
  absltest.main()
