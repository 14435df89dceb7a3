"""Where the vertices of a layered graph go, so that no wire crosses a box.

Each vertex stands on a level and wires run from lower to higher levels. Where a
wire passes a level between, its source has a lane there: a narrow place of its
own among the boxes, which all wires of that source share.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

_SWEEPS = 12
_FINAL_SWEEPS = 24
_STRAIGHT = 3.0  # how much more a lane is drawn to its own continuation

Slot = tuple[int, int]  # a vertex and a level: its box, or a lane above it


class Wire(NamedTuple):
  """One connection.

  Attributes:
    source: a vertex.
    target: a vertex of a higher level.
    offset: where the wire ends, right of the target's centre.
  """

  source: int
  target: int
  offset: float = 0.0


class _Segment(NamedTuple):
  """A part of wires, between neighbouring levels."""

  lower: Slot
  upper: Slot
  offset: float
  weight: float


class Graph(NamedTuple):
  """What is to be placed.

  Attributes:
    levels: of each vertex, from 0.
    widths: of each vertex, with the space around it.
    wires: the connections.
    tops: of each vertex, the level up to which it has lanes even if no wire
      goes so far.
    lane: the width of a lane.
  """

  levels: Sequence[int]
  widths: Sequence[float]
  wires: Sequence[Wire]
  tops: Sequence[int]
  lane: float

  def slots(self) -> list[list[Slot]]:
    """The slots of each level."""
    tops = list(map(max, self.levels, self.tops))
    for wire in self.wires:
      below = self.levels[wire.target] - 1
      tops[wire.source] = max(tops[wire.source], below)
    rows: list[list[Slot]] = [[] for _ in range(max(tops) + 1)]
    for vertex, (level, top) in enumerate(zip(self.levels, tops, strict=True)):
      for at in range(level, top + 1):
        rows[at].append((vertex, at))
    return rows

  def width(self, slot: Slot) -> float:
    """The width of a box or of a lane."""
    vertex, level = slot
    return self.widths[vertex] if level == self.levels[vertex] else self.lane


def place(graph: Graph) -> dict[Slot, float]:
  """Finds the centres of boxes and lanes, with few crossings of wires.

  Sweeps up and down order the slots of a level by the mean of their
  neighbours; the best order seen is kept, and then made straighter.

  Returns:
    The centre of each slot. Slots of one level do not overlap.
  """
  rows = graph.slots()
  segments = _segments(graph, rows)
  x: dict[Slot, float] = {}
  for row in rows:
    _spread(row, [0.0] * len(row), graph, x)
  best = _cost(segments, x), rows
  for sweep in range(_SWEEPS):
    up = sweep % 2 == 0
    rows = list(rows)
    for level in range(len(rows)) if up else reversed(range(len(rows))):
      near = _wanted(rows[level], segments, x, below=up, above=not up)
      order = sorted(range(len(near)), key=near.__getitem__)
      rows[level] = [rows[level][i] for i in order]
      _spread(rows[level], [near[i] for i in order], graph, x)
    best = min(best, (_cost(segments, x), rows), key=lambda found: found[0])
  return _straightened(best[1], segments, graph)


def _straightened(
  rows: Sequence[Sequence[Slot]], segments: Sequence[_Segment], graph: Graph
) -> dict[Slot, float]:
  """Places slots whose order is settled near all their neighbours."""
  x: dict[Slot, float] = {}
  for row in rows:
    _spread(row, [0.0] * len(row), graph, x)
  for sweep in range(_FINAL_SWEEPS):
    for row in rows if sweep % 2 == 0 else reversed(rows):
      wanted = _wanted(row, segments, x, below=True, above=True)
      _spread(row, wanted, graph, x)
  return x


def _segments(graph: Graph, rows: Sequence[Sequence[Slot]]) -> list[_Segment]:
  slots = set(itertools.chain.from_iterable(rows))
  found = []
  for vertex, level in sorted(slots):
    above = (vertex, level + 1)
    if above in slots:
      found.append(_Segment((vertex, level), above, 0.0, _STRAIGHT))
  for source, target, offset in graph.wires:
    level = graph.levels[target]
    lower, upper = (source, level - 1), (target, level)
    found.append(_Segment(lower, upper, offset, 1.0))
  return found


def _wanted(
  row: Sequence[Slot],
  segments: Sequence[_Segment],
  x: dict[Slot, float],
  *,
  below: bool,
  above: bool,
) -> list[float]:
  """Where the neighbours below or above would like the slots of a level."""
  wanted = []
  for slot in row:
    pulls = [
      (x[s.lower] - s.offset, s.weight)
      for s in segments
      if below and s.upper == slot
    ]
    pulls += [
      (x[s.upper] + s.offset, s.weight)
      for s in segments
      if above and s.lower == slot
    ]
    total = sum(weight for _, weight in pulls)
    mean = (
      sum(at * weight for at, weight in pulls) / total if total else x[slot]
    )
    wanted.append(mean)
  return wanted


def _spread(
  row: Sequence[Slot],
  wanted: Sequence[float],
  graph: Graph,
  x: dict[Slot, float],
) -> None:
  """Sets the places nearest to the wanted ones that keep the slots apart.

  Less the widths on their left, the places only have to be in order, and the
  nearest sequence in order is that of pooled neighbours' means.
  """
  shifts, at = [], 0.0
  for slot in row:
    shifts.append(at + graph.width(slot) / 2)
    at += graph.width(slot)
  blocks: list[tuple[float, int]] = []  # sum and count
  for goal, shift in zip(wanted, shifts, strict=True):
    total, count = goal - shift, 1
    while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
      more, others = blocks.pop()
      total, count = total + more, count + others
    blocks.append((total, count))
  starts = [total / count for total, count in blocks for _ in range(count)]
  for slot, start, shift in zip(row, starts, shifts, strict=True):
    x[slot] = start + shift


def _cost(
  segments: Sequence[_Segment], x: dict[Slot, float]
) -> tuple[int, float]:
  """How many segments cross, and then how slanted they are."""
  lines = [
    (s.lower[1], s.lower, x[s.lower], x[s.upper] + s.offset) for s in segments
  ]
  crossings = 0
  for one, other in itertools.combinations(lines, 2):
    if one[0] == other[0] and one[1] != other[1]:
      crossings += (one[2] - other[2]) * (one[3] - other[3]) < 0
  return crossings, round(sum(abs(b - a) for _, _, a, b in lines), 3)
