"""Where a graph's parts are drawn, and what the pictures of it hold."""

import dataclasses
import hashlib
import io
import itertools
import subprocess
import sys
from xml.etree import ElementTree

import jax
import matplotlib
import numpy as np
import pydot
import pytest
from PIL import Image

from enas_jax.report import drawing, layout, picture
from enas_jax.spaces import graph as graph_lib
from enas_jax.spaces import registry
from enas_jax.spaces.macro import drawing as macro
from enas_jax.spaces.micro import drawing as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201_lib
from enas_jax.spaces.nasbench201 import drawing as nasbench201
from enas_jax.spaces.recurrent import drawing as recurrent

_SVG = "{http://www.w3.org/2000/svg}"


def _graph(ranks, edges, style="main", kinds=(), **fields):
  """A graph whose nodes are named by letters, in order."""
  kinds = [*kinds, *["op"] * (len(ranks) - len(kinds))]
  nodes = [
    graph_lib.Node(name, name, rank, kind, op=name if kind == "op" else "")
    for name, rank, kind in zip("abcdefghij", ranks, kinds, strict=False)
  ]
  edges = [graph_lib.Edge(*pair, style) for pair in edges]
  return graph_lib.Graph(tuple(nodes), tuple(edges), **fields)


def _layout(graph):
  with matplotlib.rc_context(picture.STYLE):
    widths = {node.label: picture.measure(node.label) for node in graph.nodes}
  return layout.layout(graph, widths)


def _drawing(*graphs, title="Title"):
  return drawing.draw(graphs, "text", title)


def _random_arc(options, seed):
  sampled = options.space().sample_uniform(jax.random.key(seed), 1)
  return options.space().validate(
    jax.tree.map(lambda x: np.asarray(x)[0], sampled)
  )


def _graphs():
  """Graphs of every space: extremes, and random ones."""
  for space, module, sizes in (
    ("recurrent", recurrent, ({"num_nodes": 2}, {"num_nodes": 12})),
    ("macro", macro, ({"num_layers": 1}, {"num_layers": 24})),
    ("micro", micro, ({"num_nodes": 3}, {"num_nodes": 7})),
    ("nasbench201", nasbench201, ({},)),
  ):
    for size, seed in itertools.product(sizes, range(3)):
      options = dataclasses.replace(
        registry.preset("paper", space).child, **size
      )
      yield from module.graphs(options, _random_arc(options, seed))
  options = registry.preset("paper", "nasbench201").child
  nothing = nasbench201_lib.NasBench201Arc((0,) * 6)
  yield from nasbench201.graphs(options, nothing)
  # A star, which is wide, and a chain, which is high.
  names = "bcdefghi"
  yield _graph([0, *[1] * 8], [("a", name) for name in names])
  yield _graph(range(9), itertools.pairwise("abcdefghi"))


_ALL = tuple(_graphs())


def _sampled(curve):
  """Points of Bezier curves, close together."""
  t = np.linspace(0, 1, 30)[:, None]
  weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2,
                       3 * t**2 * (1 - t), t**3])  # fmt: skip
  controls = np.array(curve)
  return np.vstack(
    [weights @ controls[at : at + 4] for at in range(0, len(curve) - 1, 3)]
  )


@pytest.mark.parametrize("graph", _ALL)
def test_boxes_do_not_overlap_and_lie_within_the_drawing(graph):
  placed = _layout(graph)
  assert set(placed.boxes) == {node.name for node in graph.nodes}
  for a, b in itertools.combinations(placed.boxes.values(), 2):
    beside = a.right + 5 < b.left or b.right + 5 < a.left
    assert beside or abs(a.y - b.y) > layout.HEIGHT + 5
  for box in placed.boxes.values():
    assert box.left >= -1e-6 and box.right <= placed.width + 1e-6
    assert layout.HEIGHT / 2 <= box.y <= placed.height - layout.HEIGHT / 2


@pytest.mark.parametrize("graph", _ALL)
def test_ranks_grow_in_the_direction_of_the_graph(graph):
  placed = _layout(graph)
  up = -1 if graph.direction == "BT" else 1
  for edge in graph.edges:
    assert up * placed.boxes[edge.source].y < up * placed.boxes[edge.target].y


@pytest.mark.parametrize("graph", _ALL)
def test_arrows_join_their_boxes_and_cross_no_other(graph):
  placed = _layout(graph)
  left, right, y = np.array(
    [(box.left, box.right, box.y) for box in placed.boxes.values()]
  ).T
  half = layout.HEIGHT / 2
  for edge, curve in zip(graph.edges, placed.curves, strict=True):
    assert (curve == []) == (edge.style == "order")
    if not curve:
      continue
    for (x, at), name in ((curve[0], edge.source), (curve[-1], edge.target)):
      box = placed.boxes[name]
      if edge.style == "skip":  # at the side
        assert abs(x - box.x) == pytest.approx(box.width / 2)
        assert abs(at - box.y) < half
      else:
        assert box.left - 1e-6 <= x <= box.right + 1e-6
        assert abs(at - box.y) == pytest.approx(half)
    points = _sampled(curve)
    xs, ys = points.T[..., None]
    inside = (left < xs - 0.1) & (xs + 0.1 < right) & (abs(ys - y) < half - 0.1)
    assert not inside.any()
    assert points[:, 0].min() > -1e-6
    assert points[:, 0].max() < placed.width + 1e-6


def test_a_chain_stands_upright():
  boxes = _layout(_graph(range(4), itertools.pairwise("abcd"))).boxes
  assert len({box.x for box in boxes.values()}) == 1


def test_a_node_stands_amid_its_readers():
  boxes = _layout(_graph([0, 1, 1], [("a", "b"), ("a", "c")])).boxes
  assert boxes["a"].x == pytest.approx((boxes["b"].x + boxes["c"].x) / 2, abs=1)


def test_crossing_edges_are_untangled():
  boxes = _layout(_graph([0, 0, 1, 1], [("a", "d"), ("b", "c")])).boxes
  assert (boxes["a"].x < boxes["b"].x) == (boxes["d"].x < boxes["c"].x)


def test_an_edge_across_a_rank_passes_beside_its_boxes():
  graph = _graph([0, 1, 2], [("a", "b"), ("b", "c"), ("a", "c")])
  placed = _layout(graph)
  points = _sampled(placed.curves[2])
  box = placed.boxes["b"]
  beside = points[abs(points[:, 1] - box.y) < layout.HEIGHT / 2, 0]
  assert len(beside) and (
    (beside < box.left - 5).all() or (beside > box.right + 5).all()
  )


def test_a_join_is_as_wide_as_what_it_joins():
  edges = [*((name, "d") for name in "abc"), ("d", "e")]
  kinds = ["op", "op", "op", "join", "output"]
  placed = _layout(_graph([0, 0, 0, 1, 2], edges, kinds=kinds))
  join = placed.boxes["d"]
  for curve in placed.curves[:3]:
    assert curve[0][0] == pytest.approx(curve[-1][0])  # upright
    assert join.left < curve[-1][0] < join.right
  assert placed.boxes["e"].x == join.x


def test_parts_that_nothing_joins_are_laid_out_together():
  graph = _graph([0, 1, 3, 0, 5], [("a", "b"), ("d", "c")])
  placed = _layout(graph)
  heights = sorted({box.y for box in placed.boxes.values()}, reverse=True)
  # Ranks 2 and 4 have no box and take no room.
  assert len(heights) == 4
  assert placed.boxes["c"].y == heights[2]


def test_what_nothing_joins_stands_beside_the_others():
  fan = [("b", name) for name in "cdefghij"]
  boxes = _layout(_graph([0, 0, *[1] * 8], fan)).boxes
  apart = abs(boxes["a"].x - boxes["b"].x)
  assert apart == pytest.approx(boxes["a"].width + 10, abs=1)


def test_skips_take_turns_on_both_sides():
  graph = _graph(
    range(5), [("a", "c"), ("b", "d"), ("c", "e")], "skip", direction="TB"
  )
  placed = _layout(graph)
  middle = placed.boxes["a"].x
  sides = [np.sign(curve[0][0] - middle) for curve in placed.curves]
  assert sides == [1, -1, 1]
  reach = [abs(_sampled(curve)[:, 0] - middle).max() for curve in placed.curves]
  assert min(reach) > placed.boxes["a"].width / 2 + 10


def test_a_longer_skip_swings_farther_out():
  graph = _graph(range(5), [("a", "c"), ("a", "e")], "skip", direction="TB")
  near, far = (_sampled(curve)[:, 0].max() for curve in _layout(graph).curves)
  assert near + 5 < far


def test_a_label_marks_the_line_between_two_ranks():
  edge = graph_lib.Edge("a", "b", "order", "size / 2")
  graph = _graph([0, 1], [], direction="TB")._replace(edges=(edge,))
  placed = _layout(graph)
  [(marked, y)] = placed.cuts.items()
  assert marked == edge
  assert placed.boxes["a"].y < y < placed.boxes["b"].y
  assert "size / 2" in _texts(_drawing(graph).svg)


def _texts(svg):
  return [text.text for text in ElementTree.fromstring(svg).iter(f"{_SVG}text")]


def _painted(svg):
  """The paths of each group that holds nothing else."""
  groups = ElementTree.fromstring(svg).iter(f"{_SVG}g")
  return [
    [path.get("style") for path in group.findall(f"{_SVG}path")]
    for group in groups
  ]


@pytest.mark.parametrize("graph", _ALL[::3])
def test_svg_holds_every_label_box_and_arrow(graph):
  svg = _drawing(graph).svg
  texts = _texts(svg)
  ops = {node.op for node in graph.nodes if node.op}
  labels = [node.label for node in graph.nodes]
  labels += [graph_lib.spoken(op) for op in ops]  # the legend
  labels += filter(None, ["Title", graph.title, graph.caption])
  labels += [edge.label for edge in graph.edges if edge.label]
  assert sorted(texts) == sorted(labels)
  visible = [edge for edge in graph.edges if edge.style != "order"]
  # A line and its head.
  assert sum(len(paths) == 2 for paths in _painted(svg)) == len(visible)
  assert "url(" not in svg and "href" not in svg


def test_the_same_graph_makes_the_same_bytes():
  graph = _ALL[8]
  code = (
    "import sys, hashlib\n"
    "from tests import report_drawing_test as t\n"
    "d = t._drawing(t._ALL[8])\n"
    "print(hashlib.sha256(d.svg.encode() + d.dot.encode()).hexdigest())"
  )
  here = _drawing(graph)
  again = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  expected = hashlib.sha256(here.svg.encode() + here.dot.encode()).hexdigest()
  assert again.stdout.strip() == expected
  assert _drawing(graph).png == here.png


def test_png_is_the_same_picture_in_pixels():
  graph = _graph([0, 1], [("a", "b")])
  one = _drawing(graph)
  root = ElementTree.fromstring(one.svg)
  with Image.open(io.BytesIO(one.png)) as image:
    pixels = np.asarray(image.convert("RGB"))
  size = [float(root.get(name)[:-2]) for name in ("height", "width")]
  assert np.array(pixels.shape[:2]) == pytest.approx(
    [points * 192 / 72 for points in size], abs=1
  )
  assert pixels[0, 0].tolist() == [255, 255, 255]
  # The title alone has hundreds of dark pixels: a font was found.
  assert np.sum(pixels[: 30 * 192 // 72].max(axis=-1) < 100) > 300


def test_what_is_of_no_use_is_faint():
  graph = _graph(
    [0, 0, 1], [("a", "c"), ("b", "c")], kinds=["input", "input", "output"]
  )
  assert "opacity" not in _drawing(graph).svg
  lost = graph._replace(edges=graph.edges[:1])
  texts = ElementTree.fromstring(_drawing(lost).svg).iter(f"{_SVG}text")
  faint = [text.text for text in texts if "opacity: 0.35" in text.get("style")]
  assert faint == ["b"]


def test_colours_tell_operations_apart():
  graph = _graph([0, 1, 1], [("a", "b"), ("a", "c")])
  nodes = zip(graph.nodes, ("tanh", "swish", "gelu"), strict=True)
  graph = graph._replace(nodes=tuple(n._replace(op=op) for n, op in nodes))
  one = _drawing(graph)
  assert _texts(one.svg)[1:4] == ["tanh", "gelu", "swish"]
  [parsed] = pydot.graph_from_dot_data(one.dot)
  fills = [node.get("fillcolor") for node in parsed.get_nodes()][1:]
  assert fills[0] == '"#dbeafe"' and len(set(fills)) == 3
  for fill in fills:  # a box and its square in the legend
    assert one.svg.count(f"fill: {fill[1:-1]}") == 2


def test_graphs_stand_side_by_side_as_long_as_there_is_room():
  kinds = ["input"] * 10
  narrow = _graph([0, 1], [("a", "b")], kinds=kinds)
  fan = [("a", name) for name in "bcdefghij"]
  wide = _graph([0, *[1] * 9], fan, kinds=kinds)
  wide = wide._replace(
    nodes=tuple(node._replace(label="x" * 20) for node in wide.nodes)
  )

  def heights(graph):
    svg = _drawing(graph, graph).svg
    texts = ElementTree.fromstring(svg).iter(f"{_SVG}text")
    return {float(text.get("y")) for text in texts if text.text != "Title"}

  assert len(heights(narrow)) == 2
  assert len(heights(wide)) == 4
  with pytest.raises(ValueError, match="no graphs"):
    _drawing()


@pytest.mark.parametrize("graph", _ALL)
def test_dot_says_the_same_as_the_graph(graph):
  [parsed] = pydot.graph_from_dot_data(_drawing(graph).dot)
  labels = {
    node.get_name(): node.get_label()[1:-1]
    for node in parsed.get_nodes()
    if node.get_name() != "node"
  }
  assert labels == {node.name: node.label for node in graph.nodes}
  edges = [(e.get_source(), e.get_destination()) for e in parsed.get_edges()]
  assert sorted(edges) == sorted(edge[:2] for edge in graph.edges)
  unseen = [e for e in parsed.get_edges() if e.get("color") == "transparent"]
  assert len(unseen) == sum(edge.style == "order" for edge in graph.edges)
  skips = [e for e in parsed.get_edges() if e.get("style") == "dotted"]
  assert len(skips) == sum(edge.style == "skip" for edge in graph.edges)
  assert parsed.get_rankdir() == graph.direction


def test_everything_is_escaped():
  graph = _graph([0], [], title="$x$ <b>")
  node = graph.nodes[0]._replace(label='a"b\\ <i>&$y$')
  graph = graph._replace(nodes=(node,))
  one = _drawing(graph, title="<script>&")
  assert "<script" not in one.svg
  root = ElementTree.fromstring(one.svg)
  assert root.find(f"{_SVG}title").text == "<script>&"
  assert {"<script>&", "$x$ <b>", 'a"b\\ <i>&$y$'} <= set(_texts(one.svg))
  assert r'label="a\"b\\ <i>&$y$"' in one.dot


@pytest.mark.parametrize(
  "space, more, title",
  [
    ("recurrent", "", "Recurrent cell"),
    ("recurrent", " found by ENAS", "Recurrent cell found by ENAS"),
    ("micro", " found by ENAS", "Convolutional cells found by ENAS"),
    ("nasbench201", "", "Cell of NAS-Bench-201"),
  ],
)
def test_a_title_says_what_it_is_a_picture_of(space, more, title):
  assert drawing.title_of(space, more) == title


def test_libraries_load_when_a_picture_is_asked_for():
  code = (
    "import sys\n"
    "from enas_jax.report import drawing\n"
    "from enas_jax.spaces import arcs, registry\n"
    "options = registry.preset('paper', 'recurrent').child\n"
    "arc = arcs.load_arc('enas_rnn').arc\n"
    "one = drawing.draw_arc('recurrent', options, arc, 'Title')\n"
    "assert one.text and one.dot\n"
    "print({'igraph', 'matplotlib'} & set(sys.modules))\n"
    "one.svg\n"
    "print(sorted({'igraph', 'matplotlib'} & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout == "set()\n['igraph', 'matplotlib']\n"
