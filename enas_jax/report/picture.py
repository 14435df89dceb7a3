"""Pictures of graphs: matplotlib paints what `layout` lays out."""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib import figure, font_manager, patches, path, textpath

from enas_jax.report import colors as colors_lib
from enas_jax.report import layout as layout_lib
from enas_jax.spaces import graph as graph_lib

Point = layout_lib.Point

_INK, _GREY = "#1f2937", colors_lib.GREY
# Lines that run side by side; all dark enough on white.
_LINES = (
  "#2563eb",
  "#dc2626",
  "#059669",
  "#9333ea",
  "#d97706",
  "#0891b2",
  "#db2777",
  "#4b5563",
)
_MARGIN, _LINE = 15.0, 24.0  # points, as all that follows
_FONT, _TITLE_FONT, _SMALL_FONT = 10.0, 11.5, 9.0
_SWATCH = 10.0
_BESIDE = 980.0  # graphs stand side by side up to this width
_FAINT = 0.35
_PIXELS_PER_INCH = 192  # twice those of a browser
# Letters stay text, and the same drawing makes the same bytes.
STYLE: dict[Any, Any] = {
  "svg.fonttype": "none",
  "svg.hashsalt": "enas",
  # Matplotlib brings the first, so that every machine measures alike.
  "font.family": ["sans-serif"],
  "font.sans-serif": ["DejaVu Sans"],
  "text.parse_math": False,
}


def paint(
  graphs: Sequence[graph_lib.Graph],
  title: str,
  colors: Mapping[str, colors_lib.Color],
  form: str,
) -> bytes:
  """Paints graphs in one picture, the same bytes whenever it is asked to.

  Args:
    graphs: what to paint.
    title: a line above all of them, or nothing.
    colors: those of the operations, in the order of the legend.
    form: "svg" or "png".
  """
  # What would name the day or the release of matplotlib is left out.
  metadata = {
    "svg": {"Date": None, "Creator": None}
    | ({"Title": title} if title else {}),
    "png": {"Software": None},
  }
  target = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    _figure(graphs, title, colors).savefig(
      target, format=form, dpi=_PIXELS_PER_INCH, metadata=metadata[form]
    )
  return target.getvalue()


def _line_colors(graph: graph_lib.Graph) -> list[str]:
  """The colour of each edge.

  Skips of neighbours are on different sides, with colours far apart; on one
  side all are different as long as there are colours.
  """
  turns, half = layout_lib.turns(graph), len(_LINES) // 2
  colors = {
    # Even turns are on one side, odd ones on the other (`layout._arc`).
    name: _LINES[(turn // 2 + turn % 2 * half) % len(_LINES)]
    for name, turn in turns.items()
  }
  return [
    colors[edge.source] if edge.style in ("wire", "skip") else _GREY
    for edge in graph.edges
  ]


@functools.lru_cache(4096)
def measure(words: str, size: float = _FONT, weight: str = "normal") -> float:
  """How wide words are, in points; to be asked within `STYLE`."""
  if not words:
    return 0.0  # a path without points has no width
  font = font_manager.FontProperties(size=size, weight=weight)
  return float(textpath.TextPath((0, 0), words, prop=font).get_extents().width)


class _Panel(NamedTuple):
  """One graph with what stands around it.

  Attributes:
    graph: what is drawn.
    layout: where its parts are, right of the margin and below the title.
    margin: width of the labels on the left.
    title: height of the title's line.
    width: that of all.
    height: that of all.
  """

  graph: graph_lib.Graph
  layout: layout_lib.Layout
  margin: float
  title: float
  width: float
  height: float


def _panel(graph: graph_lib.Graph) -> _Panel:
  widths = {node.label: measure(node.label) for node in graph.nodes}
  layout = layout_lib.layout(graph, widths)
  labels = [measure(edge.label, _SMALL_FONT) + 6.0 for edge in layout.cuts]
  margin = max(labels, default=0.0)
  title = _LINE if graph.title else 0.0
  caption = _LINE if graph.caption else 0.0
  words = [
    measure(graph.title, weight="bold"),
    measure(graph.caption),
  ]
  width = max(margin + layout.width, *words)
  height = title + layout.height + caption
  return _Panel(graph, layout, margin, title, width, height)


def _arranged(panels: Sequence[_Panel]) -> tuple[list[Point], float, float]:
  """Side by side on one line, or one above the other where that is too wide.

  Returns:
    The upper left corner of each, and the width and height of all.
  """
  gap = 2 * _MARGIN
  width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
  height = max(panel.height for panel in panels)
  places, x, y = [], 0.0, 0.0
  if width <= _BESIDE:
    for panel in panels:
      places.append((x, height - panel.height))
      x += panel.width + gap
    return places, width, height
  width = max(panel.width for panel in panels)
  for panel in panels:
    places.append(((width - panel.width) / 2, y))
    y += panel.height + gap
  return places, width, y - gap


class _Canvas:
  """Paints on a figure whose unit is the point, from a corner on."""

  def __init__(self, width: float, height: float) -> None:
    self.figure = figure.Figure(figsize=(width / 72, height / 72))  # inches
    self._axes = self.figure.add_axes((0, 0, 1, 1))
    self._axes.set(xlim=(0, width), ylim=(height, 0))  # y grows downwards
    self._axes.axis("off")
    self.corner = (0.0, 0.0)

  def words(
    self,
    at: Point,
    words: str,
    *,
    size: float = _FONT,
    align: str = "center",
    color: str = _INK,
    weight: str = "normal",
    alpha: float = 1.0,
  ) -> None:
    """Writes words whose middle, or whose end on one side, is there."""
    self._axes.text(
      *self._moved(at),
      words,
      size=size,
      ha=align,
      va="center_baseline",
      color=color,
      weight=weight,
      alpha=alpha,
    )

  def box(
    self,
    middle: Point,
    size: tuple[float, float],
    color: colors_lib.Color,
    alpha: float = 1.0,
  ) -> None:
    """Paints a rounded rectangle."""
    (x, y), (width, height) = self._moved(middle), size
    style = patches.BoxStyle("Round", pad=0.0, rounding_size=height / 4)
    self._axes.add_patch(
      patches.FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle=style,
        facecolor=color[0],
        edgecolor=color[1],
        linewidth=1.1,
        alpha=alpha,
        clip_on=False,
      )
    )

  def arrow(
    self, curve: Sequence[Point], color: str, alpha: float = 1.0
  ) -> None:
    """Paints cubic Bezier curves, one after the other, with an arrow head."""
    codes = [path.Path.MOVETO, *[path.Path.CURVE4] * (len(curve) - 1)]
    line = path.Path([self._moved(point) for point in curve], codes)
    self._axes.add_patch(
      patches.FancyArrowPatch(
        path=line,
        arrowstyle="-|>,head_length=5.5,head_width=2.4",
        mutation_scale=1.0,
        color=color,
        linewidth=1.1,
        alpha=alpha,
        joinstyle="miter",
        capstyle="butt",
        clip_on=False,
      )
    )

  def dashes(self, start: Point, width: float) -> None:
    """Paints a dashed line to the right."""
    x, y = self._moved(start)
    self._axes.plot(
      [x, x + width],
      [y, y],
      color=_GREY,
      linewidth=0.9,
      linestyle=(0, (5, 4)),
      clip_on=False,
    )

  def _moved(self, at: Point) -> Point:
    return at[0] + self.corner[0], at[1] + self.corner[1]


def _figure(
  graphs: Sequence[graph_lib.Graph],
  title: str,
  colors: Mapping[str, colors_lib.Color],
) -> figure.Figure:
  """The whole picture: title, graphs with their titles, legend."""
  panels = [_panel(graph) for graph in graphs]
  places, width, height = _arranged(panels)
  names = {op: graph_lib.spoken(op) for op in colors}
  # In swatches: one itself, 0.4 to its name, and 1.6 to the next one, which the
  # last one does not have.
  legend = [measure(name) + 3 * _SWATCH for name in names.values()]
  row = sum(legend) - 1.6 * _SWATCH if legend else 0.0
  heading = measure(title, _TITLE_FONT, "bold")
  whole = max(width, row, heading) + 2 * _MARGIN
  top = _MARGIN + (_LINE if title else 0.0)
  high = top + height + (_LINE if legend else 0.0) + _MARGIN
  canvas = _Canvas(whole, high)
  middle = (whole / 2, _MARGIN + _TITLE_FONT / 2)
  canvas.words(middle, title, size=_TITLE_FONT, weight="bold")
  x, y = (whole - row) / 2, high - _MARGIN - _SWATCH / 2
  for (op, name), wide in zip(names.items(), legend, strict=True):
    canvas.box((x + _SWATCH / 2, y), (_SWATCH, _SWATCH), colors[op])
    canvas.words((x + 1.4 * _SWATCH, y), name, align="left")
    x += wide
  for panel, place in zip(panels, places, strict=True):
    canvas.corner = ((whole - width) / 2 + place[0], top + place[1])
    _paint(canvas, panel, colors)
  return canvas.figure


def _paint(
  canvas: _Canvas, panel: _Panel, colors: Mapping[str, colors_lib.Color]
) -> None:
  graph, layout = panel.graph, panel.layout
  left, top = canvas.corner
  if graph.title:
    at = (panel.width / 2, _FONT / 2)
    canvas.words(at, graph.title, weight="bold")
  if graph.caption:
    canvas.words((panel.width / 2, panel.height - _FONT / 2), graph.caption)
  spare = panel.width - panel.margin - layout.width
  canvas.corner = (left + panel.margin + spare / 2, top + panel.title)
  for edge, y in layout.cuts.items():
    canvas.dashes((0.0, y), layout.width)
    at = (-6.0, y)
    canvas.words(at, edge.label, size=_SMALL_FONT, align="right", color=_GREY)
  used = graph.used()
  faint = lambda name: 1.0 if name in used else _FAINT
  lines = zip(graph.edges, layout.curves, _line_colors(graph), strict=True)
  for edge, curve, line in lines:
    if curve:
      canvas.arrow(curve, line, faint(edge.target))
  for node in graph.nodes:
    x, y, wide = layout.boxes[node.name]
    color, alpha = colors.get(node.op, colors_lib.PLAIN), faint(node.name)
    canvas.box((x, y), (wide, layout_lib.HEIGHT), color, alpha)
    canvas.words((x, y), node.label, alpha=alpha)
