"""Drawings of a found network, as text, as SVG and as Graphviz source.

A network is L names of operations and, for each layer, the earlier nodes that
it takes, counted from 0 as in the arc. What they are depends on `main_input`:

  selected: node i is layer i; a layer reads the layers taken and nothing
    else, or the stem where it takes none.
  previous: node i is layer i - 1, and node 0 the stem; a layer reads the layer
    before, and the nodes taken join its output.

Drawings count layers from 1, as the paper does. A box stands for a layer with
its join. A layer from which no way leads to the output is drawn faint.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from xml.sax import saxutils

from enas_jax.report import svg

_MAIN_INPUTS = ("selected", "previous")
_HEIGHT = 32.0  # of a box, px
_GAP = 20.0  # between two boxes
_REDUCTION_GAP = 16.0  # more of it, where a reduction is
_MARGIN = 20.0
_TITLE = 34.0
_CAPTION = 34.0
_REDUCTION = "size / 2"
_ARC = 14.0  # how far an arc swings out, and how much more for each layer
_ARC_PER_LAYER = 11.0
_IN, _OUT = 0.3, 0.7  # where arcs end and begin at a box, from its top
_LINE = "network-arc"
_ARROW = "network-arrow"


@dataclasses.dataclass(frozen=True)
class _Graph:
  """Who reads whom; box 0 is the stem, box l layer l, and L + 1 the softmax.

  Attributes:
    names: of the operations of layers 1 to L.
    main: what each box reads as its own input, or one of these.
    joined: what joins the output of each box.
    reductions: the boxes after which height and width halve.
    num_skips: how many nodes the layers take in all.
  """

  names: Sequence[str]
  main: Sequence[Sequence[int]]
  joined: Sequence[Sequence[int]]
  reductions: Sequence[int]
  num_skips: int

  def sources(self, box: int) -> list[int]:
    """All that a box reads, in order."""
    return sorted([*self.main[box], *self.joined[box]])

  def edges(self) -> list[tuple[int, int]]:
    """Pairs of a box and one that reads it."""
    boxes = range(len(self.main))
    return [(source, box) for box in boxes for source in self.sources(box)]

  def used(self) -> set[int]:
    """The boxes from which a way leads to the softmax, itself included."""
    found, left = set(), [len(self.main) - 1]
    while left:
      box = left.pop()
      if box not in found:
        found.add(box)
        left += self.sources(box)
    return found

  def label(self, box: int) -> str:
    """The name of a box."""
    if box == 0:
      return "stem"
    if box == len(self.names) + 1:
      return "softmax"
    return f"{box} {self.names[box - 1].replace('_', ' ')}"

  def counts(self) -> str:
    """The size of the network in words."""
    layers, taken = len(self.names), self.num_skips
    return (
      f"{layers} layer{'' if layers == 1 else 's'},"
      f" {taken} skip connection{'' if taken == 1 else 's'}"
    )

  def far_edges(self) -> list[tuple[int, int]]:
    """The edges between boxes that are not neighbours."""
    return [(source, box) for source, box in self.edges() if box - source > 1]


def _graph(
  ops: Sequence[str],
  skips: Sequence[Sequence[int]],
  main_input: str,
  reductions: Sequence[int],
) -> _Graph:
  _check(ops, skips, main_input, reductions)
  last = len(ops)
  nothing: list[int] = []
  if main_input == "previous":
    main = [nothing, *([box] for box in range(last + 1))]
    joined = [nothing, *(sorted(taken) for taken in skips), nothing]
  else:
    layers = [sorted(node + 1 for node in taken) or [0] for taken in skips]
    main = [nothing, *layers, [last]]
    joined = [nothing] * (last + 2)
  reduced = sorted(layer + 1 for layer in set(reductions))
  return _Graph(ops, main, joined, reduced, sum(map(len, skips)))


def _check(
  ops: Sequence[str],
  skips: Sequence[Sequence[int]],
  main_input: str,
  reductions: Sequence[int],
) -> None:
  if not ops or len(skips) != len(ops):
    raise ValueError(f"{len(skips)} entries of skips for {len(ops)} ops")
  for layer, taken in enumerate(skips):
    if len(set(taken)) != len(taken) or not all(0 <= i < layer for i in taken):
      raise ValueError(f"layer {layer} cannot take {list(taken)}")
  if main_input not in _MAIN_INPUTS:
    known = ", ".join(_MAIN_INPUTS)
    raise ValueError(f"main_input must be one of {known}, got {main_input!r}")
  if not all(0 <= layer < len(ops) for layer in reductions):
    raise ValueError(f"not layers to reduce after: {list(reductions)}")


def network_text(
  ops: Sequence[str],
  skips: Sequence[Sequence[int]],
  *,
  main_input: str = "selected",
  reductions: Sequence[int] = (),
) -> str:
  """The network as a table: a line a layer, with what it reads.

  Args:
    ops: L names of operations.
    skips: L entries; entry l has the nodes that layer l takes, each in [0, l).
    main_input: what nodes are; see the module.
    reductions: the layers, counted from 0, after which height and width halve.

  Returns:
    Lines of ASCII, if names are, without a final newline.

  Raises:
    ValueError: the arguments describe no network.
  """
  graph = _graph(ops, skips, main_input, reductions)
  used = graph.used()
  number = len(str(len(ops)))
  wide = max(map(len, [*ops, "softmax"]))
  lines = [f"{'':{number}}  stem"]
  for layer, op in enumerate(ops, start=1):
    unused = "" if layer in used else "  (unused)"
    reads = _reads(graph, layer)
    lines.append(f"{layer:>{number}}  {op:{wide}}  {reads}{unused}")
    if layer in graph.reductions:
      lines.append(f"{'':{number}}  -- height and width / 2 --")
  lines.append(f"{'':{number}}  {'softmax':{wide}}  reads {len(ops)}")
  return "\n".join([*lines, "", graph.counts()])


def _reads(graph: _Graph, box: int) -> str:
  """What a layer reads, in words."""
  name = lambda source: str(source) if source else "stem"
  words = f"reads {', '.join(map(name, graph.main[box]))}"
  if graph.joined[box]:
    words += f", joined by {', '.join(map(name, graph.joined[box]))}"
  return words


def network_dot(
  ops: Sequence[str],
  skips: Sequence[Sequence[int]],
  *,
  main_input: str = "selected",
  reductions: Sequence[int] = (),
) -> str:
  """The network in the language of Graphviz; dotted edges skip layers.

  The arguments are `network_text`'s. An edge says where a reduction is, and is
  transparent where the layer does not read the one before.
  """
  graph = _graph(ops, skips, main_input, reductions)
  colors = svg.colors(ops, svg.OP_COLORS)
  lines = [
    "digraph network {",
    '  node [shape=box, style="rounded,filled", fillcolor=white];',
  ]
  for box in range(len(ops) + 2):
    label = f"label={svg.quoted(graph.label(box))}"
    if 0 < box <= len(ops):
      fill, line = colors[ops[box - 1]]
      label += f', fillcolor="{fill}", color="{line}"'
    lines.append(f"  n{box} [{label}];")
  for source, box in graph.far_edges():
    lines.append(f"  n{source} -> n{box} [style=dotted, constraint=false];")
  near = set(graph.edges()) - set(graph.far_edges())
  for box in range(len(ops) + 1):
    # Layers stand in their order though not every one reads the one before.
    style = [] if (box, box + 1) in near else ["color=transparent"]
    if box in graph.reductions:
      style.append(f"label={svg.quoted(_REDUCTION)}")
    tail = f" [{', '.join(style)}]" if style else ""
    lines.append(f"  n{box} -> n{box + 1}{tail};")
  return "\n".join([*lines, "}"]) + "\n"


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where things go, in px; y grows downwards, from the stem to the softmax.

  Attributes:
    width: of the whole picture.
    height: of the whole picture.
    x: centre of the boxes.
    box: width of a box.
    y: top of each box.
    left: where the lines of reductions begin.
    right: where they end.
  """

  width: float
  height: float
  x: float
  box: float
  y: Sequence[float]
  left: float
  right: float


def _swing(source: int, box: int) -> float:
  """How far the control points of an arc lie beside the boxes."""
  return _ARC + _ARC_PER_LAYER * (box - source)


def _side(source: int) -> int:
  """The side of a box's outgoing arcs; they alternate to halve the crowd."""
  return 1 if source % 2 == 0 else -1


def _line(source: int) -> int:
  """The number of the colour of a box's arcs.

  Of one side all are different as long as there are colours, and neighbours,
  whose arcs are on different sides, are half of the colours apart.
  """
  return source // 2 + source % 2 * (len(svg.LINES) // 2)


def _layout(graph: _Graph, title: str | None) -> _Layout:
  count = len(graph.main)
  labels = [graph.label(box) for box in range(count)]
  box = svg.CHAR * max(map(len, labels)) + 20
  reach = {-1: 0.0, 1: 0.0}
  for source, reader in graph.far_edges():
    # A cubic curve goes three quarters of the way to its control points.
    swing = 0.75 * _swing(source, reader)
    reach[_side(source)] = max(reach[_side(source)], swing)
  word = svg.CHAR * len(_REDUCTION) if graph.reductions else 0.0
  drawn = word + reach[-1] + box + reach[1] + 2 * _GAP
  wide = [len(_caption(graph)), 1.2 * len(title or "")]
  width = max(drawn, svg.CHAR * max(wide)) + 2 * _MARGIN
  left = (width - drawn) / 2 + word
  y = [_MARGIN + (_TITLE if title else 0.0)]
  for above in range(count - 1):
    more = _REDUCTION_GAP if above in graph.reductions else 0.0
    y.append(y[-1] + _HEIGHT + _GAP + more)
  return _Layout(
    width=width,
    height=y[-1] + _HEIGHT + _CAPTION + _MARGIN / 2,
    x=left + _GAP + reach[-1] + box / 2,
    box=box,
    y=y,
    left=left,
    right=left + drawn - word,
  )


def network_svg(
  ops: Sequence[str],
  skips: Sequence[Sequence[int]],
  *,
  title: str | None = None,
  main_input: str = "selected",
  reductions: Sequence[int] = (),
) -> str:
  """The network as a chain of boxes, with skip connections as arcs beside it.

  Args:
    ops: L names of operations; each has a colour.
    skips: L entries; entry l has the nodes that layer l takes, each in [0, l).
    title: a line above the picture.
    main_input: what nodes are; see the module.
    reductions: the layers, counted from 0, after which height and width halve.

  Returns:
    An SVG document that refers to nothing outside. Its boxes are groups of
    class `stem`, `layer` and `softmax`, its arrows paths of class `edge`
    between neighbours and `skip` between others. Reductions are lines of class
    `reduction`. What is faint stands in a group of class `unused`.

  Raises:
    ValueError: the arguments describe no network.
  """
  graph = _graph(ops, skips, main_input, reductions)
  at = _layout(graph, title)
  label = saxutils.escape(title or f"network of {graph.counts()}")
  lines = [_line(source) for source, _ in graph.far_edges()]
  markers = {_ARROW: svg.EDGE} | svg.line_markers(_LINE, lines)
  parts = [svg.head(at.width, at.height, label, markers)]
  if title:
    parts.append(svg.heading(at.width / 2, 32, label))
  parts += [_reduction(box, at) for box in graph.reductions]
  parts += _edges(graph, at)
  parts += _boxes(graph, at)
  words = _caption(graph)
  parts.append(svg.text(at.width / 2, at.height - _MARGIN, words))
  return "\n".join([*parts, "</svg>"]) + "\n"


def _caption(graph: _Graph) -> str:
  faint = len(graph.used()) < len(graph.main)
  return graph.counts() + ("; faint: unused" if faint else "")


def _reduction(box: int, at: _Layout) -> str:
  """A dashed line below a box: all that crosses it is reduced."""
  y = (at.y[box] + _HEIGHT + at.y[box + 1]) / 2
  style = f'text-anchor="end" font-size="12" fill="{svg.EDGE}"'
  return (
    f'<path class="reduction" d="M{at.left + 6:.1f} {y:.1f}H{at.right:.1f}"'
    f' stroke="{svg.EDGE}" stroke-dasharray="6 4"/>'
  ) + svg.text(at.left, y + 4, _REDUCTION, style)


def _edges(graph: _Graph, at: _Layout) -> Iterator[str]:
  used = graph.used()
  for source, box in graph.edges():
    if box - source == 1:
      line = f"M{at.x:.1f} {at.y[source] + _HEIGHT:.1f}V{at.y[box] - 1:.1f}"
      edge = svg.arrow(line, svg.EDGE, _ARROW)
    else:
      path = _arc(source, box, at)
      edge = svg.line_arrow(path, _LINE, _line(source), "skip")
    yield _faint(edge, box not in used)


def _arc(source: int, box: int, at: _Layout) -> str:
  side = _side(source)
  edge = at.x + side * at.box / 2
  beside = edge + side * _swing(source, box)
  start = at.y[source] + _OUT * _HEIGHT
  end = at.y[box] + _IN * _HEIGHT
  return (
    f"M{edge:.1f} {start:.1f}C{beside:.1f} {start:.1f} {beside:.1f} {end:.1f}"
    f" {edge + side:.1f} {end:.1f}"
  )


def _boxes(graph: _Graph, at: _Layout) -> Iterator[str]:
  colors = svg.colors(graph.names, svg.OP_COLORS)
  used, last = graph.used(), len(graph.names) + 1
  for box, y in enumerate(at.y):
    kind = {0: "stem", last: "softmax"}.get(box, "layer")
    color = svg.PLAIN if kind != "layer" else colors[graph.names[box - 1]]
    name = svg.text(at.x, y + 21, saxutils.escape(graph.label(box)))
    drawn = svg.box(kind, at.x, y, (at.box, _HEIGHT), color, name)
    yield _faint(drawn, box not in used)


def _faint(drawn: str, unused: bool) -> str:
  return f'<g class="unused" opacity="0.35">{drawn}</g>' if unused else drawn
