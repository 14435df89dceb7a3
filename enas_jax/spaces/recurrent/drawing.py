"""The drawing of a recurrent cell: as a graph, and as text for a terminal.

Node l reads the one node `prev[l]`, and node 0 reads x_t and h_(t-1): the nodes
form a tree. The mean of some of them is h_t: of the loose ends, which nobody
reads (Section 2.1), or of all but node 0, as in the released code. Both
drawings count nodes from 1, as the paper does.
"""

from collections.abc import Iterator, Sequence

from enas_jax.spaces import graph as graph_lib
from enas_jax.spaces.recurrent import arc as space_lib
from enas_jax.spaces.recurrent import presets


def graphs(
  options: presets.RecurrentConfig, arc: space_lib.RecurrentArc
) -> tuple[graph_lib.Graph, ...]:
  """The cell as one graph, which grows from the inputs up to h_t.

  Args:
    options: the space and which nodes are averaged.
    arc: the cell, of Python ints: prev [N] and ops [N].

  Raises:
    InputError: if `arc` is no cell of the space.
  """
  prev, ops = options.space().validate(arc)
  levels = depths(prev)
  symbol, top = graph_lib.symbol, max(levels)
  nodes = [
    graph_lib.Node("x", symbol("x", "t"), 0, "input"),
    graph_lib.Node("h", symbol("h", "t-1"), 0, "input"),
  ]
  edges = [graph_lib.Edge("x", "h1"), graph_lib.Edge("h", "h1")]
  for node, op in enumerate(space_lib.OPS[op] for op in ops):
    label = f"{symbol('h', node + 1)}  {op}"
    nodes.append(graph_lib.Node(f"h{node + 1}", label, levels[node], op=op))
    if node:
      edges.append(graph_lib.Edge(f"h{prev[node] + 1}", f"h{node + 1}"))
  nodes += [
    # Above the deepest node: a join and its reader stand alone on their ranks.
    graph_lib.Node("avg", "average", top + 1, "join"),
    graph_lib.Node("output", symbol("h", "t"), top + 2, "output"),
  ]
  edges += [
    graph_lib.Edge(f"h{n + 1}", "avg")
    for n in options.outputs(space_lib.RecurrentArc(prev, ops))
  ]
  edges.append(graph_lib.Edge("avg", "output"))
  return (graph_lib.Graph(tuple(nodes), tuple(edges)),)


def text(options: presets.RecurrentConfig, arc: space_lib.RecurrentArc) -> str:
  """The cell as equations, a tree of who feeds whom, and its size.

  Args:
    options: the space and which nodes are averaged.
    arc: the cell, of Python ints: prev [N] and ops [N].

  Returns:
    Lines of ASCII without a final newline.

  Raises:
    InputError: if `arc` is no cell of the space.
  """
  arc = options.space().validate(arc)
  ops = [space_lib.OPS[op] for op in arc.ops]
  lines = [f"h1 = {ops[0]}(x_t, h_(t-1))"]
  for node in range(1, len(ops)):
    lines.append(f"h{node + 1} = {ops[node]}(h{arc.prev[node] + 1})")
  averaged = ", ".join(f"h{node + 1}" for node in options.outputs(arc))
  lines.append(f"h_t = average({averaged})")
  children: list[list[int]] = [[] for _ in ops]
  for node in range(1, len(ops)):
    children[arc.prev[node]].append(node)
  lines += ["", *_tree(children, ops), ""]
  # Of the tree, also where all nodes are averaged.
  ends = sum(not readers for readers in children)
  depth = max(depths(arc.prev))
  lines.append(f"depth {depth}, {graph_lib.plural(ends, 'loose end')}")
  return "\n".join(lines)


def depths(prev: Sequence[int]) -> list[int]:
  """How deep each node lies.

  Args:
    prev: the node that each node reads, [N] Python ints.

  Returns:
    For each node the nodes on the way from node 0, both ends counted.
  """
  # A node reads an earlier one, so one pass is enough.
  depths = [1]
  for parent in prev[1:]:
    depths.append(depths[parent] + 1)
  return depths


def _tree(
  children: Sequence[Sequence[int]], ops: Sequence[str]
) -> Iterator[str]:
  """Yields one line a node, below and right of the node that it reads."""

  def label(node: int) -> str:
    end = "" if children[node] else "  (loose end)"
    return f"h{node + 1} {ops[node]}{end}"

  def below(node: int, indent: str) -> Iterator[str]:
    for child in children[node]:
      last = child == children[node][-1]
      yield f"{indent}{'`-- ' if last else '|-- '}{label(child)}"
      # As deep as the cell: `records.check_size` keeps it off Python's limit.
      yield from below(child, indent + ("    " if last else "|   "))

  yield label(0)
  yield from below(0, "")
