"""Tables of measured numbers: their data, and the Markdown that shows them.

A `Table` holds what a run printed, one plain record a row, and where it comes
from: command lines, commit, device, versions, seeds. A column says how a record
is shown. So a document can be written from data, and held to them.
"""

import dataclasses
import json
import math
import os
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from enas_jax import files, types
from enas_jax.report import results_format as formats

Value = formats.Value
Row = formats.Row
Format = formats.Format

NOT_RECORDED = "not recorded"
PICTURES = "architectures"
KINDS = ("lines", "bars", PICTURES)
_STATISTICS = ("mean", "sd", "standard_error", "count")  # of a group of rows


@dataclasses.dataclass(frozen=True)
class Column:
  """One column.

  Attributes:
    key: the field of a row that the column is about.
    heading: the words above it, Markdown.
    format: the way in which a row is shown in it; see
      `results_format.Format`. A cell is empty if the row lacks what it needs.
  """

  key: str
  heading: str
  format: Format = ""


@dataclasses.dataclass(frozen=True)
class Summary:
  """Rows below the others, computed from them: one for each group of two rows.

  Attributes:
    group_by: the fields in which the rows of a group agree. Their columns show
      what they share.
    cells: by the key of a column, a template of `{mean}`, `{sd}` (of a sample,
      with n - 1), `{standard_error}` and `{count}` of that field over the
      group, or plain words. Other columns are empty.
  """

  group_by: Sequence[str]
  cells: Mapping[str, Format]


@dataclasses.dataclass(frozen=True)
class Figure:
  """A chart of the rows, or pictures of their architectures.

  Attributes:
    kind: "lines", "bars", or "architectures": each row has a picture.
    x: the field along the x axis; numbers if the chart has lines; of
      architectures the name of the picture.
    y: the field along the y axis, numbers; of architectures their tokens.
    series: the field that tells series apart; "": there is one. Of
      architectures their space; rows have the field "preset", too.
    low: the field at the lower edge of a line's band; "": there is none.
    high: the field at its upper edge.
  """

  kind: str
  x: str
  y: str
  series: str = ""
  low: str = ""
  high: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
  """Measured numbers, and where they come from.

  Attributes:
    name: the name of the results file, without its suffix.
    title: what the table shows, in a few words.
    columns: the columns, at least one.
    rows: a record for each row: text, numbers, None for what there is not.
      Fields that no column shows are welcome.
    command: the command lines that printed the numbers, as a user types them.
    commit: the commit of the code; of several, separated by commas.
    device: what it ran on, in words.
    versions: by package, its version; or `NOT_RECORDED`.
    seeds: the seeds of the rows.
    note: what else one must know to read the numbers.
    summary: rows to compute, or None.
    figure: a chart to draw, or None.
    transposed: whether a row is shown as a column.
  """

  name: str
  title: str
  columns: Sequence[Column]
  rows: Sequence[Row]
  command: Sequence[str]
  commit: str
  device: str
  versions: Mapping[str, str] | str
  seeds: Sequence[int]
  note: str = ""
  summary: Summary | None = None
  figure: Figure | None = None
  transposed: bool = False

  def __post_init__(self) -> None:
    """Raises InputError unless the table can be shown."""
    _check_words(self)
    _check_rows(self)
    _check_parts(self)
    _check_fields(self)
    _body(self)  # raises where a row does not suit a format


def load(path: pathlib.Path) -> Table:
  """Reads a table.

  Args:
    path: the file, as `save` writes it.

  Raises:
    InputError: if it cannot be read; the message names the file and the field.
  """
  record = files.read_json(path, "it must hold the JSON of a table")
  try:
    return from_dict(record)
  except types.InputError as error:
    raise types.InputError(f"{path}: {error}") from None


def from_dict(record: Any) -> Table:
  """The table of a JSON object, as `to_dict` makes it.

  Raises:
    InputError: if a field is missing, unknown or wrong; the message names it.
  """
  values = _fields(Table, record, "the file")
  values["columns"] = [
    _build(Column, column, f"columns[{place}]")
    for place, column in enumerate(_list(values["columns"], "columns"))
  ]
  for name, kind in (("summary", Summary), ("figure", Figure)):
    if values.get(name) is not None:
      values[name] = _build(kind, values[name], name)
  return Table(**values)


def to_dict(table: Table) -> dict[str, Any]:
  """The table, JSON-ready; fields at their defaults are left out."""
  record = _told(Table, dataclasses.asdict(table))
  record["columns"] = [_told(Column, column) for column in record["columns"]]
  return record


def _told(kind: type, record: Mapping[str, Any]) -> dict[str, Any]:
  """What a record says beyond the defaults of its dataclass."""
  defaults = {field.name: field.default for field in dataclasses.fields(kind)}
  return {k: v for k, v in record.items() if v != defaults[k]}


def save(table: Table, path: pathlib.Path) -> None:
  """Writes a table, whole or not at all; a row is a line.

  Args:
    table: the table.
    path: the file, in a folder that exists.
  """
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(_dumps(to_dict(table)), encoding="utf-8")
  os.replace(temporary, path)


def to_markdown(table: Table) -> str:
  """The table in Markdown, without a line break at its end.

  The rows come in their order, those of the summary last.
  """
  lines = [
    [formats.plain(column.heading) for column in table.columns],
    *_body(table),
  ]
  if table.transposed:
    lines = [list(line) for line in zip(*lines, strict=True)]
  head, *body = [_line(cells) for cells in lines]
  return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def _line(cells: Sequence[str]) -> str:
  return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _body(table: Table) -> list[list[str]]:
  """The cells of all rows."""
  lines = [
    [
      formats.cell(
        formats.templates(column.format, column.key), row, f"rows[{place}]"
      )
      for column in table.columns
    ]
    for place, row in enumerate(table.rows)
  ]
  if table.summary is not None:
    groups = _groups(table.rows, table.summary.group_by)
    lines += [
      [_summary_cell(table.summary, column, rows) for column in table.columns]
      for rows in groups
      if len(rows) > 1  # one alone is its own mean
    ]
  return lines


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> list[list[Row]]:
  """The rows that agree in `keys`, in the order of their first ones."""
  groups: dict[tuple[Value, ...], list[Row]] = {}
  for row in rows:
    groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
  return list(groups.values())


def _summary_cell(summary: Summary, column: Column, rows: Sequence[Row]) -> str:
  where = f"summary.cells.{column.key}"
  if column.key in summary.group_by:
    shared = {key: rows[0].get(key) for key in summary.group_by}
    return formats.cell(
      formats.templates(column.format, column.key), shared, "summary"
    )
  if column.key not in summary.cells:
    return ""
  values = [
    value
    for row in rows
    if isinstance(value := row.get(column.key), int | float)
  ]
  record: dict[str, Value] = {"count": len(values)}
  if values:
    record["mean"] = statistics.fmean(values)
  if len(values) > 1:
    deviation = statistics.stdev(values)
    record["sd"] = deviation
    record["standard_error"] = deviation / math.sqrt(len(values))
  return formats.cell(formats.several(summary.cells[column.key]), record, where)


def _check_words(table: Table) -> None:
  """Where the numbers come from must be told."""
  for name in ("name", "title", "commit", "device"):
    value = getattr(table, name)
    if not isinstance(value, str) or not value.strip():
      raise types.InputError(f"{name} must be words, got {value!r}.")
  if not _all_of(table.command, str) or not table.command:
    raise types.InputError("command must be a list of command lines.")
  if not _all_of(table.seeds, int):
    raise types.InputError("seeds must be a list of integers.")
  versions = table.versions
  told = isinstance(versions, Mapping) and _all_of([*versions.values()], str)
  if not (told and versions) and versions != NOT_RECORDED:
    raise types.InputError(
      f'versions must be texts by package, or "{NOT_RECORDED}".'
    )


def _check_parts(table: Table) -> None:
  """Texts must be texts, formats formats."""
  texts: dict[str, Any] = {"note": table.note}
  forms: dict[str, Any] = {}
  for place, column in enumerate(table.columns):
    where = f"columns[{place}]"
    texts |= {f"{where}.key": column.key, f"{where}.heading": column.heading}
    forms[f"{where}.format"] = column.format
  if table.summary is not None:
    if not _all_of(table.summary.group_by, str):
      raise types.InputError("summary.group_by must be a list of fields.")
    if not isinstance(table.summary.cells, Mapping):
      raise types.InputError("summary.cells must be templates by column.")
    forms |= {f"summary.cells.{k}": v for k, v in table.summary.cells.items()}
  if table.figure is not None:
    texts |= {f"figure.{k}": v for k, v in vars(table.figure).items()}
  for where, value in texts.items():
    if not isinstance(value, str):
      raise types.InputError(f"{where} must be text, got {value!r}.")
  for where, value in forms.items():
    if not _all_of(formats.several(value), str):
      raise types.InputError(f"{where} must be a text or a list of texts.")


def _check_rows(table: Table) -> None:
  for name in ("columns", "rows"):
    if not _list(getattr(table, name), name):
      raise types.InputError(f"{name} must not be empty.")
  for place, row in enumerate(table.rows):
    if not isinstance(row, Mapping):
      raise types.InputError(f"rows[{place}] must be a record, got {row!r}.")
    for key, value in row.items():
      finite = not isinstance(value, float) or math.isfinite(value)
      if not isinstance(value, Value) or not finite:
        raise types.InputError(
          f"rows[{place}].{key} must be text, a finite number or null, got"
          f" {value!r}."
        )


def _check_fields(table: Table) -> None:
  """What columns, summary and figure name must be there."""
  fields = {key for row in table.rows for key in row}
  keys = {column.key for column in table.columns}
  for where, key in _named(table):
    if key not in fields:
      raise types.InputError(f"{where} names {key!r}, which no row has.")
  if table.summary is not None and table.summary.cells.keys() - keys:
    unknown = min(table.summary.cells.keys() - keys)
    raise types.InputError(
      f"summary.cells.{unknown} must be the key of a column."
    )
  for key, form in _summary_cells(table):
    if others := {*formats.fields(form)} - {*_STATISTICS}:
      raise types.InputError(
        f"summary.cells.{key} names {min(others)!r}, which is none of"
        f" {', '.join(_STATISTICS)}."
      )
  if table.figure is not None:
    _check_figure(table.figure, table.rows)


def _summary_cells(table: Table) -> Iterator[tuple[str, str]]:
  """The templates of the summary by column."""
  if table.summary is not None:
    for key, choices in table.summary.cells.items():
      yield from ((key, form) for form in formats.several(choices))


def _check_figure(figure: Figure, rows: Sequence[Row]) -> None:
  if figure.kind not in KINDS:
    raise types.InputError(
      f"figure.kind must be one of {', '.join(KINDS)}, got {figure.kind!r}."
    )
  if figure.kind == PICTURES:
    _check_pictures(figure, rows)
    return
  numbers = {"figure.y": figure.y}
  numbers |= {"figure.x": figure.x} if figure.kind == "lines" else {}
  if bool(figure.low) != bool(figure.high):
    raise types.InputError("figure.low and figure.high go together.")
  if figure.low:
    numbers |= {"figure.low": figure.low, "figure.high": figure.high}
    for place, row in enumerate(rows):
      if (row.get(figure.low) is None) != (row.get(figure.high) is None):
        raise types.InputError(
          f"rows[{place}] has one of {figure.low!r} and {figure.high!r}, the"
          " edges of figure's band: give both or neither."
        )
  for where, key in numbers.items():
    if any(isinstance(row.get(key), str) for row in rows):
      raise types.InputError(f"{where} names {key!r}, which is not a number.")


def _check_pictures(figure: Figure, rows: Sequence[Row]) -> None:
  for place, row in enumerate(rows):
    for key in (figure.x, figure.y, figure.series, "preset"):
      if not isinstance(row.get(key), str):
        raise types.InputError(
          f"rows[{place}].{key} must be text: the row has a picture."
        )


def _named(table: Table) -> Iterator[tuple[str, str]]:
  """Every place that names a field of the rows, and the field."""
  for place, column in enumerate(table.columns):
    where = f"columns[{place}]"
    yield f"{where}.key", column.key
    for template in formats.several(column.format):
      yield from (
        (f"{where}.format", name) for name in formats.fields(template)
      )
  if table.summary is not None:
    yield from (("summary.group_by", key) for key in table.summary.group_by)
  if table.figure is not None:
    yield "figure.x", table.figure.x
    yield "figure.y", table.figure.y
    for name in ("series", "low", "high"):
      if key := getattr(table.figure, name):
        yield f"figure.{name}", key


def _all_of(values: Any, kind: type) -> bool:
  """Whether it is a list of values of that kind."""
  return isinstance(values, list | tuple) and all(
    isinstance(value, kind) for value in values
  )


def _list(value: Any, where: str) -> Sequence[Any]:
  if not isinstance(value, list | tuple):
    raise types.InputError(f"{where} must be a list, got {value!r}.")
  return value


def _fields(kind: type, record: Any, where: str) -> dict[str, Any]:
  """The fields of a dataclass in a JSON object, neither more nor fewer."""
  if not isinstance(record, dict):
    raise types.InputError(f"{where} must be a JSON object.")
  known = {field.name: field.default for field in dataclasses.fields(kind)}
  for name in record:
    if name not in known:
      raise types.InputError(f"{where} has the unknown field {name!r}.")
  for name, default in known.items():
    if default is dataclasses.MISSING and name not in record:
      raise types.InputError(f"{where} lacks the field {name!r}.")
  return dict(record)


def _build(kind: type, record: Any, where: str) -> Any:
  """A dataclass from its JSON object."""
  return kind(**_fields(kind, record, where))


def _dumps(record: Mapping[str, Any]) -> str:
  """JSON with a line for each field, and for each object of a list."""
  fields = [f"  {json.dumps(k)}: {_dump(v)}" for k, v in record.items()]
  return "{\n" + ",\n".join(fields) + "\n}\n"


def _dump(value: Any) -> str:
  text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  if not isinstance(value, list | tuple) or len(text) < 70:
    return text
  return "[\n" + ",\n".join(_indented(value)) + "\n  ]"


def _indented(values: Sequence[Any]) -> Iterator[str]:
  for value in values:
    yield "    " + json.dumps(value, ensure_ascii=False, allow_nan=False)
