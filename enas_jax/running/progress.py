"""What is shown while a run lasts, and how a signal stops it."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tqdm

from enas_jax.search import loop


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
    self._before: dict[int, Any] = {}
    for signum in (signal.SIGTERM, signal.SIGINT):
      self._before[signum] = signal.signal(signum, self._catch)

  def stop(self) -> int:
    """The signal's number, or 0."""
    return self.signum

  def release(self) -> None:
    """Hands signals back to whoever had them before."""
    for signum, handler in self._before.items():
      signal.signal(signum, handler)

  def _catch(self, signum: int, frame: Any) -> None:
    del frame
    self.signum = signum
    signal.signal(signum, signal.SIG_DFL)
    print(
      "stopping: saving a checkpoint; a second signal ends at once, without",
      file=sys.stderr,
      flush=True,
    )


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int]]:
  """Catches signals for a while; gives what `SignalCatcher.stop` is.

  Only the main thread of a process can; elsewhere none is caught.
  """
  if threading.current_thread() is not threading.main_thread():
    yield lambda: 0
    return
  catcher = SignalCatcher()
  try:
    yield catcher.stop
  finally:
    catcher.release()
