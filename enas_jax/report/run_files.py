"""Reads the files of a run's folder, which anyone may have sent.

Nothing here raises: what cannot be read is a sentence for the page.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from enas_jax import files, types

Row = dict[str, Any]

# Larger numbers have differences and sums that are not finite, and then there
# is no axis for them.
_MOST = 1e300


def missing(path: pathlib.Path, why: str = "is not there") -> str:
  """What is wrong with a file, as a sentence."""
  return f"{path.name} {why}."


def read_text(path: pathlib.Path) -> str | None:
  """The file's text; None if it cannot be read."""
  try:
    content = files.read_bytes(path, files.MOST_JSON)
  except types.InputError:
    return None
  return content.decode("utf-8", errors="replace")


def read_json(path: pathlib.Path) -> tuple[Any, str]:
  """The value in a file and ""; or None and a sentence that says why not."""
  text = read_text(path)
  if text is None:
    return None, missing(path)
  try:
    return files.parse_json(text, finite=False), ""
  except types.InputError:
    return None, missing(path, "is not JSON")


def read_object(path: pathlib.Path) -> dict[str, Any]:
  """The JSON object in a file; {} if there is none."""
  value, _ = read_json(path)
  return value if isinstance(value, dict) else {}


def read_rows(path: pathlib.Path) -> tuple[list[Row], str]:
  """The objects in a file of lines, and a sentence if anything is wrong.

  A last line without its end is what a run is writing just now, or what it was
  writing when it was killed: it is left out without a word.
  """
  text = read_text(path)
  if text is None:
    return [], missing(path)
  # Not `splitlines`: JSON's text may hold other characters that break lines.
  *lines, rest = text.split("\n")
  rows = [row for line in lines if (row := _parse(line)) is not None]
  wrong = sum(bool(line.strip()) for line in lines) - len(rows)
  last = _parse(rest)
  if last is not None:
    rows.append(last)
  why = f"has {wrong} bad line{'s' if wrong > 1 else ''}"
  return rows, missing(path, why) if wrong else ""


def _parse(line: str) -> Row | None:
  try:
    row = files.parse_json(line, finite=False)
  except types.InputError:
    return None
  return row if isinstance(row, dict) else None


def number(value: object) -> float | None:
  """The value if it is a finite number that a chart can bear."""
  # To Python True is an integer.
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  try:
    known = float(value)
  except OverflowError:  # an integer beyond all floats
    return None
  # Written so that NaN does not pass.
  return known if abs(known) <= _MOST else None


def numbers(values: object) -> list[float]:
  """What `number` takes of a list; [] of anything else."""
  if not isinstance(values, list):
    return []
  return [known for value in values if (known := number(value)) is not None]


def flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
  """Yields the leaves of nested objects with their dotted names."""
  if isinstance(value, dict) and value:
    for key, below in value.items():
      yield from flat(below, f"{name}.{key}" if name else key)
  else:
    yield name, value


def plain(value: object) -> str:
  """Text as it is, anything else as JSON."""
  return value if isinstance(value, str) else json.dumps(value)
