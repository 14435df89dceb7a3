"""The drawing of a whole network: as a graph, and as text for a terminal.

What "node i" of a skip is depends on `main_input` (see the space): in the paper
it is layer i, and a layer reads the layers taken and nothing else, or the stem
where it takes none; in the released code it is layer i - 1, with the stem as
node 0, and what is taken joins the output of a layer that reads the one before.
Both drawings count layers from 1, as the paper does: position 0 is the stem,
position l layer l, and L + 1 the softmax.
"""

from collections.abc import Sequence
from typing import NamedTuple

from enas_jax.spaces import graph as graph_lib
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro import presets


class Reads(NamedTuple):
  """The positions that one position reads, in order.

  Attributes:
    main: its own input, or several of them, joined.
    joined: what joins its output.
  """

  main: Sequence[int] = ()
  joined: Sequence[int] = ()


def graphs(
  options: presets.MacroConfig, arc: space_lib.MacroArc
) -> tuple[graph_lib.Graph, ...]:
  """The network as one chain of layers, with connections that skip some.

  Args:
    options: the space, what a skip means, and where height and width halve.
    arc: the network, of Python ints: ops [L] and skips [L, L].

  Raises:
    InputError: if `arc` is no network of the space.
  """
  arc = options.space().validate(arc)
  last = len(arc.ops) + 1
  nodes = [graph_lib.Node("stem", "stem", 0, "input")]
  for layer, op in enumerate((space_lib.OPS[op] for op in arc.ops), start=1):
    label = f"{layer} {graph_lib.spoken(op)}"
    nodes.append(graph_lib.Node(f"layer_{layer}", label, layer, op=op))
  nodes.append(graph_lib.Node("softmax", "softmax", last, "output"))
  name = lambda position: nodes[position].name
  edges = []
  for position, reads in enumerate(read_by(options, arc)):
    for source in sorted([*reads.main, *reads.joined]):
      style = "main" if position - source == 1 else "skip"
      edges.append(graph_lib.Edge(name(source), name(position), style))
  # Layers that no line joins still stand one below the other, and the words
  # about a reduction need a line to stand beside.
  near = {edge[:2] for edge in edges if edge.style == "main"}
  for position in range(last):
    pair = name(position), name(position + 1)
    # `reductions` counts layers from 0.
    words = "size / 2" if position - 1 in options.reductions() else ""
    if words or pair not in near:
      edges.append(graph_lib.Edge(*pair, "order", words))
  graph = graph_lib.Graph(
    tuple(nodes), tuple(edges), caption=_counts(arc), direction="TB"
  )
  if len(graph.used()) < len(nodes):
    graph = graph._replace(caption=f"{graph.caption}; faint: unused")
  return (graph,)


def text(options: presets.MacroConfig, arc: space_lib.MacroArc) -> str:
  """The network as a table: a line a layer, with what it reads.

  Args:
    options: the space, what a skip means, and where height and width halve.
    arc: the network, of Python ints: ops [L] and skips [L, L].

  Returns:
    Lines of ASCII without a final newline.

  Raises:
    InputError: if `arc` is no network of the space.
  """
  arc = options.space().validate(arc)
  ops = [space_lib.OPS[op] for op in arc.ops]
  [graph] = graphs(options, arc)
  number, wide = len(str(len(ops))), max(map(len, [*ops, "softmax"]))
  used, reads = graph.used(), read_by(options, arc)
  lines = [f"{'':{number}}  stem"]
  for layer, op in enumerate(ops, start=1):
    unused = "" if f"layer_{layer}" in used else "  (unused)"
    words = _words(reads[layer])
    lines.append(f"{layer:>{number}}  {op:{wide}}  {words}{unused}")
    if layer - 1 in options.reductions():
      lines.append(f"{'':{number}}  -- height and width / 2 --")
  lines.append(f"{'':{number}}  {'softmax':{wide}}  {_words(reads[-1])}")
  return "\n".join([*lines, "", _counts(arc)])


def read_by(
  options: presets.MacroConfig, arc: space_lib.MacroArc
) -> list[Reads]:
  """What each position reads.

  Args:
    options: the meaning of a skip, `main_input`.
    arc: the network, of Python ints: ops [L] and skips [L, L].

  Returns:
    What it reads for each position, from the stem's 0 to the softmax's L + 1.
  """
  reads = [Reads()]
  for position, row in enumerate(arc.skips, start=1):
    taken = [node for node, bit in enumerate(row) if bit]
    if options.main_input == "previous":
      # Node i of a skip is position i: the stem is node 0.
      reads.append(Reads([position - 1], taken))
    else:
      # Node i of a skip is layer i, at position i + 1.
      reads.append(Reads([node + 1 for node in taken] or [0]))
  return [*reads, Reads([len(arc.ops)])]


def _words(reads: Reads) -> str:
  names = [
    ", ".join(str(source) if source else "stem" for source in sources)
    for sources in reads
  ]
  return f"reads {', joined by '.join(filter(None, names))}"


def _counts(arc: space_lib.MacroArc) -> str:
  layers = graph_lib.plural(len(arc.ops), "layer")
  skips = graph_lib.plural(sum(map(sum, arc.skips)), "skip connection")
  return f"{layers}, {skips}"
