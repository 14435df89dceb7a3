"""Searches a recurrent cell on Penn Treebank (Sections 2.1, 2.2 and 3.1).

  python -m experiments.ptb_search --data_dir=DIR --preset=small

Presets: `paper` (a GPU; not yet run to the end), `released`, `small` (about 10
minutes on two CPU cores), `smoke` (about a minute). Without the corpus,
`--dataset=python_docs` needs no download.
"""

from experiments import _cli, _search


def main() -> None:
  """Runs or resumes one search."""
  _search.run_search("ptb_search", "recurrent")


if __name__ == "__main__":
  _search.define_flags("recurrent")
  _cli.run(main)
