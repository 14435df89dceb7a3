"""Searches an architecture in any space, one of your own among them.

  python -m experiments.search --space=macro --preset=small --data_dir=DIR
  python -m experiments.search --plugin=my_space --space=mine --preset=smoke

`--plugin` names a Python module that registers a space, a strategy, a task or a
logger. `ptb_search`, `cifar_macro`, `cifar_micro` and `nasbench201` are this
script with the space already chosen.
"""

from absl import flags

from enas_jax import types
from enas_jax.spaces import registry
from experiments import _cli, _saved, _search


def main() -> None:
  """Runs or resumes one search."""
  space = flags.FLAGS.space or _saved.space()
  if space is None:
    raise types.InputError(
      f"--space must be given, one of {', '.join(registry.names())}."
    )
  _search.run_search("search", space)


if __name__ == "__main__":
  _cli.import_plugins()
  flags.DEFINE_enum("space", None, registry.names(), "the search space")
  _search.define_flags(*registry.names())
  _cli.run(main)
