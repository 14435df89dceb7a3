"""Searches a whole convolutional network on CIFAR-10 (Sections 2.3 and 3.2).

  python -m experiments.cifar_macro --data_dir=DIR --preset=small

Presets: `paper` and `released` (a GPU; not yet run to the end), `small` (16 x
16 pixels, two CPU cores), `smoke` (about a minute). Without CIFAR-10,
`--dataset=digits` needs no download.
"""

from enas_jax import config as config_lib
from enas_jax.report import network
from enas_jax.spaces import macro
from enas_jax.supergraph import macro as supergraph
from experiments import _cli, _images


def main() -> None:
  """Runs or resumes one search."""
  _images.run_search("cifar_macro", "macro", supergraph.NETWORK, _draw)


def _draw(
  arc: macro.MacroArc, config: config_lib.SearchConfig
) -> tuple[str, str]:
  drawn = (
    [macro.OPS[op] for op in arc.ops],
    [[node for node, bit in enumerate(row) if bit] for row in arc.skips],
  )
  form = {
    "main_input": config.child.main_input,
    "reductions": config.child.reductions(),
  }
  title = "Network found by ENAS"
  return (
    network.network_text(*drawn, **form),
    network.network_svg(*drawn, title=title, **form),
  )


if __name__ == "__main__":
  _cli.define_run_flags("cifar10", _images.DATA_HELP)
  _cli.define_config_flags("macro")
  _cli.run(main)
