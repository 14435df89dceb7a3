"""Signals are answered while the compiler has the main thread's work."""

import os
import signal
import threading
import time
from unittest import mock

from absl.testing import absltest

from enas_jax.running import progress
from enas_jax.search import compiling, loop, patience


def _nothing(seconds):
  del seconds


class _Lines(loop.Progress):
  """Asks the run to end as soon as it waits."""

  def __init__(self):
    self.waited = []

  def waiting(self, text, seconds):
    self.waited.append(text)
    if len(self.waited) == 1:
      os.kill(os.getpid(), signal.SIGTERM)


class _Loop(loop.Loop):
  """A run of which the steps are made up."""

  def __init__(self, done):
    self.saved, self.state, self._done = 0, object(), done
    self._progress = _Lines()
    self._compiler = compiling.Compiler(self._progress.waiting)
    self._checkpoints = self._heartbeat = mock.Mock()
    self._doing, self._stopping = "", threading.Lock()

  def _position(self):
    return self._done

  def _save(self, milestone=False):
    self.saved += 1
    return True


class PatienceTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.release = threading.Event()
    self.addCleanup(self.release.set)
    self.addCleanup(patience.rest)
    self.quick = mock.patch.object(patience, "_GRACE", 0.2)

  def test_without_a_catcher_the_work_stays_in_its_thread(self):
    here = threading.current_thread()
    self.assertIs(patience.call(threading.current_thread, _nothing), here)
    patience.watch()
    self.assertIsNot(patience.call(threading.current_thread, _nothing), here)

  def test_errors_are_raised_where_one_waits(self):
    patience.watch()
    with self.assertRaises(ZeroDivisionError):
      patience.call(lambda: 1 // 0, _nothing)

  def test_a_signal_is_answered_while_the_work_goes_on(self):
    for done, saves in ((0, 0), (3, 1)):
      run = _Loop(done)
      with progress.signals() as run._stop, self.quick:
        began = time.monotonic()
        with self.assertRaisesRegex(loop.Interrupted, "signal 15"):
          run._patiently("it", self.release.wait)
      self.assertLess(time.monotonic() - began, 5.0)
      self.assertEqual(run.saved, saves)
      self.assertIn("compiling it (once)", run._progress.waited)
      self.assertTrue(patience.has_left_work())

  def test_work_that_ends_soon_after_a_signal_counts(self):
    patience.watch()
    ticks = []

    def work():
      patience.wake()
      time.sleep(0.3)
      return 7

    with mock.patch.object(patience, "_GRACE", 60.0):
      self.assertEqual(patience.call(work, ticks.append), 7)
    self.assertEqual(ticks, [])  # the signal has come

  def test_whoever_waits_is_told_for_how_long(self):
    patience.watch()
    ticks = []

    def tick(seconds):
      ticks.append(seconds)
      if len(ticks) == 2:
        self.release.set()

    self.assertTrue(patience.call(self.release.wait, tick))
    self.assertGreater(ticks[0], 0.0)
    self.assertGreaterEqual(ticks[1], ticks[0] + 0.9 * patience._POLL)

  def test_another_thread_waits_for_nobody(self):
    patience.watch()
    threads = []

    def outside():
      threads.append(threading.current_thread())
      threads.append(patience.call(threading.current_thread, _nothing))

    thread = threading.Thread(target=outside)
    thread.start()
    thread.join()
    self.assertIs(*threads)

  def test_handlers_are_handed_back(self):
    before = signal.getsignal(signal.SIGTERM)
    with progress.signals():
      self.assertNotEqual(signal.getsignal(signal.SIGTERM), before)
    self.assertEqual(signal.getsignal(signal.SIGTERM), before)


if __name__ == "__main__":
  absltest.main()
