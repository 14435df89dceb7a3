"""Searches a whole convolutional network on CIFAR-10 (Sections 2.3 and 3.2).

  python -m experiments.cifar_macro --data_dir=DIR --preset=small

Presets: `paper` and `released` (a GPU; not yet run to the end), `small` (16 x
16 pixels, two CPU cores), `smoke` (about a minute). Without CIFAR-10,
`--dataset=digits` needs no download.
"""

from experiments import _cli, _search


def main() -> None:
  """Runs or resumes one search."""
  _search.run_search("cifar_macro", "macro")


if __name__ == "__main__":
  _search.define_flags("macro")
  _cli.run(main)
