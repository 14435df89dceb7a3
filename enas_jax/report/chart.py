"""Line charts of a report, as inline SVG drawn by matplotlib."""

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib import figure, ticker

Points = Sequence[tuple[float, float]]

_FEW_POINTS = 50  # up to so many are marked with dots


def line_chart(
  series: Mapping[str, Points],
  *,
  x_label: str,
  y_label: str,
  log_y: bool = False,
) -> str:
  """Draws series as lines.

  Args:
    series: points (x, y) by name, in the order of x. Points with a coordinate
      that is not finite are skipped, and so are y <= 0 if `log_y`.
    x_label: the name of the x axis.
    y_label: the name of the y axis.
    log_y: whether y is logarithmic.

  Returns:
    An SVG element; the empty string if no point is left.
  """
  lines = {name: _drawable(points, log_y) for name, points in series.items()}
  lines = {name: points for name, points in lines.items() if points}
  if not lines:
    return ""
  # Letters stay text, and the same data make the same bytes.
  with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "enas"}):
    drawing = io.StringIO()
    plot(lines, x_label, y_label, log_y).savefig(
      drawing, format="svg", metadata={"Date": None}
    )
  text = drawing.getvalue()
  return text[text.index("<svg") :]


def plot(
  lines: Mapping[str, Points], x_label: str, y_label: str, log_y: bool
) -> figure.Figure:
  """The chart as a matplotlib figure of 6.4 x 3 inches."""
  chart = figure.Figure(figsize=(6.4, 3.0), layout="constrained")
  axes = chart.add_subplot()
  for name, points in lines.items():
    xs, ys = zip(*points, strict=True)
    marker = "o" if len(points) <= _FEW_POINTS else ""
    # Matplotlib hides a label that begins with "_" and reads "$" as maths.
    label = name.lstrip("_").replace("$", r"\$")
    axes.plot(xs, ys, label=label, marker=marker, markersize=3, linewidth=1.3)
  if log_y:
    axes.set_yscale("log")
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))  # steps
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  axes.grid(alpha=0.3)
  if len(lines) > 1:
    axes.legend()
  return chart


def _drawable(points: Points, log_y: bool) -> list[tuple[float, float]]:
  return [
    (x, y)
    for x, y in points
    if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_y)
  ]
