"""An independent NumPy reference of macro networks, in float64."""

import numpy as np


def logits(omega, arc, images, config, statistics=None):
  """[B, classes]; with `statistics`, batch norm uses those."""
  units = _Units(omega, statistics)
  x = _norm(_conv(images.astype(np.float64), units("stem", "w")), units, "stem")
  outputs, stem = [], x  # `outputs` of layers, by number
  third = len(arc.ops) // 3
  for layer, op in enumerate(arc.ops):
    taken = [i for i in range(layer) if arc.skips[layer][i]]
    if config.main_input == "selected":
      parts = {i + 1: outputs[i] for i in taken} or {0: stem}
      x = _join(parts, units, layer, config) if layer else stem
      x = _operation(op, x, units, layer, config)
    else:
      x = outputs[-1] if layer else stem
      x = _operation(op, x, units, layer, config)
      earlier = [stem, *outputs]
      parts = {i: earlier[i] for i in taken} | {layer: x}
      x = _join(parts, units, layer, config) if layer else x
    outputs.append(x)
    if third and layer in (third - 1, 2 * third - 1):
      stem, *outputs = (
        _reduce(node, units, layer, i)
        for i, node in enumerate([stem, *outputs])
      )
  return outputs[-1].mean(axis=(1, 2)) @ units("classifier", "w")


class _Units:
  """Weights by their path, in float64."""

  def __init__(self, omega, statistics):
    self.omega, self.statistics = omega, statistics

  def __call__(self, *path):
    return self._at(self.omega, path)

  def moments(self, path, x):
    if self.statistics is None:
      return x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    return tuple(
      self._at(self.statistics, (*path, name)) for name in ("mean", "variance")
    )

  def _at(self, tree, path):
    for name in path:
      tree = tree[name]
    return np.asarray(tree, np.float64)


def _norm(x, units, *path, eps=1e-5):
  mean, variance = units.moments(path, x)
  y = (x - mean) / np.sqrt(variance + eps)
  return y * units(*path, "scale") + units(*path, "offset")


def _relu(x):
  return np.maximum(x, 0.0)


def _windows(x, k, fill=0.0):
  """The k * k shifted images, padded around."""
  h, w, p = x.shape[1], x.shape[2], k // 2
  padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=fill)
  return [
    ((i, j), padded[:, i : i + h, j : j + w])
    for i in range(k)
    for j in range(k)
  ]


def _conv(x, kernel):
  return sum(tap @ kernel[at] for at, tap in _windows(x, len(kernel)))


def _operation(op, x, units, layer, config):
  name = (
    *("conv_3x3", "conv_5x5", "sep_conv_3x3", "sep_conv_5x5"),
    *("max_pool_3x3", "avg_pool_3x3"),
  )[op]
  path = (f"layer_{layer}", name)

  def block(convolve, x, part, eps):
    if config.conv_order == "relu_conv_bn":
      return _norm(convolve(_relu(x)), units, *path, part, eps=eps)
    return _relu(_norm(convolve(x), units, *path, part, eps=eps))

  x = block(lambda v: v @ units(*path, "in", "w"), x, "in", 1e-5)
  if name == "max_pool_3x3":
    return np.max([tap for _, tap in _windows(x, 3, -np.inf)], axis=0)
  if name == "avg_pool_3x3":
    count = sum(tap for _, tap in _windows(np.ones_like(x), 3))
    return sum(tap for _, tap in _windows(x, 3)) / count

  def convolve(v):
    if name.startswith("conv"):
      return _conv(v, units(*path, "out", "w"))
    kernel = units(*path, "out", "depthwise")
    each = sum(tap * kernel[at] for at, tap in _windows(v, len(kernel)))
    return each @ units(*path, "out", "pointwise")

  return block(convolve, x, "out", config.op_epsilon)


def _join(parts, units, layer, config):
  """`parts` are images by the number of their candidate."""
  name = f"skip_{layer}"
  if config.skip_combination == "sum":
    return _norm(sum(parts.values()), units, name)
  kernel = units(name, "w")
  total = sum(x @ kernel[i] for i, x in parts.items())
  return _relu(_norm(total, units, name))


def _reduce(x, units, layer, node):
  path = (f"reduction_{layer}", f"node_{node}")
  paths = [
    x[:, ::2, ::2] @ units(*path, "w1"),
    x[:, 1::2, 1::2] @ units(*path, "w2"),
  ]
  return _norm(np.concatenate(paths, axis=-1), units, *path)
