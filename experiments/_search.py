"""Running a search and showing the architecture that it keeps."""

import pathlib
from typing import NamedTuple

from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.report import drawing as drawing_lib
from enas_jax.report import html
from enas_jax.search import derive, loop, search
from enas_jax.search import folder as folder_lib
from enas_jax.search import state as state_lib
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks
from experiments import _cli, _flags, _saved, _terminal, _workdir


class Finished(NamedTuple):
  """A search that has ended, with what is needed to ask its weights again.

  Attributes:
    workdir: the run's folder.
    result: the architecture that it kept, and its record.
    state: the search's state at its end.
    task: the task.
    splits: the data on the device.
  """

  workdir: pathlib.Path
  result: derive.Result
  state: state_lib.SearchState
  task: tasks_base.Task
  splits: tasks_base.Splits


def define_flags(*names: str) -> None:
  """The flags of a script that searches one of these spaces."""
  _workdir.define_run_flags(*names)
  _saved.define_flags()
  _flags.define_config_flags(*names)


def run_search(experiment: str, space: str) -> Finished:
  """Runs or resumes the search that the flags ask for.

  Args:
    experiment: the name of the script.
    space: the name of the search space.
  """
  workdir, saved = _workdir.open_workdir(experiment)
  definition = spaces.get(space)
  task_definition = tasks.get(definition.task)
  config = _flags.resolve_config(space, saved and saved["config"])
  dataset = _workdir.resolve_dataset(task_definition, saved)
  if not saved:
    config = _flags.suit(config, task_definition, dataset)
  if not task_definition.has_validation(config):
    raise types.InputError(
      "--num_valid is 0, but a search needs validation images for its rewards."
    )
  _workdir.print_config(experiment, space, config, dataset, saved)
  data = task_definition.load(dataset, flags.FLAGS.data_dir, config)
  progress = _terminal.TerminalProgress()
  progress.line(task_definition.describe(data, config))
  task = task_definition.create(config, definition.network, data)
  splits = task.splits(data)
  # What is refused must leave no folder behind.
  _workdir.open_devices(config.data.batch_size)
  derive.check(config, task, splits)
  _cli.enable_compilation_cache()
  workdir = _workdir.write_config(
    workdir, experiment, space, config, dataset, saved
  )
  progress.line(
    f"{task.space.size():.3g} architectures (the paper's formula gives"
    f" {task.space.printed_size():.3g}); run in {workdir}"
  )
  title = f"{definition.title.removeprefix('a ')} found by ENAS"
  title = title[0].upper() + title[1:]
  return run(space, title, config, task, splits, workdir, progress)


def run(
  space: str,
  title: str,
  config: config_lib.SearchConfig,
  task: tasks_base.Task,
  splits: tasks_base.Splits,
  workdir: pathlib.Path,
  progress: loop.Progress,
) -> Finished:
  """Runs or resumes a search and shows the architecture that it keeps.

  Args:
    space: the name of the search space.
    title: the title of the drawing.
    config: the search's configuration.
    task: the task.
    splits: the data on the device.
    workdir: the run's folder.
    progress: the place where lines go.
  """
  stop = _terminal.SignalCatcher().stop
  devices = _workdir.open_devices(config.data.batch_size)
  task_search = search.Search(
    config, task, splits, workdir, progress, stop, devices
  )
  if task_search.finished:
    progress.line("the run is finished; this is what it found")
    result = task_search.load_result()
  else:
    result = task_search.run()
  show(space, title, config, task, result, workdir, progress)
  return Finished(workdir, result, task_search.state, task, splits)


def show(
  space: str,
  title: str,
  config: config_lib.SearchConfig,
  task: tasks_base.Task,
  result: derive.Result,
  workdir: pathlib.Path,
  progress: loop.Progress,
) -> None:
  """Shows the architecture that was kept, and draws it into the folder."""
  drawing = drawing_lib.draw_arc(space, config.child, result.arc, title)
  progress.line("\n" + drawing.text)
  progress.line(f"tokens: {result.record['arc']['tokens']}")
  for line in search.describe_result(result.record, task):
    progress.line(line)
  folder_lib.write(workdir / folder_lib.DRAWING, drawing.svg)
  html.write_report(workdir)
  progress.line(f"arc.json, arc.svg and report.html are in {workdir}")
