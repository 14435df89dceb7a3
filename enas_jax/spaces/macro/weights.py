"""The weights of the network of all macro children: shapes, and He's scales."""

import math
from typing import Any

from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro.presets import MacroConfig


def specs(
  config: MacroConfig, num_classes: int, channels: int
) -> dict[str, Any]:
  """How every weight starts, laid out as `network.init` says.

  Args:
    config: the network's options; F is its `num_filters`.
    num_classes: classes of the images.
    channels: channels of the images, C.

  Returns:
    Nested dicts of `Spec`, of the shapes [...] that `network.init` lists.
  """
  f = config.num_filters
  tree: dict[str, Any] = {"stem": _conv_specs(f, w=(3, 3, channels, f))}
  for layer in range(config.num_layers):
    tree[f"layer_{layer}"] = {
      name: _operation_specs(name, f) for name in space_lib.OPS
    }
    if layer > 0:
      tree[f"skip_{layer}"] = _skip_specs(config, layer)
    if layer in config.reductions():
      tree[f"reduction_{layer}"] = {
        f"node_{i}": _conv_specs(f, w1=(f, f // 2), w2=(f, f // 2))
        for i in range(layer + 2)  # the stem, and layers 0 to `layer`
      }
  tree["classifier"] = {"w": weights_lib.Spec((f, num_classes), fan_in=f)}
  return tree


def _operation_specs(name: str, f: int) -> dict[str, Any]:
  arrays = {"in": _conv_specs(f, w=(f, f))}
  if "pool" in name:
    return arrays
  k = int(name[-1])  # of "conv_3x3": 3
  if name.startswith("sep"):
    out = _conv_specs(f, depthwise=(k, k, f), pointwise=(f, f))
  else:
    out = _conv_specs(f, w=(k, k, f, f))
  return arrays | {"out": out}


def _skip_specs(config: MacroConfig, layer: int) -> dict[str, Any]:
  f = config.num_filters
  if config.skip_combination == "sum":
    return _conv_specs(f)
  # l + 1 candidates by either `main_input` (`network._bits`); fan-in counts all
  # of them, taken or not.
  return _conv_specs(f, w=(layer + 1, f, f))


def _conv_specs(f: int, **shapes: tuple[int, ...]) -> dict[str, Any]:
  """A convolution's weights, and those of its batch norm."""
  arrays = {name: _weight(name, shape) for name, shape in shapes.items()}
  return arrays | weights_lib.norm_specs((f,))


def _weight(name: str, shape: tuple[int, ...]) -> weights_lib.Spec:
  # The release counts all of a depthwise kernel; batch norm undoes the scale.
  inputs = shape if name == "depthwise" else shape[:-1]
  return weights_lib.Spec(shape, fan_in=math.prod(inputs))
