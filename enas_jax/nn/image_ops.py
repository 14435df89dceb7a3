"""Operations of the convolutional spaces, on images [B, H, W, C].

Each has two forms that give the same numbers. The plain one leaves kernels
and gradients to XLA: GPUs and TPUs run it, and tests take it for the
reference. The other is made for CPU (`cpu_kernels`, `cpu_windows`). `_kernels`
alone chooses, by backend unless `using` says otherwise.

Strides subsample the SAME-padded output as TensorFlow does; the release uses
1 and 2. No operation has a bias: batch norm follows where one would matter.

Every function asserts ranks, types and channels while it is traced, and raises
AssertionError where they are not those of its docstring.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax.nn import cpu_kernels, cpu_windows
from enas_jax.types import Array, PRNGKey

Form = Literal["cpu", "plain"]
# The standard deviation of a standard normal cut off at -2 and 2: sampling
# from it and dividing by this gives unit variance again.
_TRUNCATED_STD = 0.87962566103423978
# A context variable, so that two threads may trace in two forms.
_chosen: contextvars.ContextVar[Form | None] = contextvars.ContextVar(
  "_chosen", default=None
)


class _Kernels(NamedTuple):
  """One form of every operation that has two; strides are positional."""

  conv: Callable[[Array, Array], Array]
  depthwise_conv: Callable[[Array, Array, int], Array]
  pointwise_conv: Callable[[Array, Array, int], Array]
  pointwise_conv_sum: Callable[[Sequence[Array], Array, Array | None], Array]
  max_pool: Callable[[Array, int], Array]
  avg_pool: Callable[[Array, int], Array]
  batch_norm: Callable[[Array, Array, Array, float], tuple[Array, Array, Array]]


@contextlib.contextmanager
def using(form: Form) -> Iterator[None]:
  """What is traced inside takes this form where none is asked for.

  Args:
    form: "cpu" or "plain".

  Yields:
    Nothing; the form before it holds again afterwards.
  """
  token = _chosen.set(form)
  try:
    yield
  finally:
    _chosen.reset(token)


def chosen() -> Form | None:
  """What `using` says here; a trace that is kept for later depends on it."""
  return _chosen.get()


def conv(x: Array, kernel: Array, *, form: Form | None = None) -> Array:
  """Convolution with stride 1.

  Args:
    x: [B, H, W, C] floats.
    kernel: [k, k, C, F] floats; k may be even, and the two may differ.
    form: "cpu" or "plain"; None chooses by backend, here and below.

  Returns:
    [B, H, W, F] of x's type.
  """
  chex.assert_rank(x, 4)
  chex.assert_shape(kernel, (None, None, x.shape[-1], None))
  chex.assert_type([x, kernel], float)
  return _kernels(form).conv(x, kernel)


def strided_conv(x: Array, kernel: Array) -> Array:
  """3x3 convolution with stride 2 and a border of one, in the one form.

  The outputs are every other one of `conv`'s, as PyTorch has them; SAME padding
  of an even size would begin a pixel later.

  Args:
    x: [B, H, W, C] floats.
    kernel: [3, 3, C, F] floats.

  Returns:
    [B, ceil(H / 2), ceil(W / 2), F] of x's type.
  """
  chex.assert_rank(x, 4)
  chex.assert_shape(kernel, (3, 3, x.shape[-1], None))
  chex.assert_type([x, kernel], float)
  return lax.conv_general_dilated(
    x,
    kernel,
    (2, 2),
    ((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def depthwise_conv(
  x: Array, kernel: Array, stride: int = 1, *, form: Form | None = None
) -> Array:
  """Convolution of each channel with a filter that is its alone.

  Args:
    x: [B, H, W, C] floats.
    kernel: [k, k, C] floats.
    stride: pixels between outputs.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), C] of x's type.
  """
  chex.assert_rank(x, 4)
  chex.assert_shape(kernel, (None, None, x.shape[-1]))
  chex.assert_type([x, kernel], float)
  return _kernels(form).depthwise_conv(x, kernel, stride)


def pointwise_conv(
  x: Array, kernel: Array, stride: int = 1, *, form: Form | None = None
) -> Array:
  """1x1 convolution.

  Args:
    x: [B, H, W, C] floats.
    kernel: [C, F] floats.
    stride: pixels between outputs.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), F] of x's type.
  """
  chex.assert_rank(x, 4)
  chex.assert_shape(kernel, (x.shape[-1], None))
  chex.assert_type([x, kernel], float)
  return _kernels(form).pointwise_conv(x, kernel, stride)


def pointwise_conv_sum(
  images: Sequence[Array],
  kernels: Array,
  taken: Array | None = None,
  *,
  form: Form | None = None,
) -> Array:
  """1x1 convolution of the concatenation of some images.

  The join of the macro network (Section 2.3): what a layer takes is
  concatenated along its channels.

  Args:
    images: list of N candidates, [B, H, W, C] floats each.
    kernels: [N, C, F] floats, the rows of the kernel that meet each image.
    taken: [N] int32, 1 for images that are to count, else 0; None for all.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    [B, H, W, F] of the kernels' type.
  """
  chex.assert_equal_shape(images)
  chex.assert_rank(images[0], 4)
  chex.assert_type([*images, kernels], float)
  chex.assert_shape(kernels, (len(images), images[0].shape[-1], None))
  if taken is not None:
    chex.assert_shape(taken, (len(images),))
    chex.assert_type(taken, int)
  return _kernels(form).pointwise_conv_sum(images, kernels, taken)


def separable_conv(
  x: Array,
  depthwise: Array,
  pointwise: Array,
  stride: int = 1,
  *,
  form: Form | None = None,
) -> Array:
  """A depthwise convolution and a 1x1 one, with nothing between them.

  Args:
    x: [B, H, W, C] floats.
    depthwise: [k, k, C] floats.
    pointwise: [C, F] floats.
    stride: pixels between outputs; the depthwise convolution takes it.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), F] of x's type.
  """
  x = depthwise_conv(x, depthwise, stride, form=form)
  return pointwise_conv(x, pointwise, form=form)


def max_pool(x: Array, stride: int = 1, *, form: Form | None = None) -> Array:
  """3x3 max pooling; padding never wins, and of equals the first does.

  Args:
    x: [B, H, W, C] floats.
    stride: pixels between outputs.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), C] of x's type.
  """
  chex.assert_rank(x, 4)
  chex.assert_type(x, float)
  return _kernels(form).max_pool(x, stride)


def avg_pool(x: Array, stride: int = 1, *, form: Form | None = None) -> Array:
  """3x3 average pooling; padding does not count.

  Args:
    x: [B, H, W, C] floats.
    stride: pixels between outputs.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), C] of x's type.
  """
  chex.assert_rank(x, 4)
  chex.assert_type(x, float)
  return _kernels(form).avg_pool(x, stride)


def batch_norm(
  x: Array,
  scale: Array,
  offset: Array,
  eps: float = 1e-5,
  *,
  form: Form | None = None,
) -> tuple[Array, Array, Array]:
  """Batch norm with the batch's own statistics.

  Args:
    x: [..., C] floats; the statistics are over all axes but the last.
    scale: [C] floats.
    offset: [C] floats.
    eps: summand of the variance; the release has 1e-5, and 1e-3 after the
      convolutions of the macro search.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    The normalised x, [..., C]; the mean, [C]; the biased variance, [C]. What
    the release averages over steps is the unbiased one, n / (n - 1) larger.
  """
  chex.assert_shape([scale, offset], (x.shape[-1],))
  chex.assert_type([x, scale, offset], float)
  # Of images in bfloat16 the statistics are in float32, as the weights are.
  y, mean, variance = _kernels(form).batch_norm(
    x.astype(scale.dtype), scale, offset, eps
  )
  return y.astype(x.dtype), mean, variance


def batch_norm_inference(
  x: Array,
  scale: Array,
  offset: Array,
  mean: Array,
  variance: Array,
  eps: float = 1e-5,
) -> Array:
  """Batch norm with given statistics.

  Args:
    x: [..., C] floats.
    scale: [C] floats.
    offset: [C] floats.
    mean: [C] floats.
    variance: [C] floats, not negative.
    eps: summand of the variance.

  Returns:
    [..., C] of x's type.
  """
  chex.assert_shape([scale, offset, mean, variance], (x.shape[-1],))
  chex.assert_type([x, scale, offset, mean, variance], float)
  # The factor first: it is [C], and an image is multiplied once.
  y = (x - mean) * (lax.rsqrt(variance + eps) * scale) + offset
  return y.astype(x.dtype)


def factorized_reduction(
  x: Array, w1: Array, w2: Array, *, form: Form | None = None
) -> Array:
  """Halves height and width; batch norm is left to the caller.

  One path sees the pixels (2i, 2j), the other (2i + 1, 2j + 1), which beyond
  the edge of an odd size are zeros.

  Args:
    x: [B, H, W, C] floats.
    w1: [C, F] floats, the kernel of the first path.
    w2: [C, F'] floats, that of the second; the release has F = F'.
    form: "cpu", "plain" or None, as for `conv`.

  Returns:
    [B, ceil(H / 2), ceil(W / 2), F + F'] of x's type.
  """
  chex.assert_rank([x, w1, w2], [4, 2, 2])
  # A negative pad crops: one pixel up and to the left, zeros come in behind.
  shift = (-1, 1, 0)
  zero = jnp.zeros((), x.dtype)
  shifted = lax.pad(x, zero, ((0, 0, 0), shift, shift, (0, 0, 0)))
  paths = (
    pointwise_conv(x, w1, 2, form=form),
    pointwise_conv(shifted, w2, 2, form=form),
  )
  return jnp.concatenate(paths, axis=-1)


def global_average_pool(x: Array) -> Array:
  """The mean of each channel over all pixels.

  Args:
    x: [B, H, W, C] floats.

  Returns:
    [B, C] of x's type.
  """
  chex.assert_rank(x, 4)
  chex.assert_type(x, float)
  return jnp.mean(x, axis=(1, 2))


def he_normal(
  key: PRNGKey, shape: tuple[int, ...], fan_in: np.typing.ArrayLike
) -> Array:
  """He's initialisation: standard deviation sqrt(2 / fan_in).

  As in the release the normal is cut off at two of its deviations and then
  widened to the one wanted.

  Args:
    key: PRNG key of the draw.
    shape: dimensions of the weights.
    fan_in: inputs of each output, one number or an array that broadcasts to
      `shape`. The release's is the first dimension of a 2-D tensor, and
      k * k * C of a depthwise kernel.

  Returns:
    [*shape] float32.
  """
  unit = jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)
  # In float64 on the host, so that the scale is rounded once.
  scale = np.sqrt(2.0 / np.asarray(fan_in, np.float64)) / _TRUNCATED_STD
  return unit * jnp.asarray(scale, jnp.float32)


def _plain_conv(
  x: Array, kernel: Array, stride: int = 1, groups: int = 1
) -> Array:
  """Convolution of [B, H, W, C] by [k, k, C / groups, F], SAME padding."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def _plain_depthwise_conv(x: Array, kernel: Array, stride: int) -> Array:
  # A group for each channel, of one input each: [k, k, 1, C].
  return _plain_conv(x, kernel[:, :, None], stride, x.shape[-1])


def _plain_pointwise_conv(x: Array, kernel: Array, stride: int) -> Array:
  return _plain_conv(x, kernel[None, None], stride)


def _plain_pointwise_conv_sum(
  images: Sequence[Array], kernels: Array, taken: Array | None
) -> Array:
  if taken is not None:
    # Masking the weights is cheaper than masking the images.
    kernels = kernels * taken[:, None, None].astype(kernels.dtype)
  kernel = kernels.reshape(-1, kernels.shape[-1])  # [N * C, F]
  return _plain_pointwise_conv(jnp.concatenate(images, axis=-1), kernel, 1)


def _plain_max_pool(x: Array, stride: int) -> Array:
  window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
  # From -inf JAX knows the reduction for a maximum, whose derivative it has.
  return lax.reduce_window(x, -np.inf, lax.max, window, strides, "SAME")


def _plain_avg_pool(x: Array, stride: int) -> Array:
  window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
  # Ones give the counts, in which padding is 0.
  total = lambda a: lax.reduce_window(a, 0.0, lax.add, window, strides, "SAME")
  return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _plain_batch_norm(
  x: Array, scale: Array, offset: Array, eps: float
) -> tuple[Array, Array, Array]:
  axes = tuple(range(x.ndim - 1))
  mean, variance = jnp.mean(x, axis=axes), jnp.var(x, axis=axes)  # biased
  y = batch_norm_inference(x, scale, offset, mean, variance, eps)
  return y, mean, variance


_PLAIN = _Kernels(
  conv=_plain_conv,
  depthwise_conv=_plain_depthwise_conv,
  pointwise_conv=_plain_pointwise_conv,
  pointwise_conv_sum=_plain_pointwise_conv_sum,
  max_pool=_plain_max_pool,
  avg_pool=_plain_avg_pool,
  batch_norm=_plain_batch_norm,
)
_CPU = _Kernels(
  conv=cpu_kernels.conv,
  depthwise_conv=cpu_windows.depthwise_conv,
  pointwise_conv=cpu_kernels.pointwise_conv,
  pointwise_conv_sum=cpu_kernels.pointwise_conv_sum,
  max_pool=cpu_windows.max_pool,
  avg_pool=cpu_windows.avg_pool,
  batch_norm=cpu_kernels.batch_norm,
)


def _kernels(form: Form | None) -> _Kernels:
  """The kernels of a form, by default the backend's, at trace time."""
  # The backend is asked while tracing, not on import, which would start it.
  form = form or _chosen.get()
  if form is None:
    form = "cpu" if jax.default_backend() == "cpu" else "plain"
  return _CPU if form == "cpu" else _PLAIN
