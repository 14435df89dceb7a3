import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from enas_jax.report import conv_cell

_SVG = "{http://www.w3.org/2000/svg}"
_OPS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "identity")
# Section 2.4's example, whose nodes 1 to 4 are 0 to 3 here.
_FIGURE_5 = conv_cell.Cell(
  inputs=[(1, 1), (2, 0)],
  ops=[("sep_conv_5x5", "identity"), ("avg_pool_3x3", "sep_conv_3x3")],
  outputs=[3],
)

_FIGURE_5_TEXT = """\
h1 = cell(i-2)
h2 = cell(i-1)
h3 = sep_conv_5x5(h2) + identity(h2)
h4 = avg_pool_3x3(h3) + sep_conv_3x3(h1)
cell(i) = concat(h4)

depth 2, 1 loose end"""

_DOT = """\
digraph cell {
  rankdir=BT;
  node [shape=box, style="rounded,filled", fillcolor=white];
  h1 [label="h1: cell i-2"];
  h2 [label="h2: cell i-1"];
  h3 [label="h3: add"];
  a3 [label="identity", fillcolor="#f3f4f6", color="#6b7280"];
  h2 -> a3 -> h3;
  b3 [label="sep conv 3x3", fillcolor="#dcfce7", color="#16a34a"];
  h1 -> b3 -> h3;
  concat; output [label="cell i"];
  h3 -> concat;
  concat -> output;
}
"""


def _cell(inputs, include_inputs=False, seed=0):
  """A cell of random operations that concatenates its loose ends."""
  rng = np.random.default_rng(seed)
  ops = [tuple(_OPS[i] for i in rng.integers(4, size=2)) for _ in inputs]
  read = {node for pair in inputs for node in pair}
  first = 0 if include_inputs else 2
  ends = [n for n in range(first, len(inputs) + 2) if n not in read]
  return conv_cell.Cell(inputs, ops, ends)


def _cells():
  """The extremes, and random cells of 7 nodes."""
  chain = [(n + 1, n + 1) for n in range(5)]
  yield "chain", _cell(chain, include_inputs=True)
  yield "ladder", _cell([(n, n + 1) for n in range(5)])
  yield "star", _cell([(0, 1)] * 5)
  yield "least", _cell([(0, 0)])
  rng = np.random.default_rng(0)
  for seed in range(20):
    inputs = [
      tuple(int(i) for i in rng.integers(n + 2, size=2)) for n in range(5)
    ]
    yield f"random {seed}", _cell(inputs, seed % 2 == 0, seed)


def _panels(svg):
  return [
    (group, *map(float, group.get("transform")[10:-1].split()))
    for group in ElementTree.fromstring(svg).iter(f"{_SVG}g")
    if group.get("class") == "cell"
  ]


def _groups(svg, kind):
  groups = ElementTree.fromstring(svg).iter(f"{_SVG}g")
  return [group for group in groups if group.get("class") == kind]


def _boxes(svg, *kinds):
  """Left, top, right and bottom of the boxes."""
  corners = []
  kinds = kinds or ("input", "op", "add", "concat", "output")
  for panel, right, down in _panels(svg):
    for group in panel.iter(f"{_SVG}g"):
      if group.get("class") in kinds:
        rect = group.find(f"{_SVG}rect")
        x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        x, y = x + right, y + down
        corners.append((x, y, x + w, y + h))
  return corners


def _words(svg, kind):
  return ["".join(group.itertext()) for group in _groups(svg, kind)]


def _lines(svg, *kinds):
  """The points of each path `M x y` and then `C x y x y x y` and `V y`."""
  t = np.linspace(0, 1, 12)[:, None]
  weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2,
                       3 * t**2 * (1 - t), t**3])  # fmt: skip
  lines = []
  for panel, right, down in _panels(svg):
    for path in panel.iter(f"{_SVG}path"):
      if path.get("class") in kinds:
        spaced = path.get("d").replace("C", "|C").replace("V", "|V")
        start, *parts = spaced.split("|")
        points = np.array([[float(word) for word in start[1:].split()]])
        for part in parts:
          numbers = [float(word) for word in part[1:].split()]
          if part[0] == "V":
            y = np.linspace(points[-1, 1], numbers[0], 20)
            more = np.stack([np.full(20, points[-1, 0]), y], 1)
          else:
            controls = np.array([*points[-1], *numbers]).reshape(4, 2)
            more = weights @ controls
          points = np.vstack([points, more])
        lines.append(points + [right, down])
  return lines


def _joined(svg):
  """The pairs of boxes that arrows join, by their words."""
  boxes = _boxes(svg)
  kinds = ("input", "op", "add", "concat", "output")
  words = [
    "".join(group.itertext())
    for group in ElementTree.fromstring(svg).iter(f"{_SVG}g")
    if group.get("class") in kinds
  ]

  def word_at(x, y):
    [found] = [
      word
      for word, (left, top, right, bottom) in zip(words, boxes, strict=True)
      if left < x < right and top - 0.2 <= y <= bottom + 1.2
    ]
    return found

  return [
    (word_at(*line[0]), word_at(*line[-1]))
    for line in _lines(svg, "edge", "sum")
  ]


def test_figure_5_as_text():
  assert conv_cell.cell_text(*_FIGURE_5) == _FIGURE_5_TEXT


def test_text_concatenates_what_it_is_told():
  inputs, ops, _ = _FIGURE_5
  text = conv_cell.cell_text(inputs, ops, [0, 3])
  assert "\ncell(i) = concat(h1, h4)\n" in text
  assert text.endswith("depth 2, 2 loose ends")


def test_a_cell_in_the_language_of_graphviz():
  one = ([(1, 0)], [("identity", "sep_conv_3x3")], [2])
  assert conv_cell.cell_dot(*one) == _DOT


@pytest.mark.parametrize(
  "wrong",
  [
    ([], [], [0]),
    ([(0, 1)], [], [2]),
    ([(0, 2)], [("identity", "identity")], [2]),
    ([(0, -1)], [("identity", "identity")], [2]),
    ([(0,)], [("identity",)], [2]),
    ([(0, 1)], [("identity", "identity")], []),
    ([(0, 1)], [("identity", "identity")], [3]),
  ],
)
def test_no_cell_is_refused(wrong):
  for draw in (conv_cell.cell_text, conv_cell.cell_svg, conv_cell.cell_dot):
    with pytest.raises(ValueError):
      draw(*wrong)


def test_a_picture_of_nothing_is_refused():
  with pytest.raises(ValueError, match="no cells"):
    conv_cell.cells_svg({})


def test_figure_5_as_svg():
  svg = conv_cell.cell_svg(*_FIGURE_5)
  assert sorted(_joined(svg)) == sorted(
    [
      ("h2cell i\N{MINUS SIGN}1", "sep conv 5x5"),
      ("h2cell i\N{MINUS SIGN}1", "identity"),
      ("sep conv 5x5", "h3add"),
      ("identity", "h3add"),
      ("h3add", "avg pool 3x3"),
      ("h1cell i\N{MINUS SIGN}2", "sep conv 3x3"),
      ("avg pool 3x3", "h4add"),
      ("sep conv 3x3", "h4add"),
      ("h4add", "concat"),
      ("concat", "cell i"),
    ]
  )
  tops = [
    min(box[1] for box in _boxes(svg, kind))
    for kind in ("output", "concat", "add", "op", "input")
  ]
  assert tops == sorted(tops)


@pytest.mark.parametrize(
  "one", [cell for _, cell in _cells()], ids=[name for name, _ in _cells()]
)
def test_a_cell_is_drawn_whole_and_clean(one):
  svg = conv_cell.cell_svg(*one)
  rows = len(one.inputs)
  assert len(_boxes(svg, "op")) == 2 * rows
  assert len(_boxes(svg, "add")) == rows
  assert len(_lines(svg, "sum")) == 2 * rows
  assert len(_lines(svg, "edge")) == 2 * rows + len(one.outputs) + 1
  _check_wiring(svg, one)
  for a, b in itertools.combinations(_boxes(svg), 2):
    assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
  root = ElementTree.fromstring(svg)
  for left, top, right, bottom in _boxes(svg):
    assert 0 < left and right < float(root.get("width"))
    assert 0 < top and bottom < float(root.get("height"))
  x0, y0, x1, y1 = np.array(_boxes(svg)).T
  for line in _lines(svg, "edge", "sum"):
    x, y = line.T[..., None]
    assert not ((x0 < x) & (x < x1) & (y0 + 0.2 < y) & (y < y1 - 0.2)).any()


def _check_wiring(svg, one):
  """The arrows are those of the cell, whichever half stands on the left."""
  joined = _joined(svg)
  ends = ("add", *(f"cell i\N{MINUS SIGN}{back}" for back in (1, 2)))
  feeds = lambda node: [
    b for a, b in joined if a in [f"h{node + 1}{end}" for end in ends]
  ]
  expected = {n: [] for n in range(len(one.inputs) + 2)}
  for taken, ops in zip(one.inputs, one.ops, strict=True):
    for node, op in zip(taken, ops, strict=True):
      expected[node].append(op.replace("_", " "))
  for node in one.outputs:
    expected[node].append("concat")
  for node, targets in expected.items():
    assert sorted(feeds(node)) == sorted(targets)


def test_both_cells_in_one_picture():
  star, chain = (dict(_cells())[name] for name in ("star", "chain"))
  names = {"Normal cell": chain, "Reduction cell": _FIGURE_5}
  narrow = conv_cell.cells_svg(names, title="Found")
  (_, x0, _), (_, x1, _) = _panels(narrow)
  assert x0 + 100 < x1
  inputs = _boxes(narrow, "input")
  assert len({box[3] for box in inputs}) == 1  # on one line
  wide = conv_cell.cells_svg({"Normal cell": star, "Reduction cell": star})
  (_, _, y0), (_, _, y1) = _panels(wide)
  assert y0 + 300 < y1
  for svg in (narrow, wide):
    assert "Normal cell</text>" in svg and "Reduction cell</text>" in svg
    for a, b in itertools.combinations(_boxes(svg), 2):
      assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
  assert ElementTree.fromstring(wide).find(f"{_SVG}title").text == (
    "Normal cell, Reduction cell"
  )


def test_an_input_that_nothing_takes_is_faint():
  paper = conv_cell.cell_svg(*_cell([(1, 1)]))
  assert _words(paper, "unused") == ["h1cell i\N{MINUS SIGN}2"]
  released = conv_cell.cell_svg(*_cell([(1, 1)], include_inputs=True))
  assert _words(released, "unused") == []
  assert ("h1cell i\N{MINUS SIGN}2", "concat") in _joined(released)


def test_the_same_cell_makes_the_same_bytes():
  for _, one in _cells():
    assert conv_cell.cell_svg(*one) == conv_cell.cell_svg(*one)


def test_svg_escapes_text():
  one = ([(0, 1)], [("a<b&c", "identity")], [2])
  svg = conv_cell.cells_svg(
    {"<script>": conv_cell.Cell(*one)}, title="<script>&"
  )
  root = ElementTree.fromstring(svg)
  assert root.find(f"{_SVG}title").text == "<script>&"
  assert "a<b&c" in _words(svg, "op")
  assert "<script" not in svg
