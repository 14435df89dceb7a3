"""Charts of the report: SVG in the page's colours, and what they show as data.

Matplotlib draws them, so a page is whole without a script. The values stand
beside a drawing, with the place of each in it: a script needs no axes to say
which point is near.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import figure, rcsetup, ticker

from enas_jax.report import chart

Points = Sequence[tuple[float, float]]

_POINTS_PER_INCH = 72  # those of matplotlib's SVG
_INK = "#010203"  # stands for the colour of the page's text
_MOST_POINTS = 2000  # of a series that a script is given
_ROUNDING = 1e-9  # of values, as a share of the largest
_LEAST = 1e-300  # less cannot be divided into bins
_STYLE: dict[Any, Any] = {
  "svg.fonttype": "none",  # letters stay text
  "svg.hashsalt": "enas",  # and the same data make the same bytes
  "figure.dpi": _POINTS_PER_INCH,
  "figure.facecolor": "none",
  "axes.facecolor": "none",
  "legend.facecolor": "none",
  "legend.edgecolor": "none",
  "grid.linewidth": 0.5,
  "legend.fontsize": 9,
  "font.size": 9,
  **dict.fromkeys(
    (
      *("text.color", "axes.labelcolor", "axes.edgecolor", "grid.color"),
      *("xtick.color", "ytick.color"),
    ),
    _INK,
  ),
  # Hues that stand out on white and on black, also to the colour-blind.
  "axes.prop_cycle": rcsetup.cycler(
    color=["#2f7ed8", "#e07b00", "#1a9e77", "#c94f9b", "#8f7cd6", "#b08d00"]
  ),
}


class Drawing(NamedTuple):
  """A chart of the page.

  Attributes:
    svg: an SVG element.
    values: JSON: the names of the axes, "x" and "y", and "series", each with
      its "name" and "points": x, y, and the place in the SVG's own units.
  """

  svg: str
  values: str


def lines(
  series: Mapping[str, Points], x_label: str, y_label: str, log_y: bool = False
) -> Drawing | None:
  """Lines through points; arguments as `chart.line_chart`.

  Returns:
    The drawing; None if no point can be drawn.
  """
  shown = chart.drawable(series, log_y)
  if not shown:
    return None
  with matplotlib.rc_context(_STYLE):
    drawn = chart.plot(shown, x_label, y_label, log_y)
    return _finish(drawn, drawn.axes[0], shown)


def histogram(
  groups: Mapping[str, Sequence[float]],
  x_label: str,
  marks: Mapping[str, float],
) -> Drawing | None:
  """How often values occur, the groups over one another.

  Args:
    groups: by name, finite values; of each group the shares sum to 1.
    x_label: what the values are.
    marks: by name, values at which a line stands.

  Returns:
    The drawing; None if there is no value.
  """
  known = {name: values for name, values in groups.items() if len(values)}
  if not known:
    return None
  every = np.concatenate([np.asarray(v, float) for v in known.values()])
  edges = np.histogram_bin_edges(
    every, bins=min(30, 5 + len(every) // 8), range=_span(every)
  )
  bars = {}
  with matplotlib.rc_context(_STYLE):
    drawn, axes = chart.new(x_label, "share of the candidates")
    for name, values in known.items():
      counts, _ = np.histogram(values, edges)
      shares = counts / len(values)
      axes.stairs(
        shares, edges, fill=True, alpha=0.45, label=chart.literal(name)
      )
      middles = (edges[:-1] + edges[1:]) / 2
      bars[name] = list(zip(middles.tolist(), shares.tolist(), strict=True))
    for name, value in marks.items():
      axes.axvline(value, color=_INK, linestyle="--", linewidth=1.2, label=name)
    axes.legend()
    return _finish(drawn, axes, bars)


def _span(values: np.ndarray) -> tuple[float, float]:
  """Where the bins of a histogram begin and end."""
  low, high = float(values.min()), float(values.max())
  # What rounding alone tells apart leaves no room for edges in between.
  if high - low <= max(_ROUNDING * max(abs(low), abs(high)), _LEAST):
    wide = 0.5 * max(abs(high), 1.0)
    return low - wide, high + wide
  return low, high


def scatter(
  series: Mapping[str, Points],
  front: Points,
  x_label: str,
  y_label: str,
) -> Drawing | None:
  """Points, and the steps through those that no other one surpasses.

  Args:
    series: by name, finite points.
    front: the points of the Pareto front, in the order of x.
    x_label: the name of the x axis.
    y_label: the name of the y axis.

  Returns:
    The drawing; None if there is no point.
  """
  known = {name: points for name, points in series.items() if points}
  if not known:
    return None
  with matplotlib.rc_context(_STYLE):
    drawn, axes = chart.new(x_label, y_label)
    for name, points in known.items():
      xs, ys = zip(*points, strict=True)
      axes.scatter(xs, ys, s=14, alpha=0.8, label=chart.literal(name))
    if front:
      axes.step(
        *zip(*front, strict=True), where="post", linewidth=1, color=_INK,
        alpha=0.6, label="Pareto front",
      )  # fmt: skip
    axes.legend()
    return _finish(drawn, axes, known)


def heat_map(
  rows: Mapping[str, Sequence[float]],
  columns: Sequence[float],
  x_label: str,
  breaks: Sequence[int] = (),
) -> Drawing | None:
  """Probabilities as colours.

  Args:
    rows: by label, a value in [0, 1] for each column; all labels differ.
    columns: their x, increasing.
    x_label: the name of the x axis.
    breaks: before which rows, by number, a line is drawn.

  Returns:
    The drawing; None if there is no value.
  """
  if not rows or not columns:
    return None
  table = np.asarray(list(rows.values()), float)
  with matplotlib.rc_context(_STYLE):
    height = 0.9 + 0.16 * len(rows)  # inches
    drawn = figure.Figure(figsize=(6.4, height), layout="constrained")
    axes = drawn.add_subplot()
    shown = axes.imshow(
      table, aspect="auto", cmap="viridis", vmin=0, vmax=1,
      interpolation="nearest",
    )  # fmt: skip
    axes.set_xlabel(x_label)
    axes.set_yticks(range(len(rows)), [chart.literal(name) for name in rows])
    axes.tick_params(axis="y", length=0, labelsize=7)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=10))
    axes.xaxis.set_major_formatter(
      lambda place, _: f"{columns[min(max(int(place), 0), len(columns) - 1)]:g}"
    )
    for number in breaks:
      # Row i has its middle at i.
      axes.axhline(number - 0.5, color="white", linewidth=1.5)
    bar = drawn.colorbar(
      shown, ax=axes, location="top", shrink=0.5, aspect=40, pad=0.05 / height
    )
    bar.set_label("probability")
    cells = {
      name: list(zip(columns, values, strict=True))
      for name, values in rows.items()
    }
    places = {
      name: [(column, row) for column in range(len(columns))]
      for row, name in enumerate(rows)
    }
    return _finish(drawn, axes, cells, places)


def _finish(
  drawn: figure.Figure,
  axes: axes_lib.Axes,
  series: Mapping[str, Points],
  places: Mapping[str, Points] | None = None,
) -> Drawing:
  """The drawing with its values; `places` where they are not at (x, y)."""
  for _ in range(2):  # the first time labels may still stand over the edge
    drawn.draw_without_rendering()
  drawn.set_layout_engine("none")  # or it is laid out again to be written
  height = drawn.get_figheight() * _POINTS_PER_INCH
  listed = []
  for name, points in series.items():
    every = math.ceil(len(points) / _MOST_POINTS)
    # Of many points every second, say, and the last.
    kept = range((len(points) - 1) % every, len(points), every)
    where = axes.transData.transform((places or series)[name])
    listed.append(
      {
        "name": name,
        "points": [
          [
            *points[index],
            # A tenth of a point is finer than a screen shows.
            round(float(where[index][0]), 1),
            # In SVG y grows downwards, in matplotlib upwards.
            round(height - float(where[index][1]), 1),
          ]
          for index in kept
        ],
      }
    )
  values = {"x": axes.get_xlabel(), "y": axes.get_ylabel(), "series": listed}
  svg = chart.to_svg(drawn).replace(_INK, "currentColor")
  return Drawing(svg, json.dumps(values))
