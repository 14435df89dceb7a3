"""Waiting for what cannot be interrupted, such as the compiler.

Python answers a signal in its main thread, and only between two of its own
instructions: not while XLA compiles. So whoever catches signals has such work
done in another thread, and the main thread waits where it can be woken.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")
_POLL = 0.1  # seconds between two looks
_GRACE = 1.0  # seconds in which the work may end by itself after a signal

_watched = threading.Event()  # somebody catches signals
_signalled = threading.Event()
_left: list[threading.Thread] = []  # behind, at work


class Abandoned(Exception):
  """A signal came, and the work goes on behind whoever waited for it."""


def watch() -> None:
  """From here on signals are caught, and told by `wake`."""
  _watched.set()
  _signalled.clear()


def wake() -> None:
  """A signal has come."""
  _signalled.set()


def rest() -> None:
  """Signals are no longer caught."""
  _watched.clear()
  _signalled.clear()


def has_left_work() -> bool:
  """Whether work that was abandoned still runs: Python cannot end cleanly."""
  return any(thread.is_alive() for thread in _left)


def call(
  function: Callable[[], _Result], tick: Callable[[float], None]
) -> _Result:
  """What a function returns, or raises, in a thread of its own.

  Where no signals are caught, or outside the main thread, it is just called.

  Args:
    function: the work.
    tick: a function called now and then with the seconds that it has taken.

  Raises:
    Abandoned: after a signal, unless the work has ended soon after it.
  """
  main = threading.current_thread() is threading.main_thread()
  if not main or not _watched.is_set():
    return function()
  returned: list[_Result] = []
  raised: list[BaseException] = []

  def work() -> None:
    try:
      returned.append(function())
    except BaseException as error:  # noqa: BLE001, raised again below
      raised.append(error)

  # A daemon: work that is left behind does not keep the process alive.
  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  began, woken = time.monotonic(), None
  while thread.is_alive():
    thread.join(_POLL)
    now = time.monotonic()
    if _signalled.is_set():
      woken = woken or now
      if now - woken > _GRACE and thread.is_alive():
        _left.append(thread)
        raise Abandoned
    elif thread.is_alive():
      tick(now - began)
  if raised:
    raise raised[0]
  return returned[0]
