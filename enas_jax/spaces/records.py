"""Reading architectures that come from outside: tokens, JSON and tables.

What comes from outside may be anything, hence arguments of type `object`.
Every function here that meets a fault raises `types.InputError` with one
sentence that names the field, the rule and the value that it got.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from enas_jax import files, types

_Arc = TypeVar("_Arc")
_INNERMOST_LIST = re.compile(r"\[[^\[\]{}]*\]")
# Nine digits at most, so that each is an int32.
_INTEGER = re.compile("[-+]?[0-9]{1,9}")
_MOST_SIZE = 256  # nodes of a cell, or layers
_LINE = 72  # a list of names that fits is put on one line
_BRIEF = 72


def brief(value: object) -> str:
  """`value` on one line, cut short: messages are one line."""
  line = files.shown(value)
  # Within a word, too: a long path is one, and would leave nothing.
  return line if len(line) <= _BRIEF else f"{line[: _BRIEF - 4]} ..."


def parse_tokens(text: str) -> list[int]:
  """The integers of `text`, separated by white space or commas."""
  words = text.replace(",", " ").split()
  # `int` would also read 1_0, and digits of other scripts.
  if not all(_INTEGER.fullmatch(word) for word in words):
    raise types.InputError(
      f"an architecture's tokens must be integers, got {brief(text)!r}."
    )
  return [int(word) for word in words]


def parse_row(text: str, count: int, whose: str) -> list[int]:
  """The integers of `text`, which must be `count`.

  Args:
    text: integers, separated by white space or commas.
    count: number of tokens that an architecture has.
    whose: subject of the message, such as "a cell of NAS-Bench-201".
  """
  tokens = parse_tokens(text)
  if len(tokens) != count:
    raise types.InputError(
      f"{whose} has {count} tokens, got {len(tokens)}: {brief(text)!r}."
    )
  return tokens


def check_size(field: str, size: int) -> None:
  """Raises if a space has more nodes or layers than any program compiles.

  A number in a file might otherwise ask for more decisions than memory holds.

  Args:
    field: name of the option, for the message.
    size: number of nodes or layers.
  """
  if size > _MOST_SIZE:
    raise types.InputError(
      f"{field} must be at most {_MOST_SIZE}, got {brief(size)}."
    )


def check_range(entry: str, value: int, limit: int, where: str) -> None:
  """Raises unless 0 <= value < limit.

  JAX clamps an index that is out of range without a word, in `lax.switch` and
  in indexing: nothing later would tell.

  Args:
    entry: field and position, such as "ops[3]", for the message.
    value: index to check.
    limit: number of things that it may point at.
    where: end of the message: which space, and a full stop.
  """
  if not 0 <= value < limit:
    raise types.InputError(
      f"arc.{entry} must be in [0, {limit}), got {value} {where}"
    )


def int_row(name: str, row: object, length: int, where: str) -> tuple[int, ...]:
  """`row` as `length` Python ints, so that it selects branches at trace time.

  A NumPy integer is not an `int`, so `ops.switch` would take it for a traced
  index: every entry is converted.

  Args:
    name: field of the arc, for messages.
    row: sequence or array, [length] integers.
    length: number of entries that it must have.
    where: end of the messages: which space, and a full stop.
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
  name: str, table: object, shape: tuple[int, int], where: str
) -> tuple[tuple[int, ...], ...]:
  """`table` as a tuple of rows of Python ints.

  Args:
    name: field of the arc, for messages.
    table: nested sequence or array, [*shape] integers.
    shape: numbers of rows and columns that it must have.
    where: end of the messages: which space, and a full stop.
  """
  array = _int_array(table)
  if array is None or array.shape != shape:
    got = brief(table) if array is None else _by(array.shape)
    raise types.InputError(
      f"arc.{name} must be a table of {_by(shape)} integers, got {got} {where}"
    )
  return tuple(tuple(row) for row in array.tolist())


def op_indices(name: str, ops: object, known: Sequence[str]) -> list[int]:
  """Operations by name as indices.

  Args:
    name: field of the arc, for messages.
    ops: sequence of names.
    known: names of the space's operations, in the order of their indices.
  """
  if not isinstance(ops, Sequence) or isinstance(ops, str):
    raise types.InputError(
      f"arc.{name} must be a list of names, got {brief(ops)}."
    )
  unknown = [op for op in ops if op not in known]
  if unknown:
    raise types.InputError(
      f"unknown operation {brief(repr(unknown[0]))}; known are"
      f" {', '.join(known)}."
    )
  return [known.index(op) for op in ops]


def check_fields(
  record: Mapping[str, Any], space: str, fields: Sequence[str]
) -> None:
  """Raises unless `record` is of the kind `space` and has all `fields`.

  Args:
    record: JSON object of an architecture.
    space: name that its field "space" must have.
    fields: names of two fields or more.
  """
  if record.get("space") != space:
    raise types.InputError(
      f'an architecture of the {space} space must have "space": "{space}",'
      f" got {brief(repr(record.get('space')))}."
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
  # To Python True is an int.
  if isinstance(value, bool) or not isinstance(value, int):
    raise types.InputError(
      f"{field} must be an integer, got {brief(repr(value))}."
    )
  return value


def of_space(expected: object, space: object, arc: _Arc) -> _Arc:
  """`arc`, whose record was of `space`, if that equals `expected`."""
  if space != expected:
    raise types.InputError(
      f"the architecture is of {space}, expected one of {expected}."
    )
  return arc


def dumps(record: Mapping[str, Any]) -> str:
  """JSON text to be read by people: rows of numbers stay on one line."""
  # json either breaks every list or none: rows are joined again afterwards.
  text = json.dumps(record, indent=2)
  return _INNERMOST_LIST.sub(_on_one_line, text) + "\n"


def loads(text: str) -> dict[str, Any]:
  """The JSON object that `text` holds."""
  try:
    record = files.parse_json(text)
  except types.InputError as error:
    raise types.InputError(f"the architecture {error}.") from None
  if not isinstance(record, dict):
    raise types.InputError(
      f"the architecture must be a JSON object, got {type(record).__name__}."
    )
  return record


def _int_array(value: object) -> np.ndarray | None:
  """`value` as an array, or None if it is ragged or not of integers."""
  try:
    array = np.asarray(value)
    # NumPy makes integers of JSON's true beside integers.
    words = np.asarray(value, dtype=object)
  except ValueError:  # rows of different lengths
    return None
  if any(isinstance(item, bool) for item in words.flat):
    return None
  return array if np.issubdtype(array.dtype, np.integer) else None


def _by(shape: tuple[int, ...]) -> str:
  """A shape in words: "3 x 2"."""
  return " x ".join(str(size) for size in shape)


def _on_one_line(rows: re.Match[str]) -> str:
  """A list on one line, or as it is where its names would make that long."""
  text = json.dumps(json.loads(rows[0]))
  return text if '"' not in text or len(text) <= _LINE else rows[0]
