"""Opening the folder of a search again."""

import json
import pathlib
from typing import Any, NamedTuple

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.data import text
from enas_jax.search import checkpoint, loop
from enas_jax.search import state as states
from enas_jax.spaces import networks, registry
from enas_jax.spaces.recurrent import network as recurrent
from enas_jax.strategies import controller as controller_lib
from enas_jax.tasks import image_classifier, language_model
from experiments import _cli, _images, _texts

# By experiment, the space it searches.
SEARCHES = {
  "ptb_search": "recurrent",
  "cifar_macro": "macro",
  "cifar_micro": "micro",
  "nasbench201": "nasbench201",
}


class Run(NamedTuple):
  """A search, finished or not.

  Attributes:
    space: of `registry.SPACES`.
    config: of the search.
    dataset: its name.
    folder: where it lies.
    state: the newest state, as nested dicts.
  """

  space: str
  config: config_lib.SearchConfig
  dataset: str
  folder: pathlib.Path
  state: dict[str, Any]

  def child_params(self, arc: Any) -> types.Omega:
    """The shared weights of one architecture of Python ints."""
    omega = self.state["omega"]
    if self.space == "recurrent":
      return recurrent.child_params(omega, arc)
    network = networks.SHARED[self.space]
    return network.child_params(omega, arc, self.config.child)


def open_run(folder: str) -> Run:
  """Reads a search's `config.json` and its newest checkpoint.

  Raises:
    InputError: if the folder holds no search that can be read.
  """
  path = pathlib.Path(folder).expanduser()
  space, config, dataset = read_config(path)
  state = checkpoint.read_newest(path / "checkpoints")
  return Run(space, config, dataset, path, state)


def read_config(
  folder: pathlib.Path,
) -> tuple[str, config_lib.SearchConfig, str]:
  """The space, the configuration and the data set of a search.

  Raises:
    InputError: if the folder holds no search's `config.json`.
  """
  try:
    saved = json.loads((folder / "config.json").read_text())
    space = SEARCHES[saved["experiment"]]
    dataset = saved["dataset"]
    fields = saved["config"]
  except (OSError, ValueError, KeyError, TypeError):
    raise types.InputError(
      f"{folder} is not the folder of a search: it has no config.json of one."
    ) from None
  config = _cli.saved_config(registry.preset("paper", space), fields)
  return space, config, dataset


class Opened(NamedTuple):
  """A search with its data, ready to score architectures.

  Attributes:
    space: of `registry.SPACES`.
    config: of the search.
    task: of `tasks.Task`.
    splits: its data on the device.
    state: of its newest checkpoint.
  """

  space: str
  config: config_lib.SearchConfig
  task: Any
  splits: loop.Splits
  state: states.SearchState


def open_task(space: str, config: Any, dataset: str) -> Any:
  """The task of a search and its data on the device.

  Returns:
    (task, `loop.Splits`).

  Raises:
    InputError: if the data set cannot be had.
  """
  if space == "recurrent":
    corpus = text.load(dataset, _cli.data_dir())
    task = language_model.LanguageModel(config, len(corpus.vocabulary))
    return task, _texts.splits(task, corpus)
  data = _images.load(config, dataset)
  network = networks.SHARED[space]
  classifier = image_classifier.ImageClassifier.of(config, network, data)
  return classifier, _images.splits(classifier, data)


def open_search(run: Run, dataset: str | None = None) -> Opened:
  """The whole state of a search, and its data or another data set.

  Raises:
    InputError: if the data set cannot be had, or no checkpoint can be read.
  """
  task, splits = open_task(run.space, run.config, dataset or run.dataset)
  controller = controller_lib.Controller(task.space, run.config.controller)
  steps = task.steps_per_epoch(splits.train)
  fresh = states.init_state(run.config, task, controller, steps)
  found = checkpoint.Checkpoints(run.folder / "checkpoints").restore(fresh)
  assert found is not None  # `open_run` has read one
  return Opened(run.space, run.config, task, splits, found[0])
