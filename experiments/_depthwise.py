"""Times depthwise convolutions, ours for CPU against grouped ones."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from enas_jax.nn import image_ops

_REPEATS = 5  # calls between two looks at the clock


def ratios(
  batch: int, side: int, filters: int, rounds: int
) -> dict[str, float]:
  """Seconds of `feature_group_count` convolutions over those of our form.

  Forward and backward, medians of rounds that take turns.

  Args:
    batch: images.
    side: their height and width.
    filters: channels at that size; each halving of the side doubles them.
    rounds: how often each is timed.

  Returns:
    By kernel and image, such as "3x3 at 32x32x36".
  """
  found = {}
  for width in (3, 5):
    for halvings in range(3):
      shape = (side >> halvings, side >> halvings, filters << halvings)
      name = f"{width}x{width} at {'x'.join(map(str, shape))}"
      found[name] = _ratio((batch, *shape), width, rounds)
  return found


def _ratio(shape: tuple[int, ...], width: int, rounds: int) -> float:
  keys = jax.random.split(jax.random.key(0), 3)
  x, grad = (jax.random.normal(key, shape) for key in keys[:2])
  kernel = jax.random.normal(keys[2], (width, width, shape[-1]))
  ours, grouped = (
    _compiled(form, x, kernel, grad) for form in ("cpu", "plain")
  )
  times = np.asarray(
    [(_seconds(ours), _seconds(grouped)) for _ in range(rounds)]
  )
  return float(np.median(times[:, 1] / times[:, 0]))


def _compiled(
  form: Any, x: jax.Array, kernel: jax.Array, grad: jax.Array
) -> Callable[[], Any]:
  def both(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> Any:
    out, pull = jax.vjp(
      lambda x, k: image_ops.depthwise_conv(x, k, form=form), x, kernel
    )
    return out, pull(grad)

  step = jax.jit(both)
  call = lambda: jax.block_until_ready(step(x, kernel, grad))
  call()
  return call


def _seconds(call: Callable[[], Any]) -> float:
  begin = time.perf_counter()
  for _ in range(_REPEATS):
    call()
  return (time.perf_counter() - begin) / _REPEATS
