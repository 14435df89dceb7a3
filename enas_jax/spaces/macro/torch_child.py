"""A whole network in plain eager PyTorch."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from enas_jax import types
from enas_jax.nn import batch_norm
from enas_jax.nn import torch_ops as t
from enas_jax.spaces import torch_child
from enas_jax.spaces.macro import arc as arc_lib
from enas_jax.spaces.macro import drawing, presets


def make(
  options: presets.MacroConfig, arc: arc_lib.MacroArc
) -> torch_child.ImageChild:
  """The child of one network.

  Args:
    options: the network's options.
    arc: the network, of Python ints: ops [L] and skips [L, L].

  Raises:
    InputError: if batch norms are to have moving statistics.
  """
  torch_child.refuse(options, "moving_statistics")
  return torch_child.ImageChild(
    options, _convert, functools.partial(_features, options, arc)
  )


def _convert(child: types.Omega) -> torch_child.Weights:
  return {
    name: _tensors(part) for name, part in child.items() if name != "classifier"
  }


def _tensors(part: types.Omega) -> Any:
  """Tensors of nested dicts of convolutions and their batch norms."""
  tensors = {}
  for name, leaf in part.items():
    if isinstance(leaf, Mapping):
      tensors[name] = _tensors(leaf)
    elif name == "depthwise":
      tensors[name] = t.depthwise_kernel(leaf)
    elif np.ndim(leaf) == 1:
      tensors[name] = t.array(leaf)
    else:
      # A join's [taken, F, F] is the kernel of what is taken, side by side.
      side_by_side = np.ndim(leaf) == 3
      w = np.reshape(leaf, (-1, leaf.shape[-1])) if side_by_side else leaf
      tensors[name] = t.kernel(w)
  return tensors


def _features(
  options: presets.MacroConfig,
  arc: arc_lib.MacroArc,
  weights: torch_child.Weights,
  images: torch.Tensor,
) -> torch.Tensor:
  reads = drawing.read_by(options, arc)
  readers = _readers(reads)
  stem = weights["stem"]
  # By position, the stem's being 0; None where nothing reads it any more.
  nodes: list[Any] = [t.batch_norm(t.conv(images, stem["w"]), stem)]
  for layer, op in enumerate(arc.ops):
    position, x = layer + 1, None
    if readers[position]:
      name = arc_lib.OPS[op]
      block = weights[f"layer_{layer}"][name]
      operate = functools.partial(_operate, options, name, block)
      join = functools.partial(_join, options, weights.get(f"skip_{layer}"))
      main, joined = ([nodes[i] for i in part] for part in reads[position])
      if layer == 0:
        x = operate(nodes[0])
      elif options.main_input == "previous":
        x = join([*joined, operate(main[0])])
      else:
        x = operate(join(main))
    nodes.append(x)
    if layer in options.reductions():
      halves = weights[f"reduction_{layer}"]
      nodes = [
        _halve(halves[f"node_{i}"], node)
        # A node that no later layer reads is halved no more.
        if any(reader > position for reader in readers[i])
        else None
        for i, node in enumerate(nodes)
      ]
  features: torch.Tensor = nodes[-1].mean((2, 3))  # [B, F]
  return features


def _readers(reads: Sequence[drawing.Reads]) -> list[list[int]]:
  """By position, which later ones read it, if the softmax depends on these."""
  readers: list[list[int]] = [[] for _ in reads]
  softmax = len(reads) - 1
  for position in reversed(range(len(reads))):
    if position == softmax or readers[position]:
      for source in {*reads[position].main, *reads[position].joined}:
        readers[source].append(position)
  return readers


def _halve(weights: Any, x: torch.Tensor) -> torch.Tensor:
  y = t.factorized_reduction(x, weights["w1"], weights["w2"])
  return t.batch_norm(y, weights)


def _operate(
  options: presets.MacroConfig, name: str, block: Any, x: torch.Tensor
) -> torch.Tensor:
  x = _conv_block(options, block["in"], x, batch_norm.EPSILON)
  if name == "max_pool_3x3":
    return t.max_pool(x)
  if name == "avg_pool_3x3":
    return t.avg_pool(x)
  return _conv_block(options, block["out"], x, options.op_epsilon)


def _conv_block(
  options: presets.MacroConfig, weights: Any, x: torch.Tensor, eps: float
) -> torch.Tensor:
  if options.conv_order == "conv_bn_relu":
    return torch.relu(t.batch_norm(_convolve(weights, x), weights, eps))
  return t.batch_norm(_convolve(weights, torch.relu(x)), weights, eps)


def _convolve(weights: Any, x: torch.Tensor) -> torch.Tensor:
  if "depthwise" in weights:
    return t.separable_conv(x, weights["depthwise"], weights["pointwise"])
  return t.conv(x, weights["w"])


def _join(
  options: presets.MacroConfig, weights: Any, taken: list[torch.Tensor]
) -> torch.Tensor:
  if options.skip_combination == "sum":
    return t.batch_norm(functools.reduce(torch.add, taken), weights)
  joined = taken[0] if len(taken) == 1 else torch.cat(taken, dim=1)
  return torch.relu(t.batch_norm(t.conv(joined, weights["w"]), weights))
