"""Seconds and compilations of the steps of a search, on random data.

Times are medians after compilation. The step that serves every architecture is
timed against the same step compiled for one alone, which holds only that
child's weights. The two take turns: whatever slows the machine down for a while
then slows both.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import evaluate, optimizers, steps, train
from enas_jax.search import state as state_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions, registry
from enas_jax.strategies import registry as strategies
from enas_jax.strategies import uniform
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks

_COMPILED = "/jax/core/compile/backend_compile_duration"
_BATCHES = 8  # of the random data
_FUSED = 10  # theta steps in one program


class SearchTimer:
  """The compiled steps of one search.

  Attributes:
    config: the search's configuration.
    task: the task.
    data: the training split, random.
    compiled: what has been compiled since.
  """

  def __init__(
    self, config: config_lib.SearchConfig, space: str, vocabulary_size: int
  ) -> None:
    """Draws the data and initialises the state.

    Args:
      config: the search's configuration.
      space: the name of the search space.
      vocabulary_size: the words of the text, V.
    """
    self.config, self.compiled = config, Compilations()
    self.task, self.data = _make_task(config, space, vocabulary_size)
    self._alone: Any = _ChildAlone(self.task)
    strategy = strategies.create(config, self.task.space)
    self._state = state_lib.init_state(config, self.task, strategy, _BATCHES)
    self._omega_step = jax.jit(
      steps.make_arcs_step(config, self.task, _BATCHES), donate_argnums=0
    )
    theta_step = steps.make_theta_step(self.task, strategy)
    self._theta_step = lambda state, data: theta_step(state, data, data)

  def _fresh(self) -> state_lib.SearchState:
    # A copy, as steps take their state's memory; compiled but once.
    return jax.tree.map(lambda leaf: leaf.copy(), self._state)

  def _arcs(self, count: int) -> list[types.Arc]:
    space = self.task.space
    propose = evaluate.make_propose(uniform.Uniform(space))
    arcs = propose((), jax.random.key(1), count)
    return [space.validate(evaluate.nth(arcs, i)) for i in range(count)]

  def compilations(self, count: int) -> dict[str, Any]:
    """Programs compiled while architectures go through each phase.

    To be asked first, while nothing is compiled yet.

    Args:
      count: the number of architectures.
    """
    arcs = [decisions.as_arrays(arc) for arc in self._arcs(count)]
    state = self._fresh()
    counted, seconds = self.compiled.count, self.compiled.seconds
    begin = time.perf_counter()
    state, metrics = self._omega_step(state, self.data, arcs[0])
    jax.block_until_ready(metrics)
    first = time.perf_counter() - begin
    seconds = self.compiled.seconds - seconds
    for arc in arcs[1:]:
      state, _ = self._omega_step(state, self.data, arc)
    omega_count = self.compiled.count - counted
    counted = self.compiled.count
    for _ in range(count):
      state, metrics = self._theta_step(state, self.data)
    jax.block_until_ready(metrics)
    return {
      "compilation_arcs": count,
      "omega_compilations": omega_count,
      "theta_compilations": self.compiled.count - counted,
      "compile_seconds": seconds,
      "first_call_seconds": first,
    }

  def omega(self, count: int, rounds: int) -> dict[str, Any]:
    """The omega step: traced against static, taking turns.

    Args:
      count: the number of architectures.
      rounds: the number of timings of each.
    """
    arcs = self._arcs(count)
    runs: list[tuple[_Timed, _Timed]] = []
    shared = _Timed(self._omega_step, self._fresh())
    for arc in arcs:
      alone = _Timed(*self._static(arc))
      alone(self.data)
      runs.append((shared, alone))
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
      for arc, (one, other) in zip(arcs, runs, strict=True):
        times.append(
          (one(self.data, decisions.as_arrays(arc)), other(self.data))
        )
    both = np.asarray(times)
    return {
      "traced_seconds": float(np.median(both[:, 0])),
      "static_seconds": float(np.median(both[:, 1])),
      "traced_over_static": float(np.median(both[:, 0] / both[:, 1])),
      "arcs": count,
      "rounds": rounds,
    }

  def _static(
    self, arc: types.Arc
  ) -> tuple[Callable[..., Any], state_lib.SearchState]:
    """The step of one architecture of Python ints, and its state."""
    step = steps.make_arcs_step(self.config, self._alone, _BATCHES)
    fresh = self._fresh()
    child = jax.jit(lambda omega: self.task.child_params(omega, arc))
    optimizer = optimizers.make_omega_optimizer(self.config.omega, _BATCHES)
    omega = child(fresh.omega)
    state = fresh.replace(omega=omega, omega_opt=optimizer.init(omega))
    compiled = jax.jit(
      lambda state, data: step(state, data, arc), donate_argnums=0
    )
    return compiled, state

  def theta(self, rounds: int) -> dict[str, Any]:
    """The theta step in a loop on the host, against one fused loop.

    What the loop on the host takes longer is the host's share.

    Args:
      rounds: the number of timings.
    """
    step = self._theta_step

    def fused(state: state_lib.SearchState, data: tasks_base.Split) -> Any:
      return lax.scan(lambda s, _: step(s, data), state, None, length=_FUSED)

    def looped(state: state_lib.SearchState, data: tasks_base.Split) -> Any:
      for _ in range(_FUSED):
        state, metrics = step(state, data)
      return state, metrics

    runs = [
      _Timed(jax.jit(fused, donate_argnums=0), self._fresh()),
      _Timed(looped, self._fresh()),
    ]
    for run in runs:
      run(self.data)
    times = np.asarray(
      [[run(self.data) for run in runs] for _ in range(rounds)]
    )
    share = 1.0 - np.median(times[:, 0] / times[:, 1])
    return {
      "theta_seconds": float(np.median(times[:, 1])) / _FUSED,
      "theta_host_share": float(max(share, 0.0)),
    }


def time_training(
  config: config_lib.TrainConfig,
  space: str,
  arc: types.Arc,
  vocabulary_size: int,
  rounds: int,
) -> dict[str, Any]:
  """Seconds of a step of the training of one architecture.

  Args:
    config: the training's configuration.
    space: the name of the search space.
    arc: the architecture, of Python ints.
    vocabulary_size: the words of the text, V.
    rounds: the number of timings.

  Returns:
    "params", the number of weights; "train_seconds", the median of a step;
    "compile_seconds"; "first_call_seconds", with its compilation.
  """
  task, data = _make_task(config, space, vocabulary_size, arc)
  state = state_lib.init_training(config, task, _BATCHES)
  params = train.count_params(state.omega)
  timed = _Timed(steps.make_train_step(config, task, _BATCHES), state)
  compiled = Compilations()
  first = timed(data)
  seconds = [timed(data) for _ in range(rounds)]
  return {
    "params": params,
    "train_seconds": float(np.median(seconds)),
    "compile_seconds": compiled.seconds,
    "first_call_seconds": first,
  }


class Compilations:
  """Counts programs that XLA compiles, from when it is made.

  Attributes:
    count: the number of programs.
    seconds: the time that their compilation took.
  """

  def __init__(self) -> None:
    self.count, self.seconds = 0, 0.0
    jax.monitoring.register_event_duration_secs_listener(self._note)

  def _note(self, event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED:
      self.count += 1
      self.seconds += duration_secs


def peak_rss_mb() -> float:
  """Peak memory of this process, as Linux counts it."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


class _Timed:
  """A step that keeps its own state; a call returns its seconds."""

  def __init__(self, step: Callable[..., Any], state: Any) -> None:
    self._step, self._state = step, state

  def __call__(self, *args: Any) -> float:
    begin = time.perf_counter()
    self._state, metrics = self._step(self._state, *args)
    jax.block_until_ready(metrics)
    return time.perf_counter() - begin


class _ChildAlone:
  """The same task where omega is one child's own weights."""

  def __init__(self, task: tasks_base.Task) -> None:
    self._task = task

  def __getattr__(self, name: str) -> Any:
    return getattr(self._task, name)

  def child_params(self, omega: types.Omega, arc: types.Arc) -> types.Omega:
    return omega

  def add_to_child(
    self, omega: types.Omega, arc: types.Arc, update: types.Omega
  ) -> types.Omega:
    return jax.tree.map(lambda w, u: w + u, omega, update)


def _make_task(
  config: config_lib.SearchConfig | config_lib.TrainConfig,
  space: str,
  vocabulary_size: int,
  arc: types.Arc | None = None,
) -> tuple[tasks_base.Task, tasks_base.Split]:
  """A task, of one architecture if it is given, and random data for it."""
  definition = registry.get(space)
  network = definition.network
  if arc is not None:
    network = definition.fixed(config.child, arc)
  side = getattr(config.data, "image_size", 0) or 32
  shape = spaces.DataShape(vocabulary_size, (side, side, 3))
  task_definition = tasks.get(definition.task)
  data = task_definition.synthetic(config, shape, _BATCHES)
  task = task_definition.create(config, network, data)
  return task, task.splits(data).train
