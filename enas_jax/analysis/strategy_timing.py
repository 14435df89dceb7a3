"""What a step of one strategy costs, beside a step of another.

The strategies take turns on the same random data: whatever slows the machine
down for a while then slows all of them. Omega's steps are those of the warm-up,
if there is one, and theta's the strategy's own.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from enas_jax import config as config_lib
from enas_jax.analysis import stopwatch, timing
from enas_jax.search import state as state_lib
from enas_jax.search import steps as steps_lib
from enas_jax.search import theta_steps
from enas_jax.strategies import registry

_STEPS = 5  # in a timing: architectures differ in cost
_PER_EPOCH = 1000  # so many steps that the schedules do not end meanwhile

_Step = Callable[[], None]


def compare(
  configs: Mapping[str, config_lib.SearchConfig],
  space: str,
  vocabulary_size: int,
  rounds: int,
) -> dict[str, Any]:
  """Times both steps of several strategies in turn, compilation apart.

  Args:
    configs: by policy, searches that differ in nothing else.
    space: the name of the search space.
    vocabulary_size: the words of the text, V.
    rounds: the number of timings of each.

  Returns:
    By "POLICY_omega" and "POLICY_theta", the medians of their seconds and CPU
    seconds, and how often they were compiled; "POLICY_over_FIRST_cpu", the
    median over turns of both steps' CPU seconds over those of the first policy.
  """
  steps: dict[str, _Step] = {}
  for policy, config in configs.items():
    of_policy = _steps(config, space, vocabulary_size)
    steps |= {f"{policy}_{phase}": step for phase, step in of_policy.items()}
  record: dict[str, Any] = {"rounds": rounds}
  compiled = stopwatch.Compilations()
  for name, step in steps.items():
    before = compiled.count
    # Twice: what a step returns may not be what it was compiled for, such as a
    # weak type, and then the second call compiles.
    _repeat(step, 2)
    record[f"{name}_compilations"] = compiled.count - before
  turn = [
    functools.partial(stopwatch.seconds_of, functools.partial(_repeat, step))
    for step in steps.values()
  ]
  times = stopwatch.in_turn([turn], rounds) / _STEPS  # [rounds, 2 policies, 2]
  for place, name in enumerate(steps):
    wall, cpu = np.median(times[:, place], axis=0)
    record |= {
      f"{name}_seconds": float(wall),
      f"{name}_cpu_seconds": float(cpu),
    }
  first, *others = configs
  # Each policy has omega's step, then theta's.
  both = times[:, ::2] + times[:, 1::2]  # [rounds, policies, 2]
  for place, policy in enumerate(others, start=1):
    over = stopwatch.ratio(both, place, 0, "cpu")
    record[f"{policy}_over_{first}_cpu"] = over
  return record


def _repeat(step: _Step, count: int = _STEPS) -> None:
  for _ in range(count):
    step()


def _steps(
  config: config_lib.SearchConfig, space: str, vocabulary_size: int
) -> dict[str, _Step]:
  """Both steps of one search; a call runs one and waits for it."""
  task, splits = timing.make_task(config, space, vocabulary_size)
  strategy = registry.create(config, task.space)
  omega = steps_lib.make_omega_step(config, task, strategy, _PER_EPOCH)
  theta = theta_steps.make_theta_step(task, strategy)
  # One state for both steps: each donates it, so each must go on with what the
  # other has handed back.
  held = state_lib.init_state(config, task, strategy, _PER_EPOCH)

  def run(step: Callable[..., Any], *data: Any) -> None:
    nonlocal held
    held, metrics = step(held, *data)
    jax.block_until_ready((held, metrics))

  return {
    "omega": lambda: run(omega, splits.train),
    "theta": lambda: run(theta, splits.valid, splits.train),
  }
