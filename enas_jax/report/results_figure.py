"""The chart, or the pictures, that a table of results asks for."""

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from enas_jax.report import chart, drawing, results
from enas_jax.spaces import registry

# By series and place along x, what was measured there.
_Values = Mapping[str, Mapping[str, list[float]]]


class Drawing(NamedTuple):
  """A file with a drawing.

  Attributes:
    name: the name of the file, without its suffix.
    fingerprint: its first line, which tells what is drawn.
    draw: () -> the file's text.
  """

  name: str
  fingerprint: str
  draw: Callable[[], str]


def drawings(table: results.Table) -> list[Drawing]:
  """What a table asks for: nothing, a chart, or a picture of each row.

  Args:
    table: the table.
  """
  figure = table.figure
  if figure is None:
    return []
  if figure.kind != results.PICTURES:
    return [Drawing(table.name, fingerprint(table), lambda: draw(table))]
  return [_picture(figure, row) for row in table.rows]


def _picture(figure: results.Figure, row: results.Row) -> Drawing:
  """The picture of an architecture; raises InputError if it is none."""
  name, tokens, space = (
    str(row[key]) for key in (figure.x, figure.y, figure.series)
  )
  options = registry.preset(str(row["preset"]), space).child
  arc = options.space().from_tokens(tokens)
  title = drawing.title_of(space)
  # All that the picture depends on but the code that draws it.
  line = _comment([space, row["preset"], tokens, title])

  def picture() -> str:
    svg = drawing.draw_arc(space, options, arc, title).svg
    return f"{line}\n{svg}"

  return Drawing(name, line, picture)


def draw(table: results.Table) -> str:
  """Draws the chart of a table.

  Rows that agree in x and in the series are one point: their mean. A bar of
  several rows has a whisker of their standard deviation. The edges of a band
  are means, too.

  Args:
    table: the table; it must have a figure.

  Returns:
    An SVG file. Its first line is `fingerprint`.
  """
  figure = _figure(table)
  values = _values(table, figure.y)
  x_label, y_label = (key.replace("_", " ") for key in (figure.x, figure.y))
  if figure.kind == "lines":
    lines, low, high = (
      {name: dict(_means(by_x)) for name, by_x in found.items()}
      for found in (values, *_edges(table))
    )
    drawing = chart.line_chart(
      {name: list(points.items()) for name, points in lines.items()},
      x_label=x_label,
      y_label=y_label,
      bands={
        name: [(x, edge, high[name][x]) for x, edge in edges.items()]
        for name, edges in low.items()
      },
    )
  else:
    drawing = chart.bar_chart(
      {
        name: {x: _bar(ys) for x, ys in by_x.items()}
        for name, by_x in values.items()
      },
      x_label=x_label,
      y_label=y_label,
    )
  return f"{fingerprint(table)}\n{drawing}"


def fingerprint(table: results.Table) -> str:
  """A comment that is the same if and only if the same would be drawn.

  Versions of matplotlib draw the same data with other bytes. So a drawing is
  held to its data, not to its bytes.
  """
  figure = _figure(table)
  data = [figure.kind, figure.x, figure.y, _values(table, figure.y)]
  return _comment(data + (_edges(table) if figure.low else []))


def _comment(data: list[Any]) -> str:
  shown = json.dumps(data)
  return f"<!-- data {hashlib.sha256(shown.encode()).hexdigest()} -->"


def _figure(table: results.Table) -> results.Figure:
  if table.figure is None:
    raise ValueError(f"the table {table.name} has no figure.")
  return table.figure


def _edges(table: results.Table) -> list[_Values]:
  """The lower and upper edges of the bands, of no series if none has one."""
  figure = _figure(table)
  keys = (figure.low, figure.high)
  return [_values(table, key) if key else {} for key in keys]


def _values(table: results.Table, key: str) -> _Values:
  """The numbers of a field to draw; rows without it or x are left out."""
  figure = _figure(table)
  values: dict[str, dict[str, list[float]]] = {}
  for row in table.rows:
    x, y = row.get(figure.x), row.get(key)
    # x as text: a name of a bar, or a number that `_means` reads back.
    if x is not None and isinstance(y, int | float):
      series = str(row.get(figure.series, ""))
      values.setdefault(series, {}).setdefault(str(x), []).append(y)
  return values


def _means(by_x: Mapping[str, list[float]]) -> list[tuple[float, float]]:
  return sorted((float(x), statistics.fmean(ys)) for x, ys in by_x.items())


def _bar(values: list[float]) -> chart.Bar:
  spread = statistics.stdev(values) if len(values) > 1 else 0.0
  return chart.Bar(statistics.fmean(values), spread)
