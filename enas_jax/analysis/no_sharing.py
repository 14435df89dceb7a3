"""Search without shared weights: every sample is trained alone (Section 3.3).

What ENAS does away with (Zoph & Le, 2017): the controller samples an
architecture, which is trained from fresh weights; what it then reaches on
validation data teaches the controller. Here a training is as short as that of a
candidate in `search.tune`. Random search with as many trainings stands
beside it.
"""

import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import devices as devices_lib
from enas_jax.search import evaluate, loop, theta_steps, tune
from enas_jax.search import folder as folder_lib
from enas_jax.search import state as state_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions
from enas_jax.strategies import registry, reinforce, uniform
from enas_jax.tasks import base as tasks


class Sample(NamedTuple):
  """An architecture, and what it reached alone; NaN if its training diverged.

  Attributes:
    arc: the architecture, of Python ints.
    reward: its reward on validation minibatches, as `theta.reward` names it.
    valid: the task's metric on the whole validation split.
    test: the same on the test split; no search may look at it.
    seconds: the seconds that its training and its scores took; of those that
      are trained at a time the first has the training of all.
  """

  arc: types.Arc
  reward: float
  valid: float
  test: float
  seconds: float


# (architectures of Python ints, number of the first sample) -> what each of
# them reached, one after another.
Earn = Callable[[Sequence[types.Arc], int], Iterable[Sample]]


class Trainer:
  """Trains architectures alone, all from the same weights on the same batches.

  One compiled program serves all of them.
  """

  def __init__(
    self,
    config: config_lib.SearchConfig,
    task: tasks.Task,
    data: tasks.Splits,
    stop: Callable[[], int],
    devices: devices_lib.Devices = devices_lib.ONE,
  ) -> None:
    """Draws the weights.

    Args:
      config: a search's configuration; of its `run` the seed, `tune_steps`,
        `tune_rate`, `tune_changes` and `derive_batches` count.
      task: the search's task.
      data: the three splits.
      stop: () -> the number of a signal that asks for the end, or 0.
      devices: the devices. Of at least as many architectures as there are
        devices each device trains one at a time; of fewer each batch is split.

    Raises:
      InputError: if the configuration does not allow it.
    """
    # Without a candidate, `tune_arcs`, `changed` would leave everything as it
    # is. Without halvings the rate falls once.
    config = config_lib.override(
      config, "run", tune_from="scratch", tune_arcs=1, tune_halvings=0
    )
    # `tune_changes` may ask for smaller images, in all three splits.
    *_, test = tune.changed(config, task, data.train, data.test)
    config, task, *splits = tune.changed(config, task, data.train, data.valid)
    train, self._valid, self._test = devices.put((*splits, test))
    fresh = state_lib.init_state(
      config,
      task,
      registry.create(config, task.space),
      task.steps_per_epoch(train),
    )
    self._fresh = devices.put(fresh)
    self._stop, self._batches = stop, config.run.derive_batches
    self._train_all = tune.make_tune_all(
      config, task, train, self._serve_signal, config.run.tune_steps, devices
    )
    self._score = evaluate.make_score(task, serve_signal=self._serve_signal)
    self._evaluate = evaluate.make_evaluate(task, self._serve_signal)

  def _serve_signal(self) -> None:
    if signum := self._stop():
      raise loop.Interrupted(signum)

  def __call__(self, arcs: Sequence[types.Arc], first: int) -> Iterator[Sample]:
    """Trains some.

    Args:
      arcs: architectures of Python ints.
      first: the number of the first one's sample; numbers draw the minibatches
        of rewards.

    Raises:
      Interrupted: after a signal.
    """
    before = time.monotonic()
    trained = self._train_all(self._fresh, list(arcs))
    for number, after in enumerate(trained, start=first):
      arc = arcs[number - first]
      stacked = jax.tree.map(lambda leaf: leaf[None], decisions.as_arrays(arc))
      key = state_lib.step_key(
        self._fresh, state_lib.DERIVE_KEYS, jnp.int32(number)
      )
      (reward,) = self._score(after, stacked, self._valid, key, self._batches)
      valid, test = (
        self._evaluate(after, arc, split) for split in (self._valid, self._test)
      )
      yield Sample(arc, reward, valid, test, time.monotonic() - before)
      before = time.monotonic()


class Ledger:
  """A file with a line for each sample, so that a stop costs one training."""

  def __init__(
    self,
    path: pathlib.Path,
    space: spaces.Space,
    earn: Earn,
    tell: Callable[[int, Sample], None] = lambda number, sample: None,
  ) -> None:
    """Reads what an earlier call has written.

    Args:
      path: the file.
      space: the space of the architectures.
      earn: the function that trains what the file lacks.
      tell: a function called with each sample that was trained.

    Raises:
      InputError: if the file is damaged.
    """
    self._path, self._space, self._earn, self._tell = path, space, earn, tell
    self._rows: list[dict[str, Any]] = []
    self._advice = "move it away, and its architectures are trained again"
    if path.exists():
      self._rows = folder_lib.read_rows(path, self._advice)
    self._samples = [self._read(row) for row in self._rows]

  def __call__(self, arcs: Sequence[types.Arc], first: int) -> list[Sample]:
    """What the file says, or what training says, which it then keeps.

    Args:
      arcs: architectures of Python ints.
      first: the number of the first one's sample.

    Raises:
      InputError: if the file has another architecture in a place of them.
    """
    place = slice(first, first + len(arcs))
    known = self._samples[place]
    for number, sample in enumerate(known, start=first):
      if sample.arc != arcs[number - first]:
        raise types.InputError(
          f"{self._path} is of another search: its sample {number} is another"
          f" architecture; {self._advice}."
        )
    if left := arcs[len(known) :]:
      for sample in self._earn(left, first + len(known)):
        self._keep(sample)
    return self._samples[place]

  def _keep(self, sample: Sample) -> None:
    row = sample._asdict() | {"arc": self._space.to_dict(sample.arc)}
    # The whole file is written anew: however a call ends, the file is complete.
    self._rows.append(row)
    self._samples.append(sample)
    folder_lib.write_rows(self._path, self._rows)
    self._tell(len(self._samples) - 1, sample)

  def _read(self, row: Mapping[str, Any]) -> Sample:
    names = ("reward", "valid", "test", "seconds")
    try:
      arc = self._space.from_dict(row["arc"])
      # A file has null for what was no number.
      values = [math.nan if row[n] is None else float(row[n]) for n in names]
    except (ValueError, TypeError, KeyError):
      raise types.InputError(
        f"{self._path} is damaged: {self._advice}."
      ) from None
    return Sample(arc, *values)


def check_budget(config: config_lib.SearchConfig, num_samples: int) -> None:
  """Raises InputError unless whole theta steps can spend the samples."""
  num_arcs = config.theta.num_arcs
  if num_samples < num_arcs or num_samples % num_arcs:
    raise types.InputError(
      "--num_samples must be a multiple of theta_num_arcs,"
      f" {num_arcs}, got {num_samples}."
    )


def controller_search(
  config: config_lib.SearchConfig,
  space: spaces.Space,
  num_samples: int,
  earn: Earn,
) -> list[Sample]:
  """REINFORCE on what each sample reaches alone (Zoph & Le, 2017).

  Nothing is kept but the samples: the same rewards make the same controller, so
  a search goes on by repeating what it has learnt.

  Args:
    config: the search's seed, theta part, and strategy, REINFORCE.
    space: the search space.
    num_samples: the budget, whole theta steps; an architecture that is sampled
      again is trained again.
    earn: the function that says what a sample is worth.

  Raises:
    InputError: if the budget is not a whole number of theta steps.
  """
  check_budget(config, num_samples)
  assert isinstance(config.strategy, config_lib.ReinforceConfig)
  num_arcs = config.theta.num_arcs
  strategy = reinforce.Reinforce(space, config.strategy, num_arcs)
  ask, tell = theta_steps.make_ask_and_tell(strategy)
  # As the first epoch of a search has them.
  _, key_theta, key = jax.random.split(jax.random.key(config.run.seed), 3)
  key_run = jax.random.fold_in(jax.random.fold_in(key, state_lib.THETA_KEYS), 0)
  state = state_lib.init_strategy(strategy, key_theta)
  samples: list[Sample] = []
  for step in range(num_samples // num_arcs):
    asked = ask(state, jax.random.fold_in(key_run, step))
    # [M, ...] from the controller.
    samples += earn(_validated(space, asked.arc), len(samples))
    # One whose training diverged is NaN, from which REINFORCE learns nothing.
    rewards = [sample.reward for sample in samples[-num_arcs:]]
    state, _ = tell(state, asked, jnp.asarray(rewards, jnp.float32))
  return samples


def random_search(
  seed: int, space: spaces.Space, num_samples: int, earn: Earn
) -> list[Sample]:
  """Uniform samples, as many trainings, and nothing learnt.

  Args:
    seed: the seed of the draw; fewer samples are the first of more.
    space: the search space.
    num_samples: the budget.
    earn: the function that says what a sample is worth.
  """
  _, _, key = jax.random.split(jax.random.key(seed), 3)
  key_run = jax.random.fold_in(key, state_lib.ARC_KEYS)
  propose = evaluate.make_propose(uniform.Uniform(space))
  arcs: list[types.Arc] = []
  for number in range(num_samples):
    drawn = propose((), jax.random.fold_in(key_run, number), 1)
    arcs += _validated(space, drawn)
  return list(earn(arcs, 0))


def best_of(samples: list[Sample], metric_sign: int) -> Sample:
  """The sample that is best on the validation split; of equals the first.

  Args:
    samples: the samples, at least one.
    metric_sign: 1 where a larger metric is better, else -1.
  """
  worth = lambda sample: (
    metric_sign * sample.valid if math.isfinite(sample.valid) else -math.inf
  )
  return max(samples, key=worth)


def _validated(space: spaces.Space, arcs: types.Arc) -> list[types.Arc]:
  """Arcs with leaves [S, ...] as S architectures of Python ints."""
  host = jax.device_get(arcs)
  count = jax.tree.leaves(host)[0].shape[0]
  return [space.validate(decisions.nth(host, i)) for i in range(count)]
