"""Writes the report of a run again, or one page about several runs.

  python -m experiments.report --run=RUN
  python -m experiments.report --run=RUN_0 --run=RUN_1 --to=FILE

Every run writes its own report at its end. This writes it from the run's files
whenever it is asked to, also while the run lasts. With `--run` more than once
one page compares the runs: their architectures, rewards and metrics beside each
other. Nothing is trained or scored, and no data set is read.
"""

import pathlib

from absl import flags

from enas_jax import files, types
from enas_jax.report import html
from enas_jax.search import folder
from experiments import _cli

_COMPARISON = "comparison.html"


def main() -> None:
  """Writes the page that the flags ask for."""
  values = flags.FLAGS
  if not values.run:
    raise types.InputError(
      "--run must be given: the folder of a run; once for each of several."
    )
  runs = [_opened(name) for name in values.run]
  to = files.expand(values.to) if values.to else None
  try:
    if len(runs) == 1:
      path = html.write_report(runs[0], to)
    else:
      path = html.write_comparison(runs, to or pathlib.Path(_COMPARISON))
  except OSError as error:
    raise types.InputError(
      f"the page cannot be written: {error.strerror}; give another --to."
    ) from None
  print(f"{path} is written")


def _opened(name: str) -> pathlib.Path:
  """The folder of a run.

  Raises:
    InputError: if it holds none.
  """
  path = files.expand(name)
  if not files.exists(path / folder.CONFIG):
    raise types.InputError(
      f"--run={name} is not the folder of a run: it has no {folder.CONFIG}."
    )
  return path


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_multi_string(
    "run", [], "the folder of a run; more than once to compare several"
  )
  flags.DEFINE_string(
    "to",
    None,
    f"the page; by default report.html in the run's folder, of several runs"
    f" {_COMPARISON} here",
  )


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
