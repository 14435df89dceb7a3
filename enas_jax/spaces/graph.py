"""An architecture as a plain graph: what a space says and a drawing lays out.

Nodes stand on ranks; every edge leads to a higher one. Nothing here knows where
on the page a rank is, nor what an operation does.
"""

from typing import NamedTuple

# All that subscripts such as those of h_(t-1) and h_12 are made of.
_SUBSCRIPTS = str.maketrans("0123456789-t", "₀₁₂₃₄₅₆₇₈₉₋ₜ")


class Node(NamedTuple):
  """A box.

  Attributes:
    name: an identifier, the only one of its kind in the graph.
    label: what people read in the box.
    rank: at least 0; that of the inputs is 0.
    kind: "input", "op", "sum" (a small box), "output", or "join", which is as
      wide as what it joins; it and its only reader stand alone on their ranks.
    op: the operation of a box of kind "op", which decides its colour.
  """

  name: str
  label: str
  rank: int
  kind: str = "op"
  op: str = ""


class Edge(NamedTuple):
  """An arrow from one node to another of a higher rank.

  Attributes:
    source: the name of the node that is read.
    target: the name of the node that reads it.
    style: "main"; "wire", which has the colour of its source; "skip", an arc
      of that colour beside the boxes; or "order", which only keeps the ranks of
      its ends: it is not seen, but for its label.
    label: words beside a line across the whole drawing, between the two ranks.
  """

  source: str
  target: str
  style: str = "main"
  label: str = ""


class Graph(NamedTuple):
  """Nodes and edges that are drawn as one.

  Attributes:
    nodes: boxes, in any order.
    edges: arrows between them, in any order.
    title: a line above the drawing, or nothing.
    caption: a line below it, or nothing.
    direction: where higher ranks are, as Graphviz says it: "BT", towards the
      top, or "TB", towards the bottom.
  """

  nodes: tuple[Node, ...]
  edges: tuple[Edge, ...]
  title: str = ""
  caption: str = ""
  direction: str = "BT"

  def used(self) -> frozenset[str]:
    """The names of the nodes from which a way leads to an output, itself one.

    Whatever another node computes is lost.
    """
    used = {node.name for node in self.nodes if node.kind == "output"}
    ranks = {node.name: node.rank for node in self.nodes}
    # Readers stand above what they read: from the top down one pass is enough.
    for edge in sorted(self.edges, key=lambda e: -ranks[e.target]):
      if edge.style != "order" and edge.target in used:
        used.add(edge.source)
    return frozenset(used)


def symbol(letter: str, index: int | str) -> str:
  """A letter with a subscript of digits, minus signs and the letter t."""
  return letter + str(index).translate(_SUBSCRIPTS)


def spoken(op: str) -> str:
  """An operation's name as words."""
  return op.replace("_", " ")


def plural(count: int, noun: str) -> str:
  """A count with its noun."""
  return f"{count} {noun}{'' if count == 1 else 's'}"
