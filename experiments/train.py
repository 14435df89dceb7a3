"""Trains one architecture of any space from scratch.

  python -m experiments.train --arc=RUN/arc.json --preset=small --data_dir=DIR
  python -m experiments.train --plugin=my_space --space=mine --arc=RUN/arc.json

`--plugin` names a Python module that registers a space, a strategy, a task or a
logger. `ptb_train` and `cifar_train` are this script for the paper's spaces.
"""

from enas_jax.spaces import registry
from experiments import _cli, _training


def main() -> None:
  """Trains, or goes on with a training."""
  _training.run("train", registry.trainable())


if __name__ == "__main__":
  _cli.import_plugins()
  _training.define_flags(*registry.trainable())
  _cli.run(main)
