"""Drawings of found convolutional cells: text, SVG and Graphviz source.

A cell of B nodes is B - 2 rows: row r says of node r + 2 which two nodes it
takes, `inputs[r]`, and which operation it applies to each, `ops[r]`; it adds
the results. Node 0 is the output of the cell before the previous one, node 1
that of the previous one. `outputs` are the nodes concatenated to the cell's
output: its loose ends. Drawings count nodes from 1, as the paper does.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.sax import saxutils

from enas_jax.report import layered, svg

_OP_HEIGHT = 30.0  # px, as all that follows
_HEIGHT = 32.0  # of any other box
_INNER = 24.0  # between operations and their sum
_GAP = 14.0  # between two boxes
_LEVEL_GAP = 44.0  # between levels, where wires slant
_UNIT = _OP_HEIGHT + _INNER + _HEIGHT  # height of a node with its operations
_LANE = 16.0
_ADD = 64.0  # width of the box of a sum
_PORT = 12.0  # where in it the two arrows end, left and right of its centre
_MARGIN = 20.0
_TITLE = 34.0
_BESIDE = 1300.0  # cells stand side by side up to this width
_TURNS = 4  # the halves of nodes are put in order at most so often
_NUM_INPUTS = 2
_INPUTS = ("cell i\N{MINUS SIGN}2", "cell i\N{MINUS SIGN}1")
_LINE = "conv-cell-wire"
_ARROW = "conv-cell-arrow"

Pairs = Sequence[Sequence[int]]
NamePairs = Sequence[Sequence[str]]


class Cell(NamedTuple):
  """One cell.

  Attributes:
    inputs: B - 2 pairs of the nodes taken.
    ops: B - 2 pairs of names of operations.
    outputs: the nodes concatenated.
  """

  inputs: Pairs
  ops: NamePairs
  outputs: Sequence[int]

  def read(self) -> set[int]:
    """The nodes that something reads."""
    return {node for pair in self.inputs for node in pair} | set(self.outputs)

  def levels(self) -> list[int]:
    """The number of nodes on the longest way from an input to each node."""
    levels = [0] * _NUM_INPUTS
    for pair in self.inputs:
      levels.append(1 + max(levels[node] for node in pair))
    return levels

  def names(self) -> list[str]:
    """The operations, with repetitions."""
    return [op for pair in self.ops for op in pair]


def _checked(inputs: Pairs, ops: NamePairs, outputs: Sequence[int]) -> Cell:
  if not ops or len(inputs) != len(ops):
    raise ValueError(f"{len(inputs)} entries of inputs for {len(ops)} of ops")
  for row, (taken, names) in enumerate(zip(inputs, ops, strict=True)):
    if len(taken) != 2 or len(names) != 2:
      raise ValueError(f"row {row} is not two inputs and two ops")
    if not all(0 <= node < row + _NUM_INPUTS for node in taken):
      raise ValueError(f"node {row + _NUM_INPUTS} cannot take {list(taken)}")
  known = range(len(ops) + _NUM_INPUTS)
  if not outputs or not all(node in known for node in outputs):
    raise ValueError(f"not nodes to concatenate: {list(outputs)}")
  return Cell(inputs, ops, outputs)


def cell_text(inputs: Pairs, ops: NamePairs, outputs: Sequence[int]) -> str:
  """The cell as equations, and its size.

  Args:
    inputs: B - 2 pairs of nodes, counted from 0.
    ops: B - 2 pairs of names of operations.
    outputs: the nodes concatenated to the cell's output, counted from 0.

  Returns:
    Lines of ASCII, if names are, without a final newline.

  Raises:
    ValueError: the arguments describe no cell.
  """
  cell = _checked(inputs, ops, outputs)
  lines = ["h1 = cell(i-2)", "h2 = cell(i-1)"]
  for row, (taken, names) in enumerate(zip(inputs, ops, strict=True)):
    terms = [f"{op}(h{n + 1})" for op, n in zip(names, taken, strict=True)]
    lines.append(f"h{row + _NUM_INPUTS + 1} = {' + '.join(terms)}")
  ends = ", ".join(f"h{node + 1}" for node in outputs)
  lines.append(f"cell(i) = concat({ends})")
  plural = "" if len(outputs) == 1 else "s"
  size = f"depth {max(cell.levels())}, {len(outputs)} loose end{plural}"
  return "\n".join([*lines, "", size])


def cell_dot(inputs: Pairs, ops: NamePairs, outputs: Sequence[int]) -> str:
  """The cell in the language of Graphviz. The arguments are `cell_text`'s."""
  cell = _checked(inputs, ops, outputs)
  colors = svg.colors(cell.names(), svg.OP_COLORS)
  lines = [
    "digraph cell {",
    "  rankdir=BT;",
    '  node [shape=box, style="rounded,filled", fillcolor=white];',
    '  h1 [label="h1: cell i-2"];',
    '  h2 [label="h2: cell i-1"];',
  ]
  for row, (taken, names) in enumerate(zip(inputs, ops, strict=True)):
    number = row + _NUM_INPUTS + 1
    lines.append(f'  h{number} [label="h{number}: add"];')
    for side, node, op in zip("ab", taken, names, strict=True):
      fill, line = colors[op]
      style = f'fillcolor="{fill}", color="{line}"'
      lines += [
        f"  {side}{number} [label={svg.quoted(_spoken(op))}, {style}];",
        f"  h{node + 1} -> {side}{number} -> h{number};",
      ]
  lines.append('  concat; output [label="cell i"];')
  lines += [f"  h{node + 1} -> concat;" for node in outputs]
  return "\n".join([*lines, "  concat -> output;", "}"]) + "\n"


def cell_svg(
  inputs: Pairs,
  ops: NamePairs,
  outputs: Sequence[int],
  *,
  title: str | None = None,
) -> str:
  """The cell as a picture; see `cells_svg`. The arguments are `cell_text`'s."""
  return cells_svg({"": Cell(inputs, ops, outputs)}, title=title)


def cells_svg(cells: Mapping[str, Cell], *, title: str | None = None) -> str:
  """Cells in one picture, each growing from its inputs up to its output.

  Args:
    cells: by the line above each, such as "Normal cell"; that may be empty.
    title: a line above the picture.

  Returns:
    An SVG document that refers to nothing outside. Each cell is a group of
    class `cell`. In it boxes are groups of class `input`, `op`, `add`,
    `concat` and `output`, arrows paths of class `edge`, and `sum` between an
    operation and the node that adds its result. An input that nothing takes
    stands in a group of class `unused`.

  Raises:
    ValueError: one of them is no cell.
  """
  panels = [_panel(name, _checked(*cell)) for name, cell in cells.items()]
  if not panels:
    raise ValueError("no cells to draw")
  places, wide, high = _arranged(panels)
  top = _MARGIN + (_TITLE if title else 0.0)
  width = max(wide, 1.2 * svg.CHAR * len(title or "")) + 2 * _MARGIN
  label = saxutils.escape(title or ", ".join(cells) or "convolutional cell")
  nodes = [node for cell in cells.values() for node in cell.read()]
  markers = {_ARROW: svg.EDGE} | svg.line_markers(_LINE, nodes)
  parts = [svg.head(width, top + high + _MARGIN, label, markers)]
  if title:
    parts.append(svg.heading(width / 2, 32, label))
  for panel, (x, y) in zip(panels, places, strict=True):
    at = f"{x + (width - wide) / 2:.1f} {y + top:.1f}"
    parts.append(f'<g class="cell" transform="translate({at})">')
    parts += [*panel.drawn, "</g>"]
  return "\n".join([*parts, "</svg>"]) + "\n"


@dataclasses.dataclass(frozen=True)
class _Panel:
  """A cell drawn from (0, 0) on."""

  width: float
  height: float
  drawn: Sequence[str]


def _arranged(
  panels: Sequence[_Panel],
) -> tuple[list[tuple[float, float]], float, float]:
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


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where the parts of a cell go, in px; y grows downwards.

  Attributes:
    cell: with the two halves of each node in the order drawn.
    op: width of an operation's box.
    x: centre of each slot.
    tops: of each level.
    concat: top of its box.
    output: top of its box.
  """

  cell: Cell
  op: float
  x: Mapping[layered.Slot, float]
  tops: Sequence[float]
  concat: float
  output: float

  def centre(self, node: int) -> float:
    """The centre of a node's boxes."""
    return self.x[node, self.cell.levels()[node]]

  def foot(self, level: int) -> float:
    """The lower end of a level."""
    return self.tops[level] + (_UNIT if level else _HEIGHT)

  def ends(self) -> list[float]:
    """Where the wires of the outputs reach the concatenation."""
    return [self.x[node, len(self.tops) - 1] for node in self.cell.outputs]


def _half(op: float, side: int) -> float:
  """Where the operation of a side is, right of its node's centre."""
  return (side - 0.5) * (op + _GAP / 2)


def _panel(name: str, cell: Cell) -> _Panel:
  op = max(88.0, svg.CHAR * max(map(len, cell.names())) + 8)
  cell, x = _placed(cell, op)
  at = _Layout(cell, op, x, *_rows(max(cell.levels()), _TITLE * bool(name)))
  # What sticks out farthest: an operation, an input or the concatenation.
  reach = [
    at.centre(row + _NUM_INPUTS) + _half(op, side)
    for row in range(len(cell.inputs))
    for side in (0, 1)
  ]
  reach += [*map(at.centre, range(_NUM_INPUTS)), *x.values()]
  left, right = min(reach) - op / 2, max(reach) + op / 2
  width = max(right - left, 1.2 * svg.CHAR * len(name))
  shift = (width - left - right) / 2
  moved = {slot: centre + shift for slot, centre in x.items()}
  at = dataclasses.replace(at, x=moved)
  drawn = [*_wires(at), *_boxes(at)]
  if name:
    drawn.insert(0, svg.heading(width / 2, 16, saxutils.escape(name)))
  return _Panel(width, at.foot(0), drawn)


def _rows(count: int, top: float) -> tuple[list[float], float, float]:
  """The tops of levels 0 to `count`, of concat and of the output."""
  concat = top + _HEIGHT + _INNER
  tops = [concat + _HEIGHT + _LEVEL_GAP]
  for _ in range(count):
    tops.append(tops[-1] + _UNIT + _LEVEL_GAP)
  return tops[::-1], concat, top


def _placed(cell: Cell, op: float) -> tuple[Cell, dict[layered.Slot, float]]:
  """Centres of the slots; turns the halves of nodes whose wires would cross."""
  levels = cell.levels()
  for _ in range(_TURNS):
    x = layered.place(_graph(cell, op))
    order = []
    for pair, level in zip(cell.inputs, levels[_NUM_INPUTS:], strict=True):
      left, right = (x[node, level - 1] for node in pair)
      order.append([0, 1] if left <= right else [1, 0])
    if all(sides == [0, 1] for sides in order):
      return cell, x
    rows = list(zip(order, cell.inputs, cell.ops, strict=True))
    cell = Cell(
      [[pair[side] for side in sides] for sides, pair, _ in rows],
      [[names[side] for side in sides] for sides, _, names in rows],
      cell.outputs,
    )
  return cell, layered.place(_graph(cell, op))


def _graph(cell: Cell, op: float) -> layered.Graph:
  levels = cell.levels()
  wires = [
    layered.Wire(node, row + _NUM_INPUTS, _half(op, side))
    for row, pair in enumerate(cell.inputs)
    for side, node in enumerate(pair)
  ]
  return layered.Graph(
    levels=levels,
    widths=[(2 * op + 1.5 * _GAP) if n else op + _GAP for n in levels],
    wires=wires,
    tops=[
      max(levels) if node in cell.outputs else level
      for node, level in enumerate(levels)
    ],
    lane=_LANE,
  )


def _wires(at: _Layout) -> Iterator[str]:
  levels = at.cell.levels()
  for row, pair in enumerate(at.cell.inputs):
    level = levels[row + _NUM_INPUTS]
    for side, node in enumerate(pair):
      x = at.centre(row + _NUM_INPUTS) + _half(at.op, side)
      yield _wire(at, node, level, x, at.foot(level))
  for node, x in zip(at.cell.outputs, at.ends(), strict=True):
    yield _wire(at, node, len(at.tops), x, at.concat + _HEIGHT)
  middle = _middle(at.ends())
  line = f"M{middle:.1f} {at.concat:.1f}V{at.output + _HEIGHT + 1:.1f}"
  yield svg.arrow(line, svg.EDGE, _ARROW)


def _middle(ends: Sequence[float]) -> float:
  return (min(ends) + max(ends)) / 2


def _wire(
  at: _Layout, node: int, level: int, x_end: float, y_end: float
) -> str:
  """From a node along its lanes up to what stands on a level, at its foot."""
  start = at.cell.levels()[node]
  x, y = at.x[node, start], at.tops[start]
  path = f"M{x:.1f} {y:.1f}"
  for between in range(start + 1, level):
    lane = at.x[node, between]
    path += _bend(x, y, lane, at.foot(between), at.tops[between])
    x, y = lane, at.tops[between]
  path += _bend(x, y, x_end, y_end + 9, y_end + 1)
  return svg.line_arrow(path, _LINE, node)


def _bend(x0: float, y0: float, x1: float, y1: float, y2: float) -> str:
  """A path's commands from (x0, y0) to (x1, y1), then upright to y2."""
  middle = (y0 + y1) / 2
  curve = f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
  return f"{curve if abs(x0 - x1) > 0.05 else ''}V{y2:.1f}"


def _boxes(at: _Layout) -> Iterator[str]:
  read = at.cell.read()
  for node, words in enumerate(_INPUTS):
    box = _named("input", at.centre(node), at.tops[0], at.op, node, words)
    unused = f'<g class="unused" opacity="0.35">{box}</g>'
    yield box if node in read else unused
  colors = svg.colors(at.cell.names(), svg.OP_COLORS)
  levels = at.cell.levels()
  for row, names in enumerate(at.cell.ops):
    node = row + _NUM_INPUTS
    x, y = at.centre(node), at.tops[levels[node]]
    for side, op in enumerate(names):
      yield from _op(op, side, x, y, at.op, colors[op])
    yield _named("add", x, y, _ADD, node, "add")
  ends = at.ends()
  x, wide = _middle(ends), max(ends) - min(ends) + at.op
  words = svg.text(x, at.concat + 21, "concat")
  yield svg.box("concat", x, at.concat, (wide, _HEIGHT), svg.PLAIN, words)
  words = svg.text(x, at.output + 21, "cell i")
  yield svg.box("output", x, at.output, (at.op, _HEIGHT), svg.PLAIN, words)


def _op(
  op: str, side: int, x: float, y: float, width: float, color: svg.Color
) -> Iterator[str]:
  """An operation and the arrow to its node, of centre x and top y."""
  centre, top = x + _half(width, side), y + _HEIGHT + _INNER
  end = x + _PORT * (2 * side - 1)
  path = f"M{centre:.1f} {top:.1f}"
  path += _bend(centre, top, end, y + _HEIGHT + 9, y + _HEIGHT + 1)
  yield svg.arrow(path, svg.EDGE, _ARROW, "sum")
  words = svg.text(centre, top + 20, saxutils.escape(_spoken(op)))
  yield svg.box("op", centre, top, (width, _OP_HEIGHT), color, words)


def _named(
  kind: str, x: float, y: float, width: float, node: int, words: str
) -> str:
  """A box with a node's symbol and some words."""
  size = svg.CHAR * len(words)
  left = x - (size + 22) / 2
  content = svg.symbol(left, y, "h", str(node + 1))
  content += svg.text(left + 22 + size / 2, y + 21, words)
  return svg.box(kind, x, y, (width, _HEIGHT), svg.PLAIN, content)


def _spoken(op: str) -> str:
  return op.replace("_", " ")
