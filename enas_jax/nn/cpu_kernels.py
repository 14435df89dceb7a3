"""Image operations in the forms that XLA runs fast on CPU.

`image_ops` calls these on CPU only. XLA's own kernels for CPU are slow where
these differ from them: every grouped convolution (so `feature_group_count` is
not used here), on some processors the weight gradient of an ordinary one, 1x1
convolutions that are not matrix products, and the gradients of window
reductions.

Two rules hold throughout. Each operation is a `jax.custom_vjp` that keeps its
inputs for the backward pass and nothing else of their size: the branches of a
`lax.switch` then keep arrays of equal shapes, which JAX lets share memory. And
sliding windows are read on the view [B, H, W * C], where a step of one column
is a shift by C, so that the inner loop runs over whole rows.

Images are [B, H, W, C]. Padding is TensorFlow's SAME: what is odd goes after.
The stride-1 operation is computed at that padding and its outputs are
sliced; XLA then computes only the outputs kept, but the backward pass of
stride 2 costs as much as that of stride 1.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax.types import Array

Span = tuple[int, int]  # what is padded before and after along one axis
Padding = tuple[Span, Span]  # of rows and of columns

_POOL_WINDOW = (3, 3)
# Images that one step of a scanned backward pass reads: a few fit the cache.
_CONV_CHUNK = 4
_POOL_CHUNK = 4
# Output channels up to which a convolution of pairs of pixels is faster.
_NARROW = 16
# With fewer XLA thinks a step too little work for more than one thread.
_DEPTHWISE_CHUNK = 16


def same_padding(x: Array, window: tuple[int, int], stride: int = 1) -> Padding:
  """TensorFlow's SAME padding of an image's rows and columns."""

  def span(size: int, width: int) -> Span:
    total = max((-(-size // stride) - 1) * stride + width - size, 0)
    return total // 2, total - total // 2

  return span(x.shape[1], window[0]), span(x.shape[2], window[1])


def conv(x: Array, kernel: Array) -> Array:
  """Convolution with stride 1.

  Args:
    x: [B, H, W, C].
    kernel: [k, k, C, D].

  Returns:
    [B, H, W, D].
  """
  height, width = kernel.shape[:2]
  return _conv(x, kernel, same_padding(x, (height, width)))


def depthwise_conv(x: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolution of each channel with its own filter.

  Args:
    x: [B, H, W, C].
    kernel: [k, k, C].
    stride: between outputs.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), C].
  """
  height, width = kernel.shape[:2]
  padding = same_padding(x, (height, width), stride)
  return subsample(_depthwise(x, kernel, padding), stride)


def pointwise_conv(x: Array, kernel: Array, stride: int = 1) -> Array:
  """1x1 convolution, as a matrix product.

  Args:
    x: [B, H, W, C].
    kernel: [C, D].
    stride: between outputs.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), D].
  """
  return _pointwise(subsample(x, stride), kernel)


@jax.custom_vjp
def pointwise_conv_sum(
  images: Sequence[Array], kernels: Array, taken: Array | None
) -> Array:
  """The sum of the 1x1 convolutions of some images.

  A conditional for each image: those not taken are not read, neither here nor
  in the backward pass. Nor is anything concatenated, which would cost as much
  as the product does, since it is memory that limits a narrow one.

  Args:
    images: N of [B, H, W, C], in a list.
    kernels: [N, C, D], one for each image.
    taken: [N] integers, 1 for images that are to count, else 0; None for all.

  Returns:
    [B, H, W, D].
  """
  total = jnp.zeros((*images[0].shape[:-1], kernels.shape[-1]), kernels.dtype)
  leave = lambda total, *_: total
  add = lambda total, x, kernel: total + _pointwise(x, kernel)
  for i, x in enumerate(images):
    choose = _if_taken(taken, i, add, leave)
    total = choose(total, x, kernels[i])
  return total


def max_pool(x: Array, stride: int = 1) -> Array:
  """3x3 max pooling; padding never wins, and of equals the first does."""
  padding = same_padding(x, _POOL_WINDOW, stride)
  return subsample(_max_pool(x, padding), stride)


def avg_pool(x: Array, stride: int = 1) -> Array:
  """3x3 average pooling; padding does not count."""
  padding = same_padding(x, _POOL_WINDOW, stride)
  return subsample(_avg_pool(x, padding), stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
  x: Array, scale: Array, offset: Array, eps: float
) -> tuple[Array, Array, Array]:
  """Batch norm with the batch's own statistics.

  Args:
    x: [..., C].
    scale: [C].
    offset: [C].
    eps: added to the variance.

  Returns:
    The normalised x, [..., C]; the mean, [C]; the biased variance, [C].
  """
  mean, variance = _moments(x)
  slope = scale * lax.rsqrt(variance + eps)
  return (x - mean) * slope + offset, mean, variance


def subsample(x: Array, stride: int) -> Array:
  """Every `stride`-th row and column, from the first."""
  return x if stride == 1 else x[:, ::stride, ::stride]


def _transposed(padding: Padding, window: tuple[int, int]) -> Padding:
  """The padding of outputs under which the backward windows give inputs."""
  (top, bottom), (left, right) = padding
  rows, columns = window[0] - 1, window[1] - 1
  return (rows - top, rows - bottom), (columns - left, columns - right)


def _total(terms: Iterable[Array]) -> Array:
  return functools.reduce(jnp.add, terms)


def _chunks(images: Array, limit: int) -> Array:
  """[B, ...] as even chunks of at most `limit`, filled up with zeros."""
  batch = images.shape[0]
  count = -(-batch // limit)
  size = -(-batch // count)
  missing = count * size - batch
  if missing:
    widths = [(0, missing)] + [(0, 0)] * (images.ndim - 1)
    images = jnp.pad(images, widths)
  return images.reshape(count, size, *images.shape[1:])


def _chunked_sum(
  add: Callable[[Any, Array, Array], Any],
  init: Any,
  x: Array,
  g: Array,
  limit: int,
) -> Any:
  """Accumulates `add(total, x, g)`, which is linear in g, over the batch."""
  step = lambda total, chunk: (add(total, *chunk), None)
  return lax.scan(step, init, (_chunks(x, limit), _chunks(g, limit)))[0]


def _chunked_map(
  function: Callable[[Array, Array], Array], x: Array, g: Array, limit: int
) -> Array:
  """`function(x, g)` of images, `limit` at a time."""
  step = lambda chunk: function(*chunk)
  images = lax.map(step, (_chunks(x, limit), _chunks(g, limit)))
  return images.reshape(-1, *images.shape[2:])[: x.shape[0]]


# --- Convolution -------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, padding: Padding) -> Array:
  if _in_pairs(x, kernel, padding):
    return _conv_of_pairs(x, kernel, padding)
  return _conv_of_pixels(x, kernel, padding)


def _conv_of_pixels(x: Array, kernel: Array, padding: Padding) -> Array:
  return lax.conv_general_dilated(
    x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _in_pairs(x: Array, kernel: Array, padding: Padding) -> bool:
  """Whether `_conv_of_pairs` is possible, and faster."""
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
  mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
  d_x = _conv(g, mirrored, _transposed(padding, window))
  return d_x, _conv_weight_grad(x, g, window, padding)


_conv.defvjp(_conv_fwd, _conv_bwd)


def _conv_weight_grad(
  x: Array, g: Array, window: tuple[int, int], padding: Padding
) -> Array:
  """[k, k, C, D], by one matrix product for each row of the kernel.

  The columns of a window are laid side by side as channels; its rows are not,
  which would make a copy k times as large.
  """
  height, width = g.shape[1:3]
  c_in, c_out = x.shape[-1], g.shape[-1]

  def add(total: Array, x: Array, g: Array) -> Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    columns = jnp.concatenate(
      [x[:, :, j : j + width] for j in range(window[1])], axis=-1
    )
    g = g.reshape(-1, c_out).T
    rows = [
      g @ columns[:, i : i + height].reshape(-1, window[1] * c_in)
      for i in range(window[0])
    ]
    return total + jnp.stack(rows)

  init = jnp.zeros((window[0], c_out, window[1] * c_in), g.dtype)
  d_kernel = _chunked_sum(add, init, x, g, _CONV_CHUNK)
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
  if taken is None:
    return do
  return functools.partial(lax.cond, taken[image] == 1, do, leave)


def _pointwise_sum_fwd(
  images: Sequence[Array], kernels: Array, taken: Array | None
) -> tuple[Array, tuple[Sequence[Array], Array, Array | None]]:
  kept = (images, kernels, taken)
  return pointwise_conv_sum(*kept), kept


def _pointwise_sum_bwd(
  kept: tuple[Sequence[Array], Array, Array | None], g: Array
) -> tuple[Sequence[Array], Array, None]:
  images, kernels, taken = kept
  zeros = lambda x, kernel, _: (jnp.zeros_like(x), jnp.zeros_like(kernel))
  pull = lambda x, kernel, g: _pointwise_bwd((x, kernel), g)
  d_images, d_kernels = [], []
  for i, x in enumerate(images):
    choose = _if_taken(taken, i, pull, zeros)
    d_x, d_kernel = choose(x, kernels[i], g)
    d_images.append(d_x)
    d_kernels.append(d_kernel)
  return d_images, jnp.stack(d_kernels), None


pointwise_conv_sum.defvjp(_pointwise_sum_fwd, _pointwise_sum_bwd)


# --- Windows on [B, H, W * C] ------------------------------------------------


def _flat(x: Array) -> Array:
  batch, height, width, channels = x.shape
  return x.reshape(batch, height, width * channels)


def _image(flat: Array, channels: int) -> Array:
  return flat.reshape(*flat.shape[:2], -1, channels)


def _shifts(flat: Array, axis: int, step: int, count: int) -> list[Array]:
  """The `count` views along `axis` that start `step` apart."""
  length = flat.shape[axis] - (count - 1) * step
  return [
    lax.slice_in_dim(flat, i * step, i * step + length, axis=axis)
    for i in range(count)
  ]


def _taps(
  x: Array, window: tuple[int, int], padding: Padding, fill: float = 0.0
) -> list[Array]:
  """What each place of a window meets, [B, H', W' * C] each."""
  channels = x.shape[-1]
  rows, (left, right) = padding
  padded = lax.pad(
    _flat(x),
    jnp.asarray(fill, x.dtype),
    ((0, 0, 0), (*rows, 0), (left * channels, right * channels, 0)),
  )
  return [
    tap
    for row in _shifts(padded, 1, 1, window[0])
    for tap in _shifts(row, 2, channels, window[1])
  ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _depthwise(x: Array, kernel: Array, padding: Padding) -> Array:
  channels = x.shape[-1]
  taps = _taps(x, (kernel.shape[0], kernel.shape[1]), padding)
  width = taps[0].shape[-1] // channels
  weights = jnp.tile(kernel.reshape(-1, channels), (1, width))
  flat = _total(tap * weights[i] for i, tap in enumerate(taps))
  return _image(flat, channels)


def _depthwise_fwd(
  x: Array, kernel: Array, padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
  return _depthwise(x, kernel, padding), (x, kernel)


def _depthwise_bwd(
  padding: Padding, inputs: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
  x, kernel = inputs
  window = (kernel.shape[0], kernel.shape[1])
  d_x = _depthwise(g, kernel[::-1, ::-1], _transposed(padding, window))
  return d_x, _depthwise_weight_grad(x, g, window, padding)


_depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)


def _depthwise_weight_grad(
  x: Array, g: Array, window: tuple[int, int], padding: Padding
) -> Array:
  """[k, k, C], summed over positions only once, after the scan.

  Within it one accumulator of the image's size for each weight keeps every
  operation elementwise: a sum down to C channels strides through memory.
  """
  channels = x.shape[-1]

  def add(totals: list[Array], x: Array, g: Array) -> list[Array]:
    g, taps = _flat(g), _taps(x, window, padding)
    return [
      _total([total, *(tap[b] * g[b] for b in range(g.shape[0]))])
      for total, tap in zip(totals, taps, strict=True)
    ]

  zeros = jnp.zeros((g.shape[1], g.shape[2] * channels), g.dtype)
  init = [zeros] * (window[0] * window[1])
  totals = _chunked_sum(add, init, x, g, _DEPTHWISE_CHUNK)
  sums = [jnp.sum(t.reshape(-1, channels), axis=0) for t in totals]
  return jnp.stack(sums).reshape(*window, channels)


# --- Pooling -----------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Array, padding: Padding) -> Array:
  taps = _taps(x, _POOL_WINDOW, padding, fill=-np.inf)
  return _image(functools.reduce(jnp.maximum, taps), x.shape[-1])


def _max_pool_fwd(x: Array, padding: Padding) -> tuple[Array, Array]:
  return _max_pool(x, padding), x


def _max_pool_bwd(padding: Padding, x: Array, g: Array) -> tuple[Array]:
  spans = _transposed(padding, _POOL_WINDOW)
  places = _POOL_WINDOW[0] * _POOL_WINDOW[1]

  def route(x: Array, g: Array) -> Array:
    winner = _image(_winning_place(x, padding), x.shape[-1])
    winners = _taps(winner, _POOL_WINDOW, spans, fill=-1)
    grads = _taps(g, _POOL_WINDOW, spans)
    # The window that meets x at its place k lies at x's own place -k.
    terms = [
      jnp.where(found == places - 1 - place, grad, 0.0)
      for place, (found, grad) in enumerate(zip(winners, grads, strict=True))
    ]
    return _image(_total(terms), x.shape[-1])

  return (_chunked_map(route, x, g, _POOL_CHUNK),)


def _winning_place(x: Array, padding: Padding) -> Array:
  """[B, H', W' * C] int32: the first place of each window with its maximum.

  An index, and not a test for equality with the maximum: XLA may compute x
  anew, and with other rounding, for each use of it.
  """
  taps = _taps(x, _POOL_WINDOW, padding, fill=-np.inf)
  best, place = taps[0], jnp.zeros(taps[0].shape, jnp.int32)
  for number, tap in enumerate(taps[1:], start=1):
    place = jnp.where(tap > best, number, place)
    best = jnp.maximum(best, tap)
  return place


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def _divide(flat: Array, channels: int, padding: Padding) -> Array:
  """Divides sums over windows by how much of each is not padding."""

  def inverse(outputs: int, window: int, span: Span) -> np.ndarray:
    inside = np.ones(outputs + window - 1 - sum(span))
    return 1.0 / np.convolve(np.pad(inside, span), np.ones(window), "valid")

  width = flat.shape[2] // channels
  rows = inverse(flat.shape[1], _POOL_WINDOW[0], padding[0])[:, None]
  columns = inverse(width, _POOL_WINDOW[1], padding[1]).repeat(channels)
  return flat * rows.astype(flat.dtype) * columns.astype(flat.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _avg_pool(x: Array, padding: Padding) -> Array:
  sums = _total(_taps(x, _POOL_WINDOW, padding))
  return _image(_divide(sums, x.shape[-1], padding), x.shape[-1])


def _avg_pool_fwd(x: Array, padding: Padding) -> tuple[Array, None]:
  return _avg_pool(x, padding), None


def _avg_pool_bwd(padding: Padding, _: None, g: Array) -> tuple[Array]:
  channels = g.shape[-1]
  spans = _transposed(padding, _POOL_WINDOW)
  shares = _image(_divide(_flat(g), channels, padding), channels)
  return (_image(_total(_taps(shares, _POOL_WINDOW, spans)), channels),)


_avg_pool.defvjp(_avg_pool_fwd, _avg_pool_bwd)


# --- Batch norm --------------------------------------------------------------


def _moments(x: Array) -> tuple[Array, Array]:
  """The mean and the biased variance of each channel, [C] each."""
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x, axis=axes)
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
  # Per channel first, so that one pass over the image remains.
  by_x = (2.0 * d_variance - slope * inverse * d_scale) / count
  constant = (d_mean - slope * d_offset) / count
  return slope * g + by_x * centred + constant, d_scale, d_offset


batch_norm.defvjp(_batch_norm_fwd, _batch_norm_bwd)
