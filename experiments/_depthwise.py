"""Times depthwise convolutions, ours for CPU against grouped ones."""

import time
from collections.abc import Callable

import jax
import numpy as np

from enas_jax.nn import image_ops

_REPEATS = 5  # calls between two looks at the clock


def ratios(
  batch: int, side: int, filters: int, rounds: int
) -> dict[str, float]:
  """Seconds of `feature_group_count` convolutions over those of our form.

  Forward and backward, compilation excluded.

  Args:
    batch: B, the number of images.
    side: height and width of the images in pixels.
    filters: channels at that size; each halving of the side doubles them.
    rounds: number of times that each form is timed.

  Returns:
    The median ratio by kernel and image, such as "3x3 at 32x32x36".
  """
  by_shape = {}
  for width in (3, 5):
    for halvings in range(3):
      shape = (side >> halvings, side >> halvings, filters << halvings)
      name = f"{width}x{width} at {'x'.join(map(str, shape))}"
      by_shape[name] = _ratio((batch, *shape), width, rounds)
  return by_shape


def _ratio(shape: tuple[int, ...], width: int, rounds: int) -> float:
  """The median ratio for images [*shape] and a kernel of `width` squared."""
  keys = jax.random.split(jax.random.key(0), 3)
  x, grad = (jax.random.normal(key, shape) for key in keys[:2])
  kernel = jax.random.normal(keys[2], (width, width, shape[-1]))
  ours = _compiled("cpu", x, kernel, grad)
  grouped = _compiled("plain", x, kernel, grad)
  # The forms take turns and are compared within a round: whatever else slows
  # the machine down for a while then slows both.
  times = np.asarray(
    [(_seconds(ours), _seconds(grouped)) for _ in range(rounds)]
  )
  return float(np.median(times[:, 1] / times[:, 0]))


def _compiled(
  form: image_ops.Form, x: jax.Array, kernel: jax.Array, grad: jax.Array
) -> Callable[[], object]:
  """A call of one form, forward and backward, that waits for the device.

  Args:
    form: "cpu" or "plain".
    x: [B, H, W, C] float32.
    kernel: [k, k, C] float32.
    grad: [B, H, W, C] float32, the cotangents of the output.
  """

  # The three are arguments and not closed over: XLA would fold constants.
  def both(
    x: jax.Array, kernel: jax.Array, grad: jax.Array
  ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    out, pull = jax.vjp(
      lambda x, k: image_ops.depthwise_conv(x, k, form=form), x, kernel
    )
    return out, pull(grad)

  step = jax.jit(both)
  call = lambda: jax.block_until_ready(step(x, kernel, grad))
  call()  # compiles
  return call


def _seconds(call: Callable[[], object]) -> float:
  """The mean time of a call, in seconds."""
  begin = time.perf_counter()
  for _ in range(_REPEATS):
    call()
  return (time.perf_counter() - begin) / _REPEATS
