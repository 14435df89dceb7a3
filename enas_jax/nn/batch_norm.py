"""Batch norm of the networks for images, and its moving statistics.

They are laid out as omega: where it has a batch norm's scale, its "mean" [F]
and "variance" [F].
"""

from typing import Any

import chex
import jax.numpy as jnp

from enas_jax import types
from enas_jax.nn import image_ops

EPSILON = 1e-5  # of every batch norm but an operation's last
_DECAY = 0.9  # of moving statistics; the release's


def normalise(
  x: types.Array, weights: types.Omega, eps: float = EPSILON
) -> tuple[types.Array, Any]:
  """Batch norm, by the statistics among the weights or else the batch's.

  Args:
    x: [..., F] float32, normalised over all axes but the last.
    weights: "scale" and "offset" [F]; and, to be used in place of the batch's,
      "mean" and "variance" [F].
    eps: added to the variance.

  Returns:
    [..., F] float32; and the "mean" and the unbiased "variance" [F] of the
    batch, or those that were given.
  """
  chex.assert_equal_shape([weights["scale"], weights["offset"]])
  chex.assert_shape(weights["scale"], x.shape[-1:])
  scale, offset = weights["scale"], weights["offset"]
  if "mean" in weights:
    given = {name: weights[name] for name in ("mean", "variance")}
    return image_ops.batch_norm_inference(
      x, scale, offset, **given, eps=eps
    ), given
  y, mean, variance = image_ops.batch_norm(x, scale, offset, eps)
  count = x.size // x.shape[-1]
  # The release averages the unbiased one, which a single value does not have.
  unbiased = variance * (count / max(count - 1, 1))
  return y, {"mean": mean, "variance": unbiased}


def fresh(tree: Any, without: tuple[str, ...] = ()) -> types.Statistics:
  """Statistics before the first step.

  Args:
    tree: weights, or what has their shapes, in nested dicts.
    without: names of parts whose batch norms shall have none.

  Returns:
    "steps", int32, the training steps that they have seen; and mean and
    variance in the place of each scale.
  """
  return {"steps": jnp.zeros((), jnp.int32), **_fresh(tree, without)}


def _fresh(tree: Any, without: tuple[str, ...]) -> Any:
  if "scale" in tree:
    shape = tree["scale"].shape
    # One step later only an operation's last batch norm shows this start: the
    # others' first step replaces it (see `moved`).
    return {"mean": jnp.zeros(shape), "variance": jnp.ones(shape)}
  parts = {
    name: _fresh(part, without)
    for name, part in tree.items()
    if isinstance(part, dict) and name not in without
  }
  return {name: part for name, part in parts.items() if part}


def with_statistics(weights: Any, statistics: Any) -> Any:
  """The weights, with each batch norm's statistics beside its scale.

  Args:
    weights: nested dicts.
    statistics: nested dicts, of some or all of the weights' batch norms.
  """
  if "mean" in statistics:
    return {**weights, **statistics}
  return {
    name: with_statistics(part, statistics[name])
    if name in statistics
    else part
    for name, part in weights.items()
  }


def moved(statistics: types.Statistics, seen: Any) -> types.Statistics:
  """Moves the statistics that were seen by one step.

  As in the release most averages are corrected for their start at 0, Adam's
  way: b <- .9 b + .1 s, read as b / (1 - .9^t). That is a step of .1 /
  (1 - .9^t) on what is read, so b itself need not be kept. An operation's last
  batch norm ("out") is the exception: its step is .1, from 0 and 1.

  Args:
    statistics: as `fresh` lays them out.
    seen: the mean and variance of some or all of its batch norms, of one step.

  Returns:
    The statistics, one step later; as they were where nothing was seen.
  """
  steps = statistics["steps"] + 1
  # 1 - .9^t, without the digits that the subtraction would cost.
  remaining = -jnp.expm1(steps * jnp.log(jnp.float32(_DECAY)))
  plain = jnp.float32(1 - _DECAY)

  def move(old: Any, new: Any, step: types.Array) -> Any:
    if not isinstance(old, dict):
      return old + step * (new - old)
    return {
      name: move(part, new[name], plain if name == "out" else step)
      if name in new
      else part
      for name, part in old.items()
    }

  kept = {name: part for name, part in statistics.items() if name != "steps"}
  return {"steps": steps, **move(kept, seen, plain / remaining)}
