"""The second phase of ENAS: the strategy on rewards (Section 2.2).

As those of omega, a step is compiled once and is a pure function of the state
and the data.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import types
from enas_jax.search import costs as costs_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import judge as judge_lib
from enas_jax.search import precise
from enas_jax.search import state as state_lib
from enas_jax.strategies import base as strategies
from enas_jax.strategies import controller, reinforce
from enas_jax.tasks import base as tasks

ThetaStep = Callable[
  [state_lib.SearchState, tasks.Split, tasks.Split],
  tuple[state_lib.SearchState, tasks.Metrics],
]


def make_ask_and_tell(
  strategy: reinforce.Reinforce,
) -> tuple[
  Callable[[reinforce.State, types.PRNGKey], controller.Sample],
  Callable[
    [reinforce.State, controller.Sample, types.Array],
    tuple[reinforce.State, tasks.Metrics],
  ],
]:
  """Builds a theta step in two halves, for rewards that are earned outside it.

  Args:
    strategy: the strategy, which learns.

  Returns:
    (state, key) -> S architectures; and (state before, these, their rewards [S]
    float32) -> (state, metrics), see `reinforce.Reinforce.learn`.
  """

  def ask(state: reinforce.State, key: types.PRNGKey) -> controller.Sample:
    return strategy.controller.sample(state.theta, key, strategy.num_arcs)

  return jax.jit(ask), jax.jit(strategy.learn)


def make_theta_step(
  task: tasks.Task,
  strategy: strategies.Strategy,
  devices: devices_lib.Devices = devices_lib.ONE,
  costs: costs_lib.Costs | None = None,
) -> ThetaStep:
  """Builds the compiled theta step: one update of the strategy.

  omega is read and not changed. The state's buffers are donated.

  Args:
    task: the task, which says how good an architecture is.
    strategy: the strategy, which learns.
    devices: the devices; state and data are whole on each (`Devices.put`).
    costs: what the rewards of architectures are traded off against, if at all.

  Returns:
    (state, validation data, training data) -> (state, metrics), the metrics
    those of `strategy.update`, and "skipped": 1 where one of them is not
    finite. Then the strategy stays as it was.
  """

  def step(
    state: state_lib.SearchState, valid: tasks.Split, train: tasks.Split
  ) -> tuple[state_lib.SearchState, tasks.Metrics]:
    # By the step's number: a run that is resumed draws the same.
    key = state_lib.step_key(state, state_lib.THETA_KEYS, state.theta_step)
    judge = judge_lib.Judge(task, state, valid, train, devices, costs)
    learnt, metrics = strategy.update(state.strategy, key, judge)
    # Neither by what was learnt nor with `jnp.where`: XLA would fuse it with
    # the update, and round every search in another way.
    sound = jnp.bool_(True)
    for value in metrics.values():
      sound &= jnp.isfinite(value)
    learnt = lax.cond(
      sound, lambda new, old: new, lambda new, old: old, learnt, state.strategy
    )
    metrics = {**metrics, "skipped": 1.0 - jnp.float32(sound)}
    state = state.replace(strategy=learnt, theta_step=state.theta_step + 1)
    return devices.whole((state, metrics))

  return jax.jit(precise.precise(step, task.config), donate_argnames="state")


def make_ask(
  task: tasks.Task,
  strategy: strategies.Strategy,
  devices: devices_lib.Devices = devices_lib.ONE,
  costs: costs_lib.Costs | None = None,
) -> Callable[..., types.Arc]:
  """Builds the compiled `strategy.ask`.

  Returns:
    (state, key, validation data, training data) -> arcs, leaves [K, ...].
  """

  def ask(
    state: state_lib.SearchState,
    key: types.PRNGKey,
    valid: tasks.Split,
    train: tasks.Split,
  ) -> types.Arc:
    judge = judge_lib.Judge(task, state, valid, train, devices, costs)
    return devices.whole(strategy.ask(state.strategy, key, judge))

  return jax.jit(precise.precise(ask, task.config))


def make_tell(
  strategy: strategies.Strategy,
) -> Callable[
  [state_lib.SearchState, types.Arc, types.Array],
  tuple[state_lib.SearchState, tasks.Metrics],
]:
  """Builds the compiled `strategy.tell`; the state's buffers are donated."""

  def tell(
    state: state_lib.SearchState, arcs: types.Arc, rewards: types.Array
  ) -> tuple[state_lib.SearchState, tasks.Metrics]:
    heard, metrics = strategy.tell(state.strategy, arcs, rewards)
    return state.replace(strategy=heard), metrics

  return jax.jit(tell, donate_argnames="state")


def make_epoch_end(
  strategy: strategies.Strategy,
) -> Callable[[state_lib.SearchState], state_lib.SearchState]:
  """Builds the compiled end of an epoch: what the strategy does then."""

  def end(state: state_lib.SearchState) -> state_lib.SearchState:
    # An epoch ends once: its number alone tells one key from another.
    key = state_lib.step_key(state, state_lib.END_KEYS, jnp.int32(0))
    return state.replace(strategy=strategy.end_epoch(state.strategy, key))

  return jax.jit(end, donate_argnames="state")
