"""A run's folder: its files' names, written whole, read with care.

The page of `report.html` has its name where it is written, in `report/`.

A file is there whole or not at all, so that a run that is killed leaves none
that is cut off. One that is damaged nevertheless is named in one line.
"""

import csv
import io
import itertools
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from enas_jax import files, types
from enas_jax.search import hosts

CONFIG = "config.json"  # what was run, on what
LOCK = ".lock"  # held by the process that writes here
METRICS = "metrics.jsonl"
LOGGERS = "loggers.json"  # what loggers call the run
POLICY = "policy.jsonl"  # how often each alternative is proposed, by epoch
CHECKPOINTS = "checkpoints"
CANDIDATES = "arcs.jsonl"  # of the derive step, with their rewards
COSTS = "costs.json"  # what the choices of an architecture cost
REWARDS = "rewards.json"  # of the policy's samples, and of uniform ones
ARC = "arc.json"  # the best of them, or the one that was trained
DRAWING = "arc.svg"
RESULT = "result.json"
ROLLBACKS = "rollbacks.json"  # of a run that has diverged
TUNED = "tuned.json"  # candidates trained alone, until the run is finished
PREPROCESSING = "preprocessing.json"  # what an exported model must know
RANKING = "ranking.json"
RANKING_ARCS = "ranking_arcs.jsonl"
TRAINED_ALONE = "trained_alone.jsonl"  # the truth of a ranking
PLACED = "placed.jsonl"  # trained as those were, to be compared with them

_WORDS = {str: "text", dict: "an object", list: "a list", int: "an integer"}


def make_new(path: pathlib.Path) -> pathlib.Path:
  """Makes a folder that is no other run's, and says which.

  Args:
    path: the folder, if there is none yet; else the first that is free of those
      with -2, -3 and so on after its name.
  """
  for number in itertools.count(1):
    free = path if number == 1 else path.with_name(f"{path.name}-{number}")
    try:
      free.mkdir(parents=True)
      return free
    except FileExistsError:
      continue
  raise AssertionError("there are more numbers than folders")


def write(path: pathlib.Path, content: str | bytes) -> None:
  """Writes a file whole or not at all: a temporary name, then a rename.

  Of several processes the first one alone writes.
  """
  if not hosts.is_first():
    return
  # Beside it: a rename is one step only within a file system.
  temporary = path.with_name(path.name + ".tmp")
  if isinstance(content, str):
    temporary.write_text(content, encoding="utf-8")
  else:
    temporary.write_bytes(content)
  os.replace(temporary, path)


def dumps(record: Any, indent: int | None = None) -> str:
  """JSON of a value; numbers that are not finite, which it lacks, are null."""
  return json.dumps(_finite(record), indent=indent, allow_nan=False)


def write_json(path: pathlib.Path, record: Any) -> None:
  """Writes one JSON value for people and machines; see `dumps`."""
  write(path, dumps(record, indent=2) + "\n")


def write_rows(path: pathlib.Path, rows: Iterable[Any]) -> None:
  """Writes JSON lines; see `dumps`."""
  write(path, "".join(dumps(row) + "\n" for row in rows))


def write_csv(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes rows of the same fields as CSV; what is None is empty."""
  text = io.StringIO()
  writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  write(path, text.getvalue())


def read_json(path: pathlib.Path, advice: str) -> dict[str, Any]:
  """The object that a file holds.

  Args:
    path: the file.
    advice: the end of the message: what to do if it cannot be read.

  Raises:
    InputError: if there is no such file, or it holds something else.
  """
  record = files.read_json(path, advice)
  if not isinstance(record, dict):
    raise types.InputError(f"{path} must hold one JSON object; {advice}.")
  return record


def read_rows(path: pathlib.Path, advice: str) -> list[dict[str, Any]]:
  """The objects of a file of JSON lines; arguments and errors: `read_json`."""
  rows = [row for row, _ in files.read_json_lines(path, advice)]
  if not all(isinstance(row, dict) for row in rows):
    raise types.InputError(f"{path} must hold JSON objects; {advice}.")
  return rows


def check_fields(
  record: Mapping[str, Any],
  kinds: Mapping[str, type],
  path: pathlib.Path,
  advice: str,
) -> None:
  """Raises InputError unless a record has fields of these types.

  Args:
    record: the object that a file holds.
    kinds: by field, its type.
    path: the file.
    advice: the end of the message.
  """
  for name, kind in kinds.items():
    if name not in record:
      raise types.InputError(f"{path} lacks {name!r}; {advice}.")
    if not isinstance(record[name], kind):
      raise types.InputError(
        f"{path} is damaged: {name!r} must be {_WORDS[kind]}, got"
        f" {files.shown(repr(record[name]))}; {advice}."
      )


def check_numbers(
  record: Mapping[str, Any],
  names: Iterable[str],
  path: pathlib.Path,
  advice: str,
  finite: Iterable[str] = (),
) -> None:
  """Raises InputError unless a record has numbers of these names.

  Args:
    record: the object that a file holds.
    names: the names of numbers, or of null, which stands for what was none.
    path: the file.
    advice: the end of the message.
    finite: the names of numbers that null may not stand for.
  """
  sure = set(finite)
  for name in (*names, *sure):
    value = record.get(name, "")
    if value is None and name in sure:
      value = ""
    if isinstance(value, bool) or not isinstance(value, int | float | None):
      raise types.InputError(
        f"{path} is damaged: {name} must be a number; {advice}."
      )


def _finite(value: Any) -> Any:
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {name: _finite(part) for name, part in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(part) for part in value]
  return value


def remove(path: pathlib.Path) -> None:
  """Deletes a file, if it is there and this process is the first."""
  if hosts.is_first():
    path.unlink(missing_ok=True)
