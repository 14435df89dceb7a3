"""Times one search step, traced and compiled for one architecture alone.

  python -m experiments.benchmark --space=recurrent --json
  python -m experiments.benchmark --arc=enas_micro --preset=paper --steps=1

With `--arc` it is a step of the training of that architecture alone.

Times are medians of repetitions that take turns over several architectures,
after compilation, with random data. `traced_over_static` compares the step
that serves every architecture with the same step compiled for one alone, which
holds only that child's weights. Without `--preset` the sizes are the paper's
but for 200 hidden units in text and batches of 32 images. The compilation cache
is off.
"""

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import evaluate, optimizers, steps, train
from enas_jax.search import state as state_lib
from enas_jax.spaces import base, decisions, registry
from enas_jax.strategies import registry as strategies
from enas_jax.strategies import uniform
from enas_jax.tasks import registry as tasks
from experiments import _arcs, _cli

_COMPILED = "/jax/core/compile/backend_compile_duration"
_BATCHES = 8


class _ChildAlone:
  """The same task where omega is one child's own weights."""

  def __init__(self, task: Any) -> None:
    self._task = task

  def __getattr__(self, name: str) -> Any:
    return getattr(self._task, name)

  def child_params(self, omega: types.Omega, arc: Any) -> types.Omega:
    return omega

  def add_to_child(
    self, omega: types.Omega, arc: Any, update: types.Omega
  ) -> types.Omega:
    return jax.tree.map(lambda w, u: w + u, omega, update)


def _make_task(config: Any, space: str, arc: Any = None) -> tuple[Any, Any]:
  """A task, of one architecture if it is given, and random data for it."""
  definition = registry.get(space)
  network = definition.network
  if arc is not None:
    network = definition.fixed(config.child, arc)
  side = getattr(config.data, "image_size", 0) or 32
  shape = base.DataShape(flags.FLAGS.vocabulary_size, (side, side, 3))
  task_definition = tasks.get(definition.task)
  data = task_definition.synthetic(config, shape, _BATCHES)
  task = task_definition.create(config, network, data)
  return task, task.splits(data).train


class _Compilations:
  """Counts programs that XLA compiles and the seconds it takes."""

  def __init__(self) -> None:
    self.count, self.seconds = 0, 0.0
    jax.monitoring.register_event_duration_secs_listener(self._note)

  def _note(self, event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED:
      self.count += 1
      self.seconds += duration_secs


def main() -> None:
  """Runs the benchmark that the flags ask for and prints it."""
  values = flags.FLAGS
  if values.arc is not None:
    _show(_training_record())
    return
  config = _cli.resolve_config(values.space)
  if not values["preset"].present:
    for part, sizes in registry.get(values.space).benchmark.items():
      changes = {
        name: size for name, size in sizes.items() if values[name].value is None
      }
      config = config_lib.override(config, part, **changes)
  bench = _Bench(config, values.space)
  steps, count = values.steps, values.num_arcs
  record = {
    "space": values.space,
    "preset": values.preset,
    "config": config.to_dict(),
    # First, while nothing is compiled yet.
    **bench.compilations(values.compilation_arcs),
    **bench.omega(count, steps),
    **bench.theta(steps),
    "peak_rss_mb": _peak_rss_mb(),
    "device": _cli.device_name(),
  }
  _show(record)


def _show(record: dict[str, Any]) -> None:
  if flags.FLAGS.json:
    print(json.dumps(record))
    return
  record.pop("config")
  for name, value in record.items():
    print(
      f"{name:20} {value:.4g}"
      if isinstance(value, float)
      else f"{name:20} {value}"
    )


def _training_record() -> dict[str, Any]:
  """Seconds of a training step of `--arc`, and its memory."""
  values = flags.FLAGS
  loaded, config = _arcs.resolve(
    values.space if values["space"].present else None, registry.train_preset
  )
  task, data = _make_task(config, loaded.name, loaded.arc)
  state = state_lib.init_training(config, task, _BATCHES)
  params = train.count_params(state.omega)
  timed = _Timed(steps.make_train_step(config, task, _BATCHES), state)
  compiled = _Compilations()
  first = timed(data)
  seconds = [timed(data) for _ in range(values.steps)]
  return {
    "space": loaded.name,
    "preset": values.preset,
    "arc": values.arc,
    "config": config.to_dict(),
    "params": params,
    "train_seconds": float(np.median(seconds)),
    "compile_seconds": compiled.seconds,
    "first_call_seconds": first,
    "peak_rss_mb": _peak_rss_mb(),
    "device": _cli.device_name(),
  }


class _Bench:
  """The compiled steps of one configuration, on random data."""

  def __init__(self, config: config_lib.SearchConfig, space: str) -> None:
    self.config, self.compiled = config, _Compilations()
    self.task, self.data = _make_task(config, space)
    self.alone: Any = _ChildAlone(self.task)
    strategy = strategies.create(config, self.task.space)
    self.state = state_lib.init_state(config, self.task, strategy, _BATCHES)
    self.omega_step = jax.jit(
      steps.make_arcs_step(config, self.task, _BATCHES), donate_argnums=0
    )
    theta_step = steps.make_theta_step(self.task, strategy)
    self.theta_step = lambda state, data: theta_step(state, data, data)

  def _fresh(self) -> state_lib.SearchState:
    # A copy, as steps take their state's memory; compiled but once.
    return jax.tree.map(lambda leaf: leaf.copy(), self.state)

  def _arcs(self, count: int) -> list[Any]:
    space = self.task.space
    propose = evaluate.make_propose(uniform.Uniform(space))
    arcs = propose((), jax.random.key(1), count)
    return [space.validate(evaluate.nth(arcs, i)) for i in range(count)]

  def omega(self, count: int, rounds: int) -> dict[str, Any]:
    """The omega step: traced against static, taking turns."""
    arcs = self._arcs(count)
    runs: list[tuple[_Timed, _Timed]] = []
    shared = _Timed(self.omega_step, self._fresh())
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
    self, arc: Any
  ) -> tuple[Callable[..., Any], state_lib.SearchState]:
    step = steps.make_arcs_step(self.config, self.alone, _BATCHES)
    fresh = self._fresh()
    child = jax.jit(lambda omega: self.task.child_params(omega, arc))
    optimizer = optimizers.make_omega_optimizer(self.config.omega, _BATCHES)
    omega = child(fresh.omega)
    state = fresh.replace(omega=omega, omega_opt=optimizer.init(omega))
    compiled = jax.jit(
      lambda state, data: step(state, data, arc), donate_argnums=0
    )
    return compiled, state

  def compilations(self, count: int) -> dict[str, Any]:
    """Programs compiled while `count` architectures go through each phase."""
    arcs = [decisions.as_arrays(arc) for arc in self._arcs(count)]
    state = self._fresh()
    counted, seconds = self.compiled.count, self.compiled.seconds
    begin = time.perf_counter()
    state, found = self.omega_step(state, self.data, arcs[0])
    jax.block_until_ready(found)
    first = time.perf_counter() - begin
    seconds = self.compiled.seconds - seconds
    for arc in arcs[1:]:
      state, _ = self.omega_step(state, self.data, arc)
    omega_count = self.compiled.count - counted
    counted = self.compiled.count
    for _ in range(count):
      state, found = self.theta_step(state, self.data)
    jax.block_until_ready(found)
    return {
      "compilation_arcs": count,
      "omega_compilations": omega_count,
      "theta_compilations": self.compiled.count - counted,
      "compile_seconds": seconds,
      "first_call_seconds": first,
    }

  def theta(self, rounds: int) -> dict[str, Any]:
    """The theta step in a loop on the host, against one fused loop.

    What the loop on the host takes longer is the host's share.
    """
    step, length = self.theta_step, 10

    def fused(state: state_lib.SearchState, data: Any) -> Any:
      return lax.scan(lambda s, _: step(s, data), state, None, length=length)

    def looped(state: state_lib.SearchState, data: Any) -> Any:
      for _ in range(length):
        state, found = step(state, data)
      return state, found

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
      "theta_seconds": float(np.median(times[:, 1])) / length,
      "theta_host_share": float(max(share, 0.0)),
    }


class _Timed:
  """A step that keeps its own state; a call returns its seconds."""

  def __init__(self, step: Callable[..., Any], state: Any) -> None:
    self._step, self._state = step, state

  def __call__(self, *args: Any) -> float:
    begin = time.perf_counter()
    self._state, found = self._step(self._state, *args)
    jax.block_until_ready(found)
    return time.perf_counter() - begin


def _peak_rss_mb() -> float:
  """Peak memory of this process, as Linux counts it."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


if __name__ == "__main__":
  _cli.import_plugins()
  flags.DEFINE_enum(
    "preset", "paper", config_lib.PRESETS, "which numbers to start from"
  )
  flags.DEFINE_enum("space", "recurrent", registry.names(), "the search space")
  flags.DEFINE_integer("num_arcs", 5, "architectures that take turns", 1)
  flags.DEFINE_integer("steps", 5, "timed repetitions of each", 1)
  flags.DEFINE_integer(
    "compilation_arcs", 50, "architectures to count compilations over", 1
  )
  flags.DEFINE_integer("vocabulary_size", 10000, "words, V", 2)
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _arcs.define_arc_flag()
  _cli.define_config_flags(*registry.names())
  _cli.define_config_flags(*registry.trainable(), preset=registry.train_preset)
  _cli.run(main)
