"""Searches a convolutional cell on CIFAR-10 (Sections 2.4 and 3.2).

  python -m experiments.cifar_micro --data_dir=DIR --preset=small

Presets: `paper` and `released` (a GPU; not yet run to the end), `small` (16 x
16 pixels, two CPU cores), `smoke` (about a minute). Without CIFAR-10,
`--dataset=digits` needs no download.
"""

from enas_jax import config as config_lib
from enas_jax.report import conv_cell
from enas_jax.spaces import micro
from enas_jax.supergraph import micro as supergraph
from experiments import _cli, _images


def main() -> None:
  """Runs or resumes one search."""
  _images.run_search("cifar_micro", "micro", supergraph.NETWORK, _draw)


def _draw(
  arc: micro.MicroArc, config: config_lib.SearchConfig
) -> tuple[str, str]:
  space = config.child.space()
  cells = {
    name: conv_cell.Cell(
      cell.inputs,
      [[micro.OPS[op] for op in pair] for pair in cell.ops],
      space.loose_ends(cell, config.child.include_inputs),
    )
    for name, cell in zip(("Normal cell", "Reduction cell"), arc, strict=True)
  }
  texts = [f"{name}\n{conv_cell.cell_text(*c)}" for name, c in cells.items()]
  return (
    "\n".join(texts),
    conv_cell.cells_svg(cells, title="Cells found by ENAS"),
  )


if __name__ == "__main__":
  _cli.define_run_flags("cifar10", _images.DATA_HELP)
  _cli.define_config_flags("micro")
  _cli.run(main)
