import itertools

import numpy as np
import pytest

from enas_jax.report import layered


def _graph(levels, wires, tops=None, width=10.0):
  return layered.Graph(
    levels=levels,
    widths=[width] * len(levels),
    wires=[layered.Wire(*wire) for wire in wires],
    tops=tops or levels,
    lane=4.0,
  )


def test_slots_are_boxes_and_lanes():
  graph = _graph([0, 1, 2], [(0, 1), (0, 2)], tops=[0, 1, 3])
  assert graph.slots() == [
    [(0, 0)],
    [(0, 1), (1, 1)],
    [(2, 2)],
    [(2, 3)],
  ]
  assert [graph.width(slot) for slot in ((0, 0), (0, 1))] == [10.0, 4.0]


def test_a_chain_stands_upright():
  x = layered.place(_graph([0, 1, 2], [(0, 1), (1, 2)]))
  assert len(set(x.values())) == 1


def test_a_wire_pulls_its_target_by_where_it_ends():
  x = layered.place(_graph([0, 1], [(0, 1, -3.0)]))
  assert x[1, 1] - x[0, 0] == pytest.approx(3.0)


def test_crossing_wires_are_untangled():
  # 0 feeds the right one and 1 the left one of the second level.
  x = layered.place(_graph([0, 0, 1, 1], [(0, 3), (1, 2)]))
  assert (x[0, 0] < x[1, 0]) == (x[3, 1] < x[2, 1])


def test_slots_of_a_level_never_overlap():
  rng = np.random.default_rng(0)
  for _ in range(20):
    levels = sorted(int(level) for level in rng.integers(4, size=9))
    wires = [
      (a, b)
      for a, b in itertools.combinations(range(9), 2)
      if levels[a] < levels[b] and rng.random() < 0.4
    ]
    graph = _graph(levels, wires)
    x = layered.place(graph)
    for row in graph.slots():
      for one, other in itertools.combinations(row, 2):
        apart = (graph.width(one) + graph.width(other)) / 2
        assert abs(x[one] - x[other]) >= apart - 1e-9
