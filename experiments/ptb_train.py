"""Trains one recurrent cell on Penn Treebank from scratch (Section 3.1).

  python -m experiments.ptb_train --arc=RUN/arc.json --data_dir=DIR
  python -m experiments.ptb_train --arc=enas_rnn --preset=small --data_dir=DIR

Presets: `paper` and `released` (a GPU; not yet run to the end), `small`
(minutes on two CPU cores), `smoke`. Without the corpus,
`--dataset=python_docs` needs no download.
"""

from experiments import _cli, _training

_SPACES = ("recurrent",)


def main() -> None:
  """Trains, or goes on with a training."""
  _training.run("ptb_train", _SPACES)


if __name__ == "__main__":
  _training.define_flags(*_SPACES)
  _cli.run(main)
