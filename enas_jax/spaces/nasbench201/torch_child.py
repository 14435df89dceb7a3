"""A network of NAS-Bench-201's cells in plain eager PyTorch."""

import functools
from typing import Any

import torch

from enas_jax import types
from enas_jax.nn import torch_ops as t
from enas_jax.spaces import torch_child
from enas_jax.spaces.nasbench201 import arc as arc_lib
from enas_jax.spaces.nasbench201 import cell as cell_lib
from enas_jax.spaces.nasbench201 import presets


def make(
  options: presets.NasBench201Config, arc: arc_lib.NasBench201Arc
) -> torch_child.ImageChild:
  """The child of one cell.

  Args:
    options: the network's options.
    arc: the cell, of Python ints: ops [6].

  Raises:
    InputError: if batch norms are to have moving statistics.
  """
  torch_child.refuse(options, "moving_statistics")
  # What runs is the live part; weights have their rows by the whole cell.
  live = arc_lib.live(arc)
  return torch_child.ImageChild(
    options,
    functools.partial(_convert, options, arc),
    functools.partial(_features, live),
  )


def _convert(
  options: presets.NasBench201Config,
  arc: arc_lib.NasBench201Arc,
  child: types.Omega,
) -> torch_child.Weights:
  conv = lambda part: {"w": t.kernel(part["w"]), **t.norm(part)}
  weights: dict[str, Any] = {
    "stem": conv(child["stem"]),
    "last": t.norm(child["last"]),
  }
  for place, part in child.items():
    if place.startswith("stage_"):
      weights[place] = _cells(arc, part, options.num_cells)
    if place.startswith("reduction_"):
      weights[place] = {
        "first": conv(part["first"]),
        "second": conv(part["second"]),
        "shortcut": t.kernel(part["shortcut"]["w"]),
      }
  return weights


def _cells(
  arc: arc_lib.NasBench201Arc, stage: types.Omega, count: int
) -> list[dict[int, torch.Tensor]]:
  """Of each cell the kernels, by edge; there may be none."""
  return [
    {
      edge: t.kernel(
        # A row for each edge that uses the operation, in order.
        stage[arc_lib.OPS[op]]["w"][cell][arc.ops[:edge].count(op)]
      )
      for edge, op in enumerate(arc.ops)
      if arc_lib.OPS[op] in cell_lib.CONVS
    }
    for cell in range(count)
  ]


def _features(
  arc: arc_lib.NasBench201Arc, weights: torch_child.Weights, x: torch.Tensor
) -> torch.Tensor:
  relu = torch.relu
  x = t.batch_norm(t.conv(x, weights["stem"]["w"]), weights["stem"])
  for stage in range(3):
    for cell in weights[f"stage_{stage}"]:
      x = _cell(arc, cell, x)
    # None after the last stage.
    block = weights.get(f"reduction_{stage}")
    if block:
      y = t.batch_norm(
        _halving_conv(relu(x), block["first"]["w"]), block["first"]
      )
      y = t.batch_norm(t.conv(relu(y), block["second"]["w"]), block["second"])
      halved = torch.nn.functional.avg_pool2d(x, 2)
      x = y + t.conv(halved, block["shortcut"])
  return relu(t.batch_norm(x, weights["last"])).mean((2, 3))


def _halving_conv(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
  """Stride 2 with a border of one, PyTorch's own."""
  return torch.nn.functional.conv2d(x, w, stride=2, padding=1)


def _cell(
  arc: arc_lib.NasBench201Arc, kernels: dict[int, torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
  nodes = [x, *[None] * (arc_lib.NUM_NODES - 1)]  # None: nothing but zeros
  for edge, (source, target) in enumerate(arc_lib.EDGES):
    name, node = arc_lib.OPS[arc.ops[edge]], nodes[source]
    # Of zeros every operation makes zeros: there is no bias and no offset.
    if name == "none" or node is None:
      continue
    if name in cell_lib.CONVS:
      y = t.batch_norm(t.conv(torch.relu(node), kernels[edge]), None)
    else:
      y = node if name == "skip_connect" else t.avg_pool(node)
    total = nodes[target]
    nodes[target] = y if total is None else total + y
  last = nodes[-1]
  return torch.zeros_like(x) if last is None else last
