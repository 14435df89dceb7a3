"""Penalties on omega, and what counts of losses: pure functions."""

import chex
import jax
import jax.numpy as jnp

from enas_jax import types


def sum_of_squares(weights: types.Omega) -> types.Array:
  """The sum of the squares of all weights.

  Args:
    weights: pytree of float arrays of any shapes.

  Returns:
    [] float32; 0 for a tree without leaves.
  """
  return sum(
    (jnp.sum(jnp.square(w)) for w in jax.tree.leaves(weights)),
    start=jnp.float32(0.0),
  )


def sum_of_nats(log_probs: types.Array, targets: types.Array) -> types.Array:
  """The negative log-likelihood of the examples that count.

  Args:
    log_probs: [n, V] float32, nats.
    targets: [n] int32, the right one of V; -1: the example does not count.

  Returns:
    [] float32, the sum over the examples, nats.
  """
  chex.assert_rank([log_probs, targets], [2, 1])
  chex.assert_type(targets, int)
  # -1 would count from the end. Any word will do: what it gives is cut off.
  asked = jnp.maximum(targets, 0)[:, None]
  picked = jnp.take_along_axis(log_probs, asked, axis=1)[:, 0]
  return -jnp.sum(jnp.where(targets >= 0, picked, 0.0))


def marked(measured: types.Array, scores: types.Array) -> types.Array:
  """What was measured of examples, NaN where the network has overflowed.

  `argmax` takes the first NaN for the largest score: without the mark such a
  network would have the accuracy of class 0.

  Args:
    measured: [B] bool or float32.
    scores: [B, V] float32, logits or log-probabilities; they may be -inf.

  Returns:
    [B] float32.
  """
  chex.assert_rank([measured, scores], [1, 2])
  known = jnp.isfinite(jnp.max(scores, axis=-1))
  return jnp.where(known, measured.astype(jnp.float32), jnp.nan)


def mean_over_steps(
  values: types.Array, length: types.Array | None
) -> types.Array:
  """The mean over the steps of a window that count.

  Args:
    values: [T, ...] float32.
    length: [] int32, how many of the T steps count, from the first; None: all.

  Returns:
    [] float32; 0 if no step counts.
  """
  chex.assert_type(values, float)
  if length is None:
    return jnp.mean(values)
  chex.assert_rank(length, 0)
  real = jnp.arange(values.shape[0]) < length
  by_step = jnp.mean(values, axis=range(1, values.ndim))
  # Windows of a random length are computed at the longest one, so that one
  # shape compiles; what lies beyond the length is cut off here.
  return jnp.sum(jnp.where(real, by_step, 0.0)) / jnp.maximum(length, 1)


def slowness_penalty(
  states: types.Array, length: types.Array | None = None
) -> types.Array:
  """Mean of (h_t - h_(t-1))^2 inside a window.

  Args:
    states: [T, B, D] float32, h_t.
    length: [] int32, how many steps the window has; None: T.

  Returns:
    [] float32; 0 for a window of one step, which has no difference.
  """
  chex.assert_rank(states, 3)
  if states.shape[0] < 2:
    # The mean of no differences would be NaN.
    return jnp.float32(0.0)
  pairs = None if length is None else length - 1
  return mean_over_steps(jnp.square(states[1:] - states[:-1]), pairs)
