"""Where nodes and edges of a graph go: Sugiyama's layout in layers.

Everything is in points, 72 an inch; y grows downwards. igraph puts the boxes of
a rank, and the lanes of the edges that pass it, in an order with few crossings;
SciPy then places them near their neighbours, by least squares. Skips take no
part: they are arcs beside the boxes.
"""

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import igraph
import numpy as np
from scipy import optimize

from enas_jax.spaces import graph as graph_lib

Point = tuple[float, float]
# A node at its rank, or an edge, by its number, at a rank that it passes.
Slot = tuple[str | int, int]

HEIGHT = 24.0  # of a box
_PADDING = 18.0  # of a label within its box
_LANE = 4.0  # width of an edge that passes boxes
_COLUMN_GAP = 10.0  # between what stands on one rank
# Between ranks: a wide drawing has slanted edges, which need height.
_LEAST_GAP, _MOST_GAP, _GAP_PER_WIDTH = 18.0, 32.0, 0.06
_PORT = 12.0  # between arrows that end at one box, at most
_SWING, _SWING_PER_RANK = 10.0, 8.0  # how far a skip's curve is drawn outwards
_SKIP = 0.2  # how far from a box's middle skips leave and end, in heights
_STRAIGHT = 8.0  # the upright end of a curve, for its arrow head
# What a slant costs: where an edge is all that leaves one slot and all that
# reaches the other, where it reaches a join, which is wide, and elsewhere.
_UPRIGHT, _JOINING, _PLAIN = 60.0, 0.03, 1.0
_HELD = 1e-3  # what distances cost, which is next to nothing
_LEAST_BEND = 0.5  # less is not seen


class Box(NamedTuple):
  """A node's rectangle: centre and width; all are `HEIGHT` high."""

  x: float
  y: float
  width: float

  @property
  def left(self) -> float:
    """Its smallest x."""
    return self.x - self.width / 2

  @property
  def right(self) -> float:
    """Its largest x."""
    return self.x + self.width / 2


class Layout(NamedTuple):
  """Where everything goes; nothing is left of x = 0 or above y = 0.

  Attributes:
    width: the drawing's.
    height: the drawing's.
    boxes: nodes' rectangles, by name.
    curves: cubic Bezier curves of each edge of the graph, as a start and
      three points a curve; nothing for an edge of style "order".
    cuts: the y of the line across, for each edge with a label.
  """

  width: float
  height: float
  boxes: Mapping[str, Box]
  curves: Sequence[Sequence[Point]]
  cuts: Mapping[graph_lib.Edge, float]


def layout(graph: graph_lib.Graph, label_widths: Mapping[str, float]) -> Layout:
  """Lays out a graph.

  Args:
    graph: what to lay out.
    label_widths: widths of the labels, in points.
  """
  graph = _dense(graph)
  ranks = {node.name: node.rank for node in graph.nodes}
  widths = _widths(graph, label_widths)
  slots = _ordered(graph)
  x = _placed(graph, slots, widths)
  y = _rows(graph, max(x.values()) - min(x.values()))
  boxes = {
    name: Box(x[name, rank], y[rank], widths[name])
    for name, rank in ranks.items()
  }
  # From the source along the lanes, up to the target.
  paths = [
    [(x[slot], y[slot[1]]) for slot in _stops(graph, number)[:-1]]
    for number in range(len(graph.edges))
  ]
  boxes |= _joins(graph, boxes, paths)
  ends = _ends(graph, boxes, paths)
  curves: list[list[Point]] = []
  for edge, (_, *lanes), end in zip(graph.edges, paths, ends, strict=True):
    if edge.style == "order":
      curves.append([])
    elif edge.style == "skip":
      curves.append(_arc(graph, edge, boxes))
    else:
      start, target = boxes[edge.source], boxes[edge.target]
      curves.append(_wire([start[:2], *lanes, (end, target.y)]))
  cuts = {
    edge: (boxes[edge.source].y + boxes[edge.target].y) / 2
    for edge in graph.edges
    if edge.label
  }
  return _moved(boxes, curves, cuts)


def turns(graph: graph_lib.Graph) -> dict[str, int]:
  """Numbers the nodes whose wires and skips need telling apart, upwards."""
  ranks = {node.name: node.rank for node in graph.nodes}
  sources = {e.source for e in graph.edges if e.style in ("wire", "skip")}
  order = sorted(sources, key=lambda name: (ranks[name], name))
  return {name: turn for turn, name in enumerate(order)}


def _dense(graph: graph_lib.Graph) -> graph_lib.Graph:
  """The graph without empty ranks, which igraph passes over in its lanes."""
  taken = sorted({node.rank for node in graph.nodes})
  nodes = [n._replace(rank=taken.index(n.rank)) for n in graph.nodes]
  return graph._replace(nodes=tuple(nodes))


def _widths(
  graph: graph_lib.Graph, label_widths: Mapping[str, float]
) -> dict[str, float]:
  """Boxes are alike, but for sums, which are as small as their labels allow."""
  tight = {n.name: label_widths[n.label] + _PADDING for n in graph.nodes}
  widest = max(tight[n.name] for n in graph.nodes if n.kind != "sum")
  return {
    n.name: tight[n.name] if n.kind == "sum" else widest for n in graph.nodes
  }


def _ordered(graph: graph_lib.Graph) -> list[list[Slot]]:
  """What stands on each rank, from left to right."""
  index = {node.name: at for at, node in enumerate(graph.nodes, start=1)}
  drawn = [at for at, edge in enumerate(graph.edges) if edge.style != "skip"]
  pairs = [
    (index[graph.edges[at].source], index[graph.edges[at].target])
    for at in drawn
  ]
  # igraph mixes up the bends of a graph in several pieces: vertex 0, below all,
  # holds them together.
  reached = {target for _, target in pairs}
  roots = [(0, at) for at in index.values() if at not in reached]
  layered = igraph.Graph(
    len(index) + 1, pairs + roots, directed=True
  ).layout_sugiyama(layers=[0, *(node.rank + 1 for node in graph.nodes)])
  rows: dict[int, list[tuple[float, Slot]]] = {}
  for node in graph.nodes:
    column, _ = layered[index[node.name]]
    rows.setdefault(node.rank, []).append((column, (node.name, node.rank)))
  # The routes of `roots` come last, and are left out.
  for number, bends in zip(drawn, layered.edge_routing, strict=False):
    for column, layer in bends:
      rank = round(layer) - 1
      rows.setdefault(rank, []).append((column, (number, rank)))
  return [
    [slot for _, slot in sorted(row, key=lambda place: place[0])]
    for row in rows.values()
  ]


def _placed(
  graph: graph_lib.Graph,
  rows: Sequence[Sequence[Slot]],
  widths: Mapping[str, float],
) -> dict[Slot, float]:
  """The middle of each slot: near those it is joined to, yet clear of others.

  The unknowns are the x of the first slot of each rank, which is free, and the
  distances from each slot to the next, which have a lower bound. Every x is a
  sum of these, and so is the slant of an edge, whose square is the cost.
  """
  slots = list(itertools.chain(*rows))
  index = {slot: at for at, slot in enumerate(slots)}
  wide = [_LANE if isinstance(s[0], int) else widths[s[0]] for s in slots]
  sums, least = np.zeros((len(slots), len(slots))), np.full(len(slots), -np.inf)
  for row in rows:
    first, last = index[row[0]], index[row[-1]]
    for at in range(first, last + 1):
      sums[at, first : at + 1] = 1.0
      if at > first:
        least[at] = (wide[at - 1] + wide[at]) / 2 + _COLUMN_GAP
  # Without these two nothing would hold the drawing, and what no edge reaches.
  slants = [_HELD * sums[0]]
  slants += [
    _HELD * (sums[at] - sums[at - 1]) for at in np.flatnonzero(least > 0)
  ]
  for one, other, weight in _segments(graph):
    slants.append(weight * (sums[index[one]] - sums[index[other]]))
  target = np.zeros(len(slants))
  solved = optimize.lsq_linear(
    np.stack(slants), target, (least, np.inf), method="bvls"
  )
  x = np.round(sums @ solved.x, 1).tolist()
  return dict(zip(slots, x, strict=True))


def _segments(graph: graph_lib.Graph) -> list[tuple[Slot, Slot, float]]:
  """The pairs of slots that edges join, and what a slant there costs."""
  kinds = {node.name: node.kind for node in graph.nodes}
  pairs: list[tuple[Slot, Slot]] = []
  for number, edge in enumerate(graph.edges):
    if edge.style != "skip":
      pairs += itertools.pairwise(_stops(graph, number))
  leaving = collections.Counter(one for one, _ in pairs)
  reaching = collections.Counter(other for _, other in pairs)
  segments = []
  for one, other in pairs:
    weight = _PLAIN
    if isinstance(other[0], str) and kinds[other[0]] == "join":
      weight = _JOINING
    elif leaving[one] == reaching[other] == 1:
      weight = _UPRIGHT
    segments.append((one, other, weight))
  return segments


def _stops(graph: graph_lib.Graph, number: int) -> list[Slot]:
  """The slots along an edge, both ends included; a skip has no lanes."""
  edge = graph.edges[number]
  ranks = {node.name: node.rank for node in graph.nodes}
  first, last = ranks[edge.source], ranks[edge.target]
  between = range(first + 1, last) if edge.style != "skip" else ()
  lanes = [(number, rank) for rank in between]
  return [(edge.source, first), *lanes, (edge.target, last)]


def _rows(graph: graph_lib.Graph, spread: float) -> list[float]:
  """The y of each rank's middle."""
  gap = min(max(_GAP_PER_WIDTH * spread, _LEAST_GAP), _MOST_GAP)
  top = max(node.rank for node in graph.nodes)
  y = [HEIGHT / 2 + round(HEIGHT + gap) * rank for rank in range(top + 1)]
  return y if graph.direction == "TB" else y[::-1]  # y grows downwards


def _joins(
  graph: graph_lib.Graph,
  boxes: Mapping[str, Box],
  paths: Sequence[Sequence[Point]],
) -> dict[str, Box]:
  """Joins, so wide that all meets them upright, and what reads them."""
  moved = {}
  for node in graph.nodes:
    if node.kind == "join":
      xs = [
        path[-1][0]
        for edge, path in zip(graph.edges, paths, strict=True)
        if edge.target == node.name
      ]
      _, y, width = boxes[node.name]
      middle, wide = (min(xs) + max(xs)) / 2, max(xs) - min(xs) + width
      moved[node.name] = Box(middle, y, wide)
      # It stands alone on its rank (`graph.Node`): nothing is in its way.
      readers = [e.target for e in graph.edges if e.source == node.name]
      moved |= {name: boxes[name]._replace(x=middle) for name in readers}
  return moved


def _ends(
  graph: graph_lib.Graph,
  boxes: Mapping[str, Box],
  paths: Sequence[Sequence[Point]],
) -> list[float]:
  """The x at which each edge ends: side by side where several reach a box."""
  ends = [0.0] * len(graph.edges)
  for node in graph.nodes:
    box = boxes[node.name]
    arriving = sorted(
      (paths[number][-1][0], number)
      for number, edge in enumerate(graph.edges)
      if edge.target == node.name and edge.style in ("main", "wire")
    )
    # All arrows together take half of the box at most.
    step = min(_PORT, 0.5 * box.width / max(len(arriving), 1))
    for place, (x, number) in enumerate(arriving):
      beside = box.x + step * (place - (len(arriving) - 1) / 2)
      ends[number] = x if node.kind == "join" else beside
  return ends


def _wire(stops: Sequence[Point]) -> list[Point]:
  """A curve up or down through the middle of a lane at each rank.

  Between ranks it bends; beside boxes it is upright and so touches none.
  """
  way = 1.0 if stops[-1][1] > stops[0][1] else -1.0
  half = way * HEIGHT / 2
  curve = [(stops[0][0], stops[0][1] + half)]

  def straight(y: float) -> None:
    (x, y0) = curve[-1]
    if y != y0:
      # A cubic whose middle points are at the thirds is a straight line.
      curve.extend([(x, (2 * y0 + y) / 3), (x, (y0 + 2 * y) / 3), (x, y)])

  for (_, y0), (x1, y1) in itertools.pairwise(stops):
    if abs(x1 - curve[-1][0]) > _LEAST_BEND:
      straight(y0 + half)
      end = y1 - half - way * _STRAIGHT * ((x1, y1) == stops[-1])
      middle = (y0 + half + end) / 2
      # Middle points straight above the ends: the curve is upright at both.
      curve += [(curve[-1][0], middle), (x1, middle), (x1, end)]
  straight(stops[-1][1] - half)
  return curve


def _arc(
  graph: graph_lib.Graph, edge: graph_lib.Edge, boxes: Mapping[str, Box]
) -> list[Point]:
  """A curve beside the boxes; sources take turns, which halves the crowd."""
  ranks = {node.name: node.rank for node in graph.nodes}
  side = 1 if turns(graph)[edge.source] % 2 == 0 else -1
  source, target = boxes[edge.source], boxes[edge.target]
  away = _SKIP * HEIGHT if target.y > source.y else -_SKIP * HEIGHT
  start = (source.x + side * source.width / 2, source.y + away)
  end = (target.x + side * target.width / 2, target.y - away)
  swing = _SWING + _SWING_PER_RANK * (ranks[edge.target] - ranks[edge.source])
  beside = side * (max(side * start[0], side * end[0]) + swing)
  return [start, (beside, start[1]), (beside, end[1]), end]


def _moved(
  boxes: Mapping[str, Box],
  curves: Sequence[Sequence[Point]],
  cuts: Mapping[graph_lib.Edge, float],
) -> Layout:
  """The layout from x = 0 on."""
  edges = [box.left for box in boxes.values()]
  edges += [box.right for box in boxes.values()]
  for curve in curves:
    for at in range(0, len(curve) - 1, 3):
      x0, x1, x2, x3 = (x for x, _ in curve[at : at + 4])
      # Halfway; no curve here goes farther to a side than there or at its ends.
      edges.append((x0 + 3 * x1 + 3 * x2 + x3) / 8)
  left, right = min(edges), max(edges)
  return Layout(
    right - left,
    max(box.y for box in boxes.values()) + HEIGHT / 2,
    {name: box._replace(x=box.x - left) for name, box in boxes.items()},
    [[(x - left, y) for x, y in curve] for curve in curves],
    cuts,
  )
