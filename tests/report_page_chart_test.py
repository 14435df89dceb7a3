"""Charts with the values that a page shows of them."""

import json
import math
import re
from xml.etree import ElementTree

import pytest

from enas_jax.report import page_chart

_SVG = "{http://www.w3.org/2000/svg}"


def test_values_stand_where_they_are_drawn():
  points = [(0, 5.0), (10, 1.0), (30, 4.0)]
  drawn = page_chart.lines({"a": points, "$b_": [(0, 1)]}, "x", "<y>")
  values = json.loads(drawn.values)
  assert (values["x"], values["y"]) == ("x", "<y>")
  [first, second] = values["series"]
  assert [one["name"] for one in (first, second)] == ["a", "$b_"]
  assert [tuple(point[:2]) for point in first["points"]] == points
  # The line is drawn through these very places.
  paths = re.findall(r'd="(M [^"]*)"', drawn.svg)
  lines = [list(map(float, re.findall(r"-?[\d.]+", d))) for d in paths]
  places = [place for point in first["points"] for place in point[2:]]
  assert any(
    len(line) == 6 and max(map(abs, map(float.__sub__, line, places))) < 0.051
    for line in lines
  )
  # A script is given so many, the last among them.
  many = page_chart.lines({"a": [(i, i) for i in range(4001)]}, "x", "y")
  kept = json.loads(many.values)["series"][0]["points"]
  assert len(kept) == 1334 and kept[-1][0] == 4000


def test_histogram_shows_shares():
  groups = {"policy": [0.0, 0.0, 1.0, 1.0], "uniform": [0.0], "none": []}
  drawn = page_chart.histogram(groups, "reward", {"kept": 1.0})
  series = json.loads(drawn.values)["series"]
  assert [one["name"] for one in series] == ["policy", "uniform"]
  # Five bins from 0 to 1.
  assert [point[:2] for point in series[0]["points"]] == [
    [pytest.approx(0.1), 0.5], [pytest.approx(0.3), 0.0],
    [pytest.approx(0.5), 0.0], [pytest.approx(0.7), 0.0],
    [pytest.approx(0.9), 0.5],
  ]  # fmt: skip
  assert series[1]["points"][0][1] == 1.0
  texts = ElementTree.fromstring(drawn.svg).iter(f"{_SVG}text")
  assert "kept" in [text.text for text in texts]
  assert page_chart.histogram({"a": []}, "reward", {}) is None


@pytest.mark.parametrize("value", [0.0, 0.5, 1e17])
def test_histogram_of_values_that_rounding_tells_apart(value):
  values = [value, math.nextafter(value, math.inf)]
  drawn = page_chart.histogram({"policy": values}, "reward", {})
  [series] = json.loads(drawn.values)["series"]
  shares = [share for _, share, *_ in series["points"]]
  assert shares == [0.0, 0.0, 1.0, 0.0, 0.0]
