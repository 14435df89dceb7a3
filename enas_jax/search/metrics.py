"""Metrics of a run: JSON lines for machines, TensorBoard events for people."""

import math
import pathlib
from typing import Any

import tensorboardX

from enas_jax import files, types
from enas_jax.search import folder, hosts


class MetricWriter:
  """Appends rows to `metrics.jsonl` and scalars to TensorBoard.

  Of several processes the first one alone writes.

  Attributes:
    path: the JSON lines.
  """

  def __init__(
    self, workdir: pathlib.Path, position: int = 0, epoch: int = 0
  ) -> None:
    """Opens the files.

    Args:
      workdir: the run's folder.
      position: the number of steps of both phases done; rows beyond it, of a
        run that was killed, are dropped, as they will be written again.
      epoch: the number of epochs finished; rows that close a later one are
        dropped, too.
    """
    self.path = workdir / folder.METRICS
    if not hosts.is_first():
      return
    _keep_rows(self.path, position, epoch)
    # What stands at this step is kept; what was written beyond it is not.
    self._events = tensorboardX.SummaryWriter(
      str(workdir / folder.EVENTS),
      purge_step=position + 1 if position else None,
    )

  def write(self, row: dict[str, Any]) -> None:
    """Appends one row; slash-named floats also go to TensorBoard.

    Args:
      row: holds `step` and `theta_step`, the run's totals; JSON has no NaN, so
        numbers that are not finite are written as null.
    """
    if not hosts.is_first():
      return
    with self.path.open("a") as file:
      file.write(folder.dumps(row) + "\n")
    for name, value in row.items():
      if "/" in name and math.isfinite(value):
        self._events.add_scalar(name, value, row_position(row))
    self._events.flush()

  def close(self) -> None:
    """Flushes and closes the event file."""
    if hosts.is_first():
      self._events.close()


def row_position(row: dict[str, Any]) -> int:
  """Steps of both phases done when a row was written."""
  return row["step"] + row["theta_step"]


def _keep_rows(path: pathlib.Path, position: int, epoch: int) -> None:
  if not path.exists():
    return
  kept = []
  advice = "move it away, and give --resume again"
  for line in files.read_text(path, files.MOST_JSON, advice).split("\n"):
    try:
      row = files.parse_json(line)
    except types.InputError:
      break  # cut off when the run was killed
    if not isinstance(row, dict):
      break
    # Rows of no step: they are at the place of the epoch's last one.
    between = row.get("phase") in ("asked", "epoch")
    places = ("step", "theta_step", *(("epoch",) if between else ()))
    folder.check_fields(row, dict.fromkeys(places, int), path, advice)
    closes_later = between and row["epoch"] > epoch
    if row_position(row) > position or closes_later:
      break
    kept.append(line + "\n")
  folder.write(path, "".join(kept))
