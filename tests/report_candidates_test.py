"""Candidates on a page: drawings, sizes, and what nothing surpasses."""

import base64
import json

from enas_jax.report import candidates
from enas_jax.spaces import registry


def test_the_pareto_front_holds_what_nothing_surpasses():
  points = [(3, 0.5), (1, 0.2), (2, 0.2), (1, 0.1), (4, 0.4), (3, 0.5)]
  assert candidates.pareto_front(points) == [(1, 0.2), (3, 0.5)]
  assert candidates.pareto_front([]) == []


def test_candidates_are_drawn_and_measured(tmp_path):
  preset = registry.preset("smoke", "nasbench201")
  space = preset.child.space()
  saved = {"space": "nasbench201", "config": preset.to_dict()}
  data = {"image_shape": [8, 8, 1], "num_classes": 10}
  network = candidates.network(saved, {"data": data})
  assert network.options == preset.child
  assert network.data.image_shape == (8, 8, 1)
  arcs = [space.to_dict(space.from_digits(t)) for t in ("333333", "300000")]
  rows = [{"reward": 0.5, "arc": arcs[0]}, {"reward": 0.25, "arc": arcs[1]}]
  rows += [rows[1], {"reward": 0.125, "arc": {"space": "nasbench201"}}]
  large, small, wrong = candidates.distinct(rows, network)
  assert [one.times for one in (large, small, wrong)] == [1, 2, 1]
  # The one edge of the second leads to no output: nothing of it counts.
  assert large.sizes["params"] > small.sizes["params"]
  assert large.sizes["multiply_adds"] > small.sizes["multiply_adds"]
  assert (wrong.arc, wrong.sizes) == (None, {})
  [sources] = candidates.thumbnails([([large, wrong], network)])
  drawn = base64.b64decode(sources[0].partition(",")[2])
  assert b"nor conv 3x3" in drawn.replace(b"_", b" ") and sources[1] == ""
  drawing = candidates.trade_off({"a": [large, small]}, "multiply_adds")
  [series] = json.loads(drawing.values)["series"]
  assert [point[:2] for point in series["points"]] == [
    [one.sizes["multiply_adds"], one.reward] for one in (large, small)
  ]
  assert candidates.trade_off({"a": [large]}, "multiply_adds") is None
  for other in ({}, {"space": "other"}, {"space": "macro", "config": {}}):
    assert candidates.network(other, {}) is None
