"""What the ablations share: settings, trainings alone, and what comes of them.

Every training has a folder of its own, and one that is there is read and not
repeated.
"""

import bisect
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import devices as devices_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import loop, train
from enas_jax.spaces import base as spaces
from enas_jax.tasks import base as tasks

REFERENCE = "reference"


class Trial(NamedTuple):
  """One network, or one way to use the weights of one.

  Attributes:
    variant: what was done, in a word.
    seed: the seed of its weights and of the order of its data.
    draw: the number of the draw, where chance had a part in it; else 0.
    valid: the task's metric on the validation split; NaN: training diverged.
    test: the same on the test split.
    params: its parameters; of samples of shared weights all of these.
    seconds: the seconds of its training; NaN if it diverged.
    tokens: the architecture; "" of an ensemble.
    options: options of the network that differ from the reference's.
  """

  variant: str
  seed: int
  draw: int
  valid: float
  test: float
  params: int
  seconds: float
  tokens: str = ""
  options: Mapping[str, Any] = {}


class Arcs(NamedTuple):
  """The reference architecture, of Python ints.

  Attributes:
    trained: what is trained alone, in the space of the training.
    searched: its part in the space of the search.
  """

  trained: types.Arc
  searched: types.Arc


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How much a study does.

  Attributes:
    num_draws: architectures drawn by chance for each seed.
    ensemble: samples that vote.
    num_samples: trainings of each search without shared weights.
  """

  num_draws: int
  ensemble: int
  num_samples: int


@dataclasses.dataclass(frozen=True)
class Lab:
  """What the studies of one call share.

  Attributes:
    definition: the space.
    task: the space's task.
    training: the configuration that trains one architecture; None if the space
      has none.
    search: the configuration of a search.
    reference: the architecture that others are held against; None: none.
    sizes: how much is done.
    load: (configuration) -> its data.
    open_folder: (name, configuration, architecture or None) -> a folder of that
      name, which then exists.
    progress: the place where lines go.
    stop: () -> the number of a signal that asks for the end, or 0.
    devices: the devices that train samples without shared weights.
  """

  definition: spaces.Definition
  task: tasks.Definition
  training: config_lib.TrainConfig | None
  search: config_lib.SearchConfig
  reference: Arcs | None
  sizes: Sizes
  load: Callable[[config_lib.AnyConfig], tasks.Data]
  open_folder: Callable[
    [str, config_lib.AnyConfig, types.Arc | None], pathlib.Path
  ]
  progress: loop.Progress
  stop: Callable[[], int]
  devices: devices_lib.Devices = devices_lib.ONE

  def train(
    self,
    variant: str,
    name: str,
    config: config_lib.TrainConfig,
    arc: types.Arc,
    *,
    draw: int = 0,
    options: Mapping[str, Any] | None = None,
  ) -> Trial:
    """Trains one architecture alone, or reads what came of it.

    Args:
      variant: the trial's.
      name: the name of the folder.
      config: the training's configuration, with its seed.
      arc: the architecture, of Python ints.
      draw: the trial's.
      options: the trial's.

    Raises:
      InputError: if what came of it is damaged.
      Interrupted: after a signal, once the checkpoint is saved.
    """
    folder = self.open_folder(name, config, arc)
    path = folder / folder_lib.RESULT
    record: Mapping[str, Any]
    metrics = [f"{split}_{self.task.metric}" for split in ("valid", "test")]
    if path.exists():
      advice = "delete it to train it again"
      record = folder_lib.read_json(path, advice)
      names = (*metrics, "train_seconds")
      folder_lib.check_numbers(record, names, path, advice, ("params",))
    else:
      self.progress.line(f"{name}: training alone")
      record = self._train(config, arc, folder)
      # The program of one architecture serves no other.
      jax.clear_caches()
    # It ended early: beside whole trainings its seconds would look cheap.
    seconds = None if "diverged" in record else record["train_seconds"]
    valid, test = (number(record[metric]) for metric in metrics)
    return Trial(
      variant,
      config.run.seed,
      draw,
      valid,
      test,
      record["params"],
      number(seconds),
      config.child.space().to_tokens(arc),
      options or {},
    )

  def _train(
    self, config: config_lib.TrainConfig, arc: types.Arc, folder: pathlib.Path
  ) -> dict[str, Any]:
    data, metric = self.load(config), self.task.metric
    try:
      return train.train_arc(
        config, arc, data, folder, progress=self.progress, stop=self.stop
      )
    except loop.Diverged as error:
      # One bad network must not end the study; it counts as diverged.
      self.progress.line(f"{folder.name}: {error}")
      record = {
        f"valid_{metric}": None,
        f"test_{metric}": None,
        "params": self.count_params(config, arc),
        "train_seconds": None,
        "diverged": str(error),
      }
      # Kept as a result, so that a resumed study does not train it again.
      folder_lib.write_json(folder / folder_lib.RESULT, record)
      return record

  def train_reference(self, seed: int) -> Trial:
    """The reference, trained alone; studies share it."""
    assert self.training is not None and self.reference is not None
    config = config_lib.override(self.training, "run", seed=seed)
    name = f"{REFERENCE}-{seed}"
    return self.train(REFERENCE, name, config, self.reference.trained)

  def count_params(self, config: config_lib.AnyConfig, arc: types.Arc) -> int:
    """How many parameters the network of one architecture has."""
    network = self.definition.fixed(config.child, arc)
    task = self.task.create(config, network, self.load(config))
    # By shapes alone: no weight is drawn.
    return train.count_params(
      jax.eval_shape(task.init_omega, jax.random.key(0))
    )


def fit_option(
  lab: Lab,
  config: config_lib.TrainConfig,
  arc: types.Arc,
  option: str,
  wanted: int,
) -> int:
  """The value of an option that gives nearest to so many parameters.

  Args:
    lab: what the studies share.
    config: the training's configuration.
    arc: the architecture, of Python ints.
    option: an option of the network, a positive integer; up to twice its value
      is tried, where the space allows it.
    wanted: the number of parameters.
  """

  def child_of(value: int) -> config_lib.TrainConfig | None:
    try:
      return config_lib.override(config, "child", **{option: value})
    except types.InputError:  # not every number is allowed
      return None

  most = 2 * getattr(config.child, option)
  configs = {value: child_of(value) for value in range(1, most + 1)}
  # Still in rising order, as `nearest` asks.
  known = {value: child for value, child in configs.items() if child}
  count = functools.cache(lambda value: lab.count_params(known[value], arc))
  # Each count traces a network: halving asks for few of them.
  return nearest(list(known), count, wanted)


def nearest(
  values: Sequence[int], count: Callable[[int], int], wanted: int
) -> int:
  """The value whose count is nearest to what is wanted; of two the smaller.

  Args:
    values: numbers in rising order, at least one.
    count: a function that rises with them.
    wanted: the count.
  """
  at = bisect.bisect_left(values, wanted, key=count)
  # The first value that reaches `wanted` and the one before it; beyond the end
  # only the last one is left. Of equals `min` takes the first.
  return min(
    values[max(at - 1, 0) : at + 1], key=lambda v: abs(count(v) - wanted)
  )


def number(value: float | None) -> float:
  """A file has null for what was no number."""
  return math.nan if value is None else float(value)
