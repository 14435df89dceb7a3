import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from enas_jax.report import cell

_SVG = "{http://www.w3.org/2000/svg}"
_NAMES = ("tanh", "relu", "identity", "sigmoid")
_FIGURE_1 = ([0, 0, 1, 0], ["tanh", "relu", "relu", "tanh"], [2, 3])

_FIGURE_1_TEXT = """\
h1 = tanh(x_t, h_(t-1))
h2 = relu(h1)
h3 = relu(h2)
h4 = tanh(h1)
h_t = average(h3, h4)

h1 tanh
|-- h2 relu
|   `-- h3 relu  (loose end)
`-- h4 tanh  (loose end)

depth 3, 2 loose ends"""


def _loose_ends(prev):
  return [node for node in range(len(prev)) if node not in prev[1:]]


def _chain():
  return [0, *range(11)], [*_NAMES] * 3, [11]


def _star():
  return [0] * 12, [*_NAMES] * 3, list(range(1, 12))


def _random_cells(count):
  rng = np.random.default_rng(0)
  for _ in range(count):
    prev = [0, *(int(rng.integers(node)) for node in range(1, 12))]
    ops = [_NAMES[i] for i in rng.integers(4, size=12)]
    yield prev, ops, _loose_ends(prev)
    yield prev, ops, list(range(1, 12))


def _groups(svg, *kinds):
  groups = ElementTree.fromstring(svg).iter(f"{_SVG}g")
  return [group for group in groups if group.get("class") in kinds]


def _boxes(svg):
  rects = [
    group.find(f"{_SVG}rect")
    for group in _groups(svg, "node", "input", "average", "output", "legend")
  ]
  return [
    (
      float(rect.get("x")),
      float(rect.get("y")),
      float(rect.get("x")) + float(rect.get("width")),
      float(rect.get("y")) + float(rect.get("height")),
    )
    for rect in rects
  ]


def _edges(svg):
  paths = ElementTree.fromstring(svg).iter(f"{_SVG}path")
  return [path for path in paths if path.get("class") == "edge"]


def _polyline(edge):
  """Points of an edge `M x y [C x y x y x y] V y`, its curve sampled."""
  head, tip = edge.get("d")[1:].split("V")
  start, _, bend = head.partition("C")
  points = np.array([float(word) for word in f"{start} {bend}".split()])
  controls = points.reshape(-1, 2)
  if len(controls) == 4:
    t = np.linspace(0, 1, 9)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2,
                         3 * t**2 * (1 - t), t**3])  # fmt: skip
    controls = weights @ controls
  x, y = controls[-1]
  last = np.linspace(y, float(tip), 40)
  return np.vstack([controls, np.stack([np.full(40, x), last], 1)])


def test_figure_1_as_text():
  assert cell.cell_text(*_FIGURE_1) == _FIGURE_1_TEXT


def test_text_numbered_from_zero():
  text = cell.cell_text([0, 0], ["tanh", "relu"], [1], one_based=False)
  assert text == (
    "h0 = tanh(x_t, h_(t-1))\n"
    "h1 = relu(h0)\n"
    "h_t = average(h1)\n"
    "\n"
    "h0 tanh\n"
    "`-- h1 relu  (loose end)\n"
    "\n"
    "depth 2, 1 loose end"
  )


def test_text_averages_what_it_is_told():
  text = cell.cell_text(_FIGURE_1[0], _FIGURE_1[1], [1, 2, 3])
  assert "h_t = average(h2, h3, h4)\n" in text
  assert text.endswith("depth 3, 2 loose ends")


@pytest.mark.parametrize("one", [_chain(), _star()], ids=["chain", "star"])
def test_text_of_extreme_cells_ends_with_their_size(one):
  expected = "depth 12, 1 loose end" if one[2] == [11] else (
    "depth 2, 11 loose ends")  # fmt: skip
  assert cell.cell_text(*one).split("\n")[-1] == expected


@pytest.mark.parametrize(
  "wrong",
  [
    ([], [], [0]),
    ([0, 1], ["tanh", "relu"], [1]),
    ([0, 0], ["tanh"], [1]),
    ([0, 0], ["tanh", "relu"], []),
    ([0, 0], ["tanh", "relu"], [2]),
  ],
)
def test_no_cell_is_refused(wrong):
  with pytest.raises(ValueError):
    cell.cell_text(*wrong)
  with pytest.raises(ValueError):
    cell.cell_svg(*wrong)


def test_figure_1_as_svg():
  svg = cell.cell_svg(*_FIGURE_1)
  words = ["".join(group.itertext()).strip() for group in _groups(svg, "node")]
  assert words == ["h1tanh", "h2relu", "h3relu", "h4tanh"]
  assert len(_edges(svg)) == 3 + 2 + 2 + 1
  levels = [box[1] for box in _boxes(svg)[2:6]]  # y of h1, h2, h3, h4
  assert levels[0] > levels[1] == levels[3] > levels[2]


def test_svg_has_a_box_a_node_and_its_arrows():
  for prev, ops, outputs in [_chain(), _star(), *_random_cells(5)]:
    svg = cell.cell_svg(prev, ops, outputs)
    assert len(_groups(svg, "node")) == 12
    assert len(_edges(svg)) == 11 + 2 + len(outputs) + 1


def test_arrows_join_the_boxes_of_the_tree():
  prev, ops, outputs = _FIGURE_1
  svg = cell.cell_svg(prev, ops, outputs)
  boxes = _boxes(svg)
  nodes, average = boxes[2:6], boxes[6]
  middle = [(box[0] + box[2]) / 2 for box in nodes]
  ends = [_polyline(edge)[[0, -1]] for edge in _edges(svg)]
  for node in (1, 2, 3):
    start, tip = ends[1 + node]
    assert start == pytest.approx([middle[prev[node]], nodes[prev[node]][1]])
    assert tip == pytest.approx([middle[node], nodes[node][3] + 1])
  for node, (start, tip) in zip(outputs, ends[5:7], strict=True):
    assert start == pytest.approx([middle[node], nodes[node][1]])
    assert tip == pytest.approx([middle[node], average[3] + 1])


def test_boxes_do_not_overlap():
  for one in [_chain(), _star(), _FIGURE_1, *_random_cells(30)]:
    svg = cell.cell_svg(*one)
    for a, b in itertools.combinations(_boxes(svg), 2):
      assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def test_boxes_lie_within_the_picture():
  for one in [_chain(), _star(), (([0]), ["tanh"], [0]), *_random_cells(5)]:
    svg = cell.cell_svg(*one, title="A title that is wider than most cells")
    root = ElementTree.fromstring(svg)
    for left, top, right, bottom in _boxes(svg):
      assert 0 < left and right < float(root.get("width"))
      assert 0 < top and bottom < float(root.get("height"))


def test_arrows_cross_no_box():
  for one in [_chain(), _star(), *_random_cells(10)]:
    svg = cell.cell_svg(*one)
    x0, y0, x1, y1 = np.array(_boxes(svg)).T
    for edge in _edges(svg):
      x, y = _polyline(edge).T[..., None]
      inside = (x0 < x) & (x < x1) & (y0 + 0.1 < y) & (y < y1 - 0.1)
      assert not inside.any()


def test_svg_escapes_text():
  svg = cell.cell_svg([0], ["a<b&c"], [0], title="<script>&")
  root = ElementTree.fromstring(svg)
  assert root.find(f"{_SVG}title").text == "<script>&"
  assert "".join(_groups(svg, "node")[0].itertext()).endswith("a<b&c")
  assert "<script" not in svg


def test_colours_tell_functions_apart():
  svg = cell.cell_svg([0, 0, 0], ["tanh", "swish", "gelu"], [1, 2])
  fills = [g.find(f"{_SVG}rect").get("fill") for g in _groups(svg, "node")]
  legend = _groups(svg, "legend")
  assert len(set(fills)) == 3
  assert [g.find(f"{_SVG}rect").get("fill") for g in legend] == fills
  assert ["".join(g.itertext()) for g in legend] == ["tanh", "swish", "gelu"]


def test_dot():
  source = cell.cell_dot([0, 0, 0], ["tanh", "relu", 'a"b'], [1, 2])
  lines = [line.strip() for line in source.splitlines()]
  assert lines[0] == "digraph cell {" and lines[-1] == "}"
  assert [line for line in lines if "->" in line] == [
    "{x h} -> h1;",
    "h1 -> h2;",
    "h1 -> h3;",
    "h2 -> avg;",
    "h3 -> avg;",
    "avg -> output;",
  ]
  assert 'h2 [label="h2: relu", ' in source
  assert r'label="h3: a\"b"' in source
  with pytest.raises(ValueError, match="cannot read"):
    cell.cell_dot([0, 1], ["tanh", "relu"], [1])
