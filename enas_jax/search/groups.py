"""Candidates trained alone, one on each device.

They do not depend on each other. Each device trains its own on whole batches,
takes its own branch of every conditional and waits for no other, so a
candidate ends with the numbers of one device.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import devices as devices_lib
from enas_jax.search import evaluate, precise, steps
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.tasks import base as tasks


def width(devices: devices_lib.Devices, num_arcs: int) -> int:
  """How many of some candidates are trained at a time: one, or one a device.

  Fewer candidates than devices are trained one after another, each on all
  devices, which split its batches.
  """
  return devices.count if 1 < devices.count <= num_arcs else 1


class Group:
  """As many candidates as there are devices, on their way.

  Attributes:
    states: leaves [n, ...], of which each device holds its own.
    arcs: the same of the candidates.
  """

  def __init__(self, states: state_lib.SearchState, arcs: types.Arc) -> None:
    """Holds what `Training.begin` has dealt out."""
    self.states, self.arcs = states, arcs


class Training:
  """The steps of one candidate on each device; compiles nothing yet."""

  def __init__(
    self,
    config: config_lib.SearchConfig,
    task: tasks.Task,
    train: tasks.Split,
    count: int,
    serve_signal: Callable[[], None],
    devices: devices_lib.Devices,
  ) -> None:
    """Prepares it.

    Args:
      config: with the options of `omega` that candidates are trained by.
      task: the task that is learnt.
      train: the training data, whole on each device.
      count: the steps of the learning rate's first descent.
      serve_signal: a function called between steps; may raise.
      devices: the devices, at least two.
    """
    self._train, self._devices = train, devices
    self._serve_signal = serve_signal
    self._per_epoch = task.steps_per_epoch(train)
    # Of one device: within `on_each` nothing is shared out.
    step = steps.make_arcs_step(config, task, count)

    def step_of(one: Any, train: tasks.Split) -> Any:
      state, metrics = step(one[0], train, one[1])
      return state, metrics["loss"]

    on_each = devices.on_each

    def step_each(
      states: state_lib.SearchState, arcs: types.Arc, train: tasks.Split
    ) -> Any:
      return on_each(step_of, (states, arcs), train)

    self._step = jax.jit(precise.precise(step_each, config), donate_argnums=0)
    next_epoch = lambda state: state_lib.next_epoch(state, task)
    self._next_epoch = jax.jit(lambda states: on_each(next_epoch, states))
    self._pick = jax.jit(
      lambda states, place: devices.whole(
        jax.tree.map(lambda leaf: leaf[place], states)
      )
    )

  def begin(
    self,
    states: Sequence[state_lib.SearchState],
    arcs: Sequence[types.Arc],
  ) -> Group:
    """Gives each device a candidate; the last one to those that are left.

    Args:
      states: of as many candidates as devices at most; each is whole on every
        device, or of NumPy arrays.
      arcs: the candidates, of Python ints.
    """
    places = [min(i, len(arcs) - 1) for i in range(self._devices.count)]
    arrays = [decisions.as_arrays(arc) for arc in arcs]
    # What the strategy knows is read by no step.
    bare = [state.replace(strategy=()) for state in states]
    dealt = self._devices.deal([(bare[i], arrays[i]) for i in places])
    return Group(*dealt)

  def go_on(self, group: Group, start: int, stop: int) -> None:
    """Takes the steps from one number up to another, of all of a group."""
    for index in range(start, stop):
      if index and index % self._per_epoch == 0:
        group.states = self._next_epoch(group.states)
      group.states, losses = self._step(group.states, group.arcs, self._train)
      # As in the loop of a search: few steps in flight.
      jax.block_until_ready(losses)
      self._serve_signal()

  def state_of(
    self, group: Group, place: int, like: state_lib.SearchState
  ) -> state_lib.SearchState:
    """One candidate's state, whole on each device.

    Args:
      group: the group.
      place: the candidate's number in it.
      like: the state that knows the strategy.
    """
    state = self._pick(group.states, jnp.int32(place))
    return state.replace(strategy=like.strategy)


def make_measure(
  task: tasks.Task,
  devices: devices_lib.Devices,
  serve_signal: Callable[[], None],
) -> Callable[[Group, tasks.Split], list[tuple[float, float]]]:
  """Builds (group, split) -> nats and metric of each of its candidates.

  As `evaluate.make_nats` and `evaluate.make_evaluate` find them of one.

  Args:
    task: the task.
    devices: the devices that hold the groups.
    serve_signal: a function called after each part of the split; may raise.
  """
  of_each = evaluate.make_totals_of_each(
    task, (task.nats_chunk, task.evaluate_chunk), devices, serve_signal
  )

  def measure(group: Group, split: tasks.Split) -> list[tuple[float, float]]:
    nats, scores = of_each(group.states, group.arcs, split)
    return [
      (total / count, task.finish_evaluation(*score))
      for (total, count), score in zip(nats, scores, strict=True)
    ]

  return measure
