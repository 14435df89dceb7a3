"""Regularised evolution on shared weights (Real et al., 2019, Algorithm 1).

A population of architectures lives in a ring. Each step draws a tournament,
mutates its best member, and puts the child, with the reward that it earned, in
the place of the oldest member, however good that one was.

What differs from the original: a reward is that of shared weights on one
minibatch, noisy, and of the time when the child was born. Old rewards are
mostly too low, since omega has been trained since; that only adds to the
disadvantage of age. Candidates are drawn from the last population; the best of
all that ever lived, as the original returns, is one more.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import types
from enas_jax.config import fields
from enas_jax.spaces import decisions
from enas_jax.strategies import base, edits


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
  """Sizes, those of Real et al. (2019), Section 3."""

  learns: ClassVar[bool] = True

  population_size: int = fields.field(
    "evolution: architectures alive at once, P of Real et al. (2019)",
    default=100,
  )
  tournament_size: int = fields.field(
    "evolution: members drawn, of which the best becomes a parent", default=25
  )

  def __post_init__(self) -> None:
    fields.check_positive(self, "theta_", "population_size", "tournament_size")


class Population(NamedTuple):
  """Architectures with their rewards; the state of this strategy.

  Attributes:
    choices: [P, C] int32, one architecture a row; row i % P is the i-th born.
    rewards: [P] float32; -inf where none has been earned.
    num_scored: [] int32, architectures that have been scored, so also who is
      next: the first P of them are the random ones at the start.
    best: [C] int32, the architecture that has earned most of all that lived.
    best_reward: [] float32, its reward; -inf where none has been earned.
  """

  choices: types.Array
  rewards: types.Array
  num_scored: types.Array
  best: types.Array
  best_reward: types.Array


@dataclasses.dataclass(frozen=True)
class Evolution(base.Strategy):
  """Members of a population that regularised evolution renews.

  Attributes:
    space: the search space.
    options: the sizes.
    num_arcs: S, children a theta step.
  """

  space: Any
  options: EvolutionConfig
  num_arcs: int

  @property
  def learns(self) -> bool:
    """Yes."""
    return self.options.learns

  def init(self, key: types.PRNGKey) -> Population:
    """Uniform architectures that have not earned a reward yet."""
    size = self.options.population_size
    choices = self.space.to_choices(self.space.sample_uniform(key, size))
    return Population(
      choices=choices,
      # Loses to whoever has earned a reward.
      rewards=jnp.full((size,), -jnp.inf, jnp.float32),
      num_scored=jnp.int32(0),
      best=choices[0],
      best_reward=jnp.float32(-jnp.inf),
    )

  def propose(
    self, state: Population, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Draws members uniformly, as they are: leaves [S, ...] int32.

    Before anything has been scored the members are nothing better than chance;
    then any architecture may come, so that omega sees more than P of them.
    """
    space = self.space
    key_member, key_uniform = jax.random.split(key)
    size = state.choices.shape[0]
    members = jax.random.randint(key_member, (num_arcs,), 0, size)
    uniform = space.to_choices(space.sample_uniform(key_uniform, num_arcs))
    choices = jnp.where(state.num_scored > 0, state.choices[members], uniform)
    return space.from_choices(choices)

  def update(
    self, state: Population, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[Population, base.Metrics]:
    """Brings up S children, one after another.

    The first P of them, in however many steps, are the members of the start.

    Args:
      state: the population before the step.
      key: for everything random.
      judge: says what a child earns.

    Returns:
      The new population, and metrics, [] float32: those of
      `base.reward_metrics`; "population_reward" and "best_reward", the mean and
      the largest of the rewards of living members, 0 before there are any.
    """
    sizes = decisions.num_alternatives(self.space.decisions())

    def step(
      population: Population, key: types.PRNGKey
    ) -> tuple[Population, types.Array]:
      key_parent, key_mutate, key_earn = jax.random.split(key, 3)
      size = population.choices.shape[0]
      oldest = population.num_scored % size
      # A parent may have been born in this very step: hence one after another.
      parent = _hold_tournament(
        population, key_parent, self.options.tournament_size
      )
      # Traced, so both are made: who is born is known on the device alone.
      child = jnp.where(
        population.num_scored < size,
        population.choices[oldest],
        edits.mutate(parent, key_mutate, sizes),
      )
      reward = judge.reward(self.space.from_choices(child), key_earn)
      # A child whose network overflows must not win every tournament.
      known = jnp.where(jnp.isfinite(reward), reward, -jnp.inf)
      better = known > population.best_reward
      population = Population(
        population.choices.at[oldest].set(child),
        population.rewards.at[oldest].set(known),
        population.num_scored + 1,
        # Kept apart from the ring, in which age displaces it.
        best=jnp.where(better, child, population.best),
        best_reward=jnp.maximum(known, population.best_reward),
      )
      return population, reward

    keys = jax.random.split(key, self.num_arcs)
    state, earned = lax.scan(step, state, keys)
    # Not those unscored yet, nor those that overflowed.
    alive = jnp.isfinite(state.rewards)
    total = jnp.sum(jnp.where(alive, state.rewards, 0.0))
    best = jnp.where(jnp.any(alive), jnp.max(state.rewards), 0.0)
    metrics = base.reward_metrics(earned) | {
      "population_reward": total / jnp.maximum(jnp.sum(alive), 1),
      "best_reward": best,
    }
    return state, metrics

  def finish(self, state: Population) -> types.Arc:
    """The best that ever lived, leaves [1, ...]; a random one before the first.

    Its reward may be of weights long gone: the derive step scores it anew.
    """
    return self.space.from_choices(state.best[None])


def _hold_tournament(
  population: Population, key: types.PRNGKey, size: int
) -> types.Array:
  """[C], the best of `size` members, drawn with replacement as the paper's."""
  drawn = jax.random.randint(key, (size,), 0, population.rewards.shape[0])
  return population.choices[drawn[jnp.argmax(population.rewards[drawn])]]


DEFINITION = base.Definition("evolution", Evolution, EvolutionConfig)
