"""Depthwise convolutions and pooling in the forms that XLA runs fast on CPU.

Sliding windows are read on the view [B, H, W * C], where a step of one column
is a shift by C, so that the inner loop runs over whole rows. The gradients are
sums of shifted images, too, or sums over them. The rules of `cpu_kernels` hold
here as well.

Why not XLA's kernels: forward and backward at [128, 32, 32, 36] on two Xeon
cores, a grouped 3x3 convolution took 864 ms and this one 73, a 5x5 one 1600
and 150; max pooling by `reduce_window` took 306 ms and this one 57.
"""

import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax.nn import cpu_kernels
from enas_jax.nn.cpu_kernels import Padding, Span
from enas_jax.types import Array

_POOL_WINDOW = (3, 3)
# Images that one step of a mapped backward pass reads: a few fit the cache.
_POOL_CHUNK = 4
# Products that one step of the scan adds to each accumulator; an accumulator
# is of so many rows of an image, so that all of them fit the cache.
_DEPTHWISE_TERMS, _DEPTHWISE_ROWS = 16, 4


def depthwise_conv(x: Array, kernel: Array, stride: int = 1) -> Array:
  """`image_ops.depthwise_conv` of x [B, H, W, C] and kernel [k, k, C]."""
  height, width = kernel.shape[:2]
  padding = cpu_kernels.same_padding(x, (height, width), stride)
  return cpu_kernels.subsample(_depthwise(x, kernel, padding), stride)


def max_pool(x: Array, stride: int = 1) -> Array:
  """`image_ops.max_pool` of x [B, H, W, C]."""
  padding = cpu_kernels.same_padding(x, _POOL_WINDOW, stride)
  return cpu_kernels.subsample(_max_pool(x, padding), stride)


def avg_pool(x: Array, stride: int = 1) -> Array:
  """`image_ops.avg_pool` of x [B, H, W, C]."""
  padding = cpu_kernels.same_padding(x, _POOL_WINDOW, stride)
  return cpu_kernels.subsample(_avg_pool(x, padding), stride)


def _chunked_map(
  function: Callable[[Array, Array], Array], x: Array, g: Array, limit: int
) -> Array:
  """`function(x, g)` of images [B, ...], `limit` of them at a time."""
  step = lambda chunk: function(*chunk)
  images = lax.map(step, tuple(cpu_kernels.chunks(a, limit) for a in (x, g)))
  # Without what filled up the last chunk.
  return images.reshape(-1, *images.shape[2:])[: x.shape[0]]


def _total(terms: Iterable[Array]) -> Array:
  return functools.reduce(jnp.add, terms)


# --- Windows on [B, H, W * C] ------------------------------------------------


def _flat(x: Array) -> Array:
  """[B, H, W, C] as [B, H, W * C]."""
  batch, height, width, channels = x.shape
  return x.reshape(batch, height, width * channels)


def _image(flat: Array, channels: int) -> Array:
  """The inverse of `_flat`."""
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
  # On the view a row is W' times C long, and so must be a tap's weights.
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
  spans = cpu_kernels.transposed(padding, window)
  d_x = _depthwise(g, kernel[::-1, ::-1], spans)
  return d_x, _depthwise_weight_grad(x, g, window, padding)


_depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)


def _depthwise_weight_grad(
  x: Array, g: Array, window: tuple[int, int], padding: Padding
) -> Array:
  """[k, k, C], summed over positions only once, after the scan.

  Within it an accumulator of some whole rows for each weight keeps every
  operation elementwise. A sum down to C channels strides through memory: nine
  such sums, a 3x3 kernel's, took 172 to 236 ms where this takes 51.
  """
  channels, height = x.shape[-1], g.shape[1]
  rows = height
  if height > 2 * _DEPTHWISE_ROWS and height % _DEPTHWISE_ROWS == 0:
    rows = _DEPTHWISE_ROWS
  starts = range(0, height, rows)

  def add(totals: list[Array], x: Array, g: Array) -> list[Array]:
    g, taps = _flat(g), _taps(x, window, padding)
    parts = [np.s_[b, h : h + rows] for b in range(len(g)) for h in starts]
    return [
      _total([total, *(tap[part] * g[part] for part in parts)])
      for total, tap in zip(totals, taps, strict=True)
    ]

  zeros = jnp.zeros((rows, g.shape[2] * channels), g.dtype)
  init = [zeros] * (window[0] * window[1])
  images = max(_DEPTHWISE_TERMS // len(starts), 1)
  totals = cpu_kernels.chunked_sum(add, init, x, g, images)
  sums = [jnp.sum(t.reshape(-1, channels), axis=0) for t in totals]
  return jnp.stack(sums).reshape(*window, channels)


# --- Pooling -----------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Array, padding: Padding) -> Array:
  # Padding of zeros would win over negative pixels.
  taps = _taps(x, _POOL_WINDOW, padding, fill=-np.inf)
  return _image(functools.reduce(jnp.maximum, taps), x.shape[-1])


def _max_pool_fwd(x: Array, padding: Padding) -> tuple[Array, Array]:
  return _max_pool(x, padding), x


def _max_pool_bwd(padding: Padding, x: Array, g: Array) -> tuple[Array]:
  """A maximum over columns and then one over rows, taken back in turn.

  In two steps of three places: XLA computes an index anew for each of its
  readers, and one of nine places had nine, each of nine comparisons.
  """
  channels = x.shape[-1]
  rows, (left, right) = padding
  # By axis of [B, H, W * C]: how far apart neighbours are, and the padding.
  columns_of = (2, channels, (left * channels, right * channels))
  rows_of = (1, 1, rows)

  def route(x: Array, g: Array) -> Array:
    widest, column = _highest(_flat(x), *columns_of)
    _, row = _highest(widest, *rows_of)
    d_widest = _handed_back(_flat(g), row, *rows_of)
    return _image(_handed_back(d_widest, column, *columns_of), channels)

  return (_chunked_map(route, x, g, _POOL_CHUNK),)


def _highest(
  flat: Array, axis: int, step: int, span: Span
) -> tuple[Array, Array]:
  """The maximum over three neighbours along an axis, and its place, int32.

  An index, and not a test for equality with the maximum: XLA may compute the
  input anew, and with other rounding, for each use of it.
  """
  first, *others = _shifts(
    _padded(flat, axis, span, -np.inf), axis, step, _POOL_WINDOW[0]
  )
  best, place = first, jnp.zeros(first.shape, jnp.int32)
  # Not argmax of the stacked shifts, which would copy them all. `>` and not
  # `>=` keeps the first of equals, as XLA's own gradient does.
  for number, shift in enumerate(others, start=1):
    place = jnp.where(shift > best, number, place)
    best = jnp.maximum(best, shift)
  return best, place


def _handed_back(
  g: Array, place: Array, axis: int, step: int, span: Span
) -> Array:
  """The gradient for `_highest`'s input, from that of its maximum."""
  count = _POOL_WINDOW[0]
  back = ((count - 1) * step - span[0], (count - 1) * step - span[1])
  # -1 is no place: what lies outside the outputs hands on no gradient.
  winners = _shifts(_padded(place, axis, back, -1), axis, step, count)
  grads = _shifts(_padded(g, axis, back, 0), axis, step, count)
  # What is at place k of a window sees that window at place -k of its own.
  return _total(
    jnp.where(winner == count - 1 - k, grad, 0.0)
    for k, (winner, grad) in enumerate(zip(winners, grads, strict=True))
  )


def _padded(flat: Array, axis: int, span: Span, fill: float) -> Array:
  widths = [(0, 0, 0)] * flat.ndim
  widths[axis] = (*span, 0)
  return lax.pad(flat, jnp.asarray(fill, flat.dtype), widths)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def _divide(flat: Array, channels: int, padding: Padding) -> Array:
  """Divides sums over windows by how much of each is not padding."""

  def inverse(outputs: int, window: int, span: Span) -> np.ndarray:
    inside = np.ones(outputs + window - 1 - sum(span))
    return 1.0 / np.convolve(np.pad(inside, span), np.ones(window), "valid")

  # Computed on the host: the counts depend on shapes alone, so they are
  # constants of the program, and multiplying is cheaper than dividing.
  width = flat.shape[2] // channels
  rows = inverse(flat.shape[1], _POOL_WINDOW[0], padding[0])[:, None]
  columns = inverse(width, _POOL_WINDOW[1], padding[1]).repeat(channels)
  return flat * rows.astype(flat.dtype) * columns.astype(flat.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _avg_pool(x: Array, padding: Padding) -> Array:
  sums = _total(_taps(x, _POOL_WINDOW, padding))
  return _image(_divide(sums, x.shape[-1], padding), x.shape[-1])


def _avg_pool_fwd(x: Array, padding: Padding) -> tuple[Array, None]:
  return _avg_pool(x, padding), None  # linear: the gradient needs no input


def _avg_pool_bwd(padding: Padding, _: None, g: Array) -> tuple[Array]:
  channels = g.shape[-1]
  # An output hands each pixel of its window the share that it had of the sum.
  spans = cpu_kernels.transposed(padding, _POOL_WINDOW)
  shares = _image(_divide(_flat(g), channels, padding), channels)
  return (_image(_total(_taps(shares, _POOL_WINDOW, spans)), channels),)


_avg_pool.defvjp(_avg_pool_fwd, _avg_pool_bwd)
