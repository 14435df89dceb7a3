"""A whole search: its data made ready, run or gone on with, and shown."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.loggers import registry as loggers
from enas_jax.report import drawing as drawing_lib
from enas_jax.report import html
from enas_jax.search import derive, hosts, loop, search
from enas_jax.search import devices as devices_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import state as state_lib
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks

# Of a file of candidates that cannot be read.
_ADVICE = "delete result.json and resume the run, whose end is then repeated"


class Ready(NamedTuple):
  """A search of which nothing has been refused.

  Attributes:
    space: the name of the search space.
    config: the search's configuration.
    task: the task.
    splits: the data on the device.
    devices: the devices that share the work.
  """

  space: str
  config: config_lib.SearchConfig
  task: tasks_base.Task
  splits: tasks_base.Splits
  devices: devices_lib.Devices


class Finished(NamedTuple):
  """A search that has ended, with what is needed to ask its weights again.

  Attributes:
    workdir: the run's folder.
    result: the architecture that it kept, and its record.
    drawing: the architecture as text and as a picture.
    state: the search's state at its end.
    task: the task.
    splits: the data on the device.
  """

  workdir: pathlib.Path
  result: derive.Result
  drawing: drawing_lib.Drawing
  state: state_lib.SearchState
  task: tasks_base.Task
  splits: tasks_base.Splits

  @property
  def arc(self) -> types.Arc:
    """The architecture that was kept, of Python ints."""
    return self.result.arc

  @property
  def record(self) -> dict[str, Any]:
    """What `result.json` holds."""
    return self.result.record

  @property
  def candidates(self) -> list[dict[str, Any]]:
    """The lines of `arcs.jsonl`: every candidate and its reward."""
    path = self.workdir / folder_lib.CANDIDATES
    return folder_lib.read_rows(path, _ADVICE)

  def _repr_html_(self) -> str:
    """What a notebook shows."""
    return self.drawing.svg


def prepare(
  space: str,
  config: config_lib.SearchConfig,
  dataset: str,
  data_dir: str | None,
  num_devices: int,
  progress: loop.Progress,
) -> Ready:
  """Loads the data of a search, and refuses what cannot be done.

  Args:
    space: the name of the search space.
    config: the search's configuration.
    dataset: the name of the data set.
    data_dir: the folder where data sets lie, or None.
    num_devices: how many devices share the work; 0: all there are.
    progress: the place where lines go.

  Raises:
    InputError: if the data cannot be had, or do not go with the configuration,
      or a logger cannot be had.
  """
  # First: data may take long to be read.
  loggers.check(config.run.loggers)
  definition = spaces.get(space)
  task_definition = tasks.get(definition.task)
  if not task_definition.has_validation(config):
    raise types.InputError(
      "--num_valid is 0, but a search needs validation images for its rewards."
    )
  data = task_definition.load(dataset, data_dir, config)
  progress.line(task_definition.describe(data, config))
  task = task_definition.create(config, definition.network, data)
  splits = task.splits(data)
  devices = devices_lib.of(num_devices)
  devices.check(config.data.batch_size)
  # What the last step needs is refused before the first one.
  derive.check(config, task, splits)
  return Ready(space, config, task, splits, devices)


def run(
  ready: Ready,
  workdir: pathlib.Path,
  progress: loop.Progress,
  stop: Callable[[], int],
  title: str | None = None,
) -> Finished:
  """Runs or resumes a search and shows the architecture that it keeps.

  Args:
    ready: the search.
    workdir: the run's folder, which exists.
    progress: the place where lines go.
    stop: () -> the number of a signal that asks the run to end, or 0.
    title: the title of the drawing; by default it names the space.
  """
  space, config, task, splits, devices = ready

  def draw(arc: types.Arc) -> bytes:
    return drawing_lib.draw_arc(space, config.child, arc, "").png

  task_search = search.Search(
    config, task, splits, workdir, progress, stop, devices, draw
  )
  if task_search.finished:
    progress.line("the run is finished; this is what it found")
    result = task_search.load_result()
  else:
    result = task_search.run()
  if title is None:
    title = drawing_lib.title_of(space, " found by ENAS")
  drawing = show(space, title, config, task, result, workdir, progress)
  state = task_search.state
  return Finished(workdir, result, drawing, state, task, splits)


def show(
  space: str,
  title: str,
  config: config_lib.SearchConfig,
  task: tasks_base.Task,
  result: derive.Result,
  workdir: pathlib.Path,
  progress: loop.Progress,
) -> drawing_lib.Drawing:
  """Shows the architecture that was kept, and draws it into the folder.

  Args:
    space: the name of the search space.
    title: the title of the drawing.
    config: the search's configuration.
    task: the task.
    result: the architecture, and its record.
    workdir: the run's folder.
    progress: the place where lines go.
  """
  drawing = drawing_lib.draw_arc(space, config.child, result.arc, title)
  # The first process has the folder, and alone has something to tell.
  if not hosts.is_first():
    return drawing
  progress.line("\n" + drawing.text)
  progress.line(f"tokens: {result.record['arc']['tokens']}")
  rows = folder_lib.read_rows(workdir / folder_lib.CANDIDATES, _ADVICE)
  for line in search.describe_candidates(rows, task):
    progress.line(line)
  for line in search.describe_result(
    result.record, task, config.run.derive_arcs
  ):
    progress.line(line)
  folder_lib.write(workdir / folder_lib.DRAWING, drawing.svg)
  html.write_report(workdir)
  progress.line(f"arc.json, arc.svg and report.html are in {workdir}")
  return drawing
