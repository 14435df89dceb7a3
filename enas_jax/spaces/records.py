"""Reading architectures that come from outside: tokens, JSON and tables.

Every function here that finds a fault raises `types.InputError` with one
sentence that names the field, the rule and the value found.
"""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from enas_jax import types

_INNERMOST_LIST = re.compile(r"\[[^\[\]{}]*\]")
_LINE = 72  # a list of names that fits is put on one line


def brief(value: Any) -> str:
  """`value` on one line, cut short: messages are one line."""
  return textwrap.shorten(str(value), 72, placeholder=" ...")


def parse_tokens(text: str) -> list[int]:
  """The integers of `text`, separated by white space or commas."""
  try:
    return [int(t) for t in text.replace(",", " ").split()]
  except ValueError:
    raise types.InputError(
      f"an architecture's tokens must be integers, got {brief(text)!r}."
    ) from None


def int_row(name: str, row: Any, length: int, where: str) -> tuple[int, ...]:
  """`row` as `length` Python ints, so that it selects branches at trace time.

  Args:
    name: the field, for messages.
    row: a sequence or array.
    length: how many entries it must have.
    where: the end of the messages: which space, and a full stop.
  """
  array = _int_array(row)
  if array is None or array.ndim != 1:
    raise types.InputError(
      f"arc.{name} must be a list of integers, got {brief(row)} {where}"
    )
  if len(array) != length:
    raise types.InputError(
      f"arc.{name} must have {length} entries, got {len(array)} {where}"
    )
  return tuple(array.tolist())


def int_table(
  name: str, table: Any, shape: tuple[int, int], where: str
) -> tuple[tuple[int, ...], ...]:
  """`table` as a tuple of rows of Python ints; arguments as `int_row`."""
  array = _int_array(table)
  if array is None or array.shape != shape:
    got = brief(table) if array is None else _by(array.shape)
    raise types.InputError(
      f"arc.{name} must be a table of {_by(shape)} integers, got {got} {where}"
    )
  return tuple(tuple(row) for row in array.tolist())


def op_indices(name: str, ops: Any, known: Sequence[str]) -> list[int]:
  """Operations by name as indices into `known`."""
  if not isinstance(ops, Sequence) or isinstance(ops, str):
    raise types.InputError(
      f"arc.{name} must be a list of names, got {brief(ops)}."
    )
  unknown = [op for op in ops if op not in known]
  if unknown:
    raise types.InputError(
      f"unknown operation {unknown[0]!r}; known are {', '.join(known)}."
    )
  return [known.index(op) for op in ops]


def check_fields(
  record: Mapping[str, Any], space: str, fields: Sequence[str]
) -> None:
  """Raises unless `record` is of the kind `space` and has all `fields`."""
  if record.get("space") != space:
    raise types.InputError(
      f'an architecture of the {space} space must have "space": "{space}",'
      f" got {record.get('space')!r}."
    )
  missing = [field for field in fields if field not in record]
  if missing:
    raise types.InputError(
      f"the architecture lacks the field {missing[0]!r}; needed are"
      f" {', '.join(fields[:-1])} and {fields[-1]}."
    )


def integer(record: Mapping[str, Any], field: str) -> int:
  """The integer `record[field]`; JSON's true and false are none."""
  value = record[field]
  if isinstance(value, bool) or not isinstance(value, int):
    raise types.InputError(f"{field} must be an integer, got {value!r}.")
  return value


def dumps(record: Mapping[str, Any]) -> str:
  """JSON text to be read by people: rows of numbers stay on one line."""
  text = json.dumps(record, indent=2)
  return _INNERMOST_LIST.sub(_on_one_line, text) + "\n"


def loads(text: str) -> dict[str, Any]:
  """The JSON object that `text` holds."""
  try:
    record = json.loads(text)
  except json.JSONDecodeError as error:
    raise types.InputError(
      f"the architecture is not valid JSON: {error}."
    ) from None
  if not isinstance(record, dict):
    raise types.InputError(
      f"the architecture must be a JSON object, got {type(record).__name__}."
    )
  return record


def _int_array(value: Any) -> np.ndarray | None:
  """`value` as an array, or None if it is ragged or not of integers."""
  try:
    array = np.asarray(value)
  except ValueError:  # rows of different lengths
    return None
  return array if np.issubdtype(array.dtype, np.integer) else None


def _by(shape: tuple[int, ...]) -> str:
  return " x ".join(str(size) for size in shape)


def _on_one_line(found: re.Match[str]) -> str:
  text = json.dumps(json.loads(found[0]))
  return text if '"' not in text or len(text) <= _LINE else found[0]
