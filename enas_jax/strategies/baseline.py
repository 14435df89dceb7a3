"""The reward's moving-average baseline (Section 2.2)."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types


class BaselineState(NamedTuple):
  """The moving average of past rewards.

  Attributes:
    value: [] float32, starts at 0.
    num_rewards: [] int32, rewards seen.
  """

  value: types.Array
  num_rewards: types.Array


def init_baseline() -> BaselineState:
  """A baseline that has seen no reward."""
  return BaselineState(jnp.float32(0.0), jnp.int32(0))


def update_baseline(
  state: BaselineState, rewards: types.Array, config: config_lib.ThetaConfig
) -> tuple[BaselineState, types.Array]:
  """Takes in rewards one after the other.

  Args:
    state: the baseline so far.
    rewards: [S] float32.
    config: decay, order and bias correction.

  Returns:
    The new state, and the baseline to subtract from each reward, [S] float32.
    The first reward of all meets its own value where `baseline_debias` is on,
    so that a start at 0 does not push every early sample up.
  """

  def step(
    state: BaselineState, reward: types.Array
  ) -> tuple[BaselineState, types.Array]:
    decay = config.baseline_decay
    value = state.value - (1.0 - decay) * (state.value - reward)
    new = BaselineState(value, state.num_rewards + 1)
    used = read_baseline(new if config.baseline_first else state, config)
    if config.baseline_debias:
      used = jnp.where(state.num_rewards == 0, reward, used)
    return new, used

  return lax.scan(step, state, rewards)


def read_baseline(
  state: BaselineState, config: config_lib.ThetaConfig
) -> types.Array:
  """The baseline's present value, [] float32."""
  if not config.baseline_debias:
    return state.value
  count = jnp.maximum(state.num_rewards, 1).astype(jnp.float32)
  return state.value / (1.0 - config.baseline_decay**count)
