"""Derives an architecture from a search again (Section 2.2).

  python -m experiments.derive --run=RUN --derive_arcs=1000 --data_dir=DIR

Samples K architectures from the policy of a search, finished or stopped, scores
each with the shared weights on validation minibatches, and keeps the best,
beside K uniform ones. `--derive_scores=reward,multiply_adds,jacob_cov` lets
scores that train nothing have a say; with `--tune_arcs` the first few are
trained alone before one is kept. What the flags do not say is as the search was
given it. `--policy=random` asks what uniform candidates would have given under
the same weights. `--seed` draws other candidates, `--dataset` scores on other
data of the same kind. On NAS-Bench-201 `--benchmark_table` looks up what the
candidates are worth. The run stays as it is: what is found goes to `--workdir`,
laid out like a search's folder. Train the best of it to the end with
`ptb_train` or `cifar_train`, `--arc=WORKDIR/arcs.jsonl --retrain_top=K`.
"""

import jax
from absl import flags

from enas_jax import files, types
from enas_jax.running import progress as progress_lib
from enas_jax.running import searches
from enas_jax.search import costs as costs_lib
from enas_jax.search import derive, loop, runs
from enas_jax.search import folder as folder_lib
from enas_jax.strategies import registry as strategies
from experiments import (
  _cli,
  _data,
  _flags,
  _table,
  _workdir,
)

# The script's name in `config.json`.
_EXPERIMENT = "derive"


def main() -> None:
  """Derives an architecture and shows it."""
  values = flags.FLAGS
  if values.run is None:
    raise types.InputError("--run must be given: the folder of a search.")
  workdir, _ = _workdir.open_workdir(_EXPERIMENT)
  run = runs.open_run(values.run)
  table = None
  if values.benchmark_table is not None:
    # First: a wrong table must not cost the time of the scores.
    _table.check_space(run.space, values.run)
    table = _table.load_complete()
  config = _flags.override_derive(run.config)
  if values.policy is not None:
    config = strategies.with_policy(config, values.policy)
  dataset = values.dataset or run.dataset
  _data.take_folder(_data.read_record(run.folder))
  _cli.enable_compilation_cache()
  opened = runs.open_search(run, values.data_dir, dataset)
  state = opened.state
  if values.seed is not None:
    # It draws the candidates and the minibatches that score them.
    state = state.replace(key=jax.random.key(values.seed))
  derive.check(config, opened.task, opened.splits)
  source = str(files.expand(values.run))
  workdir = _workdir.write_config(
    workdir, _EXPERIMENT, run.space, config, dataset, None, {"run": source}
  )
  progress = progress_lib.TerminalProgress()
  clock = loop.Clock()
  # What architectures cost is what they did for the search.
  costs = None
  if config.run.cost:
    costs = costs_lib.read(config, run.folder / folder_lib.COSTS)
  result = derive.Derivation(
    config, opened.task, opened.splits, workdir, progress, clock, costs=costs
  ).run(state)
  searches.show(
    run.space, "Architecture derived again", config, opened.task, result,
    workdir, progress,
  )  # fmt: skip
  if table is not None:
    record = _table.show_result(table, result, workdir)
    _table.write_result(workdir, record)


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_string("run", None, "the folder of a search")
  _flags.define_derive_flags()
  flags.DEFINE_enum(
    "policy",
    None,
    ("random",),
    "candidates are uniform, not samples of the run's policy",
  )
  flags.DEFINE_integer(
    "seed",
    None,
    "draws other candidates; by default those of the run",
    0,
    _flags.LARGEST_SEED,
  )
  _table.define_table_flag()
  _workdir.define_data_flags(None, "other data of the same kind; as the run")
  _workdir.define_folder_flags()


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
