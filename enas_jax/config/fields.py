"""How options are declared and checked."""

import dataclasses
import math
import re
import reprlib
from collections.abc import Callable
from typing import Any

from enas_jax import types

Value = bool | int | float | str
NUMBERS = "positive numbers with commas between them"


_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
MOST = 2**31 - 1  # counts are 32 bits wide on the device
LARGEST = 1e30  # rates and weights are float32 there, and so are their products
WIDEST = 16_384  # hidden units, filters or examples; wider fits nowhere


def field(
  help_text: str,
  *,
  default: Any = dataclasses.MISSING,
  parse: Callable[[str, str], Any] | None = None,
  only_for: str = "",
) -> Any:
  """A field of options, with what its flag needs to know.

  Args:
    help_text: the text that the flag shows.
    default: the value where no preset states one; left out: none.
    parse: (flag's text, flag's name) -> the value; None where the field's type
      says how.
    only_for: the kind of `Decision` without which the field does nothing;
      empty: it always does something.
  """
  metadata = {"help": help_text, "parse": parse, "only_for": only_for}
  return dataclasses.field(default=default, metadata=metadata)


def check(ok: bool, name: str, rule: str, value: Any) -> None:
  """Raises InputError, naming the value, unless `ok`."""
  if not ok:
    shown = reprlib.repr(value)
    raise types.InputError(f"{name} must be {rule}, got {shown}.")


def number(text: str) -> float | None:
  """The finite number that a text says, or None.

  Unlike `float`, it knows no 9_0, no NaN and no digits of other scripts.
  """
  text = text.strip()
  value = float(text) if _NUMBER.fullmatch(text) else math.inf
  return value if math.isfinite(value) else None


def _check_bounded(value: float, name: str, rule: str, ok: bool) -> None:
  check(ok, name, rule, value)
  if isinstance(value, float):
    check(value <= LARGEST, name, f"at most {LARGEST:g}", value)
  else:
    check(value <= MOST, name, f"at most {MOST:,}", value)


def check_at_most(options: object, prefix: str, **limits: float) -> None:
  """Raises InputError unless each field is at most its limit."""
  for name, limit in limits.items():
    value = getattr(options, name)
    check(value <= limit, prefix + name, f"at most {limit:,}", value)


def check_positive(options: object, prefix: str, *names: str) -> None:
  """Raises InputError unless the fields are above 0, and not huge."""
  for name in names:
    value = getattr(options, name)
    _check_bounded(value, prefix + name, "positive", value > 0)


def check_not_negative(options: object, prefix: str, *names: str) -> None:
  """Raises InputError unless the fields are at least 0, and not huge."""
  for name in names:
    value = getattr(options, name)
    _check_bounded(value, prefix + name, "zero or positive", value >= 0)


def settle_numbers(
  options: object, prefix: str, name: str
) -> tuple[float, ...]:
  """Makes a field a tuple of floats, also after JSON, and hands it over.

  Raises:
    InputError: unless all are finite and above 0.
  """
  given = getattr(options, name)
  ok = isinstance(given, list | tuple) and all(
    isinstance(number, int | float) and abs(number) <= MOST for number in given
  )
  check(ok, prefix + name, NUMBERS, given)
  # Of a frozen dataclass, whose `__post_init__` this is a part of.
  numbers = tuple(float(number) for number in given)
  object.__setattr__(options, name, numbers)
  ok = all(number > 0 for number in numbers)
  check(ok, prefix + name, NUMBERS, numbers)
  return numbers


def settle_names(options: object, prefix: str, name: str) -> tuple[str, ...]:
  """Makes a field a tuple of names, also after JSON, and hands it over.

  Raises:
    InputError: if one comes twice.
  """
  names = tuple(getattr(options, name))
  object.__setattr__(options, name, names)
  check(len(set(names)) == len(names), prefix + name, "different names", names)
  return names


def check_rates(options: object, prefix: str, *names: str) -> None:
  """Raises InputError unless the fields are in [0, 1)."""
  for name in names:
    value = getattr(options, name)
    check(0 <= value < 1, prefix + name, "in [0, 1)", value)


def check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
  """Raises InputError, listing what is known, unless the value is."""
  check(value in known, name, f"one of {', '.join(known)}", value)


def check_choice(
  options: object, prefix: str, **choices: tuple[str, ...]
) -> None:
  """Raises InputError unless each field is one of its choices."""
  for name, known in choices.items():
    check_one_of(prefix + name, getattr(options, name), known)


def parse_numbers(text: str, name: str) -> tuple[float, ...]:
  """The numbers of a text, with commas between them; none of an empty one.

  Raises:
    InputError: if it holds anything else.
  """
  numbers = [number(part) for part in text.split(",")] if text else []
  known = tuple(value for value in numbers if value is not None)
  check(len(known) == len(numbers), name, NUMBERS, text)
  return known


def parse_names(text: str, name: str) -> tuple[str, ...]:
  """The names of a text, with commas between them; none of an empty one."""
  del name
  return tuple(text.split(",")) if text else ()


def parse_changes(text: str, name: str) -> tuple[tuple[str, Value], ...]:
  """The pairs of a text NAME=VALUE,NAME=VALUE; none of an empty one.

  Which type a value must have, the option that is named knows: see `of_type`.
  """
  del name
  items = [item.partition("=") for item in text.split(",") if item]
  return tuple((key, _literal(value)) for key, _, value in items)


def _literal(text: str) -> Value:
  if text in ("true", "false"):
    return text == "true"
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      continue
  return text


def of_type(kind: type, value: Value, name: str) -> Value:
  """The value as an option of that type holds it; an integer is a float too.

  Raises:
    InputError: if it is of another type.
  """
  if kind is float and type(value) is int:
    return float(value)
  rule = "true or false" if kind is bool else f"of type {kind.__name__}"
  # Not `isinstance`, by which true would be the integer 1.
  check(type(value) is kind, name, rule, value)
  return value
