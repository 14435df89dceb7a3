"""Drawings of an architecture, in every space."""

from collections.abc import Callable
from typing import Any, NamedTuple

from enas_jax.report import cell, conv_cell, edge_cell, network
from enas_jax.report import svg as svg_lib
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.recurrent import arc as recurrent


class Drawing(NamedTuple):
  """An architecture as text for a terminal, as SVG and as Graphviz source."""

  text: str
  svg: str
  dot: str

  @property
  def png(self) -> bytes:
    """The SVG as a picture of twice its size in px."""
    return svg_lib.to_png(self.svg, zoom=2.0)


def draw(space: str, config: Any, arc: Any, title: str) -> Drawing:
  """Draws an architecture.

  Args:
    space: of `config.SPACES`.
    config: options of the space and its network: `SearchConfig.child`.
    arc: of Python ints.
    title: a line above the picture.
  """
  by_space: dict[str, Callable[[Any, Any, str], Drawing]] = {
    "recurrent": _recurrent,
    "macro": _macro,
    "micro": _micro,
    "nasbench201": _nasbench201,
  }
  return by_space[space](config, arc, title)


def _recurrent(config: Any, arc: recurrent.RecurrentArc, title: str) -> Drawing:
  drawn = (
    arc.prev,
    [recurrent.OPS[op] for op in arc.ops],
    config.outputs(arc),
  )
  return Drawing(
    cell.cell_text(*drawn),
    cell.cell_svg(*drawn, title=title),
    cell.cell_dot(*drawn),
  )


def _macro(config: Any, arc: macro.MacroArc, title: str) -> Drawing:
  drawn = (
    [macro.OPS[op] for op in arc.ops],
    [[node for node, bit in enumerate(row) if bit] for row in arc.skips],
  )
  form = {"main_input": config.main_input, "reductions": config.reductions()}
  return Drawing(
    network.network_text(*drawn, **form),
    network.network_svg(*drawn, title=title, **form),
    network.network_dot(*drawn, **form),
  )


def _micro(config: Any, arc: micro.MicroArc, title: str) -> Drawing:
  cells = {
    name: conv_cell.Cell(
      one.inputs,
      [[micro.OPS[op] for op in pair] for pair in one.ops],
      config.loose_ends(one),
    )
    for name, one in zip(("Normal cell", "Reduction cell"), arc, strict=True)
  }
  return Drawing(
    "\n".join(
      f"{name}\n{conv_cell.cell_text(*one)}" for name, one in cells.items()
    ),
    conv_cell.cells_svg(cells, title=title),
    # Graphviz reads several graphs from one file and draws a page for each.
    "".join(conv_cell.cell_dot(*one) for one in cells.values()),
  )


def _nasbench201(
  config: Any, arc: nasbench201.NasBench201Arc, title: str
) -> Drawing:
  del config
  edges = [
    (source, node, nasbench201.OPS[op])
    for (source, node), op in zip(nasbench201.EDGES, arc.ops, strict=True)
  ]
  return Drawing(
    edge_cell.cell_text(edges),
    edge_cell.cell_svg(edges, title=title),
    edge_cell.cell_dot(edges),
  )
