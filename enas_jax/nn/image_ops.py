"""Operations of the convolutional spaces, on images [B, H, W, C].

Each has two forms that give the same numbers. The plain one leaves kernels
and gradients to XLA: GPUs and TPUs run it, and tests take it for the
reference. The other is made for CPU (`cpu_kernels`). `_kernels` alone chooses,
by backend unless `using` says otherwise.

Strides subsample the SAME-padded output as TensorFlow does; the release uses
1 and 2. No operation has a bias: batch norm follows where one would matter.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax.nn import cpu_kernels
from enas_jax.types import Array, PRNGKey

Form = Literal["cpu", "plain"]
# The standard deviation of a standard normal cut off at -2 and 2.
_TRUNCATED_STD = 0.87962566103423978
_chosen: contextvars.ContextVar[Form | None] = contextvars.ContextVar(
  "_chosen", default=None
)


class _Kernels(NamedTuple):
  conv: Callable[[Array, Array], Array]
  depthwise_conv: Callable[[Array, Array, int], Array]
  pointwise_conv: Callable[[Array, Array, int], Array]
  pointwise_conv_sum: Callable[[Sequence[Array], Array, Array | None], Array]
  max_pool: Callable[[Array, int], Array]
  avg_pool: Callable[[Array, int], Array]
  batch_norm: Callable[[Array, Array, Array, float], tuple[Array, Array, Array]]


@contextlib.contextmanager
def using(form: Form) -> Iterator[None]:
  """What is traced inside takes this form where none is asked for."""
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
    x: [B, H, W, C].
    kernel: [k, k, C, D]; k may be even, and the two may differ.
    form: None chooses by backend, here and below.

  Returns:
    [B, H, W, D].
  """
  return _kernels(form).conv(x, kernel)


def strided_conv(x: Array, kernel: Array) -> Array:
  """3x3 convolution with stride 2 and a border of one, in the one form.

  The outputs are every other one of `conv`'s, as PyTorch has them; SAME padding
  of an even size would begin a pixel later.

  Args:
    x: [B, H, W, C].
    kernel: [3, 3, C, D].

  Returns:
    [B, ceil(H / 2), ceil(W / 2), D].
  """
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
  """Convolution of each channel with its own filter.

  Args:
    x: [B, H, W, C].
    kernel: [k, k, C].
    stride: between outputs.
    form: see `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), C].
  """
  return _kernels(form).depthwise_conv(x, kernel, stride)


def pointwise_conv(
  x: Array, kernel: Array, stride: int = 1, *, form: Form | None = None
) -> Array:
  """1x1 convolution.

  Args:
    x: [B, H, W, C].
    kernel: [C, D].
    stride: between outputs.
    form: see `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), D].
  """
  return _kernels(form).pointwise_conv(x, kernel, stride)


def pointwise_conv_sum(
  images: Sequence[Array],
  kernels: Array,
  taken: Array | None = None,
  *,
  form: Form | None = None,
) -> Array:
  """1x1 convolution of the concatenation of some images.

  Args:
    images: N of [B, H, W, C], in a list.
    kernels: [N, C, D], the rows of the kernel that meet each image.
    taken: [N] int32, 1 for images that are to count, else 0; None for all.
    form: see `conv`.

  Returns:
    [B, H, W, D].
  """
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
    x: [B, H, W, C].
    depthwise: [k, k, C].
    pointwise: [C, D].
    stride: of the depthwise one.
    form: see `conv`.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), D].
  """
  x = depthwise_conv(x, depthwise, stride, form=form)
  return pointwise_conv(x, pointwise, form=form)


def max_pool(x: Array, stride: int = 1, *, form: Form | None = None) -> Array:
  """3x3 max pooling; padding never wins, and of equals the first does."""
  return _kernels(form).max_pool(x, stride)


def avg_pool(x: Array, stride: int = 1, *, form: Form | None = None) -> Array:
  """3x3 average pooling; padding does not count."""
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
    x: [..., C].
    scale: [C].
    offset: [C].
    eps: added to the variance; the release has 1e-5, and 1e-3 after the
      convolutions of the macro search.
    form: see `conv`.

  Returns:
    The normalised x, [..., C]; the mean, [C]; the biased variance, [C]. What
    the release averages over steps is the unbiased one, n / (n - 1) larger.
  """
  return _kernels(form).batch_norm(x, scale, offset, eps)


def batch_norm_inference(
  x: Array,
  scale: Array,
  offset: Array,
  mean: Array,
  variance: Array,
  eps: float = 1e-5,
) -> Array:
  """Batch norm with given statistics, [C] each; returns [..., C]."""
  return (x - mean) * (lax.rsqrt(variance + eps) * scale) + offset


def factorized_reduction(
  x: Array, w1: Array, w2: Array, *, form: Form | None = None
) -> Array:
  """Halves height and width; batch norm is left to the caller.

  One path sees the pixels (2i, 2j), the other (2i + 1, 2j + 1), which beyond
  the edge of an odd size are zeros.

  Args:
    x: [B, H, W, C].
    w1: [C, D], of the first path.
    w2: [C, D'], of the second; the release has D = D'.
    form: see `conv`.

  Returns:
    [B, ceil(H / 2), ceil(W / 2), D + D'].
  """
  shift = (-1, 1, 0)
  zero = jnp.zeros((), x.dtype)
  shifted = lax.pad(x, zero, ((0, 0, 0), shift, shift, (0, 0, 0)))
  paths = (
    pointwise_conv(x, w1, 2, form=form),
    pointwise_conv(shifted, w2, 2, form=form),
  )
  return jnp.concatenate(paths, axis=-1)


def global_average_pool(x: Array) -> Array:
  """The mean of each channel, [B, C], of [B, H, W, C]."""
  return jnp.mean(x, axis=(1, 2))


def he_normal(key: PRNGKey, shape: tuple[int, ...], fan_in: Any) -> Array:
  """He's initialisation: standard deviation sqrt(2 / fan_in).

  As in the release the normal is cut off at two of its own deviations and
  then widened to the one wanted. The release's `fan_in` is the first
  dimension of a 2-D tensor, k * k * C of a depthwise kernel. An array `fan_in`
  broadcasts to `shape`.
  """
  unit = jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)
  scale = np.sqrt(2.0 / np.asarray(fan_in, np.float64)) / _TRUNCATED_STD
  return unit * jnp.asarray(scale, jnp.float32)


def _plain_conv(
  x: Array, kernel: Array, stride: int = 1, groups: int = 1
) -> Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def _plain_depthwise_conv(x: Array, kernel: Array, stride: int) -> Array:
  return _plain_conv(x, kernel[:, :, None], stride, x.shape[-1])


def _plain_pointwise_conv(x: Array, kernel: Array, stride: int) -> Array:
  return _plain_conv(x, kernel[None, None], stride)


def _plain_pointwise_conv_sum(
  images: Sequence[Array], kernels: Array, taken: Array | None
) -> Array:
  if taken is not None:
    # Masking the weights is cheaper than masking the images.
    kernels = kernels * taken[:, None, None].astype(kernels.dtype)
  kernel = kernels.reshape(-1, kernels.shape[-1])
  return _plain_pointwise_conv(jnp.concatenate(images, axis=-1), kernel, 1)


def _plain_max_pool(x: Array, stride: int) -> Array:
  window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
  return lax.reduce_window(x, -np.inf, lax.max, window, strides, "SAME")


def _plain_avg_pool(x: Array, stride: int) -> Array:
  window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
  total = lambda a: lax.reduce_window(a, 0.0, lax.add, window, strides, "SAME")
  return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _plain_batch_norm(
  x: Array, scale: Array, offset: Array, eps: float
) -> tuple[Array, Array, Array]:
  axes = tuple(range(x.ndim - 1))
  mean, variance = jnp.mean(x, axis=axes), jnp.var(x, axis=axes)
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
  depthwise_conv=cpu_kernels.depthwise_conv,
  pointwise_conv=cpu_kernels.pointwise_conv,
  pointwise_conv_sum=cpu_kernels.pointwise_conv_sum,
  max_pool=cpu_kernels.max_pool,
  avg_pool=cpu_kernels.avg_pool,
  batch_norm=cpu_kernels.batch_norm,
)


def _kernels(form: Form | None) -> _Kernels:
  """The kernels of a form, by default the backend's, at trace time."""
  form = form or _chosen.get()
  if form is None:
    form = "cpu" if jax.default_backend() == "cpu" else "plain"
  return _CPU if form == "cpu" else _PLAIN
