"""How fast a run is, how long its steps will take, and what memory it holds."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

# Of a row of metrics: what two runs of the same numbers differ in.
FIELDS = (*("sec_per_step", "remaining_seconds", "host_peak_mb", "device_mb"),)
_MB = 2**20


class Heartbeat:
  """Counts the seconds of steps, and tells of them every few minutes."""

  def __init__(self, every_minutes: float, tell: Callable[[str], None]) -> None:
    """Starts to count.

    Args:
      every_minutes: the minutes between two lines; 0: there are none.
      tell: a function called with a line.
    """
    self._every, self._tell = 60.0 * every_minutes, tell
    self._rates: dict[str, float] = {}  # seconds of a step, by phase
    self._told_at = time.monotonic()

  def measure(
    self, phase: str, seconds: float, left: Mapping[str, int]
  ) -> dict[str, float]:
    """Takes in how long steps took; returns `FIELDS` of a row of metrics.

    Args:
      phase: the phase that they are of.
      seconds: the mean of one.
      left: by phase how many steps the run has still to take.
    """
    self._rates[phase] = seconds
    return {
      "sec_per_step": seconds,
      "remaining_seconds": self._remaining(left),
      **memory(),
    }

  def beat(self, where: str, left: Callable[[], Mapping[str, int]]) -> None:
    """Tells how the run is, if it is time to.

    Args:
      where: what the run is doing.
      left: () -> by phase how many steps it has still to take.
    """
    now = time.monotonic()
    if not self._every or now - self._told_at < self._every:
      return
    self._told_at = now
    parts = [where]
    parts += [f"{s:.3g} s per {name} step" for name, s in self._rates.items()]
    seconds = round(self._remaining(left()))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts.append(f"{hours} h {minutes:02} min of such steps to go")
    held = memory()
    parts.append(f"{held['host_peak_mb']:,.0f} MB at most")
    if "device_mb" in held:
      parts.append(f"{held['device_mb']:,.0f} MB on the device")
    self._tell(", ".join(parts))

  def _remaining(self, left: Mapping[str, int]) -> float:
    """Seconds of the steps to come, of phases that have been timed."""
    return sum(left[phase] * s for phase, s in self._rates.items())


def memory() -> dict[str, float]:
  """The most memory that this process has held, and what its device holds.

  Returns:
    "host_peak_mb"; "device_mb", where the device says it.
  """
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  # Linux counts kilobytes, macOS bytes.
  held: dict[str, Any] = {
    "host_peak_mb": peak / (_MB if sys.platform == "darwin" else 1024)
  }
  # None of a CPU.
  told = jax.local_devices()[0].memory_stats()
  if told and "bytes_in_use" in told:
    held["device_mb"] = told["bytes_in_use"] / _MB
  return held
