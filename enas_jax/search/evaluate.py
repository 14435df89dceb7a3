"""Scores of architectures under shared weights: rewards and whole splits."""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.spaces import decisions
from enas_jax.strategies import base as strategies
from enas_jax.tasks import base as tasks


class Weights(Protocol):
  """What is read of a state, of a search or of a training."""

  @property
  def omega(self) -> types.Omega:
    """The weights, shared or of one architecture."""
    ...

  @property
  def carry(self) -> types.Carry:
    """What one step hands to the next, e.g. moving statistics."""
    ...


Measure = Callable[[Weights, types.Arc, tasks.Split], float]


def make_evaluate(task: tasks.Task) -> Measure:
  """Builds (state, arc, split) -> perplexity or accuracy of the whole split.

  Compiled once for all arcs. Every token or image of the split that
  `task.splits` keeps is counted, the carry passed from part to part.
  """
  totals = _make_totals(task, task.evaluate_chunk)
  return lambda *of: task.finish_evaluation(*totals(*of))


def make_nats(task: tasks.Task) -> Measure:
  """Builds (state, arc, split) -> mean nats a token or image of the split.

  The mean negative log-likelihood tells networks apart that classify the same
  images rightly.
  """
  totals = _make_totals(task, task.nats_chunk)

  def nats(state: Weights, arc: types.Arc, split: tasks.Split) -> float:
    total, count = totals(state, arc, split)
    return total / count

  return nats


def _make_totals(
  task: tasks.Task,
  chunk_of: Callable[..., tuple[types.Array, types.Array, types.Carry]],
) -> Callable[[Weights, types.Arc, tasks.Split], tuple[float, float]]:
  """Builds (state, arc, split) -> the sums over all chunks."""
  chunk = jax.jit(chunk_of)

  def totals(
    state: Weights, arc: types.Arc, split: tasks.Split
  ) -> tuple[float, float]:
    arc, omega = decisions.as_arrays(arc), state.omega
    carry, sums, counts = task.start_split(state.carry), [], []
    for index in range(task.evaluation_chunks(split)):
      total, count, carry = chunk(omega, arc, split, jnp.int32(index), carry)
      sums.append(total)
      counts.append(count)
    return float(sum(map(float, sums))), float(sum(map(float, counts)))

  return totals


def make_score(task: tasks.Task) -> Callable[..., list[float]]:
  """Builds (state, arcs, validation data, key) -> the reward of each arc.

  Every arc, leaves [S, ...], meets the same minibatch, drawn by `key`, or with
  `num_batches` the same so many, over which its reward is the mean.
  """
  reward = jax.jit(
    lambda omega, carry, arc, valid, key: task.reward(
      omega, arc, task.reward_batch(valid, key), carry
    )
  )

  def score(
    state: Weights,
    arcs: types.Arc,
    valid: tasks.Split,
    key: types.PRNGKey,
    num_batches: int = 1,
  ) -> list[float]:
    count = jax.tree.leaves(arcs)[0].shape[0]
    keys = [key] if num_batches == 1 else jax.random.split(key, num_batches)
    rewards = [
      [
        reward(state.omega, state.carry, nth(arcs, index), valid, k)
        for k in keys
      ]
      for index in range(count)
    ]
    return [sum(map(float, row)) / num_batches for row in rewards]

  return score


def make_propose(
  strategy: strategies.Strategy,
) -> Callable[[strategies.State, types.PRNGKey, int], types.Arc]:
  """Builds the compiled (strategy's state, key, S) -> arcs, leaves [S, ...]."""
  return jax.jit(strategy.propose, static_argnums=2)


def make_inspect(
  strategy: strategies.Strategy,
) -> Callable[[strategies.State, types.Arc], strategies.Inspection | None]:
  """Builds the compiled `strategy.inspect`."""
  return jax.jit(strategy.inspect)


def nth(arcs: types.Arc, index: int) -> types.Arc:
  """One arc out of arcs with leaves [S, ...]."""
  return jax.tree.map(lambda leaf: leaf[index], arcs)
