"""What architectures are worth when each is trained alone, read from files."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from enas_jax import files, types
from enas_jax.search import folder as folder_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions
from enas_jax.tasks import base as tasks


class Truth(NamedTuple):
  """Architectures with what they are worth.

  Attributes:
    arcs: architectures, leaves [S, ...] int32.
    values: [S] float64, larger is better.
  """

  arcs: types.Arc
  values: np.ndarray

  def validated(self, space: spaces.Space) -> list[types.Arc]:
    """The S architectures, of Python ints."""
    host = jax.tree.map(np.asarray, self.arcs)
    return [
      space.validate(decisions.nth(host, index))
      for index in range(len(self.values))
    ]


def read(
  task: tasks.Task, paths: Sequence[str], num_arcs: int | None = None
) -> Truth:
  """Reads what runs of stand-alone training, or lists of them, say.

  Args:
    task: the task, whose metric the files hold.
    paths: files of JSON lines, or folders with a `result.json`; each object has
      "arc" and the task's metric, as "METRIC" or "valid_METRIC".
    num_arcs: the number of architectures to keep, the first ones; 0 or None
      keeps all.

  Returns:
    The architectures; where a smaller metric is better, its negative.

  Raises:
    InputError: if a file cannot be read, holds something else, or there are
      fewer than two architectures.
  """
  pairs = [
    read_record(task, record, place)
    for path in paths
    for record, place in read_objects(files.expand(path))
  ][: num_arcs or None]
  if len(pairs) < 2:
    raise types.InputError(
      f"--truth has {len(pairs)} architectures; a ranking needs at least 2."
    )
  arcs = [decisions.as_arrays(arc) for arc, _ in pairs]
  return Truth(
    jax.tree.map(lambda *leaves: np.stack(leaves), *arcs),
    np.asarray([value for _, value in pairs]),
  )


def read_objects(path: pathlib.Path) -> list[tuple[Any, str]]:
  """The JSON objects of a file of lines or of a run, and where they are.

  Raises:
    InputError: if there is no such file, or it is not JSON.
  """
  try:
    if os.path.isdir(path):
      path = path / folder_lib.RESULT
      return [(files.read_json(path), str(path))]
    return files.read_json_lines(path)
  except types.InputError as error:
    raise types.InputError(f"--truth: {error}") from None


def read_record(
  task: tasks.Task, record: Any, place: str
) -> tuple[types.Arc, float]:
  """An architecture of Python ints, and its worth: larger is better.

  Args:
    task: the task, whose metric the record holds.
    record: the JSON value.
    place: the file and the line, for messages.

  Raises:
    InputError: if it holds no architecture or no number of that metric.
  """
  if not isinstance(record, dict) or not isinstance(record.get("arc"), dict):
    raise types.InputError(f'--truth: {place} has no "arc".')
  if "candidates" in record:
    raise types.InputError(
      f"--truth: {place} is the result of a search: its {task.metric} is that"
      " of shared weights, not of training alone."
    )
  names = (task.metric, f"valid_{task.metric}")
  present = [name for name in names if name in record]
  if not present:
    raise types.InputError(f"--truth: {place} has none of {', '.join(names)}.")
  value = record[present[0]]
  if not isinstance(value, int | float) or not math.isfinite(value):
    raise types.InputError(
      f"--truth: {present[0]} of {place} must be a number, got {value!r}."
    )
  return task.space.from_dict(record["arc"]), float(task.metric_sign) * value
