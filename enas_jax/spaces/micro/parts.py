"""What brings an image to a cell's size and channels, with batch norm."""

import chex
import jax
import numpy as np

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops
from enas_jax.nn import weights as weights_lib


def conv_specs(shape: tuple[int, ...]) -> dict[str, weights_lib.Spec]:
  """A convolution's weights, and those of its batch norm.

  Args:
    shape: [..., C, F], of the kernel.

  Returns:
    "kernel" [..., C, F]; "scale" and "offset" [F].
  """
  kernel = weights_lib.Spec(shape, int(np.prod(shape[:-1])))
  return {"kernel": kernel, **weights_lib.norm_specs(shape[-1:])}


def fit(
  weights: types.Omega, x: types.Array
) -> tuple[types.Array, types.Statistics]:
  """Brings an input to a cell's number of channels: ReLU, 1x1, batch norm.

  Args:
    weights: "kernel" [C, F], "scale" and "offset" [F].
    x: [B, H, W, C] float32.

  Returns:
    [B, H, W, F] float32; and the "mean" and "variance" [F] that the batch norm
    used.
  """
  chex.assert_rank([x, weights["kernel"]], [4, 2])
  # ReLU, convolution, batch norm: Appendix B's order.
  x = image_ops.pointwise_conv(jax.nn.relu(x), weights["kernel"])
  return batch_norm.normalise(x, weights)


def reduction_specs(
  channels: int, filters: int, lead: tuple[int, ...] = ()
) -> dict[str, weights_lib.Spec]:
  """The weights of a factorized reduction, and those of its batch norm.

  Args:
    channels: C, channels of the image that is halved.
    filters: F, channels of the result: half from each of two paths.
    lead: leading axes of every array.

  Returns:
    "w1" [*lead, C, F / 2], "w2" [*lead, C, F - F / 2]; "scale" and "offset"
    [*lead, F].
  """
  # The second path takes the odd channel, if there is one.
  half = filters // 2
  return {
    "w1": weights_lib.Spec((*lead, channels, half), channels),
    "w2": weights_lib.Spec((*lead, channels, filters - half), channels),
    **weights_lib.norm_specs((*lead, filters)),
  }


def reduce_size(
  weights: types.Omega, x: types.Array
) -> tuple[types.Array, types.Statistics]:
  """Halves an image: factorized reduction, then batch norm (Section 2.4).

  Args:
    weights: arrays as `reduction_specs` lays them out.
    x: [B, H, W, C] float32.

  Returns:
    [B, ceil(H / 2), ceil(W / 2), F] float32; and the "mean" and "variance" [F]
    that the batch norm used.
  """
  chex.assert_rank(x, 4)
  # Whether a ReLU comes first, callers say: they differ in it.
  x = image_ops.factorized_reduction(x, weights["w1"], weights["w2"])
  return batch_norm.normalise(x, weights)
