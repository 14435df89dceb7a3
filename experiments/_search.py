"""Running a search that the flags ask for."""

from absl import flags

from enas_jax.running import progress as progress_lib
from enas_jax.running import searches
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import registry as tasks
from experiments import _cli, _flags, _multihost, _saved, _workdir


def define_flags(*names: str) -> None:
  """The flags of a script that searches one of these spaces."""
  _workdir.define_run_flags(*names)
  _saved.define_flags()
  _flags.define_config_flags(*names)


def run_search(experiment: str, space: str) -> searches.Finished:
  """Runs or resumes the search that the flags ask for.

  Args:
    experiment: the name of the script.
    space: the name of the search space.
  """
  values = flags.FLAGS
  workdir, saved = _workdir.open_workdir(experiment)
  task = tasks.get(spaces.get(space).task)
  config = _flags.resolve_config(space, saved and saved["config"])
  dataset = _workdir.resolve_dataset(task, saved)
  if not saved:
    # A run that is resumed keeps what suited its data at first.
    config = _flags.suit(config, task, dataset)
  # It may end here, and needs no data to be read.
  _workdir.print_config(experiment, space, config, dataset, saved)
  progress = progress_lib.TerminalProgress()
  # What is refused must leave no folder behind.
  ready = searches.prepare(
    space, config, dataset, values.data_dir, values.num_devices, progress
  )
  # Before anything is written, which the first process alone would do.
  _multihost.check_same(config, dataset, ready.splits)
  _cli.enable_compilation_cache()
  workdir = _workdir.write_config(
    workdir, experiment, space, config, dataset, saved
  )
  size = ready.task.space
  progress.line(
    f"{size.size():.3g} architectures (the paper's formula gives"
    f" {size.printed_size():.3g}); run in {workdir}"
  )
  stop = _multihost.catch_signals()
  return searches.run(ready, workdir, progress, stop)
