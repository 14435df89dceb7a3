"""Candidates trained alone before one is kept (Section 2.2).

The paper says that all candidates might be trained from scratch and the best on
validation data be chosen, and leaves it for its cost. A short training tells
some of it: from fresh weights, perhaps in a deeper network than the search
could afford, or from the weights that they shared.

With `tune_halvings` the steps are spent by successive halving (Jamieson &
Talwalkar, 2016): all candidates are trained for a share of them, the better
half goes on for twice as many, and so on.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import devices as devices_lib
from enas_jax.search import evaluate, groups, optimizers, precise, steps
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.strategies import registry
from enas_jax.tasks import base as tasks

# (state, arc, first step, the step before which it stops) -> state.
Train = Callable[
  [state_lib.SearchState, types.Arc, int, int], state_lib.SearchState
]
# As `changed` returns them.
Alone = tuple[config_lib.SearchConfig, tasks.Task, tasks.Split, tasks.Split]

# (up to n architectures, what waits of each on the host or None, first step,
# the step before which they stop) -> of each: nats and metric; () -> its state.
_Trial = Callable[
  [list[types.Arc], list[state_lib.SearchState | None], int, int],
  list[tuple[tuple[float, float], Callable[[], state_lib.SearchState]]],
]

# Of architectures of Python ints and how many steps they were trained: nats and
# metric after that.
Scores = Mapping[tuple[types.Arc, int], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Tuned:
  """What training one candidate alone made of it.

  Attributes:
    arc: the architecture, of Python ints.
    rank: its place among the candidates by reward, from 1.
    nats: cross-entropy on the whole validation split; smaller is better.
    valid: perplexity or accuracy there.
    steps: training steps that it has had, in all.
  """

  arc: types.Arc
  rank: int
  nats: float
  valid: float
  steps: int


class Round(NamedTuple):
  """A round of successive halving.

  Attributes:
    num_arcs: candidates that are trained in it.
    start: steps that each has had before.
    stop: steps that each has had after it.
  """

  num_arcs: int
  start: int
  stop: int


def plan(num_arcs: int, num_steps: int, halvings: int) -> list[Round]:
  """How `num_arcs * num_steps` training steps are spent.

  A round trains half the candidates of the one before, rounded up, for twice
  as many steps. In all these are `num_arcs * num_steps` steps, if `num_arcs` is
  a multiple of 2^halvings and `num_steps` of halvings + 1. Else they are fewer,
  as every number of steps is a whole one.

  Args:
    num_arcs: candidates, at least 1.
    num_steps: steps of each if none were dropped.
    halvings: how often the worse half is dropped; as often as leaves one
      candidate, if that is less.
  """
  halvings = min(halvings, num_arcs.bit_length() - 1)
  counts = [-(-num_arcs // 2**number) for number in range(halvings + 1)]
  shares = sum(count * 2**number for number, count in enumerate(counts))
  first = num_arcs * num_steps // shares
  # 1 + 2 + 4 + ... of the first round's steps.
  return [
    Round(count, first * (2**number - 1), first * (2 ** (number + 1) - 1))
    for number, count in enumerate(counts)
  ]


def changed(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  train: tasks.Split,
  valid: tasks.Split,
) -> Alone:
  """The same four, as candidates are trained: with `tune_changes`, if at all.

  Raises:
    InputError: if the task or its data cannot be changed so.
  """
  if not (config.run.tune_arcs and config.run.tune_changes):
    return config, task, train, valid
  alone = config.alone()
  return alone, *task.changed(alone, train, valid)


def tune_best(
  alone: Alone,
  state: state_lib.SearchState,
  arcs: list[types.Arc],
  live: Callable[[types.Arc], types.Arc],
  serve_signal: Callable[[], None],
  tell: Callable[[Tuned], None],
  done: Scores,
  devices: devices_lib.Devices = devices_lib.ONE,
  handicaps: Mapping[types.Arc, float] | None = None,
) -> list[Tuned]:
  """Trains the first `tune_arcs` different ones of arcs, each alone.

  Between rounds the weights of candidates that may go on wait on the host. One
  whose weights are not there, as the run was stopped since, is trained again
  from its start.

  Args:
    alone: the configuration, the task, its training data and its whole
      validation data, as `changed` returns them.
    state: the search's state, at its end.
    arcs: architectures of Python ints, best first; one may come twice.
    live: an architecture -> the same without its dead parts. Of those that
      compute the same the first one is trained.
    serve_signal: a function called between steps; may raise.
    tell: a function called with each when it is done, once for each round.
    done: nats and metric of those that were trained before the run was stopped.
    devices: the devices. Of at least as many candidates as there are devices
      each device trains one at a time; of fewer each batch is split.
    handicaps: what is added to an architecture's cross-entropy where it is
      compared with others', nats; None: nothing.

  Returns:
    The same architectures: those of the last round first, the best by
    validation before the others, then those that were dropped last, and so on.
  """
  config, task, *splits = alone
  train, valid = devices.put(splits)
  run = config.run
  if run.tune_from == "scratch":
    strategy = registry.create(config, task.space)
    state = state_lib.init_state(
      config, task, strategy, task.steps_per_epoch(train)
    )
  first: dict[types.Arc, tuple[types.Arc, int]] = {}
  for rank, arc in enumerate(arcs, start=1):
    first.setdefault(live(arc), (arc, rank))
  alive = list(first.values())[: run.tune_arcs]
  rounds = plan(len(alive), run.tune_steps, run.tune_halvings)
  together = groups.width(devices, len(alive))
  make_trial = _make_trial if together == 1 else _make_group_trial
  run_trial = make_trial(
    (config, task, train, valid), state, rounds[0].stop, serve_signal, devices
  )
  waiting: dict[types.Arc, state_lib.SearchState] = {}
  dropped: list[Tuned] = []
  for number, (_, start, stop) in enumerate(rounds):
    next_count = rounds[number + 1].num_arcs if number + 1 < len(rounds) else 0
    tuned = {
      arc: Tuned(arc, rank, *done[arc, stop], stop)
      for arc, rank in alive
      if (arc, stop) in done
    }
    left = [one for one in alive if one[0] not in tuned]
    for some in _parts(left, waiting, together):
      held = [waiting.pop(arc, None) for arc, _ in some]
      begin = 0 if held[0] is None else start
      ended = run_trial([arc for arc, _ in some], held, begin, stop)
      for (arc, rank), (scores, after) in zip(some, ended, strict=True):
        tuned[arc] = Tuned(arc, rank, *scores, stop)
        tell(tuned[arc])
        if next_count:
          waiting[arc] = _to_host(after())
          # One that is not among the best so far will not go on.
          for other in _in_order(tuned.values(), handicaps)[next_count:]:
            waiting.pop(other.arc, None)
    ordered = _in_order([tuned[arc] for arc, _ in alive], handicaps)
    dropped = ordered[next_count:] + dropped
    alive = [(one.arc, one.rank) for one in ordered[:next_count]]
  return dropped


def _parts(
  left: list[tuple[types.Arc, int]], waiting: Iterable[types.Arc], size: int
) -> Iterator[list[tuple[types.Arc, int]]]:
  """Candidates that are trained at a time, all from the same step on."""
  known = set(waiting)
  for begun in (True, False):
    some = [one for one in left if (one[0] in known) == begun]
    for first in range(0, len(some), size):
      yield some[first : first + size]


def _make_trial(
  alone: Alone,
  state: state_lib.SearchState,
  count: int,
  serve_signal: Callable[[], None],
  devices: devices_lib.Devices,
) -> _Trial:
  """Trains and measures one candidate at a time, each on all devices.

  Args:
    alone: as `tune_best` takes it; the data whole on each device.
    state: the state that a candidate begins with.
    count: the steps of the learning rate's first descent.
    serve_signal: a function called between steps; may raise.
    devices: the devices.
  """
  config, task, train, valid = alone
  begin, go_on = _make_training(
    config, task, train, count, serve_signal, devices
  )
  nats = evaluate.make_nats(task, serve_signal)
  measure = evaluate.make_evaluate(task, serve_signal)

  def run(arcs: Any, held: Any, start: int, stop: int) -> Any:
    (arc,), (weights,) = arcs, held
    before = (
      begin(state)
      if weights is None
      else devices.put(_from_host(weights, state))
    )
    after = go_on(before, arc, start, stop)
    scores = nats(after, arc, valid), measure(after, arc, valid)
    return [(scores, lambda: after)]

  return run


def _make_group_trial(
  alone: Alone,
  state: state_lib.SearchState,
  count: int,
  serve_signal: Callable[[], None],
  devices: devices_lib.Devices,
) -> _Trial:
  """The same of as many candidates at a time as there are devices."""
  config, task, train, valid = alone
  begin = _make_training(config, task, train, count, serve_signal, devices)[0]
  training = groups.Training(
    _annealed(config), task, train, count, serve_signal, devices
  )
  measure = groups.make_measure(task, devices, serve_signal)

  def run(arcs: Any, held: Any, start: int, stop: int) -> Any:
    fresh = begin(state) if held[0] is None else None
    befores = [fresh or one.replace(key=state.key) for one in held]
    group = training.begin(befores, arcs)
    training.go_on(group, start, stop)
    scores = measure(group, valid)[: len(arcs)]
    return [
      (score, functools.partial(training.state_of, group, place, state))
      for place, score in enumerate(scores)
    ]

  return run


def _in_order(
  tuned: Iterable[Tuned], handicaps: Mapping[types.Arc, float] | None
) -> list[Tuned]:
  """The best first; weights that overflowed never win; the sort is stable."""
  more = handicaps or {}
  return sorted(
    tuned,
    key=lambda one: (
      not one.nats < jnp.inf,
      one.nats + more.get(one.arc, 0.0),
    ),
  )


def _to_host(state: state_lib.SearchState) -> state_lib.SearchState:
  """The part of a state that training has changed, as NumPy arrays."""
  return jax.device_get(state.replace(key=None, strategy=()))


def _from_host(
  held: state_lib.SearchState, state: state_lib.SearchState
) -> state_lib.SearchState:
  """What `_to_host` holds, with all else as it is in `state`."""
  whole = held.replace(key=state.key, strategy=state.strategy)
  return jax.tree.map(jnp.copy, whole)  # the step donates its buffers


def make_tune_all(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  train: tasks.Split,
  serve_signal: Callable[[], None],
  num_steps: int,
  devices: devices_lib.Devices,
) -> Callable[
  [state_lib.SearchState, list[types.Arc]], Iterator[state_lib.SearchState]
]:
  """Builds (state, arcs) -> the states after training each of them alone.

  Each begins with `state.omega`, which stays as it is, and takes omega steps of
  the search, the learning rate falling by a cosine between `tune_rate` times
  the search's first and least one. Every arc meets the same batches, and one
  compiled program serves all. Of at least as many as there are devices each
  device trains one at a time.

  Args:
    config: the search's configuration.
    task: the task that is learnt.
    train: the training data.
    serve_signal: a function called between steps; may raise.
    num_steps: the number of steps.
    devices: the devices; of fewer arcs each batch is split over them.
  """
  given = config, task, train, num_steps, serve_signal, devices
  begin, go_on = _make_training(*given)
  training = groups.Training(_annealed(config), *given[1:])

  def train_all(
    state: state_lib.SearchState, arcs: list[types.Arc]
  ) -> Iterator[state_lib.SearchState]:
    size = groups.width(devices, len(arcs))
    if size == 1:
      for arc in arcs:
        yield go_on(begin(state), arc, 0, num_steps)
      return
    for first in range(0, len(arcs), size):
      some = arcs[first : first + size]
      group = training.begin([begin(state)] * len(some), some)
      training.go_on(group, 0, num_steps)
      for place in range(len(some)):
        yield training.state_of(group, place, state)

  return train_all


def _make_training(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  train: tasks.Split,
  count: int,
  serve_signal: Callable[[], None],
  devices: devices_lib.Devices = devices_lib.ONE,
) -> tuple[Callable[[state_lib.SearchState], state_lib.SearchState], Train]:
  """Builds the start of a training, and a part of it; see `make_tune_all`.

  The learning rate's first descent takes `count` steps. With halvings, the next
  takes twice as many, and so on (Loshchilov & Hutter, 2017): each begins and
  ends with a round, so that a round compares what has met the least rate.
  """
  per_epoch = task.steps_per_epoch(train)
  config = _annealed(config)
  # To the schedule an epoch has `count` steps: it restarts after one of them.
  optimizer = optimizers.make_omega_optimizer(config.omega, count)
  step = jax.jit(
    precise.precise(steps.make_arcs_step(config, task, count, devices), config),
    donate_argnums=0,
  )

  def begin(state: state_lib.SearchState) -> state_lib.SearchState:
    state = jax.tree.map(jnp.copy, state)  # the step donates its buffers
    state = state.replace(
      omega_opt=optimizer.init(state.omega),
      omega_step=jnp.int32(0),
      total_steps=jnp.int32(0),
    )
    return devices.put(state)

  def go_on(
    state: state_lib.SearchState, arc: types.Arc, start: int, stop: int
  ) -> state_lib.SearchState:
    arc = decisions.as_arrays(arc)
    for index in range(start, stop):
      if index and index % per_epoch == 0:
        state = devices.put(state_lib.next_epoch(state, task))
      state, metrics = step(state, train, arc)
      # As in the loop of a search: few steps in flight.
      jax.block_until_ready(metrics)
      serve_signal()
    return state

  return begin, go_on


def _annealed(config: config_lib.SearchConfig) -> config_lib.SearchConfig:
  """The configuration whose steps train one candidate; see `_make_training`."""
  rate, omega = config.run.tune_rate, config.omega
  omega = dataclasses.replace(
    omega,
    num_arcs=1,
    fair_ops=False,
    op_weights=(),
    schedule="cosine",
    learning_rate=rate * omega.learning_rate,
    min_learning_rate=rate * omega.min_learning_rate,
    restart_epochs=1,  # of as many steps as there are
    restart_factor=2 if config.run.tune_halvings else 1,
  )
  return dataclasses.replace(config, omega=omega)
