"""What is shown, while a run lasts or at once, and how a signal stops it."""

import os
import signal
import sys
from typing import Any

import tqdm

from enas_jax.search import loop


def answer(text: str) -> None:
  """Prints a long text, which need not be read to its end."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    # Python writes again when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TerminalProgress(loop.Progress):
  """A bar with rate and remaining time on a terminal, plain lines elsewhere."""

  def __init__(self) -> None:
    self._tty = sys.stdout.isatty()
    self._bar: tqdm.tqdm | None = None
    self._head = ""

  def start(self, phase: str, epoch: int, done: int, total: int) -> None:
    """Opens the phase's bar."""
    self._head = f"epoch {epoch} {phase}"
    if self._tty:
      self._bar = tqdm.tqdm(
        total=total, initial=done, desc=self._head, leave=False, unit="step"
      )

  def advance(self) -> None:
    """Moves the bar."""
    if self._bar is not None:
      self._bar.update()

  def finish(self, summary: str) -> None:
    """Closes the bar and leaves one line."""
    self._close()
    self.line(f"{self._head}: {summary}")

  def line(self, text: str) -> None:
    """Prints a line at once, also into a pipe."""
    self._close()
    print(text, flush=True)

  def _close(self) -> None:
    if self._bar is not None:
      self._bar.close()
      self._bar = None


class SignalCatcher:
  """Remembers the first SIGTERM or SIGINT; a second one ends the process."""

  def __init__(self) -> None:
    self.signum = 0
    for signum in (signal.SIGTERM, signal.SIGINT):
      signal.signal(signum, self._catch)

  def stop(self) -> int:
    """The signal's number, or 0."""
    return self.signum

  def _catch(self, signum: int, frame: Any) -> None:
    del frame
    self.signum = signum
    signal.signal(signum, signal.SIG_DFL)
    print(
      "stopping: saving a checkpoint; a second signal ends at once, without",
      file=sys.stderr,
      flush=True,
    )
