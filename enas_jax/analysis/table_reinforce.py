"""REINFORCE without weight sharing, on a table (Zoph & Le, 2017).

The search that ENAS makes affordable: the reward of an architecture is what it
reaches when it is trained alone. Where a benchmark has trained all of them, a
query of its table takes the place of that training, and the price of a search
is the number of its queries.

The controller and its REINFORCE step are those of every other search; only the
reward is another. Random search with as many queries stands beside it.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import state as state_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions
from enas_jax.strategies import reinforce

# Above this a table of all architectures is a mistake.
_LARGEST = 10_000_000


class TableResult(NamedTuple):
  """What a search on a table ends with.

  Attributes:
    arc: the best architecture queried, of Python ints; of equals the first.
    reward: its value in the table.
    rewards: [Q] float64, values of all queries in their order.
  """

  arc: types.Arc
  reward: float
  rewards: np.ndarray


class Table:
  """The reward of every architecture of a small space.

  Attributes:
    space: the search space, whose choices number the architectures, the first
      entry being the most significant digit.
    rewards: [size of the space] float32, NaN where there is none.
  """

  def __init__(
    self, space: spaces.Space, arcs: types.Arc, rewards: npt.ArrayLike
  ) -> None:
    """Lays the rewards out by number.

    Args:
      space: the search space.
      arcs: architectures, leaves [N, ...] int32.
      rewards: [N] numbers, larger is better, in units that the policy is to
        see; fractions, not percentages, suit the presets.

    Raises:
      InputError: if the space is too large, or an architecture lacks a reward.
    """
    sizes = decisions.num_alternatives(space.decisions())
    count = math.prod(int(size) for size in sizes)
    if count > _LARGEST:
      raise types.InputError(
        f"the space has {count:.2g} architectures, too many for a table."
      )
    self.space = space
    # 32 bits hold every number below `_LARGEST`; without x64 JAX has no more.
    self._weights = np.asarray(
      [math.prod(map(int, sizes[i + 1 :])) for i in range(len(sizes))],
      np.int32,
    )
    numbers = np.asarray(space.to_choices(arcs)) @ self._weights  # [N]
    table = np.full(count, np.nan, np.float32)
    table[numbers] = np.asarray(rewards)
    lacking = int(np.isnan(table).sum())
    if lacking:
      raise types.InputError(
        f"the table lacks {lacking} of the {count} architectures."
      )
    self.rewards = table

  def look_up(self, choices: types.Array) -> types.Array:
    """[S] float32, the rewards of choices [S, C]."""
    # An array of NumPy cannot be indexed by a traced one.
    return jnp.asarray(self.rewards)[choices @ jnp.asarray(self._weights)]


def search(
  config: config_lib.SearchConfig, table: Table, num_queries: int
) -> TableResult:
  """Trains a controller on the table and keeps the best architecture queried.

  Args:
    config: its strategy, REINFORCE, and theta parts, and the seed.
    table: the rewards.
    num_queries: the budget; an architecture that is sampled again is queried
      again.

  Raises:
    InputError: if the budget is not a whole number of theta steps.
  """
  check_budget(config, num_queries)
  num_arcs = config.theta.num_arcs
  assert isinstance(config.strategy, config_lib.ReinforceConfig)
  strategy = reinforce.Reinforce(table.space, config.strategy, num_arcs)
  # As a search splits it; there are no shared weights to be initialised.
  _, key_theta, key = jax.random.split(jax.random.key(config.run.seed), 3)
  key = jax.random.fold_in(jax.random.fold_in(key, state_lib.THETA_KEYS), 0)

  def step(state: reinforce.State, index: types.Array) -> Any:
    sample = strategy.controller.sample(
      state.theta, jax.random.fold_in(key, index), num_arcs
    )
    choices = table.space.to_choices(sample.arc)
    after, _ = strategy.learn(state, sample, table.look_up(choices))
    return after, choices

  start = state_lib.init_strategy(strategy, key_theta)
  # A scan is one program, also outside a compiled function.
  steps = jnp.arange(num_queries // num_arcs, dtype=jnp.int32)
  _, choices = lax.scan(step, start, steps)  # [steps, S, C]
  return _best(table, choices.reshape(num_queries, -1))


def check_budget(config: config_lib.SearchConfig, num_queries: int) -> None:
  """Raises InputError unless whole theta steps can spend the budget."""
  num_arcs = config.theta.num_arcs
  if num_queries < num_arcs or num_queries % num_arcs:
    raise types.InputError(
      f"the number of queries must be a multiple of theta_num_arcs, {num_arcs},"
      f" got {num_queries}."
    )


def random_search(
  table: Table, key: types.PRNGKey, num_queries: int
) -> TableResult:
  """Queries as many uniform architectures."""
  arcs = table.space.sample_uniform(key, num_queries)
  return _best(table, table.space.to_choices(arcs))


def _best(table: Table, choices: types.Array) -> TableResult:
  rewards = np.asarray(table.look_up(choices), np.float64)
  best = int(np.argmax(rewards))
  arc = jax.device_get(table.space.from_choices(choices[best]))
  return TableResult(table.space.validate(arc), float(rewards[best]), rewards)
