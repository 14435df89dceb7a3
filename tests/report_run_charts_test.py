"""Charts of one run's rows."""

import json

from enas_jax.report import run_charts
from enas_jax.spaces import registry


def test_the_policy_is_a_map_of_alternatives_by_epochs():
  definition = registry.get("macro")
  preset = registry.preset("smoke", "macro")
  space = type(preset.child.space())(num_layers=2)
  # An operation; then an operation and one skip.
  layout = [6, 6, 2]
  rows = [
    {"epoch": epoch, "frequencies": [[epoch / 8] * size for size in layout]}
    for epoch in (1, 2)
  ]
  words = definition.vocabularies
  values = json.loads(run_charts.policy_map(rows, space, words).values)
  assert [one["name"] for one in values["series"]] == [
    *(f"op 1: {op}" for op in words["op"]),
    *(f"op 2: {op}" for op in words["op"]),
    "skip 1-2",  # how often it is taken
  ]
  for one in values["series"]:
    assert [point[:2] for point in one["points"]] == [[1, 0.125], [2, 0.25]]
  # Below one another, and beside one another.
  lefts = [point[2] for point in values["series"][0]["points"]]
  tops = [one["points"][0][3] for one in values["series"]]
  assert lefts == sorted(lefts) and tops == sorted(tops)
  # Of another space, or of none, alternatives have numbers.
  unknown = run_charts.policy_map(rows, None, {})
  assert json.loads(unknown.values)["series"][0]["name"] == "choice 1: 0"
  assert run_charts.policy_map([], space, words) is None
  broken = [rows[0], {"epoch": 2, "frequencies": [[0.5]]}]
  assert run_charts.policy_map(broken, space, words) is None
  # Of many epochs as many as a page can bear, the last among them.
  many = [{"epoch": e, "frequencies": [[0.0, 1.0]]} for e in range(1, 402)]
  shown = json.loads(run_charts.policy_map(many, None, {}).values)["series"][0]
  assert len(shown["points"]) == 134 and shown["points"][-1][0] == 401
