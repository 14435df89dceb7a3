"""The auxiliary head: a second classifier in training, as in the release.

It reads the cell after the last reduction cell. The paper does not speak of it.
"""

import chex
import jax
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.micro import parts
from enas_jax.spaces.micro.presets import NUM_STAGES, MicroConfig

_POOL, _STRIDE = 5, 3
_CHANNELS = (128, 768)  # of the 1x1 convolution, and of the wide one


def least_image_size(wide: int = 1) -> int:
  """The least height of images, in pixels, at which the head fits them.

  Args:
    wide: height of the kernel of the head's wide convolution, which is as
      large as what it sees.
  """
  pooled = _POOL + (wide - 1) * _STRIDE
  # Halving rounds up.
  return (pooled - 1) * 2 ** (NUM_STAGES - 1) + 1


def specs(
  channels: int, num_classes: int, image_size: int | None
) -> dict[str, weights_lib.Spec | dict[str, weights_lib.Spec]]:
  """The auxiliary head's weights.

  Args:
    channels: channels of the cell's output that it sees, C.
    num_classes: classes of the images.
    image_size: height and width of the images before the stem, in pixels.

  Returns:
    "narrow" with "kernel" [C, 128] and "wide" with "kernel" [k, k, 128, 768],
    each with a batch norm; "fc" [768, num_classes].

  Raises:
    InputError: if images are too small for it.
  """
  size = _kernel_size(image_size)
  narrow, wide = _CHANNELS
  return {
    "narrow": parts.conv_specs((channels, narrow)),
    "wide": parts.conv_specs((size, size, narrow, wide)),
    "fc": weights_lib.Spec((wide, num_classes), wide),
  }


def _kernel_size(image_size: int | None) -> int:
  """Height and width of what the auxiliary head's wide convolution sees."""
  if image_size is None:
    raise types.InputError("image_size must be given for an auxiliary head.")
  if image_size < least_image_size():
    raise types.InputError(
      f"image_size must be at least {least_image_size()} for an auxiliary"
      f" head, got {image_size}."
    )
  size = -(-image_size // 2 ** (NUM_STAGES - 1))
  return (size - _POOL) // _STRIDE + 1


def logits(
  weights: types.Omega, x: types.Array, config: MicroConfig
) -> tuple[types.Array, types.Statistics]:
  """Runs the auxiliary head on a cell's output, in training.

  Args:
    weights: arrays as `specs` lays them out.
    x: [B, H, W, C] float32.
    config: the network's options; `aux_frozen` stops the gradient to `weights`.

  Returns:
    [B, num_classes] float32, the logits; and what the batch norms saw, "narrow"
    and "wide".
  """
  chex.assert_rank(x, 4)
  if config.aux_frozen:
    # Of its weights alone: its loss still trains the cells before it.
    weights = lax.stop_gradient(weights)
  x = lax.reduce_window(
    jax.nn.relu(x),
    np.zeros((), x.dtype),
    lax.add,
    (1, _POOL, _POOL, 1),
    (1, _STRIDE, _STRIDE, 1),
    "VALID",
  )
  x = x / _POOL**2  # windows of VALID padding are whole
  narrow, wide = weights["narrow"], weights["wide"]
  x = image_ops.pointwise_conv(x, narrow["kernel"])
  seen: types.Statistics = {}
  x, seen["narrow"] = batch_norm.normalise(x, narrow)
  x = image_ops.conv(jax.nn.relu(x), wide["kernel"])
  x, seen["wide"] = batch_norm.normalise(x, wide)
  features = image_ops.global_average_pool(jax.nn.relu(x))
  return features @ weights["fc"], seen
