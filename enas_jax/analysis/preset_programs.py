"""The programs that a preset runs: steps, evaluation and training alone.

A `Program` is compiled for a chip that is not there, by the shapes of its
arguments, or run where there is one. Data have the sizes of the data set that
the task names by default, and random contents.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import devices as devices_lib
from enas_jax.search import evaluate, steps, theta_steps
from enas_jax.search import state as state_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions, registry
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks

NAMES = ("omega step", "theta step", "evaluation", "training alone")


@dataclasses.dataclass(frozen=True)
class Program:
  """One compiled function of a search or a training.

  Attributes:
    name: one of `NAMES`.
    function: what `jax.jit` returned.
    build: () -> its arguments, on the device.
    config: the configuration of the search or of the training.
    batch_size: examples of a minibatch.
    runs: how often the whole preset runs it.
    replaces: whether the first argument is donated, and the first result takes
      its place.
    devices: the devices that share the work.
  """

  name: str
  function: Any
  build: Callable[[], tuple[Any, ...]]
  config: config_lib.AnyConfig
  batch_size: int
  runs: int
  replaces: bool = True
  devices: devices_lib.Devices = devices_lib.ONE

  def shapes(self) -> tuple[Any, ...]:
    """The arguments as `jax.ShapeDtypeStruct`s."""
    return jax.eval_shape(self.build)


def of_search(
  config: config_lib.SearchConfig,
  space: str,
  vocabulary_size: int,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> Iterator[Program]:
  """The programs of a search.

  Args:
    config: the search's configuration.
    space: the name of the search space.
    vocabulary_size: the words of the text, V.
    devices: the devices that share the work.

  Yields:
    The omega step, the theta step if the strategy learns, and the evaluation
    of a chunk, which a score on a minibatch is counted as, too.
  """
  network = registry.get(space).network
  task, train, valid = _setting(config, space, network, vocabulary_size)
  strategy = strategies.create(config, task.space)
  count, run = task.steps_per_epoch(train), config.run
  # A function: where the shapes are enough, no weight is drawn.
  state = lambda: state_lib.init_state(config, task, strategy, count)
  batch_size, epochs = config.data.batch_size, run.num_epochs
  yield Program(
    "omega step",
    steps.make_omega_step(config, task, strategy, count, devices),
    lambda: (state(), train),
    config,
    batch_size,
    epochs * count,
    devices=devices,
  )
  if strategy.learns:
    yield Program(
      "theta step",
      theta_steps.make_theta_step(task, strategy, devices),
      lambda: (state(), valid, train),
      config,
      _scored_together(task),
      (epochs - config.warmup_epochs) * config.theta.steps,
      devices=devices,
    )

  def evaluated() -> tuple[Any, ...]:
    begun = state()
    arcs = task.space.sample_uniform(jax.random.key(0), 1)
    arc, carry = decisions.nth(arcs, 0), task.start_split(begun.carry)
    return begun.omega, arc, valid, jnp.int32(0), carry

  chunks = task.evaluation_chunks(valid)
  # After an epoch the policy's samples are evaluated whole, and scored beside
  # as many uniform ones. The derive step scores both, too, and evaluates what
  # it keeps; the test split, of another size, is left out.
  each_epoch = run.eval_arcs * (chunks + 2)
  derived = 2 * run.derive_arcs * run.derive_batches + chunks
  yield Program(
    "evaluation",
    evaluate.make_chunk(task),
    evaluated,
    config,
    _scored_together(task),
    epochs * each_epoch + derived,
    replaces=False,
    devices=devices,
  )


def of_training(
  config: config_lib.TrainConfig,
  space: str,
  arc: types.Arc,
  vocabulary_size: int,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> Program:
  """The step of the training of one architecture.

  Args:
    config: the training's configuration.
    space: the name of the search space.
    arc: the architecture, of Python ints.
    vocabulary_size: the words of the text, V.
    devices: the devices that share the work.
  """
  network = registry.get(space).fixed(config.child, arc)
  task, train, _ = _setting(config, space, network, vocabulary_size)
  count = task.steps_per_epoch(train)
  return Program(
    "training alone",
    steps.make_train_step(config, task, count, devices),
    lambda: (state_lib.init_training(config, task, count), train),
    config,
    config.data.batch_size,
    config.run.num_epochs * count,
    devices=devices,
  )


def _scored_together(task: tasks_base.Task) -> int:
  """Examples of a minibatch that a score is taken on."""
  # The first one is what scores are taken together of: images, or streams.
  return next(iter(task.scoring().values()))


def _setting(
  config: config_lib.AnyConfig,
  space: str,
  network: spaces.Network,
  vocabulary_size: int,
) -> tuple[tasks_base.Task, tasks_base.Split, tasks_base.Split]:
  """A task, and random training and validation data for it."""
  side = getattr(config.data, "image_size", 0) or 32  # CIFAR-10's
  shape = spaces.DataShape(vocabulary_size, (side, side, 3))
  definition = tasks.get(registry.get(space).task)
  train_batches, valid_batches = definition.num_batches(config)
  data = definition.synthetic(config, shape, train_batches)
  task = definition.create(config, network, data)
  held_out = definition.synthetic(config, shape, max(valid_batches, 1))
  # Of the second set the training split, whose size is the one asked for,
  # stands for validation.
  return task, task.splits(data).train, task.splits(held_out).train
