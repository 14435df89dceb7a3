"""What is shown while a run lasts, and how a signal stops it."""

import contextlib
import importlib
import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tqdm

from enas_jax.search import loop, patience

_SHORT = 1.0  # seconds of waiting that are not worth a word


class TerminalProgress(loop.Progress):
  """Bars with rate and remaining time where they can move, else plain lines."""

  def __init__(self) -> None:
    self._make = _bar_class()
    self._bar: Any = None
    self._head = self._said = ""
    self._waits = False
    self._left = ""

  def start(self, phase: str, epoch: int, done: int, total: int) -> None:
    """Opens the phase's bar."""
    self._close()
    self._head = f"epoch {epoch} {phase}"
    if self._make:
      self._bar = self._make(
        total=total, initial=done, desc=self._head, leave=False, unit="step"
      )
      self._bar.set_postfix_str(self._left, refresh=False)

  def advance(self) -> None:
    """Moves the bar."""
    if self._bar is None:
      return
    if self._waits:
      self._waits = False
      self._bar.set_postfix_str(self._left, refresh=False)
      self._bar.unpause()  # the wait was no step's
    self._bar.update()

  def waiting(self, text: str, seconds: float) -> None:
    """Says what lasts, beside the bar or in a line of its own."""
    if seconds < _SHORT:
      return
    if self._make and self._bar is None:
      # Between two phases: it has nothing to count.
      self._bar = self._make(bar_format="{desc}{postfix}", leave=False)
    if self._bar is not None:
      self._waits = True
      self._bar.set_postfix_str(f"{text}, {seconds:.0f} s")
    # Once, as a line cannot be written over by the next second's.
    elif text != self._said:
      self._said = text
      print(text, flush=True)

  def remaining(self, seconds: float) -> None:
    """Shows beside the bars how long the whole run will take."""
    minutes, rest = divmod(round(seconds), 60)
    self._left = f"the run {minutes // 60}:{minutes % 60:02}:{rest:02}"
    if self._bar is not None and not self._waits:
      self._bar.set_postfix_str(self._left, refresh=False)

  def finish(self, summary: str) -> None:
    """Closes the bar and leaves one line."""
    self._close()
    self.line(f"{self._head}: {summary}")

  def line(self, text: str) -> None:
    """Prints a line at once, also into a pipe."""
    self._close()
    print(text, flush=True)

  def beat(self, text: str) -> None:
    """Prints a line where there is no bar."""
    if not self._make:
      self.line(text)

  def _close(self) -> None:
    self._waits = False
    if self._bar is not None:
      self._bar.close()
      self._bar = None


def _bar_class() -> Any:
  """What makes a bar here; None where none can move."""
  if sys.stdout.isatty():
    return tqdm.tqdm
  # Without these the notebook's bar cannot be made.
  widgets = importlib.util.find_spec("ipywidgets") is not None
  if "ipykernel" in sys.modules and widgets:
    return importlib.import_module("tqdm.notebook").tqdm
  return None


class SignalCatcher:
  """Remembers the first SIGTERM or SIGINT; a second one ends the process."""

  def __init__(self) -> None:
    self.signum = 0
    self._before: dict[int, Any] = {}
    for signum in (signal.SIGTERM, signal.SIGINT):
      self._before[signum] = signal.signal(signum, self._catch)
    patience.watch()

  def stop(self) -> int:
    """The signal's number, or 0."""
    return self.signum

  def release(self) -> None:
    """Hands signals back to whoever had them before."""
    for signum, handler in self._before.items():
      signal.signal(signum, handler)
    patience.rest()

  def _catch(self, signum: int, frame: Any) -> None:
    del frame
    self.signum = signum
    # The second one, of either kind, ends the process as if nobody caught it.
    for kind in self._before:
      signal.signal(kind, signal.SIG_DFL)
    print(
      "stopping: saving a checkpoint; a second signal ends at once, without",
      file=sys.stderr,
      flush=True,
    )
    patience.wake()


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
