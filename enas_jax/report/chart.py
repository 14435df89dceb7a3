"""Line and bar charts, as inline SVG drawn by matplotlib."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib import axes as axes_lib
from matplotlib import figure, ticker

Points = Sequence[tuple[float, float]]
Edges = Sequence[tuple[float, float, float]]


class Bar(NamedTuple):
  """A bar.

  Attributes:
    height: the value that it shows.
    spread: how far its whisker reaches, up and down.
  """

  height: float
  spread: float = 0.0


_FEW_POINTS = 50  # up to so many are marked with dots


def line_chart(
  series: Mapping[str, Points],
  *,
  x_label: str,
  y_label: str,
  log_y: bool = False,
  bands: Mapping[str, Edges] | None = None,
) -> str:
  """Draws series as lines.

  Args:
    series: points (x, y) by name, in the order of x. Points with a coordinate
      that is not finite are skipped, and so are y <= 0 if `log_y`.
    x_label: the name of the x axis.
    y_label: the name of the y axis.
    log_y: whether y is logarithmic.
    bands: by the name of a series, the edges (x, low, high) of the band around
      its line, in the order of x; None: no series has one.

  Returns:
    An SVG element; the empty string if no point is left.
  """
  lines = drawable(series, log_y)
  if not lines:
    return ""
  return to_svg(plot(lines, x_label, y_label, log_y, bands))


def bar_chart(
  series: Mapping[str, Mapping[str, Bar]], *, x_label: str, y_label: str
) -> str:
  """Draws series as groups of bars, one group for each name along x.

  Args:
    series: by the name of a series, its bars by their names along x. Those that
      a series lacks are left out.
    x_label: the name of the x axis.
    y_label: the name of the y axis.

  Returns:
    An SVG element.
  """
  names = list(dict.fromkeys(name for bars in series.values() for name in bars))
  width = 0.8 / max(len(series), 1)  # of the 1 between two groups
  chart, axes = new(x_label, y_label)
  for number, (label, bars) in enumerate(series.items()):
    shift = (number - (len(series) - 1) / 2) * width
    axes.bar(
      [names.index(name) + shift for name in bars],
      [bar.height for bar in bars.values()],
      width,
      yerr=[bar.spread for bar in bars.values()],
      label=literal(label),
      capsize=2,
    )
  axes.set_xticks(range(len(names)), [literal(name) for name in names])
  axes.grid(visible=False, axis="x")
  if len(series) > 1:
    axes.legend()
  return to_svg(chart)


def to_svg(chart: figure.Figure) -> str:
  """A figure as an SVG element."""
  # Letters stay text, and the same data make the same bytes.
  with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "enas"}):
    drawing = io.StringIO()
    chart.savefig(drawing, format="svg", metadata={"Date": None})
  text = drawing.getvalue()
  # Within a page there is no place for XML's declaration and document type.
  return text[text.index("<svg") :]


def new(x_label: str, y_label: str) -> tuple[figure.Figure, axes_lib.Axes]:
  """An empty chart of 6.4 x 3 inches."""
  # Not by pyplot, which keeps every figure that it makes until it is closed.
  chart = figure.Figure(figsize=(6.4, 3.0), layout="constrained")
  axes = chart.add_subplot()
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  axes.grid(alpha=0.3)
  return chart, axes


def literal(label: str) -> str:
  """A label as it stands: matplotlib reads "$" as maths, and hides "_..."."""
  return label.lstrip("_").replace("$", r"\$")


def plot(
  lines: Mapping[str, Points],
  x_label: str,
  y_label: str,
  log_y: bool,
  bands: Mapping[str, Edges] | None = None,
) -> figure.Figure:
  """The chart as a matplotlib figure of 6.4 x 3 inches."""
  chart, axes = new(x_label, y_label)
  for name, points in lines.items():
    xs, ys = zip(*points, strict=True)
    marker = "o" if len(points) <= _FEW_POINTS else ""
    (line,) = axes.plot(
      xs, ys, label=literal(name), marker=marker, markersize=3, linewidth=1.3
    )
    if bands and name in bands:
      places, low, high = zip(*bands[name], strict=True)
      axes.fill_between(places, low, high, color=line.get_color(), alpha=0.2)
  if log_y:
    axes.set_yscale("log")
  whole = all(
    float(x).is_integer() for points in lines.values() for x, _ in points
  )
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=whole))  # steps
  if len(lines) > 1:
    axes.legend()
  return chart


def drawable(
  series: Mapping[str, Points], log_y: bool
) -> dict[str, list[tuple[float, float]]]:
  """The series without points that cannot be drawn, and without empty ones."""
  lines = {
    name: [
      (x, y)
      for x, y in points
      if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_y)
    ]
    for name, points in series.items()
  }
  return {name: points for name, points in lines.items() if points}
