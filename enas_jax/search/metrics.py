"""Metrics of a run: JSON lines for machines, loggers for people."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.loggers import base, registry
from enas_jax.search import folder, hosts


class MetricWriter:
  """Appends rows to `metrics.jsonl`, and tells the run's loggers.

  Of several processes the first one alone writes. A logger that fails is told
  no more; the run goes on.

  Attributes:
    path: the JSON lines.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    begin: base.Place,
    config: config_lib.AnyConfig,
    metric: str,
    tell: Callable[[str], None],
  ) -> None:
    """Opens the files, and the loggers of `config.run.loggers`.

    Args:
      workdir: the run's folder.
      begin: how far the run is; rows beyond it, of a run that was killed, are
        dropped, as they will be written again.
      config: the run's configuration.
      metric: the name of the metric on validation data.
      tell: (text) -> None, for a line about a logger that has failed.

    Raises:
      InputError: if a logger cannot be opened.
    """
    self.path = workdir / folder.METRICS
    self._tell, self._finished = tell, False
    self._loggers: dict[str, base.Logger] = {}
    if not hosts.is_first():
      return
    _keep_rows(self.path, begin)
    place = workdir / folder.LOGGERS
    known = _known_as(place)
    options = base.flat(config.to_dict())
    for name in config.run.loggers:
      run = base.Run(
        workdir, known.get(name), begin, options, f"valid/{metric}"
      )
      self._loggers[name] = _opened(name, run)
      if (called := self._loggers[name].known_as) is not None:
        # At once: a run that is killed goes on under the same name.
        known[name] = called
        folder.write_json(place, known)

  def write(self, row: dict[str, Any]) -> None:
    """Appends one row; loggers are told its floats that have slashes.

    Args:
      row: holds `step`, `theta_step` and `epoch`, where the run is; JSON has no
        NaN, so numbers that are not finite are written as null.
    """
    if not hosts.is_first():
      return
    with self.path.open("a") as file:
      file.write(folder.dumps(row) + "\n")
    values = {
      name: float(value)
      for name, value in row.items()
      if "/" in name and math.isfinite(value)
    }
    place = base.Place(*(row[name] for name in base.Place._fields))
    self._each(lambda logger: logger.scalars(place, values))

  def choices(self, place: base.Place, choices: Sequence[base.Choice]) -> None:
    """Tells the loggers what the policy proposes at the end of an epoch."""
    self._each(lambda logger: logger.choices(place, choices))

  def picture(
    self, place: base.Place, name: str, paint: Callable[[], bytes]
  ) -> None:
    """Shows the loggers a PNG, which is painted if there are any."""
    if self._loggers:
      png = paint()
      self._each(lambda logger: logger.picture(place, name, png))

  def finish(self, place: base.Place, record: Mapping[str, Any]) -> None:
    """Tells the loggers the measures of `result.json`: the run is over."""
    values = {
      f"result/{name}": float(value)
      for name, value in record.items()
      if isinstance(value, float) and math.isfinite(value)
    }
    self._each(lambda logger: logger.scalars(place, values))
    self._finished = True

  def close(self) -> None:
    """Closes the loggers."""
    self._each(lambda logger: logger.close(self._finished))

  def _each(self, tell: Callable[[base.Logger], None]) -> None:
    for name, logger in list(self._loggers.items()):
      try:
        tell(logger)
      # A service that is away, a full disk: all of them are the library's.
      except Exception as error:
        del self._loggers[name]
        self._tell(
          f"warning: {name} has failed and is told no more of this run:"
          f" {files.shown(error)}"
        )


def row_position(row: Mapping[str, Any]) -> int:
  """Steps of both phases done when a row was written."""
  return row["step"] + row["theta_step"]


def _opened(name: str, run: base.Run) -> base.Logger:
  try:
    return registry.get(name).open(run)
  except types.InputError:
    raise
  # Not logged in, no such server, a folder that is not to be written to.
  except Exception as error:
    raise types.InputError(
      f"--loggers={name} cannot be used: {files.shown(error)}; mend that, or"
      " leave it out of --loggers."
    ) from None


def _known_as(path: pathlib.Path) -> dict[str, str]:
  """What loggers have called the run so far."""
  if not path.exists():
    return {}
  advice = "delete it, and the run begins anew in the loggers"
  known = folder.read_json(path, advice)
  folder.check_fields(known, dict.fromkeys(known, str), path, advice)
  return known


def _keep_rows(path: pathlib.Path, begin: base.Place) -> None:
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
    closes_later = between and row["epoch"] > begin.epoch
    if row_position(row) > begin.step + begin.theta_step or closes_later:
      break
    kept.append(line + "\n")
  folder.write(path, "".join(kept))
