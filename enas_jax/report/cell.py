"""Drawings of a found recurrent cell: text, SVG and Graphviz source.

A cell is two sequences of N entries. `ops[l]` names the function of node l and
`prev[l] < l` is the one node that it reads; node 0 reads x_t and h_(t-1), so
`prev[0]` means nothing. Hence the nodes form a tree. `outputs` are the nodes
averaged to h_t: the loose ends (the nodes that nobody reads) in the paper, all
the nodes but node 0 in the code that its authors released.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from xml.sax import saxutils

from enas_jax.report import svg

_BOX = 34.0  # height of a box, px
_GAP = 16.0  # between two boxes of one level, px
_MARGIN = 20.0
_NUMBER = 32.0  # width of a node's name within its box, px
_ARROW = "cell-arrow"
_COLORS = {
  "tanh": ("#dbeafe", "#2563eb"),
  "relu": ("#ffedd5", "#ea580c"),
  "identity": ("#f3f4f6", "#6b7280"),
  "sigmoid": ("#dcfce7", "#16a34a"),
}


def _check(
  prev: Sequence[int], ops: Sequence[str], outputs: Sequence[int]
) -> None:
  if not ops or len(prev) != len(ops):
    raise ValueError(f"{len(prev)} entries of prev for {len(ops)} ops")
  for node in range(1, len(prev)):
    if not 0 <= prev[node] < node:
      raise ValueError(f"node {node} cannot read node {prev[node]}")
  if not outputs or not all(0 <= o < len(ops) for o in outputs):
    raise ValueError(f"not nodes to average: {list(outputs)}")


def _children(prev: Sequence[int]) -> list[list[int]]:
  children: list[list[int]] = [[] for _ in prev]
  for node in range(1, len(prev)):
    children[prev[node]].append(node)
  return children


def _depths(prev: Sequence[int]) -> list[int]:
  """The number of nodes from node 0 to each node, both counted."""
  depths = [1]
  for parent in prev[1:]:
    depths.append(depths[parent] + 1)
  return depths


def cell_text(
  prev: Sequence[int],
  ops: Sequence[str],
  outputs: Sequence[int],
  *,
  one_based: bool = True,
) -> str:
  """The cell as equations, a tree of who feeds whom, and its size.

  Args:
    prev: N ints, the node that each node reads; the first is ignored.
    ops: N names of functions.
    outputs: the nodes averaged to h_t.
    one_based: number the nodes from 1, as the paper does, instead of from 0.

  Returns:
    Lines of ASCII without a final newline.

  Raises:
    ValueError: the arguments describe no cell.
  """
  _check(prev, ops, outputs)
  base = int(one_based)
  lines = [f"h{base} = {ops[0]}(x_t, h_(t-1))"]
  for node in range(1, len(ops)):
    lines.append(f"h{node + base} = {ops[node]}(h{prev[node] + base})")
  averaged = ", ".join(f"h{node + base}" for node in outputs)
  lines.append(f"h_t = average({averaged})")
  children = _children(prev)
  lines += ["", *_tree(children, ops, base), ""]
  ends = sum(not kids for kids in children)
  plural = "" if ends == 1 else "s"
  lines.append(f"depth {max(_depths(prev))}, {ends} loose end{plural}")
  return "\n".join(lines)


def _tree(
  children: Sequence[Sequence[int]], ops: Sequence[str], base: int
) -> Iterator[str]:
  """Yields one line a node, below and right of the node that it reads."""

  def label(node: int) -> str:
    end = "" if children[node] else "  (loose end)"
    return f"h{node + base} {ops[node]}{end}"

  def below(node: int, indent: str) -> Iterator[str]:
    for child in children[node]:
      last = child == children[node][-1]
      yield f"{indent}{'`-- ' if last else '|-- '}{label(child)}"
      yield from below(child, indent + ("    " if last else "|   "))

  yield label(0)
  yield from below(0, "")


def cell_dot(
  prev: Sequence[int], ops: Sequence[str], outputs: Sequence[int]
) -> str:
  """The cell in the language of Graphviz. The arguments are `cell_text`'s."""
  _check(prev, ops, outputs)
  colors = svg.colors(ops, _COLORS)
  lines = [
    "digraph cell {",
    "  rankdir=BT;",
    '  node [shape=box, style="rounded,filled", fillcolor=white];',
    '  x [label="x_t"]; h [label="h_(t-1)"]; avg; output [label="h_t"];',
  ]
  for node, op in enumerate(ops):
    fill, line = colors[op]
    label = svg.quoted(f"h{node + 1}: {op}")
    style = f'fillcolor="{fill}", color="{line}"'
    lines.append(f"  h{node + 1} [label={label}, {style}];")
  lines.append("  {x h} -> h1;")
  for node in range(1, len(ops)):
    lines.append(f"  h{prev[node] + 1} -> h{node + 1};")
  lines += [f"  h{node + 1} -> avg;" for node in outputs]
  return "\n".join([*lines, "  avg -> output;", "}"]) + "\n"


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where things go, in px; y grows downwards and the cell grows upwards.

  Each output owns a lane: a column that no box enters between the node's level
  and the average, in which the arrow to the average runs. A node stands in the
  middle of the lanes of all that it feeds.

  Attributes:
    width: of the whole picture.
    height: of the whole picture.
    box: width of a node's box.
    x: centre of each node.
    lane: centre of the lane of each node that has one.
    y: top of the boxes of each level: 0 is that of the inputs, d that of the
      nodes of depth d, then come the average's and h_t's.
  """

  width: float
  height: float
  box: float
  x: Sequence[float]
  lane: dict[int, float]
  y: Sequence[float]


def _columns(
  prev: Sequence[int], outputs: Sequence[int]
) -> tuple[list[float], dict[int, float]]:
  """The columns of the nodes and of the lanes, counted in lanes."""
  children = _children(prev)
  column = [0.0] * len(prev)
  lane: dict[int, float] = {}

  def place(node: int) -> float:
    fed = [place(child) for child in children[node]]
    if node in outputs or not fed:
      lane[node] = float(len(lane))
      fed.append(lane[node])
    column[node] = (fed[0] + fed[-1]) / 2
    return column[node]

  place(0)
  return column, lane


def _layout(
  prev: Sequence[int],
  ops: Sequence[str],
  outputs: Sequence[int],
  title: str | None,
) -> _Layout:
  column, lane = _columns(prev, outputs)
  box = max(84.0, _NUMBER + svg.CHAR * max(map(len, ops)) + 10)
  pitch = box + _GAP
  # The inputs stand half a column left and right of node 0.
  left = min(0.0, column[0] - 0.5)
  right = max(len(lane) - 1.0, column[0] + 0.5)
  drawn = (right - left) * pitch + box
  legend = _legend_width(ops)
  width = max(drawn, legend, 1.2 * svg.CHAR * len(title or "")) + 2 * _MARGIN
  origin = (width - drawn) / 2 + box / 2 - left * pitch
  # A wide cell gets more height for its slanted arrows.
  level = _BOX + min(28 + 4 * len(lane), 64)
  levels = max(_depths(prev)) + 3
  top = _MARGIN + (34 if title else 0)
  return _Layout(
    width=width,
    height=top + (levels - 1) * level + _BOX + 54 + _MARGIN / 2,
    box=box,
    x=[origin + c * pitch for c in column],
    lane={node: origin + c * pitch for node, c in lane.items()},
    y=[top + (levels - 1 - i) * level for i in range(levels)],
  )


def cell_svg(
  prev: Sequence[int],
  ops: Sequence[str],
  outputs: Sequence[int],
  *,
  title: str | None = None,
) -> str:
  """The cell as a picture that grows from the inputs up to h_t.

  Args:
    prev: N ints, the node that each node reads; the first is ignored.
    ops: N names of functions; each has a colour.
    outputs: the nodes averaged to h_t.
    title: a line above the picture.

  Returns:
    An SVG document that refers to nothing outside. Its boxes are groups of
    class `node`, `input`, `average` and `output`, its arrows paths of class
    `edge`.

  Raises:
    ValueError: the arguments describe no cell.
  """
  _check(prev, ops, outputs)
  at = _layout(prev, ops, outputs, title)
  label = saxutils.escape(title or f"recurrent cell of {len(ops)} nodes")
  parts = [svg.head(at.width, at.height, label, {_ARROW: svg.EDGE})]
  if title:
    parts.append(svg.heading(at.width / 2, 32, label))
  parts += _edges(prev, outputs, at)
  parts += _boxes(prev, ops, outputs, at)
  parts += _legend(ops, at)
  return "\n".join([*parts, "</svg>"]) + "\n"


def _edges(
  prev: Sequence[int], outputs: Sequence[int], at: _Layout
) -> Iterator[str]:
  depths = _depths(prev)
  bottom = [y + _BOX for y in at.y]
  for x, side in zip(_input_columns(at), (-1, 1), strict=True):
    yield _edge(x, at.y[0], at.x[0] + side * at.box / 4, bottom[1])
  for node in range(1, len(prev)):
    parent, depth = prev[node], depths[node]
    yield _edge(at.x[parent], at.y[depth - 1], at.x[node], bottom[depth])
  for node in outputs:
    x, depth, lane = at.x[node], depths[node], at.lane[node]
    yield _edge(x, at.y[depth], lane, bottom[-2], bottom[depth + 1])
  middle = _average_centre(outputs, at)
  yield _edge(middle, at.y[-2], middle, bottom[-1])


def _edge(
  x0: float, y0: float, x1: float, y1: float, bent: float | None = None
) -> str:
  """An arrow from (x0, y0) up to (x1, y1), upright from y = bent on."""
  straight = (y1 if bent is None else bent) + 9
  middle = (y0 + straight) / 2
  bend = f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {straight:.1f}"
  path = f"M{x0:.1f} {y0:.1f}{bend if x0 != x1 else ''}V{y1 + 1:.1f}"
  return svg.arrow(path, svg.EDGE, _ARROW)


def _input_columns(at: _Layout) -> tuple[float, float]:
  half = (at.box + _GAP) / 2
  return at.x[0] - half, at.x[0] + half


def _average_centre(outputs: Sequence[int], at: _Layout) -> float:
  lanes = [at.lane[node] for node in outputs]
  return (min(lanes) + max(lanes)) / 2


def _boxes(
  prev: Sequence[int],
  ops: Sequence[str],
  outputs: Sequence[int],
  at: _Layout,
) -> Iterator[str]:
  names = (("x", "t"), ("h", "t\N{MINUS SIGN}1"))
  for x, (letter, index) in zip(_input_columns(at), names, strict=True):
    name = svg.symbol(x - 4 - 3 * len(index), at.y[0], letter, index)
    yield _box("input", x, at.y[0], at.box, svg.PLAIN, name)
  colors = svg.colors(ops, _COLORS)
  for node, depth in enumerate(_depths(prev)):
    yield _node(node, ops[node], at.x[node], at.y[depth], at.box, colors)
  lanes = [at.lane[node] for node in outputs]
  x, y, top = _average_centre(outputs, at), at.y[-2], at.y[-1]
  wide = max(lanes) - min(lanes) + at.box
  yield _box("average", x, y, wide, svg.PLAIN, svg.text(x, y + 21, "avg"))
  yield _box(
    "output", x, top, at.box, svg.PLAIN, svg.symbol(x - 6, top, "h", "t")
  )


def _node(
  node: int,
  op: str,
  x: float,
  y: float,
  width: float,
  colors: dict[str, svg.Color],
) -> str:
  left = x - width / 2
  name = svg.symbol(left + 9, y, "h", str(node + 1))
  middle = (left + _NUMBER + x + width / 2 - 6) / 2
  name += svg.text(middle, y + 21, saxutils.escape(op))
  return _box("node", x, y, width, colors[op], name)


def _box(
  kind: str,
  x: float,
  y: float,
  width: float,
  color: svg.Color,
  content: str,
) -> str:
  """A rounded box of centre x and top y below `content`, which is markup."""
  return svg.box(kind, x, y, (width, _BOX), color, content)


def _legend_width(ops: Sequence[str]) -> float:
  return sum(svg.CHAR * len(op) + 40 for op in set(ops)) - 16


def _legend(ops: Sequence[str], at: _Layout) -> Iterator[str]:
  x = (at.width - _legend_width(ops)) / 2
  y = at.height - _MARGIN - 14
  for op, (fill, stroke) in svg.colors(ops, _COLORS).items():
    name = svg.text(x + 20, y + 12, saxutils.escape(op), "")
    yield (
      f'<g class="legend"><rect x="{x:.1f}" y="{y:.1f}" width="14"'
      f' height="14" rx="4" fill="{fill}" stroke="{stroke}"/>{name}</g>'
    )
    x += svg.CHAR * len(op) + 40
