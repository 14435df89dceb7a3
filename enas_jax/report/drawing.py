"""An architecture as text, as a picture (SVG, PNG) and as Graphviz source."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from enas_jax import types
from enas_jax.report import colors as colors_lib
from enas_jax.spaces import base, registry
from enas_jax.spaces import graph as graph_lib


@dataclasses.dataclass(frozen=True)
class Drawing:
  """An architecture as text, and, painted when asked for, as pictures.

  Attributes:
    graphs: what is drawn.
    text: the architecture for a terminal.
    title: a line above the pictures.
  """

  graphs: tuple[graph_lib.Graph, ...]
  text: str
  title: str

  @functools.cached_property
  def svg(self) -> str:
    """An SVG document that refers to nothing outside."""
    text = self._painted("svg").decode()
    # Before it stands the address of a document type.
    return text[text.index("<svg") :]

  @functools.cached_property
  def png(self) -> bytes:
    """The same picture in pixels, 192 an inch."""
    return self._painted("png")

  @functools.cached_property
  def dot(self) -> str:
    """The graphs in the language of Graphviz, one page each."""
    return "".join(_dot(graph, self._colors()) for graph in self.graphs)

  def _colors(self) -> dict[str, colors_lib.Color]:
    return colors_lib.of_ops(n.op for graph in self.graphs for n in graph.nodes)

  def _painted(self, form: str) -> bytes:
    # Its libraries take a second to load, and only a picture needs them.
    from enas_jax.report import picture

    return picture.paint(self.graphs, self.title, self._colors(), form)


def draw(graphs: Sequence[graph_lib.Graph], text: str, title: str) -> Drawing:
  """Draws an architecture.

  Args:
    graphs: the architecture as its space lays it out.
    text: the architecture for a terminal.
    title: a line above the pictures.

  Raises:
    ValueError: if there is no graph.
  """
  if not graphs:
    raise ValueError("no graphs to draw")
  return Drawing(tuple(graphs), text, title)


def draw_arc(
  space: str, options: base.Options, arc: types.Arc, title: str
) -> Drawing:
  """Draws an architecture as its space says.

  Args:
    space: the name of the search space.
    options: the options of the space and its network.
    arc: the architecture, of Python ints, leaves [...].
    title: a line above the picture.
  """
  definition = registry.get(space)
  return draw(
    definition.draw(options, arc), definition.text(options, arc), title
  )


def title_of(space: str, more: str = "") -> str:
  """The title of a picture of an architecture: "Recurrent cell" and more.

  Args:
    space: the name of the search space.
    more: words that follow.
  """
  words = registry.get(space).title.removeprefix("a ") + more
  return words[0].upper() + words[1:]


def _dot(graph: graph_lib.Graph, colors: Mapping[str, colors_lib.Color]) -> str:
  # Skips take no part in the ranks, here as in `layout`. What only keeps an
  # order is clear and not "invis", which would hide its label, too.
  styles = {
    "main": "",
    "wire": "",
    "skip": "style=dotted, constraint=false",
    "order": "color=transparent",
  }
  lines = [
    "digraph {",
    f"  rankdir={graph.direction};",
    f"  label={_quoted(graph.title)}; labelloc=t;",
    '  node [shape=box, style="rounded,filled", fillcolor=white];',
  ]
  for node in graph.nodes:
    fill, line = colors.get(node.op, colors_lib.PLAIN)
    looks = f'fillcolor="{fill}", color="{line}"'
    lines.append(f"  {node.name} [label={_quoted(node.label)}, {looks}];")
  for edge in graph.edges:
    label = f"label={_quoted(edge.label)}" if edge.label else ""
    looks = ", ".join(filter(None, (styles[edge.style], label)))
    tail = f" [{looks}]" if looks else ""
    lines.append(f"  {edge.source} -> {edge.target}{tail};")
  return "\n".join([*lines, "}"]) + "\n"


def _quoted(words: str) -> str:
  escaped = words.replace("\\", "\\\\").replace('"', '\\"')
  return f'"{escaped}"'
