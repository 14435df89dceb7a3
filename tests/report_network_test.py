import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from enas_jax.report import network

_SVG = "{http://www.w3.org/2000/svg}"
_OPS = ("conv_3x3", "conv_5x5", "sep_conv_3x3", "max_pool_3x3")
# Layer 4 takes layers 1 and 3, as Section 2.3 says of Figure 3.
_FIGURE_3 = (
  ["conv_3x3", "sep_conv_5x5", "max_pool_3x3", "conv_5x5"],
  [[], [0], [1], [0, 2]],
)

_FIGURE_3_TEXT = """\
   stem
1  conv_3x3      reads stem
2  sep_conv_5x5  reads 1
   -- height and width / 2 --
3  max_pool_3x3  reads 2
4  conv_5x5      reads 1, 3
   softmax       reads 4

4 layers, 4 skip connections"""

_PREVIOUS_TEXT = """\
   stem
1  conv_3x3      reads stem
2  sep_conv_5x5  reads 1, joined by stem
3  max_pool_3x3  reads 2, joined by 1
4  conv_5x5      reads 3, joined by stem, 2
   softmax       reads 4

4 layers, 4 skip connections"""

_DOT = """\
digraph network {
  node [shape=box, style="rounded,filled", fillcolor=white];
  n0 [label="stem"];
  n1 [label="1 conv 3x3", fillcolor="#dbeafe", color="#2563eb"];
  n2 [label="2 conv 3x3", fillcolor="#dbeafe", color="#2563eb"];
  n3 [label="softmax"];
  n0 -> n2 [style=dotted, constraint=false];
  n0 -> n1;
  n1 -> n2 [color=transparent, label="size / 2"];
  n2 -> n3;
}
"""


def _random(layers, chance=0.5, seed=0):
  rng = np.random.default_rng(seed)
  ops = [_OPS[i] for i in rng.integers(len(_OPS), size=layers)]
  skips = [
    [i for i in range(k) if rng.random() < chance] for k in range(layers)
  ]
  return ops, skips


def _groups(svg, *kinds):
  groups = ElementTree.fromstring(svg).iter(f"{_SVG}g")
  return [group for group in groups if group.get("class") in kinds]


def _boxes(svg):
  """Left, top, right and bottom of the stem, the layers and the softmax."""
  corners = []
  for group in _groups(svg, "stem", "layer", "softmax"):
    rect = group.find(f"{_SVG}rect")
    x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
    corners.append((x, y, x + w, y + h))
  return corners


def _paths(svg, kind):
  paths = ElementTree.fromstring(svg).iter(f"{_SVG}path")
  return [path.get("d") for path in paths if path.get("class") == kind]


def _controls(arc):
  numbers = [float(word) for word in arc.replace("C", " ")[1:].split()]
  return np.array(numbers).reshape(4, 2)


def _arcs(svg):
  """The pairs of boxes that the arcs of skip connections join."""
  boxes = _boxes(svg)

  def box_at(point):
    [found] = [
      at
      for at, (left, top, right, bottom) in enumerate(boxes)
      if left - 1.1 <= point[0] <= right + 1.1 and top < point[1] < bottom
    ]
    return found

  controls = [_controls(arc) for arc in _paths(svg, "skip")]
  return [(box_at(points[0]), box_at(points[-1])) for points in controls]


def _chain(svg):
  """The pairs of boxes that straight arrows join."""
  bottoms = [f"{box[3]:.1f}" for box in _boxes(svg)]
  tips = [f"{box[1] - 1:.1f}" for box in _boxes(svg)]
  pairs = []
  for path in _paths(svg, "edge"):
    start, tip = path.split()[1].split("V")
    pairs.append((bottoms.index(start), tips.index(tip)))
  return pairs


def test_figure_3_as_text():
  text = network.network_text(*_FIGURE_3, reductions=(1,))
  assert text == _FIGURE_3_TEXT


def test_text_of_the_released_form():
  text = network.network_text(*_FIGURE_3, main_input="previous")
  assert text == _PREVIOUS_TEXT


def test_text_tells_what_is_unused():
  ops, skips = ["conv_3x3"] * 3, [[], [0], []]
  lines = network.network_text(ops, skips).split("\n")
  assert lines[1:4] == [
    "1  conv_3x3  reads stem  (unused)",
    "2  conv_3x3  reads 1  (unused)",
    "3  conv_3x3  reads stem",
  ]
  assert lines[-1] == "3 layers, 1 skip connection"
  # The released form reads every layer.
  assert "unused" not in network.network_text(ops, skips, main_input="previous")


def test_a_network_in_the_language_of_graphviz():
  dot = network.network_dot(["conv_3x3"] * 2, [[], []], reductions=(0,))
  assert dot == _DOT
  quoted = network.network_dot(['a"b\\'], [[]])
  assert '[label="1 a\\"b\\\\", ' in quoted


@pytest.mark.parametrize(
  "wrong",
  [
    ([], []),
    (["conv_3x3"], []),
    (["conv_3x3"], [[0]]),
    (["conv_3x3"] * 2, [[], [1]]),
    (["conv_3x3"] * 2, [[], [-1]]),
    (["conv_3x3"] * 2, [[], [0, 0]]),
  ],
)
def test_no_network_is_refused(wrong):
  for draw in (network.network_text, network.network_svg, network.network_dot):
    with pytest.raises(ValueError):
      draw(*wrong)


@pytest.mark.parametrize(
  "wrong", [{"main_input": "all"}, {"reductions": (4,)}, {"reductions": (-1,)}]
)
def test_options_are_checked(wrong):
  with pytest.raises(ValueError):
    network.network_text(*_FIGURE_3, **wrong)


def test_figure_3_as_svg():
  svg = network.network_svg(*_FIGURE_3, reductions=(0, 2))
  boxes = _groups(svg, "stem", "layer", "softmax")
  assert ["".join(group.itertext()) for group in boxes] == [
    "stem",
    "1 conv 3x3",
    "2 sep conv 5x5",
    "3 max pool 3x3",
    "4 conv 5x5",
    "softmax",
  ]
  assert _chain(svg) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
  assert _arcs(svg) == [(1, 4)]
  tops = [box[1] for box in _boxes(svg)]
  assert tops == sorted(tops)
  lines = [float(d.split()[1].split("H")[0]) for d in _paths(svg, "reduction")]
  assert [sum(top < line for top in tops) for line in lines] == [2, 4]


def test_arrows_of_both_forms():
  ops, skips = ["conv_3x3"] * 4, [[], [], [0, 1], [1]]
  selected = network.network_svg(ops, skips)
  assert _chain(selected) == [(0, 1), (2, 3), (4, 5)]
  assert sorted(_arcs(selected)) == [(0, 2), (1, 3), (2, 4)]
  previous = network.network_svg(ops, skips, main_input="previous")
  assert _chain(previous) == [(i, i + 1) for i in range(5)]
  assert sorted(_arcs(previous)) == [(0, 3), (1, 3), (1, 4)]


def test_unused_layers_are_faint():
  ops, skips = ["conv_3x3"] * 4, [[], [0], [0], [2]]
  svg = network.network_svg(ops, skips)
  faint = ["".join(group.itertext()) for group in _groups(svg, "unused")]
  assert faint == ["", "2 conv 3x3"]  # the arrow into it, and the layer
  assert "4 layers, 3 skip connections; faint: unused" in svg


@pytest.mark.parametrize("main_input", ["selected", "previous"])
@pytest.mark.parametrize("layers", [1, 12, 24])
def test_every_connection_of_a_large_network_is_drawn(layers, main_input):
  ops, skips = _random(layers)
  shift = main_input == "selected"
  far = {
    (node + shift, layer + 1)
    for layer, taken in enumerate(skips)
    for node in taken
    if node + shift != layer
  }
  if shift:
    far |= {(0, at + 1) for at in range(1, layers) if not skips[at]}
  svg = network.network_svg(ops, skips, main_input=main_input)
  assert len(_groups(svg, "layer")) == layers
  assert sorted(_arcs(svg)) == sorted(far)


def test_arcs_cross_no_box_and_stay_within_the_picture():
  for layers in (12, 24):
    ops, skips = _random(layers, seed=layers)
    title = "A title that is wider than the network itself, by far" * 2
    svg = network.network_svg(ops, skips, reductions=(3, 7), title=title)
    width = float(ElementTree.fromstring(svg).get("width"))
    t = np.linspace(0, 1, 50)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2,
                         3 * t**2 * (1 - t), t**3])  # fmt: skip
    left, _, right, _ = _boxes(svg)[0]
    for arc in _paths(svg, "skip"):
      x = (weights @ _controls(arc))[:, 0]
      assert (x < left + 0.2).all() or (x > right - 0.2).all()
      assert 0 < x.min() and x.max() < width


def test_boxes_do_not_overlap():
  boxes = _boxes(network.network_svg(*_random(24), reductions=(7, 15)))
  for above, below in itertools.pairwise(boxes):
    assert above[3] + 10 < below[1]


def test_the_same_network_makes_the_same_bytes():
  ops, skips = _random(12)
  again = [list(reversed(taken)) for taken in skips]
  options = {"title": "t", "reductions": (3, 7)}
  assert network.network_svg(ops, skips, **options) == (
    network.network_svg(tuple(ops), again, **options)
  )


def test_svg_escapes_text():
  svg = network.network_svg(["a<b&c"], [[]], title="<script>&")
  root = ElementTree.fromstring(svg)
  assert root.find(f"{_SVG}title").text == "<script>&"
  assert "".join(_groups(svg, "layer")[0].itertext()) == "1 a<b&c"
  assert "<script" not in svg


def test_every_arrow_has_its_head():
  root = ElementTree.fromstring(network.network_svg(*_random(24)))
  heads = {marker.get("id") for marker in root.iter(f"{_SVG}marker")}
  used = {path.get("marker-end") for path in root.iter(f"{_SVG}path")} - {None}
  assert used == {f"url(#{head})" for head in heads}
