"""Candidates that a derive step has trained alone, until it is finished.

A run that is stopped meanwhile need not train them again.
"""

import math
import pathlib

from enas_jax import files, types
from enas_jax.search import folder, hosts, tune
from enas_jax.spaces import base


def write(
  path: pathlib.Path,
  space: base.Space,
  position: list[int],
  seconds: float,
  done: tune.Scores,
) -> None:
  """Writes what has been trained so far.

  Args:
    path: the file.
    space: the space of the architectures.
    position: steps of both phases: another state of the search has other ones.
    seconds: those of the run by now.
    done: by architecture and steps, nats and metric.
  """
  rows = [
    {
      "arc": space.to_dict(arc),
      "steps": steps,
      "nats": nats,
      "valid": valid,
    }
    for (arc, steps), (nats, valid) in done.items()
  ]
  kept = {"position": position, "seconds": seconds, "done": rows}
  folder.write_json(path, kept)


def read(
  path: pathlib.Path, space: base.Space, position: list[int]
) -> tuple[float, dict[tuple[types.Arc, int], tuple[float, float]]]:
  """Reads what `write` wrote.

  Args:
    path: the file, which may be missing.
    space: the space of the architectures.
    position: that of the search's state.

  Returns:
    The run's seconds by then; and by architecture and steps, nats and metric.
    None if the search has gone on since.

  Raises:
    InputError: if the file is damaged.
  """
  advice = "delete it, and the candidates are trained again"
  kept = hosts.from_first(
    lambda: folder.read_json(path, advice) if path.exists() else None
  )
  if kept is None:
    return 0.0, {}
  # JSON has no NaN: of weights that overflowed null was written.
  number = lambda value: math.nan if value is None else float(value)
  try:
    # Trained from other weights.
    if kept["position"] != position:
      return 0.0, {}
    return float(kept["seconds"]), {
      (space.from_dict(row["arc"]), int(row["steps"])): (
        number(row["nats"]),
        number(row["valid"]),
      )
      for row in kept["done"]
    }
  except (ValueError, TypeError, KeyError):
    raise files.damaged(path, advice) from None
