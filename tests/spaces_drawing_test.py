"""What each space says that an architecture looks like: graph and text."""

import collections
import dataclasses

import jax
import numpy as np
import pytest

from enas_jax import types
from enas_jax.spaces import arcs, registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.macro import drawing as macro_drawing
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.micro import drawing as micro_drawing
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.nasbench201 import drawing as nasbench201_drawing
from enas_jax.spaces.recurrent import arc as recurrent
from enas_jax.spaces.recurrent import drawing as recurrent_drawing

_FIGURE_1 = recurrent.RecurrentArc((0, 0, 1, 0), (0, 1, 1, 0))
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
_CHAIN = recurrent.RecurrentArc((0, *range(11)), (0, 1, 2, 3) * 3)
_STAR = recurrent.RecurrentArc((0,) * 12, (0, 1, 2, 3) * 3)

# Layer 4 takes layers 1 and 3, as Section 2.3 says of Figure 3.
_FIGURE_3 = macro.MacroArc(
  (0, 3, 4, 1), ((0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0))
)
_FIGURE_3_TEXT = """\
   stem
1  conv_3x3      reads stem
   -- height and width / 2 --
2  sep_conv_5x5  reads 1
   -- height and width / 2 --
3  max_pool_3x3  reads 2
4  conv_5x5      reads 1, 3
   softmax       reads 4

4 layers, 4 skip connections"""
_PREVIOUS_TEXT = """\
   stem
1  conv_3x3      reads stem
   -- height and width / 2 --
2  sep_conv_5x5  reads 1, joined by stem
   -- height and width / 2 --
3  max_pool_3x3  reads 2, joined by 1
4  conv_5x5      reads 3, joined by stem, 2
   softmax       reads 4

4 layers, 4 skip connections"""

# Section 2.4's example, whose nodes 1 to 4 are 0 to 3 here.
_FIGURE_5 = micro.CellArc(((1, 1), (2, 0)), ((1, 4), (2, 0)))
_FIGURE_5_TEXT = """\
h1 = cell(i-2)
h2 = cell(i-1)
h3 = sep_conv_5x5(h2) + identity(h2)
h4 = avg_pool_3x3(h3) + sep_conv_3x3(h1)
cell(i) = concat(h4)

depth 2, 1 loose end"""

_NASBENCH201 = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


def _options(space, **changes):
  child = registry.preset("paper", space).child
  return dataclasses.replace(child, **changes)


def _recurrent(nodes, **changes):
  return _options("recurrent", num_nodes=nodes, **changes)


def _micro(nodes, **changes):
  return _options("micro", num_nodes=nodes, **changes)


def _both(cell):
  return micro.MicroArc(cell, cell)


def _random(options, seed):
  sampled = options.space().sample_uniform(jax.random.key(seed), 1)
  return options.space().validate(
    jax.tree.map(lambda x: np.asarray(x)[0], sampled)
  )


def _ranks(graph):
  return {node.name: node.rank for node in graph.nodes}


def _labels(graph):
  return {node.name: node.label for node in graph.nodes}


def _ops(graph):
  return {node.name: node.op for node in graph.nodes if node.op}


def _pairs(graph, *styles):
  return [edge[:2] for edge in graph.edges if edge.style in styles]


def _check(graph):
  """Names differ, edges join known nodes of growing rank, the input is low."""
  ranks = _ranks(graph)
  assert len(ranks) == len(graph.nodes)
  for edge in graph.edges:
    assert ranks[edge.source] < ranks[edge.target]
  assert {n.name for n in graph.nodes if n.kind == "input"} == {
    name for name, rank in ranks.items() if rank == 0
  }
  assert [n.kind for n in graph.nodes].count("output") == 1


@pytest.mark.parametrize("name", registry.named())
def test_every_named_architecture_has_sound_graphs(name):
  definition, _ = registry.named()[name]
  loaded = arcs.load_arc(name)
  known = ("num_nodes", "num_layers", "first_node")
  sizes = {
    field: getattr(loaded.space, field)
    for field in known
    if hasattr(loaded.space, field)
  }
  options = _options(definition.name, **sizes)
  for graph in definition.draw(options, loaded.arc):
    _check(graph)


def test_figure_1_as_text():
  assert recurrent_drawing.text(_recurrent(4), _FIGURE_1) == _FIGURE_1_TEXT


def test_figure_1_as_a_graph():
  [graph] = recurrent_drawing.graphs(_recurrent(4), _FIGURE_1)
  assert _pairs(graph, "main") == [
    ("x", "h1"),
    ("h", "h1"),
    ("h1", "h2"),
    ("h2", "h3"),
    ("h1", "h4"),
    ("h3", "avg"),
    ("h4", "avg"),
    ("avg", "output"),
  ]
  assert _ops(graph) == {"h1": "tanh", "h2": "relu", "h3": "relu", "h4": "tanh"}
  labels = _labels(graph)
  assert [labels[name] for name in ("x", "h", "h3", "avg", "output")] == [
    "xₜ",
    "hₜ₋₁",
    "h₃  relu",
    "average",
    "hₜ",
  ]
  ranks = _ranks(graph)
  assert [ranks[f"h{node}"] for node in (1, 2, 3, 4)] == [1, 2, 3, 2]
  assert (ranks["avg"], ranks["output"]) == (4, 5)
  _check(graph)


def test_a_recurrent_cell_averages_what_its_options_say():
  options = _recurrent(4, output="all_nodes")
  text = recurrent_drawing.text(options, _FIGURE_1)
  assert "h_t = average(h2, h3, h4)\n" in text
  assert text.endswith("depth 3, 2 loose ends")
  [graph] = recurrent_drawing.graphs(options, _FIGURE_1)
  read = [source for source, target in _pairs(graph, "main") if target == "avg"]
  assert read == ["h2", "h3", "h4"]


@pytest.mark.parametrize(
  "arc, size",
  [(_CHAIN, "depth 12, 1 loose end"), (_STAR, "depth 2, 11 loose ends")],
)
def test_extreme_recurrent_cells(arc, size):
  assert recurrent_drawing.text(_recurrent(12), arc).split("\n")[-1] == size


@pytest.mark.parametrize("seed", range(5))
def test_a_recurrent_cell_has_a_node_an_operation_and_an_edge_an_input(seed):
  options = _recurrent(12)
  arc = _random(options, seed)
  [graph] = recurrent_drawing.graphs(options, arc)
  assert len(_ops(graph)) == 12
  assert len(graph.edges) == 11 + 2 + len(options.outputs(arc)) + 1
  _check(graph)


@pytest.mark.parametrize(
  "prev, ops",
  [((), ()), ((0, 1), (0, 1)), ((0, 0), (0,)), ((0, 0), (0, 9))],
)
def test_no_recurrent_cell_is_refused(prev, ops):
  arc = recurrent.RecurrentArc(prev, ops)
  for draw in (recurrent_drawing.text, recurrent_drawing.graphs):
    with pytest.raises(types.InputError):
      draw(_recurrent(2), arc)


def test_figure_3_as_text():
  options = _options("macro", num_layers=4)
  assert macro_drawing.text(options, _FIGURE_3) == _FIGURE_3_TEXT
  options = _options("macro", num_layers=4, main_input="previous")
  assert macro_drawing.text(options, _FIGURE_3) == _PREVIOUS_TEXT


def test_figure_3_as_a_graph():
  options = _options("macro", num_layers=4)
  [graph] = macro_drawing.graphs(options, _FIGURE_3)
  assert list(_labels(graph).values()) == [
    "stem",
    "1 conv 3x3",
    "2 sep conv 5x5",
    "3 max pool 3x3",
    "4 conv 5x5",
    "softmax",
  ]
  names = list(_labels(graph))
  assert names[1] == "layer_1" and _ops(graph)["layer_2"] == "sep_conv_5x5"
  assert _pairs(graph, "main") == list(zip(names, names[1:], strict=False))
  assert _pairs(graph, "skip") == [("layer_1", "layer_4")]
  assert [edge for edge in graph.edges if edge.style == "order"] == [
    ("layer_1", "layer_2", "order", "size / 2"),
    ("layer_2", "layer_3", "order", "size / 2"),
  ]
  assert list(_ranks(graph).values()) == list(range(6))
  assert graph.direction == "TB"
  assert graph.caption == "4 layers, 4 skip connections"
  _check(graph)


def test_both_meanings_of_a_skip():
  rows = ((0, 0, 0, 0), (0, 0, 0, 0), (1, 1, 0, 0), (0, 1, 0, 0))
  arc = macro.MacroArc((0,) * 4, rows)

  def joined(main_input, style):
    options = _options("macro", num_layers=4, main_input=main_input)
    [graph] = macro_drawing.graphs(options, arc)
    ranks = _ranks(graph)
    return [(ranks[a], ranks[b]) for a, b in _pairs(graph, style)]

  assert joined("selected", "main") == [(0, 1), (2, 3), (4, 5)]
  assert joined("selected", "skip") == [(0, 2), (1, 3), (2, 4)]
  # Layers keep their order where one does not read the one before.
  assert (3, 4) in joined("selected", "order")
  assert joined("previous", "main") == [(i, i + 1) for i in range(5)]
  assert joined("previous", "skip") == [(0, 3), (1, 3), (1, 4)]


def test_unused_layers_are_told():
  rows = ((0, 0, 0), (1, 0, 0), (0, 0, 0))
  arc = macro.MacroArc((0,) * 3, rows)
  options = _options("macro", num_layers=3)
  lines = macro_drawing.text(options, arc).split("\n")
  assert [line for line in lines if "reads" in line] == [
    "1  conv_3x3  reads stem  (unused)",
    "2  conv_3x3  reads 1  (unused)",
    "3  conv_3x3  reads stem",
    "   softmax   reads 3",
  ]
  assert lines[-1] == "3 layers, 1 skip connection"
  [graph] = macro_drawing.graphs(options, arc)
  assert graph.used() == {"stem", "layer_3", "softmax"}
  assert graph.caption == "3 layers, 1 skip connection; faint: unused"
  # The released form reads every layer.
  options = _options("macro", num_layers=3, main_input="previous")
  assert "unused" not in macro_drawing.text(options, arc)
  [graph] = macro_drawing.graphs(options, arc)
  assert len(graph.used()) == 5 and "faint" not in graph.caption


@pytest.mark.parametrize("main_input", ["selected", "previous"])
@pytest.mark.parametrize("layers", [1, 12, 24])
def test_every_connection_of_a_large_network_is_there(layers, main_input):
  options = _options("macro", num_layers=layers, main_input=main_input)
  arc = _random(options, layers)
  shift = main_input == "selected"
  far = {
    (node + shift, layer + 1)
    for layer, row in enumerate(arc.skips)
    for node, bit in enumerate(row)
    if bit and node + shift != layer
  }
  if shift:
    far |= {(0, at + 1) for at in range(1, layers) if not any(arc.skips[at])}
  [graph] = macro_drawing.graphs(options, arc)
  ranks = _ranks(graph)
  skips = [(ranks[a], ranks[b]) for a, b in _pairs(graph, "skip")]
  assert sorted(skips) == sorted(far)
  assert len(_ops(graph)) == layers
  _check(graph)


@pytest.mark.parametrize(
  "ops, skips",
  [
    ((), ()),
    ((0, 0), ()),
    ((0, 9), ((0, 0), (0, 0))),
    ((0, 0), ((1, 0), (0, 0))),
    ((0, 0), ((0, 0), (0, 1))),
    ((0, 0), ((0, 0), (-1, 0))),
  ],
)
def test_no_network_is_refused(ops, skips):
  arc = macro.MacroArc(ops, skips)
  for draw in (macro_drawing.text, macro_drawing.graphs):
    with pytest.raises(types.InputError):
      draw(_options("macro", num_layers=2), arc)


def test_figure_5_as_text():
  text = micro_drawing.text(_micro(4), _both(_FIGURE_5))
  assert text == (
    f"Normal cell\n{_FIGURE_5_TEXT}\nReduction cell\n{_FIGURE_5_TEXT}"
  )


def test_figure_5_as_a_graph():
  star = micro.CellArc(((0, 1), (0, 1)), ((0, 0), (0, 0)))
  arc = micro.MicroArc(_FIGURE_5, star)
  graph, other = micro_drawing.graphs(_micro(4), arc)
  assert (graph.title, other.title) == ("Normal cell", "Reduction cell")
  labels = _labels(graph)
  assert sorted((labels[a], labels[b]) for a, b, *_ in graph.edges) == sorted(
    [
      ("h₂  cell i\N{MINUS SIGN}1", "sep conv 5x5"),
      ("h₂  cell i\N{MINUS SIGN}1", "identity"),
      ("sep conv 5x5", "h₃  add"),
      ("identity", "h₃  add"),
      ("h₃  add", "avg pool 3x3"),
      ("h₁  cell i\N{MINUS SIGN}2", "sep conv 3x3"),
      ("avg pool 3x3", "h₄  add"),
      ("sep conv 3x3", "h₄  add"),
      ("h₄  add", "concat"),
      ("concat", "cell i"),
    ]
  )
  assert _ranks(graph) == {
    **{"h1": 0, "h2": 0, "h3a": 1, "h3b": 1, "h3": 2},
    **{"h4a": 3, "h4b": 3, "h4": 4, "concat": 5, "output": 6},
  }
  assert _pairs(other, "wire")[-2:] == [("h3", "concat"), ("h4", "concat")]
  for one in (graph, other):
    _check(one)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("include_inputs", [False, True])
def test_the_wires_of_a_cell_are_those_of_the_arc(include_inputs, seed):
  options = _micro(7, reduction="factorized", include_inputs=include_inputs)
  arc = _random(options, seed)
  drawn = zip(micro_drawing.graphs(options, arc), arc, strict=True)
  for graph, cell in drawn:
    _check(graph)
    expected = collections.Counter()
    for row, (taken, ops) in enumerate(zip(cell.inputs, cell.ops, strict=True)):
      for node, op in zip(taken, ops, strict=True):
        expected[f"h{node + 1}", f"h{row + 3}", micro.OPS[op]] += 1
    wires, ops = _pairs(graph, "wire"), _ops(graph)
    reader = dict(_pairs(graph, "main"))
    assert expected == collections.Counter(
      (source, reader[half], ops[half]) for source, half in wires if half in ops
    )
    ends = [source for source, half in wires if half == "concat"]
    assert ends == [f"h{node + 1}" for node in options.loose_ends(cell)]


def test_an_input_that_nothing_takes():
  cell = _both(micro.CellArc(((1, 1),), ((0, 4),)))
  paper, _ = micro_drawing.graphs(_micro(3), cell)
  assert "h1" not in paper.used() and "h2" in paper.used()
  released = _micro(3, reduction="factorized", include_inputs=True)
  graph, _ = micro_drawing.graphs(released, cell)
  assert "h1" in graph.used()
  assert ("h1", "concat") in _pairs(graph, "wire")
  assert "\ncell(i) = concat(h1, h3)\n" in micro_drawing.text(released, cell)
  assert "depth 1, 2 loose ends" in micro_drawing.text(released, cell)


@pytest.mark.parametrize(
  "inputs, ops",
  [
    ((), ()),
    (((0, 1),), ()),
    (((0, 2),), ((0, 0),)),
    (((0, -1),), ((0, 0),)),
    (((0,),), ((0,),)),
    (((0, 1),), ((0, 9),)),
  ],
)
def test_no_cell_is_refused(inputs, ops):
  arc = _both(micro.CellArc(inputs, ops))
  for draw in (micro_drawing.text, micro_drawing.graphs):
    with pytest.raises(types.InputError):
      draw(_micro(3), arc)


def test_a_cell_of_the_benchmark():
  options = _options("nasbench201")
  arc = options.space().from_arc_str(_NASBENCH201)
  assert nasbench201_drawing.text(options, arc) == (
    "node 1 = nor_conv_3x3(node 0)\nnode 2 = zeros\n"
    "node 3 = skip_connect(node 0)"
  )
  [graph] = nasbench201_drawing.graphs(options, arc)
  assert _pairs(graph, "wire") == [("n0", "e01"), ("n0", "e03")]
  assert _pairs(graph, "main") == [("e01", "n1"), ("e03", "n3")]
  assert _pairs(graph, "order") == [("n1", "n2")]
  assert _ops(graph) == {"e01": "nor_conv_3x3", "e03": "skip_connect"}
  assert graph.used() == {"n0", "e03", "n3"}
  _check(graph)


def test_no_cell_of_the_benchmark_is_refused():
  for ops in ((), (0, 0, 0, 0, 0, 5)):
    for draw in (nasbench201_drawing.text, nasbench201_drawing.graphs):
      with pytest.raises(types.InputError):
        draw(_options("nasbench201"), nasbench201.NasBench201Arc(ops))
