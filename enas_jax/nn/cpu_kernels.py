"""Convolutions and batch norm in the forms that XLA runs fast on CPU.

`image_ops`, which asserts shapes and types, calls these on CPU only. XLA's own
kernels for CPU are slow where these and `cpu_windows` differ from them: every
grouped convolution (so `feature_group_count` is not used here), on some
processors the weight gradient of an ordinary one, 1x1 convolutions that are
not matrix products, and the gradients of window reductions.

Each operation is a `jax.custom_vjp` that keeps its inputs for the backward
pass and nothing else of their size: the branches of a `lax.switch` then keep
arrays of equal shapes, which JAX lets share memory.

Images are [B, H, W, C]. Padding is TensorFlow's SAME: what is odd goes after.
The stride-1 operation is computed at that padding and its outputs are
sliced; XLA then computes only the outputs kept, but the backward pass of
stride 2 costs as much as that of stride 1.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from enas_jax.types import Array

Span = tuple[int, int]  # what is padded before and after along one axis
Padding = tuple[Span, Span]  # spans of rows and of columns
_Total = TypeVar("_Total")  # pytree of arrays

# Images that one step of a scanned backward pass reads: a few fit the cache.
_CONV_CHUNK = 4
# Output channels up to which a convolution of pairs of pixels is faster.
_NARROW = 16


def same_padding(x: Array, window: tuple[int, int], stride: int = 1) -> Padding:
  """TensorFlow's SAME padding of an image's rows and columns.

  Args:
    x: [B, H, W, C].
    window: height and width of what slides over the image.
    stride: pixels between outputs.

  Returns:
    Pixels before and after, of rows and of columns. PyTorch's padding is
    symmetric instead: at an even size and stride 2 the two differ by a pixel.
  """

  def span(size: int, width: int) -> Span:
    total = max((-(-size // stride) - 1) * stride + width - size, 0)
    return total // 2, total - total // 2

  return span(x.shape[1], window[0]), span(x.shape[2], window[1])


def conv(x: Array, kernel: Array) -> Array:
  """`image_ops.conv`: [B, H, W, C] and [k, k, C, F] give [B, H, W, F]."""
  height, width = kernel.shape[:2]
  return _conv(x, kernel, same_padding(x, (height, width)))


def pointwise_conv(x: Array, kernel: Array, stride: int = 1) -> Array:
  """`image_ops.pointwise_conv` of x [B, H, W, C] and kernel [C, F].

  A matrix product, which is 3 to 5 times as fast as XLA's 1x1 convolution.
  """
  return _pointwise(subsample(x, stride), kernel)


@jax.custom_vjp
def pointwise_conv_sum(
  images: Sequence[Array], kernels: Array, taken: Array | None
) -> Array:
  """`image_ops.pointwise_conv_sum`: N of [B, H, W, C], kernels [N, C, F].

  A conditional for each image: those not taken are not read, neither here nor
  in the backward pass. Nor is anything concatenated, which would cost as much
  as the product does, since it is memory that limits a narrow one.
  """
  total = jnp.zeros((*images[0].shape[:-1], kernels.shape[-1]), kernels.dtype)
  leave = lambda total, *_: total
  add = lambda total, x, kernel: total + _pointwise(x, kernel)
  for i, x in enumerate(images):
    choose = _if_taken(taken, i, add, leave)
    total = choose(total, x, kernels[i])
  return total


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
  x: Array, scale: Array, offset: Array, eps: float
) -> tuple[Array, Array, Array]:
  """`image_ops.batch_norm` of x [..., C] with scale and offset [C].

  The derivative by hand keeps x and nothing else of its size; JAX's would keep
  x minus its mean, a second array of that size.
  """
  mean, variance = _moments(x)
  slope = scale * lax.rsqrt(variance + eps)
  # Not x * slope + (offset - mean * slope), which cancels as x^2 does in
  # `_moments`.
  return (x - mean) * slope + offset, mean, variance


def subsample(x: Array, stride: int) -> Array:
  """Every `stride`-th row and column of [B, H, W, C], from the first."""
  return x if stride == 1 else x[:, ::stride, ::stride]


def transposed(padding: Padding, window: tuple[int, int]) -> Padding:
  """The padding of outputs under which the backward windows give inputs.

  A pixel's gradient is a window, mirrored, over the outputs that met it. With
  k - 1 outputs more on each side, less what the forward pass padded, that
  window visits each pixel once.
  """
  (top, bottom), (left, right) = padding
  rows, columns = window[0] - 1, window[1] - 1
  return (rows - top, rows - bottom), (columns - left, columns - right)


def chunks(images: Array, limit: int) -> Array:
  """[B, ...] as even chunks of at most `limit`, filled up with zeros."""
  batch = images.shape[0]
  count = -(-batch // limit)
  # As even as can be, so that little is filled up: 5 are 3 and 3, not 4 and 4.
  size = -(-batch // count)
  missing = count * size - batch
  if missing:
    widths = [(0, missing)] + [(0, 0)] * (images.ndim - 1)
    images = jnp.pad(images, widths)
  return images.reshape(count, size, *images.shape[1:])


def chunked_sum(
  add: Callable[[_Total, Array, Array], _Total],
  init: _Total,
  x: Array,
  g: Array,
  limit: int,
) -> _Total:
  """Accumulates `add(total, x, g)` over the batch, a chunk at a time.

  Args:
    add: function of the total, x [b, ...] and g [b, ...] that returns the new
      total; linear in g, so that the zeros that fill a chunk add nothing.
    init: total before the first chunk.
    x: [B, ...] inputs.
    g: [B, ...] gradients of the outputs.
    limit: largest b.

  Returns:
    The total over all B.
  """
  step = lambda total, chunk: (add(total, *chunk), None)
  return lax.scan(step, init, (chunks(x, limit), chunks(g, limit)))[0]


# --- Convolution -------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, padding: Padding) -> Array:
  if _in_pairs(x, kernel, padding):
    return _conv_of_pairs(x, kernel, padding)
  return _conv_of_pixels(x, kernel, padding)


def _conv_of_pixels(x: Array, kernel: Array, padding: Padding) -> Array:
  # XLA's own: sums of shifted products, which win for depthwise kernels, and
  # im2col took 179 to 330 ms forward where this takes 60 (3x3).
  return lax.conv_general_dilated(
    x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _in_pairs(x: Array, kernel: Array, padding: Padding) -> bool:
  """Whether `_conv_of_pairs` is possible, and faster."""
  # Under an odd kernel the two outputs of a pair meet (k + 1) / 2 pairs of
  # inputs; under an even one the halves of different pairs would meet.
  odd = kernel.shape[1] % 2 == 1 and kernel.shape[1] > 1
  columns = x.shape[2] + sum(padding[1])
  return odd and columns % 2 == 0 and kernel.shape[3] <= _NARROW


def _conv_of_pairs(x: Array, kernel: Array, padding: Padding) -> Array:
  """The convolution with two neighbours in a row as one pixel of 2 C channels.

  The matrix products are then twice as wide, which narrow ones gain more from
  than they lose by (k + 1) / k as many multiplications.
  """
  rows, (left, right) = padding
  x = jnp.pad(x, ((0, 0), (0, 0), (left, right), (0, 0)))
  x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2 * x.shape[3])
  height, width, c_in, c_out = kernel.shape
  shape = (height, (width + 1) // 2, 2 * c_in, c_out)
  # A kernel for the left one of two outputs, and one for the right.
  both = [
    jnp.pad(kernel, ((0, 0), (at, 1 - at), (0, 0), (0, 0))).reshape(shape)
    for at in (0, 1)
  ]
  y = _conv_of_pixels(x, jnp.concatenate(both, axis=-1), (rows, (0, 0)))
  return y.reshape(*y.shape[:2], -1, c_out)


def _conv_fwd(
  x: Array, kernel: Array, padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
  return _conv(x, kernel, padding), (x, kernel)


def _conv_bwd(
  padding: Padding, inputs: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
  x, kernel = inputs
  window = (kernel.shape[0], kernel.shape[1])
  # The gradient of x is itself a convolution, of g with the mirrored kernel.
  mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
  d_x = _conv(g, mirrored, transposed(padding, window))
  return d_x, _conv_weight_grad(x, g, window, padding)


_conv.defvjp(_conv_fwd, _conv_bwd)


def _conv_weight_grad(
  x: Array, g: Array, window: tuple[int, int], padding: Padding
) -> Array:
  """[k, k, C, F], by one matrix product for each row of the kernel.

  The columns of a window are laid side by side as channels; its rows are not,
  which would make a copy k times as large. XLA's own took 104 ms for 3x3 and
  190 for 5x5 where this takes 43 and 88 ([64, 32, 32, 36], two Xeon cores), and
  is many times slower still inside a conditional.
  """
  height, width = g.shape[1:3]
  c_in, c_out = x.shape[-1], g.shape[-1]

  def add(total: Array, x: Array, g: Array) -> Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    columns = jnp.concatenate(
      [x[:, :, j : j + width] for j in range(window[1])], axis=-1
    )
    # What is transposed is g: the columns are k times as large as x.
    g = g.reshape(-1, c_out).T
    rows = [
      g @ columns[:, i : i + height].reshape(-1, window[1] * c_in)
      for i in range(window[0])
    ]
    return total + jnp.stack(rows)

  init = jnp.zeros((window[0], c_out, window[1] * c_in), g.dtype)
  d_kernel = chunked_sum(add, init, x, g, _CONV_CHUNK)
  d_kernel = d_kernel.reshape(window[0], c_out, window[1], c_in)
  return d_kernel.transpose(0, 2, 3, 1)


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Array:
  flat = x.reshape(-1, x.shape[-1]) @ kernel
  return flat.reshape(*x.shape[:-1], kernel.shape[-1])


def _pointwise_fwd(
  x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
  return _pointwise(x, kernel), (x, kernel)


def _pointwise_bwd(
  inputs: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
  x, kernel = inputs
  d_kernel = x.reshape(-1, x.shape[-1]).T @ g.reshape(-1, g.shape[-1])
  return _pointwise(g, kernel.T), d_kernel


_pointwise.defvjp(_pointwise_fwd, _pointwise_bwd)


def _if_taken(
  taken: Array | None,
  image: int,
  do: Callable[..., Any],
  leave: Callable[..., Any],
) -> Callable[..., Any]:
  """`do` if the image is taken and else `leave`, at run time."""
  # A conditional that is always true would still cost its copies.
  if taken is None:
    return do
  return functools.partial(lax.cond, taken[image] == 1, do, leave)


def _pointwise_sum_fwd(
  images: Sequence[Array], kernels: Array, taken: Array | None
) -> tuple[Array, tuple[Sequence[Array], Array, Array | None]]:
  inputs = (images, kernels, taken)
  return pointwise_conv_sum(*inputs), inputs


def _pointwise_sum_bwd(
  inputs: tuple[Sequence[Array], Array, Array | None], g: Array
) -> tuple[Sequence[Array], Array, None]:
  images, kernels, taken = inputs
  zeros = lambda x, kernel, _: (jnp.zeros_like(x), jnp.zeros_like(kernel))
  pull = lambda x, kernel, g: _pointwise_bwd((x, kernel), g)
  d_images, d_kernels = [], []
  for i, x in enumerate(images):
    choose = _if_taken(taken, i, pull, zeros)
    d_x, d_kernel = choose(x, kernels[i], g)
    d_images.append(d_x)
    d_kernels.append(d_kernel)
  return d_images, jnp.stack(d_kernels), None  # bits have no gradient


pointwise_conv_sum.defvjp(_pointwise_sum_fwd, _pointwise_sum_bwd)


# --- Batch norm --------------------------------------------------------------


def _moments(x: Array) -> tuple[Array, Array]:
  """The mean and the biased variance of each channel, [C] each."""
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x, axis=axes)
  # Not the mean of x^2 minus mean^2, which cancels where |mean| >> deviation.
  return mean, jnp.mean(jnp.square(x - mean), axis=axes)


def _batch_norm_fwd(
  x: Array, scale: Array, offset: Array, eps: float
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
  outputs = batch_norm(x, scale, offset, eps)
  return outputs, (x, scale, *outputs[1:])


def _batch_norm_bwd(
  eps: float, kept: tuple[Array, ...], grads: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
  x, scale, mean, variance = kept
  g, d_mean, d_variance = grads
  axes = tuple(range(x.ndim - 1))
  count = x.size // x.shape[-1]
  inverse = lax.rsqrt(variance + eps)
  centred = x - mean
  d_offset = jnp.sum(g, axis=axes)
  d_scale = jnp.sum(g * centred, axis=axes) * inverse
  slope = scale * inverse
  # The cotangents of the mean and the variance come along: moving averages
  # ask for them. Sums per channel first, so that one pass over x remains.
  by_x = (2.0 * d_variance - slope * inverse * d_scale) / count
  constant = (d_mean - slope * d_offset) / count
  return slope * g + by_x * centred + constant, d_scale, d_offset


batch_norm.defvjp(_batch_norm_fwd, _batch_norm_bwd)
