"""The same seconds for every strategy, instead of the same steps.

A mixture of all operations costs a step several times what a child does, and a
search without a controller saves theta's steps: equal steps are not equal cost.
Here the steps of an epoch are scaled, so that those of a whole search take as
long as is asked. Its epochs, its warm-up and the ratio of both kinds of step
stay what they are.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from enas_jax import config as config_lib
from enas_jax.search import state as state_lib
from enas_jax.search import steps as steps_lib
from enas_jax.search import theta_steps
from enas_jax.strategies import registry
from enas_jax.tasks import base as tasks

_BLOCKS, _STEPS = 8, 25  # timings, and steps in each


class Costs(NamedTuple):
  """What the steps of a strategy cost on this machine.

  Attributes:
    omega: seconds of an omega step.
    theta: seconds of a theta step; 0 of a strategy that learns nothing.
  """

  omega: float
  theta: float


def measure(
  config: config_lib.SearchConfig, task: tasks.Task, splits: tasks.Splits
) -> Costs:
  """Times both steps of a search at its start, compilation apart.

  Architectures differ in cost: a timing is the mean over several steps. Of
  several timings the least is kept, as what else the machine does only adds.
  Omega's steps are those of the warm-up, if there is one.

  Args:
    config: the search's configuration.
    task: the task.
    splits: the data on the device.
  """
  strategy = registry.create(config, task.space)
  per_epoch = task.steps_per_epoch(splits.train)
  state = state_lib.init_state(config, task, strategy, per_epoch)
  omega_step = steps_lib.make_omega_step(config, task, strategy, per_epoch)
  state, omega = _time(lambda s: omega_step(s, splits.train), state)
  if not strategy.learns:
    return Costs(omega, 0.0)
  theta_step = theta_steps.make_theta_step(task, strategy)
  # On the state that omega's steps handed back: the first one was donated.
  _, theta = _time(lambda s: theta_step(s, splits.valid, splits.train), state)
  return Costs(omega, theta)


def _time(step: Callable[[Any], Any], state: Any) -> tuple[Any, float]:
  """The state after some steps, and the seconds of one of them."""
  state, metrics = step(state)  # compiles
  jax.block_until_ready(metrics)
  seconds = []
  for _ in range(_BLOCKS):
    begin = time.perf_counter()
    for _ in range(_STEPS):
      state, metrics = step(state)
    jax.block_until_ready(metrics)
    seconds.append((time.perf_counter() - begin) / _STEPS)
  return state, min(seconds)


def scale(
  config: config_lib.SearchConfig, costs: Costs, steps: int, seconds: float
) -> config_lib.SearchConfig:
  """The same search with as many steps an epoch as take `seconds` in all.

  Args:
    config: the search's configuration.
    costs: what its steps cost.
    steps: omega steps of its epoch.
    seconds: what all steps of the search may take together.

  Returns:
    The search with `omega.steps` and `theta.steps` scaled by the same factor,
    at least 1 of each.
  """
  theta_epochs = config.run.num_epochs - config.warmup_epochs  # it rests before
  # Seconds of all steps of the search as it is.
  whole = config.run.num_epochs * steps * costs.omega
  whole += theta_epochs * config.theta.steps * costs.theta
  # Of omega 0 steps would be a whole pass.
  scaled = lambda count: max(1, round(seconds / whole * count))
  theta_steps = scaled(config.theta.steps)
  config = config_lib.override(config, "omega", steps=scaled(steps))
  return config_lib.override(config, "theta", steps=theta_steps)
