"""`image_ops` as plain eager PyTorch has it, images in channels_last.

For the children that `experiments.benchmark --against=torch` times. PyTorch is
an extra of this package, so that only these children import this module.

Images are [B, C, H, W] tensors whose memory is laid out as [B, H, W, C], the
faster of PyTorch's two layouts on a CPU. Padding is TensorFlow's SAME, as in
`image_ops`.
"""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing
import torch
from torch.nn import functional

ArrayLike = numpy.typing.ArrayLike
Tensor: TypeAlias = torch.Tensor


def images(x: ArrayLike) -> Tensor:
  """[B, H, W, C] as [B, C, H, W] in channels_last: a copy, in that order."""
  return torch.from_numpy(np.array(x, order="C")).permute(0, 3, 1, 2)


def array(x: ArrayLike) -> Tensor:
  """An array as it is."""
  return torch.from_numpy(np.array(x, order="C"))


def kernel(w: ArrayLike) -> Tensor:
  """[k, k, C, F], or [C, F] of a 1x1 convolution, as [F, C, k, k]."""
  w = np.asarray(w)
  if w.ndim == 2:
    w = w[None, None]
  tensor = torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1)))
  return tensor.contiguous(memory_format=torch.channels_last)


def depthwise_kernel(w: ArrayLike) -> Tensor:
  """[k, k, C] as [C, 1, k, k]."""
  return kernel(np.asarray(w)[:, :, None, :])


def norm(weights: Mapping[str, ArrayLike]) -> dict[str, Tensor]:
  """The "scale" and the "offset" of a batch norm, [C] each."""
  return {name: array(weights[name]) for name in ("scale", "offset")}


def conv(x: Tensor, w: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
  """Convolution; of an even size and stride 2 a pixel of padding is behind."""
  k = w.shape[-1]
  # Width before height: `functional.pad` begins with the last axis.
  spans = [_span(size, k, stride) for size in (x.shape[3], x.shape[2])]
  # `conv2d` can pad both sides of an axis alike, and no other way.
  if any(before != after for before, after in spans):
    x = functional.pad(x, [n for span in spans for n in span])
    return functional.conv2d(x, w, stride=stride, groups=groups)
  padding = (spans[1][0], spans[0][0])
  return functional.conv2d(x, w, None, stride, padding, groups=groups)


def separable_conv(
  x: Tensor, depthwise: Tensor, pointwise: Tensor, stride: int = 1
) -> Tensor:
  """A depthwise convolution and a 1x1 one."""
  return conv(conv(x, depthwise, stride, x.shape[1]), pointwise)


def max_pool(x: Tensor, stride: int = 1) -> Tensor:
  """3x3 max pooling."""
  padding = _pool_padding(x, stride)
  return functional.max_pool2d(x, 3, stride, padding, ceil_mode=True)


def avg_pool(x: Tensor, stride: int = 1) -> Tensor:
  """3x3 average pooling; padding does not count."""
  return functional.avg_pool2d(
    x,
    3,
    stride,
    _pool_padding(x, stride),
    ceil_mode=True,
    count_include_pad=False,
  )


def batch_norm(
  x: Tensor, weights: Mapping[str, Tensor] | None, eps: float = 1e-5
) -> Tensor:
  """Batch norm with the batch's own statistics; None: no scale, no offset."""
  scale = weights["scale"] if weights else None
  offset = weights["offset"] if weights else None
  # True: by the statistics of the batch.
  return functional.batch_norm(x, None, None, scale, offset, True, eps=eps)


def factorized_reduction(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
  """Two 1x1 convolutions of every other pixel, the second one pixel on."""
  shifted = functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
  paths = conv(x, w1, stride=2), conv(shifted, w2, stride=2)
  return torch.cat(paths, dim=1)


def _span(size: int, window: int, stride: int) -> tuple[int, int]:
  """Pixels before and after, as `cpu_kernels.same_padding` has them."""
  total = max((-(-size // stride) - 1) * stride + window - size, 0)
  return total // 2, total - total // 2


def _pool_padding(x: Tensor, stride: int) -> tuple[int, int]:
  # The pixel behind an even size is left to `ceil_mode`.
  height, width = (_span(size, 3, stride)[0] for size in x.shape[2:])
  return height, width
