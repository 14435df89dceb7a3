"""The whole truth of a run, as one pytree: of a search or of one training."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import optax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import optimizers
from enas_jax.strategies import base as strategies
from enas_jax.tasks import base as tasks

# One stream of keys per use; folded into the run's key before the step. Every
# run's numbers depend on these: new streams are added, and none is renumbered.
ARC_KEYS, OMEGA_KEYS, THETA_KEYS, EVAL_KEYS, DERIVE_KEYS, EPOCH_KEYS = range(6)
# Folded in further by group and place, not by epoch and step.
FAIR_KEYS = 6
WARMUP_KEYS = 7  # uniform architectures, beside those that are proposed
POLICY_KEYS, END_KEYS = 8, 9  # what is proposed at an epoch's end; that end
ENSEMBLE_KEYS = 10  # those that vote, once a search is over
ASK_KEYS = 11  # candidates that are trained alone between two epochs
SCORE_KEYS = 12  # fresh weights of scores that train nothing
ROLLBACK_KEYS = 13  # runs that went back after they had diverged
COST_KEYS = 30  # architectures whose cost is found before the search


@flax.struct.dataclass
class SearchState:
  """The whole truth of a search; saved and restored as one.

  Attributes:
    epoch: [] int32, epochs finished.
    omega_step: [] int32, omega steps done in this epoch.
    theta_step: [] int32, theta steps done in this epoch.
    total_steps: [] int32, omega steps done in all.
    omega: shared weights.
    omega_opt: optax state.
    strategy: the strategy's state; () of one that learns nothing.
    carry: the hidden state and the like, which a step hands to the next.
    key: typed key of the run; never consumed, only folded into.
  """

  epoch: types.Array
  omega_step: types.Array
  theta_step: types.Array
  total_steps: types.Array
  omega: types.Omega
  omega_opt: optax.OptState
  strategy: strategies.State
  carry: types.Carry
  key: types.PRNGKey

  replace: ClassVar[Callable[..., "SearchState"]]  # flax.struct adds it

  def after_epoch(self) -> "SearchState":
    """One epoch more is finished."""
    # Two zeros and not one, since a step donates every buffer of the state.
    return self.replace(
      epoch=self.epoch + 1, omega_step=jnp.int32(0), theta_step=jnp.int32(0)
    )


@flax.struct.dataclass
class TrainState:
  """The whole truth of the training of one architecture.

  Attributes:
    epoch: [] int32, epochs finished.
    omega_step: [] int32, steps done in this epoch.
    total_steps: [] int32, steps done in all.
    omega: the architecture's weights.
    omega_opt: optax state.
    average: the running mean of omega, laid out like it; {} where the
      configuration asks for none.
    num_averaged: [] int32, over how many steps; 0: it has not begun.
    carry: the hidden state and the like, which a step hands to the next.
    key: typed key of the run; never consumed, only folded into.
  """

  epoch: types.Array
  omega_step: types.Array
  total_steps: types.Array
  omega: types.Omega
  omega_opt: optax.OptState
  average: types.Omega
  num_averaged: types.Array
  carry: types.Carry
  key: types.PRNGKey

  replace: ClassVar[Callable[..., "TrainState"]]  # flax.struct adds it

  def after_epoch(self) -> "TrainState":
    """One epoch more is finished."""
    return self.replace(epoch=self.epoch + 1, omega_step=jnp.int32(0))


State = TypeVar("State", SearchState, TrainState)


def init_state(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  strategy: strategies.Strategy,
  steps_per_epoch: int,
) -> SearchState:
  """The state before the first step, from `config.run.seed`.

  Args:
    config: the search's configuration.
    task: the task that is learnt.
    strategy: the strategy that proposes architectures.
    steps_per_epoch: the number of omega steps that the training data give.
  """
  omega_opt = optimizers.make_omega_optimizer(config.omega, steps_per_epoch)

  def build(
    omega: types.Omega, key_theta: types.PRNGKey, key: types.PRNGKey
  ) -> SearchState:
    state = SearchState(
      epoch=jnp.int32(0),
      omega_step=jnp.int32(0),
      theta_step=jnp.int32(0),
      total_steps=jnp.int32(0),
      omega=omega,
      omega_opt=omega_opt.init(omega),
      strategy=strategy.init(key_theta),
      carry=task.init_carry(),
      key=key,
    )
    return _start_epoch(state, task)

  key_omega, key_theta, key = _split(jax.random.key(config.run.seed), 3)
  # Omega is not drawn in the program, which would then have a kernel for each
  # array of it. The rest is: op by op it would take many seconds.
  return jax.jit(build)(task.init_omega(key_omega), key_theta, key)


_split = jax.jit(jax.random.split, static_argnums=1)


def init_strategy(
  strategy: strategies.Strategy, key: types.PRNGKey
) -> strategies.State:
  """What a strategy knows before its first step, where there is no omega."""
  return jax.jit(strategy.init)(key)


def init_training(
  config: config_lib.TrainConfig,
  task: tasks.Task,
  steps_per_epoch: int,
  omega: types.Omega | None = None,
) -> TrainState:
  """The state before the first step, from `config.run.seed`.

  Args:
    config: the training's configuration.
    task: a task of one architecture.
    steps_per_epoch: the number of steps that the training data give.
    omega: weights to start from, laid out as the task's; None for fresh ones.
  """
  optimizer = optimizers.make_omega_optimizer(config.omega, steps_per_epoch)

  def build(weights: types.Omega, key: types.PRNGKey) -> TrainState:
    averaged = jax.tree.map(jnp.zeros_like, weights)
    state = TrainState(
      epoch=jnp.int32(0),
      omega_step=jnp.int32(0),
      total_steps=jnp.int32(0),
      omega=weights,
      omega_opt=optimizer.init(weights),
      average=averaged if config.run.average_after else {},
      num_averaged=jnp.int32(0),
      carry=task.init_carry(),
      key=key,
    )
    return _start_epoch(state, task)

  key_omega, key = _split(jax.random.key(config.run.seed), 2)
  weights = task.init_omega(key_omega) if omega is None else omega
  return jax.jit(build)(weights, key)


def next_epoch(state: State, task: tasks.Task) -> State:
  """The state at the start of the next epoch."""
  return _start_epoch(state.after_epoch(), task)


def theta_steps(config: config_lib.SearchConfig, state: SearchState) -> int:
  """How many theta steps are done in all."""
  if not config.strategy.learns:
    return 0
  epochs = max(int(state.epoch) - config.warmup_epochs, 0)
  return epochs * config.theta.steps + int(state.theta_step)


def _start_epoch(state: State, task: tasks.Task) -> State:
  key = step_key(state, EPOCH_KEYS, jnp.int32(0))
  return state.replace(carry=task.start_epoch(state.carry, key))


@jax.jit
def is_finite(state: State) -> types.Array:
  """Whether a run can go on from a state, [] bool.

  All floats must be finite; of the strategy none may be NaN: it may know -inf
  as the reward of what has earned none.
  """
  # A training has no strategy, and a search no average.
  strategy = getattr(state, "strategy", ())
  weights = [state.omega, state.omega_opt, state.carry]
  weights.append(getattr(state, "average", ()))
  overflowed = _any(lambda leaf: ~jnp.isfinite(leaf), weights)
  return ~(overflowed | _any(jnp.isnan, strategy))


def _any(test: Callable[[types.Array], types.Array], tree: Any) -> types.Array:
  """Whether a float of a tree passes a test, [] bool."""
  leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
  found = [
    jnp.any(test(leaf))
    for leaf in leaves
    if jnp.issubdtype(leaf.dtype, jnp.floating)
  ]
  return functools.reduce(jnp.logical_or, found, jnp.bool_(False))


def after_rollback(state: State, number: int) -> State:
  """The state with the key that a run has after its rollback of a number."""
  key = jax.random.fold_in(state.key, ROLLBACK_KEYS)
  return state.replace(key=jax.random.fold_in(key, number))


def step_key(state: State, stream: int, step: types.Array) -> types.PRNGKey:
  """The key of one step of one epoch in one stream of keys."""
  key = jax.random.fold_in(state.key, stream)
  return jax.random.fold_in(jax.random.fold_in(key, state.epoch), step)
