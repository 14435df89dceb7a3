"""What brings an image to a cell's size and channels, with batch norm."""

import jax
import numpy as np

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops
from enas_jax.nn import weights as weights_lib


def conv_specs(shape: tuple[int, ...]) -> dict[str, weights_lib.Spec]:
  """A convolution's weights [*shape], and those of its batch norm."""
  kernel = weights_lib.Spec(shape, int(np.prod(shape[:-1])))
  return {"kernel": kernel, **weights_lib.norm_specs(shape[-1:])}


def fit(
  weights: types.Omega, x: types.Array
) -> tuple[types.Array, types.Statistics]:
  """Brings an input to a cell's number of channels: ReLU, 1x1, batch norm.

  Args:
    weights: arrays of `conv_specs`, the kernel [C, F].
    x: [B, H, W, C] float32.

  Returns:
    [B, H, W, F] float32; and what the batch norm saw.
  """
  x = image_ops.pointwise_conv(jax.nn.relu(x), weights["kernel"])
  return batch_norm.normalise(x, weights)


def reduction_specs(
  channels: int, filters: int, lead: tuple[int, ...] = ()
) -> dict[str, weights_lib.Spec]:
  """A factorized reduction's weights, and those of its batch norm.

  Args:
    channels: C, of what is reduced.
    filters: F, of the result; each of two paths gives half of them.
    lead: dimensions before all others, of as many reductions.
  """
  half = filters // 2
  return {
    "w1": weights_lib.Spec((*lead, channels, half), channels),
    "w2": weights_lib.Spec((*lead, channels, filters - half), channels),
    **weights_lib.norm_specs((*lead, filters)),
  }


def reduce_size(
  weights: types.Omega, x: types.Array
) -> tuple[types.Array, types.Statistics]:
  """Halves height and width, and normalises.

  Args:
    weights: arrays of `reduction_specs`.
    x: [B, H, W, C] float32.

  Returns:
    [B, ceil(H / 2), ceil(W / 2), F] float32; and what the batch norm saw.
  """
  x = image_ops.factorized_reduction(x, weights["w1"], weights["w2"])
  return batch_norm.normalise(x, weights)
