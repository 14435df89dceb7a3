"""How options are declared and checked."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from enas_jax import types


def field(help_text: str) -> Any:
  """A field without default, with the help that its flag shows."""
  return dataclasses.field(metadata={"help": help_text})


def check(ok: bool, name: str, rule: str, value: Any) -> None:
  """Raises InputError, naming the value, unless `ok`."""
  if not ok:
    raise types.InputError(f"{name} must be {rule}, got {value!r}.")


def check_positive(config: Any, prefix: str, *names: str) -> None:
  """Raises InputError unless the fields are finite and above 0."""
  for name in names:
    value = getattr(config, name)
    ok = math.isfinite(value) and value > 0
    check(ok, prefix + name, "positive", value)


def check_not_negative(config: Any, prefix: str, *names: str) -> None:
  """Raises InputError unless the fields are finite and at least 0."""
  for name in names:
    value = getattr(config, name)
    ok = math.isfinite(value) and value >= 0
    check(ok, prefix + name, "zero or positive", value)


def check_rates(config: Any, prefix: str, *names: str) -> None:
  """Raises InputError unless the fields are in [0, 1)."""
  for name in names:
    value = getattr(config, name)
    check(0 <= value < 1, prefix + name, "in [0, 1)", value)


def check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
  """Raises InputError, listing what is known, unless the value is."""
  check(value in known, name, f"one of {', '.join(known)}", value)


def check_choice(config: Any, prefix: str, **choices: tuple[str, ...]) -> None:
  """Raises InputError unless each field is one of its choices."""
  for name, known in choices.items():
    check_one_of(prefix + name, getattr(config, name), known)


def parse(kind: type, text: str, name: str) -> Any:
  """The bool, int, float or str that a text says; else raises InputError."""
  readers: dict[type, Callable[[str], Any]] = {
    bool: {"true": True, "false": False}.__getitem__,
    int: int,
    float: float,
    str: str,
  }
  try:
    return readers[kind](text)
  except (KeyError, ValueError):
    rule = "true or false" if kind is bool else f"of type {kind.__name__}"
    raise types.InputError(f"{name} must be {rule}, got {text!r}.") from None
