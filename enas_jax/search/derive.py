"""Deriving an architecture from a trained policy (Section 2.2)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from enas_jax import types
from enas_jax.search import evaluate


class Candidate(NamedTuple):
  """An architecture and its reward on the minibatch of the derive step.

  Attributes:
    arc: of Python ints.
    reward: larger is better.
  """

  arc: types.Arc
  reward: float


class Derived(NamedTuple):
  """What the derive step found.

  Attributes:
    candidates: the policy's K samples, best first.
    uniform_rewards: rewards of K uniform architectures under the same weights
      and on the same minibatch: what chance alone earns.
  """

  candidates: list[Candidate]
  uniform_rewards: list[float]


def derive(
  propose: Callable[..., types.Arc],
  propose_uniform: Callable[..., types.Arc],
  validate: Callable[[types.Arc], types.Arc],
  score: Callable[..., list[float]],
  state: Any,
  valid: Any,
  keys: tuple[types.PRNGKey, types.PRNGKey, types.PRNGKey],
  num_arcs: int,
) -> Derived:
  """Samples K architectures and scores each on one validation minibatch.

  Args:
    propose: of `evaluate.make_propose`, for the candidates.
    propose_uniform: the same of the uniform policy.
    validate: of the space.
    score: of `evaluate.make_score`.
    state: the search's state; omega, theta and the carry are read.
    valid: validation data on the device.
    keys: for the candidates, the uniform architectures and the minibatch.
    num_arcs: K.
  """
  key_policy, key_uniform, key_batch = keys
  arcs = propose(state.theta, key_policy, num_arcs)
  uniform = propose_uniform(state.theta, key_uniform, num_arcs)
  rewards = score(state, arcs, valid, key_batch)
  uniform_rewards = score(state, uniform, valid, key_batch)
  candidates = [
    Candidate(validate(evaluate.nth(arcs, index)), reward)
    for index, reward in enumerate(rewards)
  ]
  # NaN never wins; the sort is stable, so ties keep the order of sampling.
  candidates.sort(
    key=lambda c: -c.reward if math.isfinite(c.reward) else math.inf
  )
  return Derived(candidates, uniform_rewards)


def mean_and_error(values: list[float]) -> tuple[float, float]:
  """Mean and standard error of the mean."""
  array = np.asarray(values, np.float64)
  error = array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else 0.0
  return float(array.mean()), float(error)
