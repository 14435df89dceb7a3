"""The first call of a program: whoever waits for the compiler is told how long.

XLA does not say how far it is, but larger programs take it longer. On one core
of an AMD EPYC (2.6 GHz) fifteen omega and theta steps of the four spaces, at
the sizes of `smoke` and `small`, compile in 0.095 n^0.55 seconds, n their
operations, to within a factor of 1.3. A slower machine is known by the step
compiled before.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from enas_jax.nn import programs
from enas_jax.search import patience

_Value = TypeVar("_Value")
_SECONDS, _POWER = 0.095, 0.55
# Faster than this share of what was foreseen, it was read from the cache.
_READ = 0.2


class Compiler:
  """Has things compiled, and tells what lasts."""

  def __init__(self, waiting: Callable[[str, float], None]) -> None:
    """Has compiled nothing yet.

    Args:
      waiting: `Progress.waiting`.
    """
    self._waiting = waiting
    self._known: set[str] = set()  # what this process has compiled
    # Seconds over the law's; not known of other compilers than the CPU's.
    self._ratio = 1.0 if jax.default_backend() == "cpu" else None

  def call(self, what: str, function: Callable[[], _Value]) -> _Value:
    """What a function returns that the first time compiles for long.

    Args:
      what: what is compiled.
      function: the function.

    Raises:
      Abandoned: after a signal.
    """
    return self._wait(what, function, lambda: f"compiling {what} (once)")

  def compile(self, what: str, step: Any, *args: Any) -> None:
    """Compiles a program for its arguments; a call compiles nothing more.

    Args:
      what: what the program is called.
      step: what `jax.jit` returned.
      *args: its arguments.

    Raises:
      Abandoned: after a signal.
    """
    text = f"tracing {what}"

    def work() -> None:
      nonlocal text
      began = time.monotonic()
      traced = step.trace(*args)
      law = _SECONDS * programs.size(traced.jaxpr) ** _POWER
      lowered = traced.lower()
      before, ratio = time.monotonic(), self._ratio
      about = (
        "" if ratio is None else f", about {before - began + ratio * law:.0f} s"
      )
      text = f"compiling {what} (once{about})"
      lowered.compile()
      seconds = time.monotonic() - before
      if seconds > _READ * law:
        self._ratio = seconds / law

    self._wait(what, work, lambda: text)

  def _wait(
    self, what: str, work: Callable[[], _Value], text: Callable[[], str]
  ) -> _Value:
    first = what not in self._known

    def tick(seconds: float) -> None:
      if first:
        self._waiting(text(), seconds)

    result = patience.call(work, tick)
    self._known.add(what)
    return result
