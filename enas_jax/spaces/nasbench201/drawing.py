"""The drawing of a cell of NAS-Bench-201: a graph, and text for a terminal.

Nodes count from 0, the cell's input. An edge whose operation is "none" is not
there; a node that has no other is zero.
"""

from enas_jax.spaces import graph as graph_lib
from enas_jax.spaces.nasbench201 import arc as space_lib
from enas_jax.spaces.nasbench201 import presets

_NODES = range(space_lib.NUM_NODES)


def graphs(
  options: presets.NasBench201Config, arc: space_lib.NasBench201Arc
) -> tuple[graph_lib.Graph, ...]:
  """The cell as one graph, in which each operation is a node of its own.

  Args:
    options: the network, of which nothing changes the drawing.
    arc: the cell, of Python ints: ops [6].

  Raises:
    InputError: if `arc` is no cell of the space.
  """
  operations = _operations(options, arc)
  labels = ("0 input", "1 add", "2 add", "3 output")
  kinds = ("input", "sum", "sum", "output")
  nodes = [
    # On even ranks; the operations into a node are on the odd one below it.
    graph_lib.Node(f"n{node}", label, 2 * node, kind)
    for node, label, kind in zip(_NODES, labels, kinds, strict=True)
  ]
  edges = []
  for source, node, op in operations:
    name = f"e{source}{node}"
    label = graph_lib.spoken(op)
    nodes.append(graph_lib.Node(name, label, 2 * node - 1, op=op))
    edges.append(graph_lib.Edge(f"n{source}", name, "wire"))
    edges.append(graph_lib.Edge(name, f"n{node}"))
  # A node that is zero still stands above the one before.
  edges += [
    graph_lib.Edge(f"n{node - 1}", f"n{node}", "order")
    for node in set(_NODES[1:]) - {node for _, node, _ in operations}
  ]
  return (graph_lib.Graph(tuple(nodes), tuple(edges)),)


def text(
  options: presets.NasBench201Config, arc: space_lib.NasBench201Arc
) -> str:
  """A line for each node: which operations of which nodes it adds.

  Args:
    options: the network, of which nothing changes the text.
    arc: the cell, of Python ints: ops [6].

  Returns:
    Lines of ASCII without a final newline.

  Raises:
    InputError: if `arc` is no cell of the space.
  """
  operations = _operations(options, arc)
  lines = []
  for node in _NODES[1:]:
    terms = [
      f"{op}(node {s})" for s, target, op in operations if target == node
    ]
    lines.append(f"node {node} = {' + '.join(terms) or 'zeros'}")
  return "\n".join(lines)


def _operations(
  options: presets.NasBench201Config, arc: space_lib.NasBench201Arc
) -> list[tuple[int, int, str]]:
  """Source, node and operation of each edge that is there."""
  ops = options.space().validate(arc).ops
  return [
    (source, node, space_lib.OPS[op])
    for (source, node), op in zip(space_lib.EDGES, ops, strict=True)
    if space_lib.OPS[op] != "none"
  ]
