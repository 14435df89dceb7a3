"""Seconds and compilations of the steps of a search, on random data.

Times are medians after compilation. The step that serves every architecture is
timed against the same step compiled for one alone, which holds only that
child's weights. The two take turns: whatever slows the machine down for a while
then slows both.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import stopwatch
from enas_jax.search import (
  evaluate,
  optimizers,
  precise,
  steps,
  theta_steps,
  train,
)
from enas_jax.search import state as state_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions, describe, registry
from enas_jax.strategies import registry as strategies
from enas_jax.strategies import uniform
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks

_BATCHES = 8  # of the random data
_FUSED = 10  # theta steps in one program


Peers = Sequence[Callable[[], stopwatch.Seconds]]  # by architecture


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
    self.config, self.compiled = config, stopwatch.Compilations()
    self.task, splits = make_task(config, space, vocabulary_size)
    self.data = splits.train
    self._space, self._shape = space, _data_shape(config, vocabulary_size)
    self._alone: Any = _ChildAlone(self.task)
    strategy = strategies.create(config, self.task.space)
    self._start: dict[str, float] = {}
    self._state = self._first(
      "init",
      lambda: state_lib.init_state(config, self.task, strategy, _BATCHES),
    )
    # At the precision that a search has its own steps compiled at.
    step = steps.make_arcs_step(config, self.task, _BATCHES)
    self._omega_step = jax.jit(precise.precise(step, config), donate_argnums=0)
    theta_step = theta_steps.make_theta_step(self.task, strategy)
    # Random data are alike: the training split does for validation, too.
    self._theta_step = lambda state, data: theta_step(state, data, data)

  def _first(self, part: str, run: Callable[[], Any]) -> Any:
    """The result of a first call; notes what its compilation took."""
    compiled, cpu = self.compiled.seconds, time.process_time()
    result = jax.block_until_ready(run())
    self._start |= {
      f"{part}_compile_seconds": self.compiled.seconds - compiled,
      # Tracing is among it, and the one execution.
      f"{part}_first_cpu_seconds": time.process_time() - cpu,
    }
    return result

  def _fresh(self) -> state_lib.SearchState:
    # A copy, as steps take their state's memory; compiled but once.
    return jax.tree.map(lambda leaf: leaf.copy(), self._state)

  def child(self, arc: types.Arc) -> types.Omega:
    """The weights of one architecture of Python ints, as the search starts."""
    child: types.Omega = jax.jit(
      lambda omega: self.task.child_params(omega, arc)
    )(self._state.omega)
    return child

  def batches(self) -> tuple[tasks_base.Batch, tasks_base.Batch]:
    """A batch of an omega step and one of a reward."""
    key, carry = jax.random.key(0), self._state.carry

    def draw() -> tuple[tasks_base.Batch, tasks_base.Batch]:
      batch = self.task.train_batch(self.data, carry, jnp.int32(0), key)
      return batch, self.task.reward_batch(self.data, key)

    return jax.jit(draw)()

  def multiply_adds(self, arc: types.Arc) -> int:
    """Those of the forward pass of an omega step.

    Args:
      arc: the architecture, of Python ints.
    """
    targets = jax.eval_shape(self.batches)[0][1]
    record = describe.describe(self._space, self.config.child, arc, self._shape)
    return int(targets.size) * int(record["multiply_adds"])

  def arcs(self, count: int) -> list[types.Arc]:
    """Architectures of Python ints, the same each time."""
    space = self.task.space
    propose = evaluate.make_propose(uniform.Uniform(space))
    arcs = propose((), jax.random.key(1), count)
    return [space.validate(decisions.nth(arcs, i)) for i in range(count)]

  def compilations(self, count: int) -> dict[str, Any]:
    """Programs compiled while architectures go through each phase.

    To be asked first, while nothing is compiled yet.

    Args:
      count: the number of architectures.
    """
    arcs = [decisions.as_arrays(arc) for arc in self.arcs(count)]
    state = self._fresh()
    counted = self.compiled.count
    begin = time.perf_counter()
    state, _ = self._first(
      "omega", lambda: self._omega_step(state, self.data, arcs[0])
    )
    first = time.perf_counter() - begin
    for arc in arcs[1:]:
      state, _ = self._omega_step(state, self.data, arc)
    omega_count = self.compiled.count - counted
    counted = self.compiled.count
    state, metrics = self._first(
      "theta", lambda: self._theta_step(state, self.data)
    )
    for _ in range(count - 1):
      state, metrics = self._theta_step(state, self.data)
    jax.block_until_ready(metrics)
    theta_count = self.compiled.count - counted
    self._first("evaluation", lambda: self._evaluate(arcs[0]))
    return {
      "compilation_arcs": count,
      "omega_compilations": omega_count,
      "theta_compilations": theta_count,
      "compile_seconds": self._start["omega_compile_seconds"],
      "first_call_seconds": first,
      **self._start,
      **{
        f"start_{name}": sum(
          value for key, value in self._start.items() if key.endswith(name)
        )
        for name in ("compile_seconds", "first_cpu_seconds")
      },
      "start_peak_rss_mb": stopwatch.peak_rss_mb(),
    }

  def _evaluate(self, arc: types.Arc) -> Any:
    state = self._state
    carry = self.task.start_split(state.carry)
    chunk = evaluate.make_chunk(self.task)
    return chunk(state.omega, arc, self.data, jnp.int32(0), carry)

  def omega(
    self,
    count: int,
    rounds: int,
    *,
    static: bool = True,
    peers: Peers | None = None,
  ) -> dict[str, Any]:
    """The omega step: traced against static, taking turns.

    Args:
      count: the number of architectures.
      rounds: the number of timings of each.
      static: whether to compile the step for each architecture alone, too.
      peers: by architecture, what takes its turn after the others.

    Returns:
      Medians, and of the ratios of CPU seconds within a turn; those of `peers`
      have "peer" in their names.
    """
    runs: list[list[Callable[[], stopwatch.Seconds]]] = []
    shared = stopwatch.Timed(self._omega_step, self._fresh())
    for number, arc in enumerate(self.arcs(count)):
      traced = decisions.as_arrays(arc)
      turn: list[Callable[[], stopwatch.Seconds]] = [
        functools.partial(shared, self.data, traced)
      ]
      if static:
        turn.append(
          functools.partial(stopwatch.Timed(*self._static(arc)), self.data)
        )
      if peers is not None:
        turn.append(peers[number])
      runs.append(turn)
    stopwatch.in_turn(runs, 1)  # what is compiled is compiled here
    times = stopwatch.in_turn(runs, rounds)
    names = ["traced", *["static"] * static, *["peer"] * (peers is not None)]
    record = stopwatch.medians(names, times)
    if static:
      record["traced_over_static"] = stopwatch.ratio(times, 0, 1, "wall")
    return {**record, "arcs": count, "rounds": rounds}

  def _static(
    self, arc: types.Arc
  ) -> tuple[Callable[..., Any], state_lib.SearchState]:
    """The step of one architecture of Python ints, and its state."""
    step = steps.make_arcs_step(self.config, self._alone, _BATCHES)
    fresh = self._fresh()
    optimizer = optimizers.make_omega_optimizer(self.config.omega, _BATCHES)
    omega = self.child(arc)
    # Momentum, too, is of the child's weights alone.
    state = fresh.replace(omega=omega, omega_opt=optimizer.init(omega))
    run = lambda state, data: step(state, data, arc)
    compiled = jax.jit(precise.precise(run, self.config), donate_argnums=0)
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
      stopwatch.Timed(jax.jit(fused, donate_argnums=0), self._fresh()),
      stopwatch.Timed(looped, self._fresh()),
    ]
    for run in runs:
      run(self.data)  # compiles
    times = stopwatch.in_turn(
      [[functools.partial(run, self.data) for run in runs]], rounds
    )
    # Below 0 where noise is larger than what the host takes.
    share = 1.0 - stopwatch.ratio(times, 0, 1, "wall")
    return {
      # Of the loop on the host, as a search has it.
      "theta_seconds": float(np.median(times[:, 1, 0])) / _FUSED,
      "theta_cpu_seconds": float(np.median(times[:, 1, 1])) / _FUSED,
      "theta_host_share": float(max(share, 0.0)),
    }

  def reward(self, count: int, rounds: int, peers: Peers) -> dict[str, Any]:
    """The reward of a theta step alone, against `peers`, as for `omega`."""
    state = self._state

    def score(omega: types.Omega, arc: types.Arc, data: Any) -> types.Array:
      batch = self.task.reward_batch(data, jax.random.key(0))
      return self.task.reward(omega, arc, batch, state.carry)

    compiled = jax.jit(precise.precise(score, self.config))

    def timed(arc: types.Arc) -> Callable[[], stopwatch.Seconds]:
      # `Timed` steps from state to state; a reward has none.
      step = lambda _, *of: (None, compiled(*of))
      return functools.partial(
        stopwatch.Timed(step, None),
        state.omega,
        decisions.as_arrays(arc),
        self.data,
      )

    runs = [
      [timed(arc), peer]
      for arc, peer in zip(self.arcs(count), peers, strict=True)
    ]
    stopwatch.in_turn(runs, 1)
    times = stopwatch.in_turn(runs, rounds)
    return stopwatch.medians(("reward", "peer_reward"), times)


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
  task, splits = make_task(config, space, vocabulary_size, arc)
  data = splits.train
  state = state_lib.init_training(config, task, _BATCHES)
  params = train.count_params(state.omega)
  timed = stopwatch.Timed(steps.make_train_step(config, task, _BATCHES), state)
  compiled = stopwatch.Compilations()
  first = timed(data)  # compiles
  seconds = [timed(data).wall for _ in range(rounds)]
  return {
    "params": params,
    "train_seconds": float(np.median(seconds)),
    "compile_seconds": compiled.seconds,
    "first_call_seconds": first.wall,
  }


def make_task(
  config: config_lib.SearchConfig | config_lib.TrainConfig,
  space: str,
  vocabulary_size: int,
  arc: types.Arc | None = None,
) -> tuple[tasks_base.Task, tasks_base.Splits]:
  """A task, of one architecture if it is given, and random data for it.

  Args:
    config: the configuration of a search or of a training.
    space: the name of the search space.
    vocabulary_size: the words of the text, V.
    arc: the architecture, of Python ints; None for the shared network.
  """
  definition = registry.get(space)
  network = definition.network
  if arc is not None:
    network = definition.fixed(config.child, arc)
  task_definition = tasks.get(definition.task)
  data = task_definition.synthetic(
    config, _data_shape(config, vocabulary_size), _BATCHES
  )
  task = task_definition.create(config, network, data)
  return task, task.splits(data)


class _ChildAlone:
  """The same task where omega is one child's own weights."""

  def __init__(self, task: tasks_base.Task) -> None:
    self._task = task

  def __getattr__(self, name: str) -> Any:
    return getattr(self._task, name)

  def child_params(self, omega: types.Omega, arc: types.Arc) -> types.Omega:
    return omega  # it is the child already

  def add_to_omega(
    self, omega: types.Omega, arc: types.Arc, update: types.Omega
  ) -> types.Omega:
    return jax.tree.map(lambda w, u: w + u, omega, update)


def _data_shape(
  config: config_lib.SearchConfig | config_lib.TrainConfig,
  vocabulary_size: int,
) -> spaces.DataShape:
  side = getattr(config.data, "image_size", 0) or 32
  return spaces.DataShape(vocabulary_size, (side, side, 3))
