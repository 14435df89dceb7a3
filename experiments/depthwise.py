"""Times depthwise convolutions, ours for CPU against grouped ones.

  python -m experiments.depthwise --image_size=32 --num_filters=36

Prints by how much grouped convolutions are slower, forward and backward, at the
sizes of a network whose images halve twice. On a GPU or TPU the grouped form is
the one that is used.
"""

import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from enas_jax.nn import image_ops
from experiments import _cli

_REPEATS = 5  # calls between two looks at the clock


def ratios(
  batch: int, side: int, filters: int, rounds: int
) -> dict[str, float]:
  """Seconds of `feature_group_count` convolutions over those of our form.

  Forward and backward, compilation excluded.

  Args:
    batch: the number of images.
    side: the height and width of the images.
    filters: the channels at that size; halving the side doubles them.
    rounds: the number of timings of one shape.

  Returns:
    The ratio by kernel and image, such as "3x3 at 32x32x36".
  """
  slower = {}
  for width in (3, 5):
    # A network of the paper's spaces halves its images twice.
    for halvings in range(3):
      shape = (side >> halvings, side >> halvings, filters << halvings)
      name = f"{width}x{width} at {'x'.join(map(str, shape))}"
      slower[name] = _ratio((batch, *shape), width, rounds)
  return slower


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


def main() -> None:
  """Prints the ratios for the sizes that the flags name."""
  values = flags.FLAGS
  slower = ratios(
    values.batch_size, values.image_size, values.num_filters, values.rounds
  )
  for name, ratio in slower.items():
    print(f"{name:20} {ratio:.4g}")


if __name__ == "__main__":
  flags.DEFINE_integer("batch_size", 32, "images, B", 1)
  flags.DEFINE_integer("image_size", 32, "height and width of the images", 4)
  flags.DEFINE_integer("num_filters", 36, "channels at that size", 1)
  flags.DEFINE_integer("rounds", 5, "timings of one shape", 1)
  _cli.run(main)
