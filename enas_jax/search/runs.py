"""Opening the folder of a search again."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.search import checkpoint
from enas_jax.search import folder as folder_lib
from enas_jax.search import state as state_lib
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks


class Run(NamedTuple):
  """A search, finished or not.

  Attributes:
    space: the name of the search space.
    config: the search's configuration.
    dataset: the name of the data set.
    folder: the run's folder.
    state: the newest state, as nested dicts.
  """

  space: str
  config: config_lib.SearchConfig
  dataset: str
  folder: pathlib.Path
  state: dict[str, Any]

  def child_params(self, arc: types.Arc) -> types.Omega:
    """The shared weights of one architecture of Python ints."""
    network = spaces.get(self.space).network
    return network.child_params(self.state["omega"], arc, self.config.child)


class Opened(NamedTuple):
  """A search with its data, ready to score architectures.

  Attributes:
    space: the name of the search space.
    config: the search's configuration.
    task: the task.
    splits: the data on the device.
    state: the state in the newest checkpoint.
  """

  space: str
  config: config_lib.SearchConfig
  task: tasks_base.Task
  splits: tasks_base.Splits
  state: state_lib.SearchState


def restore_config(
  config: config_lib.AnyConfig,
  saved: Mapping[str, Any],
  place: str = "--workdir",
) -> config_lib.AnyConfig:
  """A configuration with every field of what a run's `config.json` says.

  Args:
    config: a configuration of the same space, from any preset.
    saved: the part "config" of the file.
    place: the flag that says where the file is.

  Raises:
    InputError: if the run's fields are others.
  """
  try:
    if isinstance(config, config_lib.SearchConfig):
      return strategies.restore_config(config, saved)
    changes = {part: saved[part] for part in vars(config)}
    return config_lib.override_parts(config, changes)
  except types.InputError as error:
    raise types.InputError(f"the run's config.json: {error}") from None
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise types.InputError(
      f"config.json of {place} is not one of this version of enas_jax"
      f" ({files.shown(error)}); give another {place}."
    ) from None


def read_config(
  folder: pathlib.Path,
) -> tuple[str, config_lib.SearchConfig, str]:
  """The space, the configuration and the data set of a search.

  Raises:
    InputError: if the folder holds no search's `config.json`.
  """
  try:
    saved = files.read_json(folder / folder_lib.CONFIG)
    space, dataset, config = saved["space"], saved["dataset"], saved["config"]
    _ = config["theta"]  # a training has none
  except (ValueError, KeyError, TypeError):
    raise types.InputError(
      f"{folder} is not the folder of a search: it has no config.json of one."
    ) from None
  if not isinstance(dataset, str):
    raise types.InputError(
      f'{folder}: "dataset" of its config.json must be text.'
    )
  # Any preset would do, as every field of it is replaced.
  restored = restore_config(spaces.preset("paper", space), config)
  assert isinstance(restored, config_lib.SearchConfig)  # as the preset is
  return space, restored, dataset


def open_run(folder: str) -> Run:
  """Reads a search's `config.json` and its newest checkpoint.

  Raises:
    InputError: if the folder holds no search that can be read.
  """
  path = files.expand(folder)
  space, config, dataset = read_config(path)
  state = checkpoint.read_newest(path / folder_lib.CHECKPOINTS)
  return Run(space, config, dataset, path, state)


def open_search(
  run: Run, data_dir: str | None, dataset: str | None = None
) -> Opened:
  """The whole state of a search, and its data or another data set.

  Args:
    run: the search.
    data_dir: the folder where data sets lie.
    dataset: the name of another data set of the same kind, or None.

  Raises:
    InputError: if the data set cannot be had, or no checkpoint can be read.
  """
  definition = spaces.get(run.space)
  task_definition = tasks.get(definition.task)
  data = task_definition.load(dataset or run.dataset, data_dir, run.config)
  task = task_definition.create(run.config, definition.network, data)
  splits = task.splits(data)
  strategy = strategies.create(run.config, task.space)
  steps = task.steps_per_epoch(splits.train)
  fresh = state_lib.init_state(run.config, task, strategy, steps)
  state = checkpoint.read_newest(
    run.folder / folder_lib.CHECKPOINTS,
    fresh,
    lambda line: None,  # `open_run` has said it
  )
  return Opened(run.space, run.config, task, splits, state)
