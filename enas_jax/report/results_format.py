"""How a row of results is shown in a cell of a Markdown table."""

import string
from collections.abc import Mapping, Sequence
from typing import Any

from enas_jax import types

Value = str | int | float | None
Row = Mapping[str, Value]
# A format of Python's for the column's own field, such as ".1f", ",", ".1%" or
# ""; or, with braces, a template of any fields: "{reward:.3f} +- {error:.3f}".
# Of several the first counts whose fields a row has. Beyond Python's own, ".1p"
# is ".1%" without the sign.
Format = str | Sequence[str]


def plain(text: str) -> str:
  """Text that stays in its cell."""
  return " ".join(text.replace("|", r"\|").split())


def several(form: Format) -> Sequence[str]:
  """The formats to choose from."""
  return (form,) if isinstance(form, str) else form


def templates(form: Format, key: str) -> list[str]:
  """The formats of a column with the key, written out as templates."""
  return [
    text if "{" in text else "{" + key + ":" + text + "}"
    for text in several(form)
  ]


def cell(choices: Sequence[str], row: Row, where: str) -> str:
  """Shows a row by the first template whose fields it has.

  Args:
    choices: the templates.
    row: the fields.
    where: the name of the row, for the error.

  Returns:
    The text, Markdown; "" if no template fits.

  Raises:
    InputError: if a value is not of the kind that its format asks for.
  """
  for template in choices:
    if all(row.get(name) is not None for name in fields(template)):
      try:
        return plain(_FORMATTER.vformat(template, (), row))
      except (TypeError, ValueError) as error:
        raise types.InputError(
          f"{where} cannot be shown as {template!r}: {error}."
        ) from None
  return ""


def fields(template: str) -> list[str]:
  """The fields that a template names.

  Raises:
    InputError: if it is none, or asks for more than fields.
  """
  try:
    parts = list(_FORMATTER.parse(template))
  except ValueError as error:
    raise types.InputError(f"the format {template!r}: {error}.") from None
  names = [name for _, name, _, _ in parts if name is not None]
  # A field in a format would be filled in, too, by one that no one has checked.
  nested = any("{" in (spec or "") for _, _, spec, _ in parts)
  if nested or not all(name.isidentifier() for name in names):
    raise types.InputError(
      f"the format {template!r} must name fields in its braces."
    )
  return names


class _Formatter(string.Formatter):
  """Python's formatting, and per cent without the sign."""

  def format_field(self, value: Any, format_spec: str) -> str:
    # Python has no such kind of format, so none of its own is taken away.
    if format_spec.endswith("p"):
      return format(100 * value, format_spec[:-1] + "f")
    return format(value, format_spec)


_FORMATTER = _Formatter()
