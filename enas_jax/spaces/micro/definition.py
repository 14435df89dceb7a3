"""The space of convolutional cells as the registry hands it over."""

from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.spaces import base, fixed, perturbations
from enas_jax.spaces.micro import arc as arc_lib
from enas_jax.spaces.micro import drawing, final_network, network, presets


def fix(options: presets.MicroConfig, arc: arc_lib.MicroArc) -> base.Network:
  """The network of two cells alone, the authors' final one where asked for.

  Args:
    options: the network's options.
    arc: the cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2] each.
  """
  if options.cell_output == "concat":
    return final_network.network(arc)
  return fixed.fix_image_network(network.NETWORK, arc)


def shape(options: presets.MicroConfig, arc: arc_lib.MicroArc) -> base.Shape:
  """The depth and the loose ends of two cells.

  Args:
    options: the space, and which loose ends form a cell's output.
    arc: the cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2] each.
  """
  detail: dict[str, Any] = {}
  for name, cell in zip(arc._fields, arc, strict=True):
    ends = [node + 1 for node in options.loose_ends(cell)]
    depth = max(drawing.depths(cell))
    detail[name] = {"depth": depth, "loose_ends": ends}
  return base.Shape(
    max(cell["depth"] for cell in detail.values()),
    sum(len(cell["loose_ends"]) for cell in detail.values()),
    detail,
  )


def space_of_count(count: int) -> arc_lib.MicroSpace:
  """The space whose cells have so many tokens: four a node, two cells."""
  return arc_lib.MicroSpace(max(1, round(count / 8)) + arc_lib.NUM_INPUTS)


_SCALE = "4.6 million parameters, CIFAR-10, 310 epochs, without CutOut"
_PERTURBATIONS = {
  "connections": base.Perturbation(
    perturbations.change_connections("index", share=0.2),
    "a fifth of the inputs of both cells' nodes come from another node",
    drawn=True,
    says="randomly change several connections in the cells: the test error"
    " increases by 2.1%",
    published=base.Published(2.1, "Section 3.2", _SCALE),
  ),
}


def in_torch(
  options: presets.MicroConfig, arc: arc_lib.MicroArc
) -> base.TorchChild:
  """The architecture in PyTorch; see `Definition.torch_child`."""
  from enas_jax.spaces.micro import torch_child  # PyTorch is an extra

  return torch_child.make(options, arc)


def features(
  options: presets.MicroConfig, arc: arc_lib.MicroArc
) -> types.Array:
  """How often each operation is on an input of its cell or on another node.

  In a reduction cell the first ones halve the resolution. And which nodes are
  read: the others are the cell's output, which is as wide as they are many.

  Args:
    options: the network's options, of which none matters.
    arc: the cells, of arrays: inputs and ops [B - 2, 2] int32 each.

  Returns:
    [F] float32 of counts.
  """
  del options
  parts = []
  for cell in arc:
    size = cell.inputs.shape[0] + arc_lib.NUM_INPUTS
    # [B - 2, 2] bool.
    at_input = cell.inputs < arc_lib.NUM_INPUTS
    kinds = 2 * cell.ops + at_input
    count = 2 * len(arc_lib.OPS)
    chosen = jax.nn.one_hot(kinds.ravel(), count, dtype=jnp.float32)
    reads = jax.nn.one_hot(cell.inputs.ravel(), size, dtype=jnp.float32)
    # Operations are counted; of a node, whether any branch reads it.
    parts += [jnp.sum(chosen, axis=0), jnp.max(reads, axis=0)]
  return jnp.concatenate(parts)


DEFINITION = base.Definition(
  name="micro",
  title="convolutional cells",
  about="a convolutional network of two repeated cells",
  task="image_classifier",
  options=presets.MicroConfig,
  presets=presets.PRESETS,
  train_presets=presets.TRAIN_PRESETS,
  network=network.NETWORK,
  fixed=fix,
  of_record=arc_lib.from_dict,
  of_count=space_of_count,
  named={
    "enas_micro": base.Named(
      "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1"
      " 1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1",
      "the cells of Figure 8, 7 nodes",
    ),
  },
  vocabularies={"op": arc_lib.OPS},
  features=features,
  draw=drawing.graphs,
  text=drawing.text,
  shape=shape,
  benchmark={"data": {"batch_size": 32, "reward_batch_size": 32}},
  perturbations=_PERTURBATIONS,
  published={
    "reference": base.Published(3.54, "Table 2", _SCALE),
    "random": base.Published(6.77, "Section 3.3", _SCALE),
    "no_sharing": base.Published(
      3.41, "Table 2, NASNet-A", "3.3 million parameters, CIFAR-10"
    ),
  },
  ignored_in_search=("cell_output",),
  torch_child=in_torch,
)
