"""Scores of architectures under shared weights: rewards and whole splits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import policies, types
from enas_jax.spaces import decisions


def make_evaluate(task: Any) -> Callable[[Any, types.Arc, Any], float]:
  """Builds (state, arc, split) -> perplexity or accuracy of the whole split.

  Compiled once for all arcs. Every token or image of the split that
  `task.prepare` keeps is counted, the carry passed from part to part. Of the
  search's state omega and the carry are read.
  """
  chunk = jax.jit(task.evaluate_chunk)

  def evaluate(state: Any, arc: types.Arc, split: Any) -> float:
    arc, omega = decisions.as_arrays(arc), state.omega
    carry, totals, counts = task.start_split(state.carry), [], []
    for index in range(task.evaluation_chunks(split)):
      total, count, carry = chunk(omega, arc, split, jnp.int32(index), carry)
      totals.append(total)
      counts.append(count)
    return task.finish_evaluation(
      float(sum(map(float, totals))), float(sum(map(float, counts)))
    )

  return evaluate


def make_score(
  task: Any,
) -> Callable[[Any, types.Arc, Any, types.PRNGKey], list[float]]:
  """Builds (state, arcs, validation data, key) -> the reward of each arc.

  Every arc, leaves [S, ...], meets the same minibatch, drawn by `key`. Of the
  search's state omega and the carry are read.
  """
  reward = jax.jit(
    lambda omega, carry, arc, valid, key: task.reward(
      omega, arc, task.reward_batch(valid, key), carry
    )
  )

  def score(
    state: Any, arcs: types.Arc, valid: Any, key: types.PRNGKey
  ) -> list[float]:
    count = jax.tree.leaves(arcs)[0].shape[0]
    rewards = [
      reward(state.omega, state.carry, nth(arcs, index), valid, key)
      for index in range(count)
    ]
    return [float(r) for r in rewards]

  return score


def make_propose(
  policy: policies.Policy,
) -> Callable[[types.Theta, types.PRNGKey, int], types.Arc]:
  """Builds the compiled (theta, key, S) -> arcs with leaves [S, ...]."""
  return jax.jit(policy.propose, static_argnums=2)


def nth(arcs: types.Arc, index: int) -> types.Arc:
  """One arc out of arcs with leaves [S, ...]."""
  return jax.tree.map(lambda leaf: leaf[index], arcs)
