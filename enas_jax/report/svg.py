"""Pieces of SVG that the drawings share: the page, boxes, text and colours.

Coordinates are px and y grows downwards. Words are markup: callers escape.
"""

import pathlib
from collections.abc import Iterable, Mapping

import matplotlib
import resvg_py

Color = tuple[str, str]  # fill and outline of a box

CENTRED = 'text-anchor="middle"'
EDGE = "#6b7280"
PLAIN: Color = ("#ffffff", EDGE)
CHAR = 7.5  # at most the mean width of the letters of a name
# Of the operations of both convolutional spaces: a family has a hue.
OP_COLORS: dict[str, Color] = {
  "conv_3x3": ("#dbeafe", "#2563eb"),
  "conv_5x5": ("#c7d2fe", "#4338ca"),
  "sep_conv_3x3": ("#dcfce7", "#16a34a"),
  "sep_conv_5x5": ("#a7f3d0", "#047857"),
  "max_pool_3x3": ("#ffedd5", "#ea580c"),
  "avg_pool_3x3": ("#fef9c3", "#ca8a04"),
  "identity": ("#f3f4f6", "#6b7280"),
}
# Lines that run side by side; all dark enough on white.
LINES = (
  "#2563eb",
  "#dc2626",
  "#059669",
  "#9333ea",
  "#d97706",
  "#0891b2",
  "#db2777",
  "#4b5563",
)
_INK = "#1f2937"
_FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_MORE_COLORS: tuple[Color, ...] = (
  ("#ede9fe", "#7c3aed"),
  ("#fce7f3", "#db2777"),
  ("#ccfbf1", "#0d9488"),
  ("#fef9c3", "#ca8a04"),
)


def head(
  width: float, height: float, label: str, markers: Mapping[str, str]
) -> str:
  """What stands before a drawing.

  Args:
    width: of the page.
    height: of the page.
    label: for those who cannot see; browsers show it as a tool tip.
    markers: arrow heads, their colours by id.
  """
  size = f"{width:.0f} {height:.0f}"
  wide, high = size.split()
  heads = "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4"'
    ' markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"'
    f' orient="auto"><path d="M0 0.5L8 4L0 7.5Z" fill="{color}"/></marker>'
    for name, color in markers.items()
  )
  return "\n".join(
    [
      f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}"'
      f' width="{wide}" height="{high}" role="img" font-size="13"'
      f' font-family="{_FONT}" fill="{_INK}">',
      f"<title>{label}</title>",
      f"<defs>{heads}</defs>",
      f'<rect class="page" width="{wide}" height="{high}" fill="#ffffff"/>',
    ]
  )


def heading(x: float, y: float, label: str) -> str:
  """A line of bold text, centred on x."""
  style = f'{CENTRED} font-size="15" font-weight="600"'
  return text(x, y, label, style)


def box(
  kind: str,
  x: float,
  y: float,
  size: tuple[float, float],
  color: Color,
  content: str,
) -> str:
  """A rounded box of centre x and top y below `content`, in a group.

  Args:
    kind: the group's class.
    x: the centre.
    y: the top.
    size: width and height.
    color: fill and outline.
    content: markup.
  """
  (width, height), (fill, stroke) = size, color
  return (
    f'<g class="{kind}"><rect x="{x - width / 2:.1f}" y="{y:.1f}"'
    f' width="{width:.1f}" height="{height:.1f}" rx="8" fill="{fill}"'
    f' stroke="{stroke}" stroke-width="1.5"/>{content}</g>'
  )


def text(x: float, y: float, words: str, style: str = CENTRED) -> str:
  """Words whose base line is y."""
  return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{words}</text>'


def symbol(x: float, y: float, letter: str, index: str) -> str:
  """A letter with a subscript from x on, in a box whose top is y."""
  return text(x, y + 21, letter, 'font-style="italic"') + text(
    x + 9, y + 25, index, 'font-size="10"'
  )


def arrow(path: str, color: str, marker: str, kind: str = "edge") -> str:
  """A line along a path's commands, with an arrow head."""
  return (
    f'<path class="{kind}" d="{path}" fill="none" stroke="{color}"'
    f' stroke-width="1.5" marker-end="url(#{marker})"/>'
  )


def colors(ops: Iterable[str], known: Mapping[str, Color]) -> dict[str, Color]:
  """The colours of the functions in use, known functions first."""
  in_use = list(dict.fromkeys(ops))
  used = [op for op in known if op in in_use]
  others = [op for op in in_use if op not in known]
  more = {
    op: _MORE_COLORS[i % len(_MORE_COLORS)] for i, op in enumerate(others)
  }
  return {op: known[op] for op in used} | more


def line_markers(prefix: str, lines: Iterable[int]) -> dict[str, str]:
  """The arrow heads of lines of these numbers, as `head` takes them."""
  used = {line % len(LINES) for line in lines}
  return {f"{prefix}-{at}": LINES[at] for at in sorted(used)}


def line_arrow(path: str, prefix: str, line: int, kind: str = "edge") -> str:
  """An arrow in the colour of its number; colours repeat after some."""
  at = line % len(LINES)
  return arrow(path, LINES[at], f"{prefix}-{at}", kind)


def quoted(words: str) -> str:
  """A string of the Graphviz language."""
  escaped = words.replace("\\", "\\\\").replace('"', '\\"')
  return f'"{escaped}"'


def to_png(markup: str, zoom: float = 1.0) -> bytes:
  """Renders a drawing, the same on every machine: with matplotlib's font.

  Args:
    markup: a whole SVG document.
    zoom: pixels of the picture for each px of the drawing.
  """
  fonts = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
  family = "DejaVu Sans"
  return bytes(
    resvg_py.svg_to_bytes(
      svg_string=markup,
      zoom=zoom,
      skip_system_fonts=True,
      font_files=[
        str(fonts / f"DejaVuSans{weight}.ttf") for weight in ("", "-Bold")
      ],
      font_family=family,
      sans_serif_family=family,
    )
  )
