"""The network that the authors' code trains for the cells of a search.

It departs from `network`, in which a search is made, as theirs does from their
search (Section 2.4 leaves all of this open):

- a cell's output is its loose ends side by side, with the inputs among them,
  and no convolution; so it has as many channels as they have;
- a cell brings its inputs to its own number of channels, and then its input 1
  through one more ReLU, 1x1 convolution and batch norm;
- operations on a reduction cell's inputs have stride 2; identity is then a
  factorized reduction, and so is what makes an input that is a loose end small;
- every batch norm has moving statistics, those of operations too.

Weights are those of one architecture alone: there is nothing to share.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.base import ImageNetwork, Logits
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import (
  aux_head,
  cell_weights,
  drop_path,
  parts,
  stages,
)
from enas_jax.spaces.micro import network as micro
from enas_jax.spaces.micro.presets import MicroConfig

_Part = tuple[types.Array, types.Statistics]  # an output, what batch norms saw


class _Cell(NamedTuple):
  """One cell of the network.

  Attributes:
    arc: the cell, of Python ints.
    filters: channels of its nodes, F.
    channels: channels of its two inputs as they come.
    reduces: whether it is a reduction cell.
    halves: whether its input 0 comes from before a reduction cell, and so is
      twice as high and wide as its input 1.
  """

  arc: space_lib.CellArc
  filters: int
  channels: tuple[int, int]
  reduces: bool
  halves: bool

  def stride(self, node: int) -> int:
    """The stride of operations on that node."""
    return 2 if self.reduces and node < space_lib.NUM_INPUTS else 1

  def loose_ends(self) -> tuple[int, ...]:
    """The nodes that no node takes, the inputs among them."""
    space = space_lib.MicroSpace(len(self.arc.inputs) + space_lib.NUM_INPUTS)
    return space.loose_ends(self.arc, include_inputs=True)

  def width(self) -> int:
    """Channels of its output."""
    return self.filters * len(self.loose_ends())


def network(arc: space_lib.MicroArc) -> ImageNetwork:
  """The network of one architecture.

  Args:
    arc: the cells, of Python ints, as `MicroSpace.validate` returns them.

  Returns:
    Functions that ignore any architecture given to them. omega is a dict of
    float32 arrays: "stem" with "kernel" [3, 3, C, 3F]; "cell_0" and so on;
    "fc" [channels, classes]; and "aux_head", if there is one.
    A cell has "input_0" and "input_1" where an input is brought to its size;
    "base", what input 1 goes through then; "node_2_side_0" and so on where an
    operation has weights, those of a separable convolution being "conv_0" and
    "conv_1"; and "output_0" or "output_1" where such an input of a reduction
    cell is a loose end.

  Raises:
    InputError: if the architecture is traced.
  """
  if not ops.is_static(arc):
    raise types.InputError(
      "arc must be of Python ints, as MicroSpace.validate returns it, got"
      " arrays."
    )

  def apply_child(
    child: types.Omega,
    statistics: types.Statistics,
    _: types.Arc,
    images: types.Array,
    **options: Any,
  ) -> tuple[Logits, types.Statistics]:
    return _apply_child(arc, child, statistics, images, **options)

  return ImageNetwork(
    init=functools.partial(_init, arc),
    init_statistics=functools.partial(_init_statistics, arc),
    child_params=lambda omega, _, config: omega,
    apply_child=apply_child,
    penalised=micro.penalised,
  )


def cells(arc: space_lib.MicroArc, config: MicroConfig) -> list[_Cell]:
  """All cells of the network, in order, reduction cells among them.

  Args:
    arc: the cells, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2] each.
    config: the network's options.

  Raises:
    InputError: if the architecture's cells are of another size.
  """
  rows = config.space().num_rows
  for cell in arc:
    if len(cell.inputs) != rows:
      raise types.InputError(
        f"arc must have cells of num_nodes={config.num_nodes} nodes, got"
        f" {len(cell.inputs) + space_lib.NUM_INPUTS}."
      )
  filters = config.num_filters
  # The stem is both inputs of the first cell.
  channels, halves = (stages.STEM_WIDTH * filters,) * 2, False
  layout = []
  for stage, count in enumerate(config.normal_cells()):
    first = 1 if stage > 0 else 0
    for at in range(first + count):
      reduces = at < first
      filters *= 2 if reduces else 1
      cell = arc.reduction if reduces else arc.normal
      layout.append(_Cell(cell, filters, channels, reduces, halves))
      # What was input 1 is the next cell's input 0.
      channels, halves = (channels[1], layout[-1].width()), reduces
  return layout


def _specs(
  arc: space_lib.MicroArc,
  config: MicroConfig,
  num_classes: int,
  channels: int,
  image_size: int,
) -> dict[str, Any]:
  layout = cells(arc, config)
  stem = (3, 3, channels, layout[0].channels[0])
  last = layout[-1].width()
  specs = {
    "stem": parts.conv_specs(stem),
    "fc": weights_lib.Spec((last, num_classes), last),
  }
  for at, cell in enumerate(layout):
    specs[f"cell_{at}"] = _cell_specs(cell)
  if config.aux_head:
    seen = layout[_aux_cell(config)].width()
    specs["aux_head"] = aux_head.specs(seen, num_classes, image_size)
  return specs


def _aux_cell(config: MicroConfig) -> int:
  """The cell after the last reduction cell, from the end."""
  return -config.normal_cells()[-1]


def _cell_specs(cell: _Cell) -> dict[str, Any]:
  filters = cell.filters
  # Input 1 goes through it after it was brought to F channels, or as it came.
  specs: dict[str, Any] = {"base": parts.conv_specs((filters, filters))}
  for at, channels in enumerate(cell.channels):
    if at == 0 and cell.halves:
      specs["input_0"] = parts.reduction_specs(channels, filters)
    elif channels != filters:
      specs[f"input_{at}"] = parts.conv_specs((channels, filters))
  for name, node, op in branches(cell.arc):
    arrays = _operation_specs(space_lib.OPS[op], filters, cell.stride(node))
    if arrays:
      specs[name] = arrays
  for node in cell.loose_ends():
    # An input of a reduction cell: its nodes are half as large.
    if cell.stride(node) > 1:
      specs[f"output_{node}"] = parts.reduction_specs(filters, filters)
  return specs


def branches(arc: space_lib.CellArc) -> list[tuple[str, int, int]]:
  """The branches of a cell, in order.

  Args:
    arc: the cell, of Python ints: inputs [B - 2, 2] and ops [B - 2, 2].

  Returns:
    Of each branch its name, the node it takes and its operation.
  """
  return [
    (f"node_{row + space_lib.NUM_INPUTS}_side_{side}", node, op)
    for row, (taken, chosen) in enumerate(zip(arc.inputs, arc.ops, strict=True))
    for side, (node, op) in enumerate(zip(taken, chosen, strict=True))
  ]


def _operation_specs(name: str, filters: int, stride: int) -> dict[str, Any]:
  """The weights of one operation; {} if it has none."""
  if name in cell_weights.SEP_CONVS:
    width = cell_weights.SEP_CONVS[name]
    depthwise = (width, width, filters)
    one = {
      # The release counts all of a depthwise kernel; batch norm undoes it.
      "depthwise": weights_lib.Spec(depthwise, int(np.prod(depthwise))),
      "pointwise": weights_lib.Spec((filters, filters), filters),
      **weights_lib.norm_specs((filters,)),
    }
    return {f"conv_{at}": one for at in range(cell_weights.STACK)}
  if name == "identity" and stride > 1:
    return parts.reduction_specs(filters, filters)
  return {}


def _init(
  arc: space_lib.MicroArc,
  key: types.PRNGKey,
  config: MicroConfig,
  num_classes: int,
  shape: tuple[int, int, int],
) -> types.Omega:
  """He's initialisation (Section 3.2); batch norm starts as the identity."""
  height, width, channels = shape
  size = min(height, width)
  return weights_lib.draw(key, _specs(arc, config, num_classes, channels, size))


def _init_statistics(
  arc: space_lib.MicroArc, config: MicroConfig
) -> types.Statistics:
  """The moving statistics of every batch norm, before the first step."""
  if not config.moving_statistics:
    return {}
  # No batch norm's size depends on the classes, the channels or the images.
  specs = _specs(arc, config, 1, 1, aux_head.least_image_size())
  return batch_norm.fresh(specs)


def _apply_child(
  arc: space_lib.MicroArc,
  child: types.Omega,
  statistics: types.Statistics,
  images: types.Array,
  *,
  config: MicroConfig,
  train: bool,
  key: types.PRNGKey | None = None,
  progress: types.Array | float = 1.0,
) -> tuple[Logits, types.Statistics]:
  """See `Network`; a key is needed where features or operations are dropped."""
  chex.assert_rank([images, progress], [4, 0])
  chex.assert_type(images, float)
  moving = config.moving_statistics
  if moving and not train:
    child = batch_norm.with_statistics(child, statistics)
  masks, key = drop_path.masks_of_step(
    config, train, key, images.shape[0], progress
  )
  x, stem = batch_norm.normalise(
    image_ops.conv(images, child["stem"]["kernel"]), child["stem"]
  )
  # The stem is what comes before the first cell, and before that.
  outs, seen = [x, x], {"stem": stem}
  for at, cell in enumerate(cells(arc, config)):
    name, cell_masks = f"cell_{at}", None if masks is None else masks[at]
    out, seen[name] = _run_cell(child[name], cell, outs[-2:], cell_masks)
    outs.append(out)
  features = image_ops.global_average_pool(jax.nn.relu(outs[-1]))
  aux = None
  if train and config.drop_features > 0:
    features = weights_lib.drop_features(key, features, config.drop_features)
  if train and config.aux_head:
    aux, seen["aux_head"] = aux_head.logits(
      child["aux_head"], outs[_aux_cell(config)], config
    )
  if moving and train:
    statistics = batch_norm.moved(statistics, jax.lax.stop_gradient(seen))
  return Logits(features @ child["fc"], aux), statistics


def _run_cell(
  weights: types.Omega,
  cell: _Cell,
  inputs: list[types.Array],
  masks: types.Array | None,
) -> _Part:
  """A cell's loose ends, side by side.

  Args:
    weights: arrays as `_cell_specs` lays them out.
    cell: what it is.
    inputs: the outputs of the two cells before, [B, H, W, C] each, the later
      one second.
    masks: [nodes - 2, 2, B] float32, from `drop_path.draw`; or None.

  Returns:
    [B, H', W', width] float32; and what the batch norms saw.
  """
  nodes, seen = _fit_inputs(weights, inputs)
  halves = []
  for at, (name, node, op) in enumerate(branches(cell.arc)):
    x, operation_seen = _operation(
      weights.get(name), space_lib.OPS[op], cell.stride(node), nodes[node]
    )
    if operation_seen:
      seen[name] = operation_seen
    # Branch 2 r + s is side s of row r.
    mask = None if masks is None else masks[divmod(at, cell_weights.SIDES)]
    halves.append(drop_path.apply(mask, op, x))
    if len(halves) == cell_weights.SIDES:
      nodes.append(halves[0] + halves[1])
      halves = []
  ends = []
  for node in cell.loose_ends():
    end, name = nodes[node], f"output_{node}"
    if name in weights:
      end, seen[name] = parts.reduce_size(weights[name], end)
    ends.append(end)
  return jnp.concatenate(ends, axis=-1), seen


def _fit_inputs(
  weights: types.Omega, inputs: list[types.Array]
) -> tuple[list[types.Array], types.Statistics]:
  """Nodes 0 and 1 of a cell."""
  nodes, seen = [], {}
  for at, x in enumerate(inputs):
    name = f"input_{at}"
    # ReLU before either; "w1" is a factorized reduction's.
    if name in weights and "w1" in weights[name]:
      x, seen[name] = parts.reduce_size(weights[name], jax.nn.relu(x))
    elif name in weights:
      x, seen[name] = parts.fit(weights[name], x)
    nodes.append(x)
  nodes[1], seen["base"] = parts.fit(weights["base"], nodes[1])
  return nodes, seen


def _operation(
  weights: types.Omega, name: str, stride: int, x: types.Array
) -> _Part:
  """One operation; `weights` are None if it has none."""
  if name in cell_weights.SEP_CONVS:
    seen = {}
    for at in range(cell_weights.STACK):
      one = weights[f"conv_{at}"]
      x = image_ops.separable_conv(
        jax.nn.relu(x),
        one["depthwise"],
        one["pointwise"],
        stride if at == 0 else 1,
      )
      x, seen[f"conv_{at}"] = batch_norm.normalise(x, one)
    return x, seen
  if name == "avg_pool_3x3":
    return image_ops.avg_pool(x, stride), {}
  if name == "max_pool_3x3":
    return image_ops.max_pool(x, stride), {}
  # identity; of stride 2 without a ReLU before it, as released.
  return (x, {}) if stride == 1 else parts.reduce_size(weights, x)
