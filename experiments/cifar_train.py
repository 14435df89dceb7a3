"""Trains one convolutional network on CIFAR-10 from scratch (Section 3.2).

  python -m experiments.cifar_train --arc=RUN/arc.json --data_dir=DIR
  python -m experiments.cifar_train --arc=enas_micro --preset=small

The architecture is a network of the macro space or a pair of cells. Presets:
`paper` and `released` (a GPU; not yet run to the end), `small` (16 x 16 pixels,
half an hour on one CPU core), `smoke`. Without CIFAR-10, `--dataset=digits`
needs no download.
"""

from experiments import _cli, _training

_SPACES = ("macro", "micro")


def main() -> None:
  """Trains, or goes on with a training."""
  _training.run("cifar_train", _SPACES)


if __name__ == "__main__":
  _training.define_flags(*_SPACES)
  _cli.run(main)
