"""What a terminal and a pipe are shown."""

import contextlib
import io
import os
import signal
from unittest import mock

from absl.testing import absltest

from enas_jax.running import progress


class _Bar:
  def __init__(self, **given):
    self.given, self.count, self.postfix, self.closed = given, 0, "", False

  def set_postfix_str(self, text, refresh=True):
    del refresh
    self.postfix = text

  def update(self):
    self.count += 1

  def unpause(self):
    self.count += 100  # to be seen

  def close(self):
    self.closed = True


class ProgressTest(absltest.TestCase):
  def test_a_bar_says_what_it_waits_for_and_how_long_the_run_takes(self):
    with mock.patch.object(progress, "_bar_class", lambda: _Bar):
      shown = progress.TerminalProgress()
    shown.start("omega", 1, 2, 9)
    bar = shown._bar
    self.assertEqual((bar.given["total"], bar.given["initial"]), (9, 2))
    shown.waiting("compiling it (once)", 0.5)
    self.assertEqual(bar.postfix, "")
    shown.waiting("compiling it (once)", 12.3)
    self.assertEqual(bar.postfix, "compiling it (once), 12 s")
    shown.remaining(3725.0)
    shown.advance()
    self.assertEqual((bar.postfix, bar.count), ("the run 1:02:05", 101))
    shown.advance()
    self.assertEqual(bar.count, 102)
    with contextlib.redirect_stdout(io.StringIO()) as out:
      shown.finish("loss 3")
    self.assertTrue(bar.closed)
    self.assertEqual(out.getvalue(), "epoch 1 omega: loss 3\n")
    shown.start("theta", 1, 0, 5)
    self.assertEqual(shown._bar.postfix, "the run 1:02:05")

  def test_a_pipe_gets_a_line_once(self):
    with mock.patch.object(progress, "_bar_class", lambda: None):
      shown = progress.TerminalProgress()
    with contextlib.redirect_stdout(io.StringIO()) as out:
      shown.start("omega", 1, 0, 9)
      for seconds in (0.5, 1.5, 2.5):
        shown.waiting("compiling it (once)", seconds)
      shown.advance()
      shown.remaining(5.0)
    self.assertEqual(out.getvalue(), "compiling it (once)\n")


class SignalTest(absltest.TestCase):
  def test_a_second_signal_of_either_kind_is_not_caught(self):
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = list(map(signal.getsignal, kinds))
    for first in kinds:
      with self.subTest(first.name), progress.signals() as stop:
        with contextlib.redirect_stderr(io.StringIO()) as said:
          os.kill(os.getpid(), first)
        self.assertEqual(stop(), first)
        self.assertIn("a second signal ends at once", said.getvalue())
        now = list(map(signal.getsignal, kinds))
        self.assertEqual(now, [signal.SIG_DFL] * 2)
    self.assertEqual(list(map(signal.getsignal, kinds)), before)


if __name__ == "__main__":
  absltest.main()
