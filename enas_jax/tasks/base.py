"""The contract of a task: what a batch, a loss, a reward and a score are.

A task puts a network on data. The steps, the loops and the scripts ask it
nothing that is not in `Task`, and find it by its `Definition`; `registry` has a
line for each.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces import base as spaces

Metrics = dict[str, types.Array]
Data = Any  # a data set as a task's `load` returns it, on the host
Split = Any  # a part of it on the device: a pytree, leaves [examples, ...]
Batch = Any  # a pytree of arrays, such as `types.TextBatch`


class Splits(NamedTuple):
  """Training, validation and test data on the device.

  `valid` is None where all is trained on.
  """

  train: Split
  valid: Split
  test: Split


class Task(Protocol):
  """A network on data. Its methods are pure where they take arrays.

  Attributes:
    metric: the name of what `evaluate_chunk` measures, "perplexity" or such.
    metric_sign: 1 where a larger metric is better, else -1.
    batch_axis: the axis of examples in the arrays of a batch; arrays of fewer
      dimensions are about the whole batch.
  """

  metric: str
  metric_sign: int
  batch_axis: int

  @property
  def config(self) -> config_lib.AnyConfig:
    """The whole configuration, of a search or of a training."""
    ...

  @property
  def network(self) -> spaces.Network:
    """The shared network of a space, or that of one architecture."""
    ...

  @property
  def space(self) -> spaces.Space:
    """The search space of the architectures."""
    ...

  @property
  def data_shape(self) -> spaces.DataShape:
    """What the network's weights are made for."""
    ...

  @property
  def gathers(self) -> bool:
    """Whether a traced arc's `child_params` are part of omega only.

    Plain SGD then updates no more than these, by `add_to_omega`.
    """
    ...

  @property
  def norms_parts(self) -> bool:
    """Whether, in training on several devices, each norms its part alone."""
    ...

  def splits(self, data: Data) -> Splits:
    """Puts a data set on the device.

    Raises:
      InputError: if a split is too small for one batch.
    """
    ...

  def with_config(self, config: config_lib.AnyConfig) -> "Task":
    """The task under a configuration that uses the same data and weights."""
    ...

  def changed(
    self, config: config_lib.AnyConfig, train: Split, valid: Split
  ) -> tuple["Task", Split, Split]:
    """The task under another configuration of the same space, with its data.

    Raises:
      InputError: if what is on the device cannot be used so.
    """
    ...

  def steps_per_epoch(self, train: Split) -> int:
    """Steps of a whole pass, or the configured number if that is less."""
    ...

  def init_omega(self, key: types.PRNGKey) -> types.Omega:
    """The weights before the first step."""
    ...

  def init_carry(self) -> types.Carry:
    """The carry before the first epoch."""
    ...

  def start_epoch(self, carry: types.Carry, key: types.PRNGKey) -> types.Carry:
    """The carry of an epoch's first step, from that of the last one's."""
    ...

  def measure_carry(self, carry: types.Carry) -> dict[str, float]:
    """What a log shall tell of a carry, by name; {}: nothing."""
    ...

  def train_batch(
    self,
    train: Split,
    carry: types.Carry,
    step: types.Array,
    key: types.PRNGKey,
  ) -> Batch:
    """The batch of a step, [] int32 within its epoch."""
    ...

  def rate_factor(self, batch: Batch) -> types.Array | float:
    """A factor on the learning rate for this batch, [] float32."""
    ...

  def reward_batch(self, valid: Split, key: types.PRNGKey) -> Batch:
    """One validation minibatch, drawn by chance."""
    ...

  def loss_batch(self, split: Split, key: types.PRNGKey) -> Batch:
    """A minibatch for a gradient in the architecture, as large as omega's."""
    ...

  def child_params(self, omega: types.Omega, arc: types.Arc) -> types.Omega:
    """The weights that one architecture uses."""
    ...

  def add_to_omega(
    self, omega: types.Omega, arc: types.Arc, update: types.Omega
  ) -> types.Omega:
    """Adds an update of the child's weights; asked only of one that gathers."""
    ...

  def loss(
    self,
    child: types.Omega,
    arc: types.Arc,
    batch: Batch,
    carry: types.Carry,
    key: types.PRNGKey,
  ) -> tuple[types.Array, tuple[Metrics, types.Carry]]:
    """The loss to minimise, [] float32; what to report; the next carry."""
    ...

  def reward(
    self, omega: types.Omega, arc: types.Arc, batch: Batch, carry: types.Carry
  ) -> types.Array:
    """R(m, omega) on a validation minibatch, [] float32; larger is better."""
    ...

  def reward_to_metric(self, reward: float) -> float | None:
    """The metric that a reward stands for; None if it does not tell."""
    ...

  def start_split(self, carry: types.Carry) -> types.Carry:
    """The carry of the first chunk of a split, or of a batch out of order."""
    ...

  def evaluation_chunks(self, split: Split) -> int:
    """How many calls of `evaluate_chunk` cover a split."""
    ...

  def evaluate_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: Split,
    index: types.Array,
    carry: types.Carry,
  ) -> tuple[types.Array, types.Array, types.Carry]:
    """The sum over a chunk, [] int32 `index`, its count, the next carry."""
    ...

  def nats_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: Split,
    index: types.Array,
    carry: types.Carry,
  ) -> tuple[types.Array, types.Array, types.Carry]:
    """The same of the negative log-likelihood, nats."""
    ...

  def log_probs_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: Split,
    index: types.Array,
    carry: types.Carry,
  ) -> tuple[types.Array, types.Array, types.Carry]:
    """What an architecture says of each example of a chunk.

    Returns:
      [n, V] float32, log-probabilities of the V classes or words, nats; [n]
      int32, the right ones, -1 for an example that does not count, such as one
      that an earlier chunk has; and the next carry.
    """
    ...

  def score_log_probs(
    self, log_probs: types.Array, targets: types.Array
  ) -> types.Array:
    """What `evaluate_chunk` sums, of whatever said the log-probabilities.

    Args:
      log_probs: [n, V] float32, nats, perhaps of several architectures' mean.
      targets: [n] int32, as `log_probs_chunk` returns them.

    Returns:
      [] float32, the sum over the examples that count.
    """
    ...

  def finish_evaluation(self, total: float, count: float) -> float:
    """The metric of a split from the sums over its chunks."""
    ...

  def format_metric(self, value: float) -> str:
    """The metric as people read it."""
    ...

  def scoring(self) -> dict[str, int]:
    """What a score depends on besides the split, JSON-ready.

    The first is the number of examples of a batch, or streams of text. Batch
    norm looks at the whole batch, so its size belongs to every score.
    """
    ...

  def least_split(self) -> int:
    """How many examples a part of a split must have to be evaluated."""
    ...


def theta_of(config: config_lib.AnyConfig) -> config_lib.ThetaConfig:
  """The part that says what a reward is; a training is never asked for one."""
  assert isinstance(config, config_lib.SearchConfig)
  return config.theta


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
  """All that the scripts ask of a task besides `Task`.

  Attributes:
    name: the task's name, as a space's `Definition` says it.
    metric: the name of what is reported, as `Task.metric`.
    metric_sign: 1 where a larger metric is better, else -1.
    create: (config, network, data) -> the task.
    load: (data set, folder or None, config) -> the data. Raises InputError.
    synthetic: (config, data shape, number of batches) -> random data.
    describe: (data, config) -> a line about them, and what is done to them.
    num_batches: (config) -> how many training batches the training split of
      `dataset` gives, and how many its validation split would.
    dataset: the data set if none is named.
    data_help: the help of `--dataset`: what it takes.
    suited: (data set, config) -> fields of `config.data` that suit it.
    keep: (data, folder) -> the data set's name, once data that a user has as
      Python values are written below the folder as `load` reads them. Raises
      InputError.
    error_name: what a table of results shows, less being better, with its unit.
    error_of: (metric) -> that number.
    has_validation: (config) -> whether some data is set aside for validation.
    of_data: fields of `config.data` that say what the data are, not how many
      are taken at a time: a training has them from the search.
    ignored: flags of the configuration that do nothing in this task.
    ignored_in_training: the same where one architecture is trained alone.
  """

  name: str
  metric: str
  metric_sign: int
  create: Callable[[config_lib.AnyConfig, Any, Data], Task]
  load: Callable[[str, str | None, config_lib.AnyConfig], Data]
  synthetic: Callable[[config_lib.AnyConfig, spaces.DataShape, int], Data]
  describe: Callable[[Data, config_lib.AnyConfig], str]
  num_batches: Callable[[config_lib.AnyConfig], tuple[int, int]]
  dataset: str
  data_help: str
  suited: Callable[[str, config_lib.AnyConfig], Mapping[str, Any]]
  keep: Callable[[Any, pathlib.Path], str]
  has_validation: Callable[[config_lib.AnyConfig], bool]
  error_name: str
  error_of: Callable[[float], float]
  of_data: tuple[str, ...] = ()
  ignored: tuple[str, ...] = ()
  ignored_in_training: tuple[str, ...] = ()
