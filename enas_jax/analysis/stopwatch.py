"""Clocks: seconds of calls that take turns, compilations, and peak memory.

Functions that are compared take turns: whatever slows the machine down for a
while then slows all of them.
"""

import functools
import pathlib
import resource
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

# JAX's name for what a backend took to compile one program.
_COMPILED = "/jax/core/compile/backend_compile_duration"


class Seconds(NamedTuple):
  """How long something took.

  Attributes:
    wall: by the clock.
    cpu: of all threads of its process, which other programs add little to.
  """

  wall: float
  cpu: float


class Timed:
  """A step that keeps its own state; a call returns its seconds."""

  def __init__(self, step: Callable[..., Any], state: Any) -> None:
    self._step, self._state = step, state

  def __call__(self, *args: Any) -> Seconds:
    """Takes the step and waits for its metrics; its time."""
    return seconds_of(lambda: self._run(*args))

  def _run(self, *args: Any) -> None:
    self._state, metrics = self._step(self._state, *args)
    jax.block_until_ready(metrics)


def seconds_of(run: Callable[[], Any]) -> Seconds:
  """What one call takes.

  Args:
    run: () -> anything; must itself wait for what it starts on a device.
  """
  wall, cpu = time.perf_counter(), time.process_time()
  run()
  return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def in_turn(
  runs: Sequence[Sequence[Callable[[], Seconds]]], rounds: int
) -> np.ndarray:
  """Calls functions again and again, one of each turn after the other.

  Args:
    runs: turns of n functions each, which return their seconds.
    rounds: how often each turn is taken.

  Returns:
    [rounds * len(runs), n, 2] float64: seconds, the last axis as `Seconds`.
  """
  return np.asarray(
    [[run() for run in turn] for _ in range(rounds) for turn in runs]
  )


def medians(names: Sequence[str], times: np.ndarray) -> dict[str, float]:
  """Medians by name, and of the first's CPU seconds over each other's.

  Args:
    names: n names.
    times: [turns, n, 2] float64, as `in_turn` returns them.

  Returns:
    "NAME_seconds" and "NAME_cpu_seconds" of each name, and for all but the
    first "FIRST_over_NAME_cpu".
  """
  record: dict[str, float] = {}
  for place, name in enumerate(names):
    wall, cpu = np.median(times[:, place], axis=0)
    record |= {f"{name}_seconds": float(wall)}
    record |= {f"{name}_cpu_seconds": float(cpu)}
    if place:
      record[f"{names[0]}_over_{name}_cpu"] = ratio(times, 0, place, "cpu")
  return record


def ratio(times: np.ndarray, one: int, other: int, kind: str) -> float:
  """The median over turns of one function's seconds over another's.

  Within a turn, so that a slow minute is divided by a slow minute.

  Args:
    times: [turns, n, 2] float64, as `in_turn` returns them.
    one: place of the function whose seconds are divided, from 0.
    other: place of the function that they are divided by.
    kind: "wall" or "cpu".
  """
  at = Seconds._fields.index(kind)
  return float(np.median(times[:, one, at] / times[:, other, at]))


class Compilations:
  """Counts programs that XLA compiles, from when it is made to its end.

  Attributes:
    count: the number of programs.
    seconds: the time that their compilation took.
  """

  def __init__(self) -> None:
    self.count, self.seconds = 0, 0.0
    # By a weak reference: JAX must not keep alive what counts for nobody.
    note = functools.partial(_note, weakref.ref(self))
    jax.monitoring.register_event_duration_secs_listener(note)
    # JAX 0.8.0 cannot be asked to: there the listener stays, and does nothing.
    forget = getattr(jax.monitoring, "unregister_event_duration_listener", None)
    if forget is not None:
      weakref.finalize(self, forget, note)


def _note(
  counter: "weakref.ref[Compilations]",
  event: str,
  duration_secs: float,
  **_: str | int,
) -> None:
  """Tells a counter, if it is still there, of what JAX has done."""
  compilations = counter()
  if compilations is not None and event == _COMPILED:
    compilations.count += 1
    compilations.seconds += duration_secs


def peak_rss_mb() -> float:
  """Peak memory of this process, MiB."""
  try:
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
  except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, all others kilobytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
  # Unlike `getrusage` it does not go on from what started this process.
  return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0
