"""Drawings of a cell whose operations are on its edges: text, SVG, Graphviz.

`edges` are (source, node, operation's name); nodes are numbered from 0, the
cell's input. An edge with the operation "none" is not there.
"""

from collections.abc import Iterable, Sequence
from xml.sax import saxutils

Edge = tuple[int, int, str]
_STEP, _RADIUS, _TOP, _MARGIN = 190.0, 18.0, 40.0, 40.0  # px
_LIFT = 62.0  # between an arc and one that spans a node more


def cell_text(edges: Sequence[Edge]) -> str:
  """A line for each node: which operations of which nodes it adds."""
  lines = []
  for node in range(1, 1 + max(node for _, node, _ in edges)):
    terms = [f"{op}(node {s})" for s, t, op in _present(edges) if t == node]
    lines.append(f"node {node} = {' + '.join(terms) or 'zeros'}")
  return "\n".join(lines)


def cell_dot(edges: Sequence[Edge]) -> str:
  """The cell as Graphviz source."""
  lines = [
    f'  n{source} -> n{node} [label="{op}"];'
    for source, node, op in _present(edges)
  ]
  return "digraph cell {\n  rankdir=LR;\n" + "\n".join(lines) + "\n}\n"


def cell_svg(edges: Sequence[Edge], *, title: str | None = None) -> str:
  """The cell as SVG: nodes in a row, edges as arcs above them."""
  last = max(node for _, node, _ in edges)
  width = 2 * _MARGIN + last * _STEP
  base = _TOP + (last - 1) * _LIFT + 60.0
  parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}"'
    f' height="{base + 50:.0f}" font-family="sans-serif" font-size="13">',
    f"<title>{saxutils.escape(title or 'Cell')}</title>",
    '<defs><marker id="edge-cell-arrow" viewBox="0 0 8 8" refX="8" refY="4"'
    ' markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#4b5563"/></marker></defs>',
    '<rect width="100%" height="100%" fill="#ffffff"/>',
  ]
  if title:
    parts.append(
      f'<text x="{_MARGIN - _RADIUS}" y="22" font-weight="bold">'
      f"{saxutils.escape(title)}</text>"
    )
  for source, node, op in _present(edges):
    parts.append(_arc(source, node, op, base))
  for node in range(last + 1):
    x = _MARGIN + node * _STEP
    parts.append(
      f'<circle cx="{x}" cy="{base}" r="{_RADIUS}" fill="#e5e7eb"'
      f' stroke="#4b5563"/><text x="{x}" y="{base + 5}"'
      f' text-anchor="middle">{node}</text>'
    )
  return "\n".join([*parts, "</svg>"]) + "\n"


def _arc(source: int, node: int, op: str, base: float) -> str:
  """An arrow from node to node, higher the more nodes it spans."""
  x0 = _MARGIN + source * _STEP + _RADIUS
  x1 = _MARGIN + node * _STEP - _RADIUS
  lift = (node - source - 1) * _LIFT
  # A cubic's middle lies at three quarters of its control points' height.
  top = base - lift / 0.75
  middle = (x0 + x1) / 2
  return (
    f'<path d="M{x0} {base}C{x0 + 20} {top} {x1 - 20} {top} {x1} {base}"'
    ' fill="none" stroke="#4b5563" marker-end="url(#edge-cell-arrow)"/>'
    f'<text x="{middle}" y="{base - lift - 6}" text-anchor="middle">'
    f"{saxutils.escape(op)}</text>"
  )


def _present(edges: Iterable[Edge]) -> list[Edge]:
  return [edge for edge in edges if edge[2] != "none"]
