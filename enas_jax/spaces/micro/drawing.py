"""The drawing of convolutional cells: as graphs, and as text for a terminal.

Node 0 of a cell is the output of the cell before the previous one, node 1 that
of the previous one. Each further node applies an operation to each of two
earlier nodes and adds the results. The cell's output are its loose ends, side
by side. Both drawings count nodes from 1, as the paper does.
"""

from enas_jax.spaces import graph as graph_lib
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import presets

_TITLES = ("Normal cell", "Reduction cell")


def graphs(
  options: presets.MicroConfig, arc: space_lib.MicroArc
) -> tuple[graph_lib.Graph, ...]:
  """The normal and the reduction cell, each growing from its inputs upwards.

  An operation is a node of its own, between what it reads and the sum.

  Args:
    options: the space and which loose ends form a cell's output.
    arc: the cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2] each.

  Raises:
    InputError: if `arc` are no cells of the space.
  """
  cells = options.space().validate(arc)
  return tuple(
    _graph(title, cell, options.loose_ends(cell))
    for title, cell in zip(_TITLES, cells, strict=True)
  )


def text(options: presets.MicroConfig, arc: space_lib.MicroArc) -> str:
  """The cells as equations, with their sizes.

  Args:
    options: the space and which loose ends form a cell's output.
    arc: the cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2] each.

  Returns:
    Lines of ASCII without a final newline.

  Raises:
    InputError: if `arc` are no cells of the space.
  """
  cells = options.space().validate(arc)
  return "\n".join(
    f"{title}\n{_cell_text(cell, options.loose_ends(cell))}"
    for title, cell in zip(_TITLES, cells, strict=True)
  )


def _graph(
  title: str, cell: space_lib.CellArc, outputs: tuple[int, ...]
) -> graph_lib.Graph:
  levels, symbol = depths(cell), graph_lib.symbol
  nodes = [
    graph_lib.Node(
      "h1", f"{symbol('h', 1)}  cell i\N{MINUS SIGN}2", 0, "input"
    ),
    graph_lib.Node(
      "h2", f"{symbol('h', 2)}  cell i\N{MINUS SIGN}1", 0, "input"
    ),
  ]
  edges = []
  rows = zip(cell.inputs, cell.ops, strict=True)
  for node, (taken, ops) in enumerate(rows, space_lib.NUM_INPUTS):
    # Nodes are on even ranks, the operations that they add on the odd ones.
    name, rank = f"h{node + 1}", 2 * levels[node]
    nodes.append(
      graph_lib.Node(name, f"{symbol('h', node + 1)}  add", rank, "sum")
    )
    for side, source, index in zip("ab", taken, ops, strict=True):
      op = space_lib.OPS[index]
      half = f"{name}{side}"
      nodes.append(graph_lib.Node(half, graph_lib.spoken(op), rank - 1, op=op))
      edges.append(graph_lib.Edge(f"h{source + 1}", half, "wire"))
      edges.append(graph_lib.Edge(half, name))
  # Above the highest node: a join and its reader stand alone on their ranks.
  top = 2 * max(levels) + 1
  nodes += [
    graph_lib.Node("concat", "concat", top, "join"),
    graph_lib.Node("output", "cell i", top + 1, "output"),
  ]
  edges += [graph_lib.Edge(f"h{n + 1}", "concat", "wire") for n in outputs]
  edges.append(graph_lib.Edge("concat", "output"))
  return graph_lib.Graph(tuple(nodes), tuple(edges), title)


def _cell_text(cell: space_lib.CellArc, outputs: tuple[int, ...]) -> str:
  lines = ["h1 = cell(i-2)", "h2 = cell(i-1)"]
  rows = zip(cell.inputs, cell.ops, strict=True)
  for node, (taken, ops) in enumerate(rows, space_lib.NUM_INPUTS):
    terms = [
      f"{space_lib.OPS[op]}(h{source + 1})"
      for op, source in zip(ops, taken, strict=True)
    ]
    lines.append(f"h{node + 1} = {' + '.join(terms)}")
  ends = ", ".join(f"h{node + 1}" for node in outputs)
  lines.append(f"cell(i) = concat({ends})")
  count = graph_lib.plural(len(outputs), "loose end")
  return "\n".join([*lines, "", f"depth {max(depths(cell))}, {count}"])


def depths(cell: space_lib.CellArc) -> list[int]:
  """How deep each node lies.

  Args:
    cell: a cell of Python ints: inputs [B - 2, 2] and ops [B - 2, 2].

  Returns:
    For each node the nodes on the longest way from an input, which has 0.
  """
  # Nodes take earlier ones, so one pass is enough.
  depths = [0] * space_lib.NUM_INPUTS
  for pair in cell.inputs:
    depths.append(1 + max(depths[node] for node in pair))
  return depths
