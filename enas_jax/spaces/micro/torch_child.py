"""A network of cells in plain eager PyTorch."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch

from enas_jax import types
from enas_jax.nn import torch_ops as t
from enas_jax.spaces import torch_child
from enas_jax.spaces.micro import arc as arc_lib
from enas_jax.spaces.micro import cell_weights, presets, stages

_Pair = tuple[torch.Tensor, torch.Tensor]


def make(
  options: presets.MicroConfig, arc: arc_lib.MicroArc
) -> torch_child.ImageChild:
  """The child of two cells.

  Args:
    options: the network's options.
    arc: the cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2] each.

  Raises:
    InputError: if batch norms are to have moving statistics, branches are to be
      dropped, or there is to be an auxiliary head.
  """
  torch_child.refuse(options, "moving_statistics", "drop_path", "aux_head")
  return torch_child.ImageChild(
    options, _convert, functools.partial(_features, options, arc)
  )


def _convert(child: types.Omega) -> torch_child.Weights:
  weights: dict[str, Any] = {"stem": _tensors(child["stem"])}
  for stage in range(presets.NUM_STAGES):
    weights[f"stage_{stage}"] = {
      name: _cells(part) if name in ("cells", "reduction") else _tensors(part)
      for name, part in child[f"stage_{stage}"].items()
    }
  return weights


def _cells(runs: types.Omega) -> list[dict[str, Any]]:
  """The weights of each cell: of its operations lists, by use."""
  cells = []
  for run in (runs[f"run_{i}"] for i in range(len(runs))):
    # Of n cells alike each array has a leading axis n (`child_cells`).
    for cell in range(len(run["output"]["scale"])):
      part = jax.tree.map(lambda leaf, i=cell: np.asarray(leaf)[i], run)
      kernel = part["output"]["kernel"]
      output = {
        **t.norm(part["output"]),
        # [ends, F, F] is the kernel of the loose ends side by side.
        "kernel": t.kernel(kernel.reshape(-1, kernel.shape[-1])),
      }
      uses = {
        name: [
          _stack(jax.tree.map(lambda leaf, i=use: leaf[i], stacked))
          if name in cell_weights.SEP_CONVS
          else _tensors(jax.tree.map(lambda leaf, i=use: leaf[i], stacked))
          for use in range(len(stacked["scale"]))
        ]
        for name, stacked in part.items()
        if name != "output"
      }
      cells.append({"output": output, **uses})
  return cells


def _stack(weights: types.Omega) -> list[dict[str, torch.Tensor]]:
  """The applications of a separable convolution, one after another."""
  return [
    _tensors(jax.tree.map(lambda leaf, i=at: leaf[i], weights))
    for at in range(cell_weights.STACK)
  ]


def _tensors(part: types.Omega) -> dict[str, torch.Tensor]:
  convert: dict[str, Callable[[Any], torch.Tensor]] = {
    "depthwise": t.depthwise_kernel,
    "scale": t.array,
    "offset": t.array,
  }
  return {
    name: convert.get(name, t.kernel)(leaf) for name, leaf in part.items()
  }


def _features(
  options: presets.MicroConfig,
  arc: arc_lib.MicroArc,
  weights: torch_child.Weights,
  images: torch.Tensor,
) -> torch.Tensor:
  stem = t.batch_norm(
    t.conv(images, weights["stem"]["kernel"]), weights["stem"]
  )
  part, loose = weights["stage_0"], options.loose_ends
  cells = stages.arcs(arc, options, 0)
  # A single cell has no second one that would read it.
  second = _fit(part["second_0"], stem) if len(cells) > 1 else stem
  first = _fit(part["first_0"], stem), _fit(part["first_1"], stem)
  outs = _chain(part["cells"], cells, loose, first, second)
  before = outs[-2] if len(cells) > 1 else stem
  for stage in range(1, presets.NUM_STAGES):
    part, cells = weights[f"stage_{stage}"], stages.arcs(arc, options, stage)
    # With a ReLU and without: see `stages.run_next`.
    first_0 = _halve(part["first_0"], torch.relu(outs[-1]))
    if options.reduction == "factorized":
      first_1 = _halve(part["first_1"], outs[-1])
    else:
      inputs = (
        _fit(part["reduction_0"], before),
        _fit(part["reduction_1"], outs[-1]),
      )
      first_1 = _cell(
        part["reduction"][0], arc.reduction, loose, inputs, strided=True
      )
    outs = _chain(part["cells"], cells, loose, (first_0, first_1), first_1)
    before = outs[-2] if len(cells) > 1 else first_1
  return torch.relu(outs[-1]).mean((2, 3))


def _chain(
  cells: list[dict[str, Any]],
  arcs: Sequence[arc_lib.CellArc],
  loose: Callable[[arc_lib.CellArc], tuple[int, ...]],
  inputs: _Pair,
  second: torch.Tensor,
) -> list[torch.Tensor]:
  """The outputs of cells of one size; `second` is input 0 of the second."""
  outs = []
  for weights, arc in zip(cells, arcs, strict=True):
    out = _cell(weights, arc, loose, inputs)
    # From the third cell on, input 0 is the output two cells before.
    inputs, second = (second, out), out
    outs.append(out)
  return outs


def _cell(
  weights: dict[str, Any],
  arc: arc_lib.CellArc,
  loose: Callable[[arc_lib.CellArc], tuple[int, ...]],
  inputs: _Pair,
  strided: bool = False,
) -> torch.Tensor:
  nodes: list[torch.Tensor] = list(inputs)
  used: dict[str, int] = collections.Counter()
  for taken, chosen in zip(arc.inputs, arc.ops, strict=True):
    halves = []
    for node, op in zip(taken, chosen, strict=True):
      name, stride = arc_lib.OPS[op], 1
      if strided and node < arc_lib.NUM_INPUTS:
        stride = 2
      mine = None
      if name in cell_weights.SEP_CONVS or (name == "identity" and stride > 1):
        # An operation's weights lie in the order of the branches that use it.
        mine = weights[name][used[name]]
        used[name] += 1
      halves.append(_operate(name, mine, nodes[node], stride))
    nodes.append(halves[0] + halves[1])
  output = weights["output"]
  x = torch.relu(torch.cat([nodes[i] for i in loose(arc)], dim=1))
  return t.batch_norm(t.conv(x, output["kernel"]), output)


def _operate(
  name: str, weights: Any, x: torch.Tensor, stride: int
) -> torch.Tensor:
  if name in cell_weights.SEP_CONVS:
    for at, one in enumerate(weights):
      x = t.separable_conv(
        torch.relu(x),
        one["depthwise"],
        one["pointwise"],
        stride if at == 0 else 1,
      )
      x = t.batch_norm(x, one)
    return x
  if name == "max_pool_3x3":
    return t.max_pool(x, stride)
  if name == "avg_pool_3x3":
    return t.avg_pool(x, stride)
  return x if stride == 1 else _halve(weights, x)


def _fit(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
  return t.batch_norm(t.conv(torch.relu(x), weights["kernel"]), weights)


def _halve(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
  y = t.factorized_reduction(x, weights["w1"], weights["w2"])
  return t.batch_norm(y, weights)
