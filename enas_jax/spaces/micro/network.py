"""The shared convolutional network of cells (Section 2.4, Figure 4).

A stem, then three stages of cells, each stage after the first begun by a
reduction cell that halves the images and doubles the filters; then average
pooling and a linear classifier. The two kinds of cell come from the arc.

With a traced arc every architecture runs through the same compiled program;
with an arc of Python ints the same code compiles to the plain network.

Batch norm uses the batch's own statistics unless `config.moving_statistics`, as
in the released search, which has no evaluation mode.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.base import ImageNetwork, Logits
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import aux_head, drop_path, parts
from enas_jax.spaces.micro import cell as micro_cell
from enas_jax.spaces.micro.presets import NUM_STAGES, MicroConfig

STEM_WIDTH = 3  # channels of the stem, in units of the first stage's


def init(
  key: types.PRNGKey,
  config: MicroConfig,
  num_classes: int,
  channels: int,
  image_size: int | None = None,
) -> types.Omega:
  """Initialises omega; batch norm starts as the identity.

  Args:
    key: consumed.
    config: the network's options.
    num_classes: of the classifier.
    channels: of the images.
    image_size: their height and width; only the auxiliary head needs it.

  Returns:
    A dict: "stem"; "stage_0" to "stage_2"; "fc" [4 F, classes]; "aux_head"
    alone, if there is one, so that an optimizer can tell it apart.
    A stage holds "cells", of `micro_cell.cell_specs`, and what brings its
    inputs to its size: "first_0", "first_1" and "second_0" for inputs 0 and 1
    of its first cell and input 0 of its second. Strided reduction cells have
    "reduction", "reduction_0" and "reduction_1" beside them.

  Raises:
    InputError: if images are too small for the auxiliary head, or the cells'
      output is concatenated alone: their weights cannot be shared then.
  """
  if config.cell_output != "projected":
    raise types.InputError(
      "cell_output must be 'projected' in a shared network, got"
      f" {config.cell_output!r}; it is for training one architecture."
    )
  return weights_lib.draw(
    key, _specs(config, num_classes, channels, image_size)
  )


def _specs(
  config: MicroConfig, num_classes: int, channels: int, image_size: int | None
) -> dict[str, Any]:
  stem = STEM_WIDTH * config.num_filters
  last = config.num_filters * 2 ** (NUM_STAGES - 1)
  specs = {
    "stem": parts.conv_specs((3, 3, channels, stem)),
    "fc": weights_lib.Spec((last, num_classes), last),
  }
  for stage in range(NUM_STAGES):
    specs[f"stage_{stage}"] = _stage_specs(config, stage)
  if config.aux_head:
    specs["aux_head"] = aux_head.specs(last, num_classes, image_size)
  return specs


def _stage_specs(config: MicroConfig, stage: int) -> dict[str, Any]:
  filters = config.num_filters * 2**stage
  count = config.normal_cells()[stage]
  cells = functools.partial(
    micro_cell.cell_specs,
    num_nodes=config.num_nodes,
    filters=filters,
    include_inputs=config.include_inputs,
    released_init=config.weight_init == "released",
  )
  if stage == 0:
    of_stem = parts.conv_specs((STEM_WIDTH * filters, filters))
    names = ("first_0", "first_1", "second_0")[: 3 if count > 1 else 2]
    return {"cells": cells(count), **dict.fromkeys(names, of_stem)}
  before = filters // 2
  halve = parts.reduction_specs(before, filters)
  if config.reduction == "factorized":
    return {"cells": cells(1 + count), "first_0": halve, "first_1": halve}
  # Two outputs before a first stage of one cell lies the stem.
  stem_is_near = stage == 1 and config.normal_cells()[0] == 1
  two_before = STEM_WIDTH * before if stem_is_near else before
  return {
    "reduction": cells(1, strided=True),
    "reduction_0": parts.conv_specs((two_before, filters)),
    "reduction_1": parts.conv_specs((before, filters)),
    "cells": cells(count),
    "first_0": halve,
  }


def child_params(
  omega: types.Omega, arc: space_lib.MicroArc, config: MicroConfig
) -> types.Omega:
  """The weights of a fixed child, which `apply_child` takes like omega.

  All of omega for a traced arc: the operations' weights differ in shape, so
  none can stand for another.
  """
  if not ops.is_static(arc):
    return omega
  child = dict(omega)
  gather = functools.partial(
    micro_cell.child_cells, include_inputs=config.include_inputs
  )
  for stage in range(NUM_STAGES):
    weights = dict(omega[f"stage_{stage}"])
    weights["cells"] = gather(weights["cells"], _arcs(arc, config, stage))
    if "reduction" in weights:
      weights["reduction"] = gather(weights["reduction"], [arc.reduction])
    child[f"stage_{stage}"] = weights
  return child


def init_statistics(config: MicroConfig) -> types.Statistics:
  """The moving statistics before the first step.

  Returns:
    {} unless `config.moving_statistics`. Else "steps", int32, the training
    steps that they have seen; and in the place where `init` has its scale,
    "mean" and "variance" of each batch norm but those of a cell's operations.
    The release averages none there; they always use the batch's own.
  """
  if not config.moving_statistics:
    return {}
  specs = _specs(config, 1, 1, aux_head.least_image_size())
  return batch_norm.fresh(specs, without=micro_cell.OPERATIONS)


def apply_child(
  child: types.Omega,
  statistics: types.Statistics,
  arc: space_lib.MicroArc,
  images: types.Array,
  *,
  config: MicroConfig,
  train: bool,
  key: types.PRNGKey | None = None,
  progress: types.Array | float = 1.0,
) -> tuple[Logits, types.Statistics]:
  """Runs the network that `arc` describes.

  Args:
    child: the shared weights, as of `init`, or a child's, of `child_params`.
    statistics: the moving statistics, as of `init_statistics`. With
      `config.moving_statistics` a training step moves them, and an evaluation
      uses them.
    arc: the cells; traced int32 arrays, or Python ints for a fixed child.
    images: [B, H, W, channels] float32, square if there is an auxiliary head.
    config: the network's options.
    train: whether to drop features and to run the auxiliary head. The
      released search rewards the controller with `train` on.
    key: for dropout and drop path; not needed where nothing is dropped.
    progress: [] float32 in (0, 1], how much of the training is over, for drop
      path.

  Returns:
    The logits, whose `aux` is None unless `train` and `config.aux_head`; and
    the statistics.

  Raises:
    InputError: if anything is dropped and there is no key.
  """
  chex.assert_rank(images, 4)
  moving = config.moving_statistics
  if moving and not train:
    own = statistics
    if _is_child(child) and not _is_child(statistics):
      split = micro_cell.child_statistics
      own = _in_cells(split, statistics, arc, config)
    child = batch_norm.with_statistics(child, own)
  logits, seen = _forward(child, arc, images, config, train, key, progress)
  if moving and train:
    if ops.is_static(arc) and not _is_child(statistics):
      seen = _in_cells(micro_cell.shared_statistics, seen, arc, config)
    statistics = batch_norm.moved(statistics, lax.stop_gradient(seen))
  return logits, statistics


def _is_child(tree: Any) -> bool:
  """Whether weights or statistics are laid out as a fixed child's."""
  return "run_0" in tree["stage_0"]["cells"]


def _in_cells(
  function: Callable[..., types.Statistics],
  statistics: types.Statistics,
  arc: space_lib.MicroArc,
  config: MicroConfig,
) -> types.Statistics:
  """Applies `function` to the statistics of cells, with these cells' arcs."""
  found = dict(statistics)
  for stage in range(NUM_STAGES):
    name = f"stage_{stage}"
    cells = {"cells": _arcs(arc, config, stage), "reduction": [arc.reduction]}
    found[name] = {
      part: function(own, cells[part]) if part in cells else own
      for part, own in statistics[name].items()
    }
  return found


def _forward(
  omega: types.Omega,
  arc: space_lib.MicroArc,
  images: types.Array,
  config: MicroConfig,
  train: bool,
  key: types.PRNGKey | None,
  progress: types.Array | float = 1.0,
) -> tuple[Logits, types.Statistics]:
  """The logits, and what the batch norms saw."""
  seen: types.Statistics = {}
  masks, key = drop_path.masks_of_step(
    config, train, key, images.shape[0], progress
  )
  own = _of_stages(masks, config)
  stem, seen["stem"] = batch_norm.normalise(
    image_ops.conv(images, omega["stem"]["kernel"]), omega["stem"]
  )
  outs, before, seen["stage_0"] = _first_stage(
    omega["stage_0"], arc, config, stem, own[0]
  )
  for stage in range(1, NUM_STAGES):
    name, last = f"stage_{stage}", (before, outs[-1])
    outs, before, seen[name] = _next_stage(
      omega[name], arc, config, stage, last, own[stage]
    )
  features = image_ops.global_average_pool(jax.nn.relu(outs[-1]))
  if train and config.drop_features > 0:
    features = weights_lib.drop_features(key, features, config.drop_features)
  aux = None
  if train and config.aux_head:
    # The cell after the last reduction cell.
    at = -config.normal_cells()[-1]
    aux, seen["aux_head"] = aux_head.logits(omega["aux_head"], outs[at], config)
  return Logits(features @ omega["fc"], aux), seen


def _arcs(
  arc: space_lib.MicroArc, config: MicroConfig, stage: int
) -> list[space_lib.CellArc]:
  """The arcs of a stage's "cells"."""
  normal = [arc.normal] * config.normal_cells()[stage]
  if stage == 0 or config.reduction == "strided":
    return normal
  # The reduction cell is a cell like the others, with an arc of its own.
  return [arc.reduction, *normal]


def _first_stage(
  weights: types.Omega,
  arc: space_lib.MicroArc,
  config: MicroConfig,
  stem: types.Array,
  masks: types.Array | None,
) -> tuple[types.Array, types.Array, types.Statistics]:
  """The cells before the first reduction.

  Returns:
    [L, B, H, W, F], their outputs; what comes before the last of them; and
    what the batch norms saw.
  """
  count, seen = config.normal_cells()[0], {}
  first_0, seen["first_0"] = parts.fit(weights["first_0"], stem)
  first_1, seen["first_1"] = parts.fit(weights["first_1"], stem)
  second_0 = first_1
  if count > 1:
    second_0, seen["second_0"] = parts.fit(weights["second_0"], stem)
  outs, cells = micro_cell.chain(
    weights["cells"],
    _arcs(arc, config, 0),
    (first_0, first_1),
    second_0,
    include_inputs=config.include_inputs,
    masks=masks,
  )
  seen["cells"] = cells
  return outs, outs[-2] if count > 1 else stem, seen


def _next_stage(
  weights: types.Omega,
  arc: space_lib.MicroArc,
  config: MicroConfig,
  stage: int,
  last: tuple[types.Array, types.Array],
  masks: types.Array | None,
) -> tuple[types.Array, types.Array, types.Statistics]:
  """A reduction cell and the cells after it.

  Args:
    weights: of the stage.
    arc: of the network.
    config: the network's options.
    stage: counted from 0.
    last: the last two outputs before it, the later one second.
    masks: of the stage's cells, the reduction cell first, or None.

  Returns:
    As `_first_stage`; the output of a strided reduction cell is not among the
    first.
  """
  arcs = _arcs(arc, config, stage)
  seen: types.Statistics = {}
  first_0, seen["first_0"] = parts.reduce_size(
    weights["first_0"], jax.nn.relu(last[1])
  )
  if config.reduction == "factorized":
    first_1, seen["first_1"] = parts.reduce_size(weights["first_1"], last[1])
  else:
    own = None
    if masks is not None:
      own, masks = masks[:1], masks[1:]
    first_1, more = _strided_cell(weights, arc.reduction, last, own)
    seen |= more
  outs, cells = micro_cell.chain(
    weights["cells"],
    arcs,
    (first_0, first_1),
    first_1,
    include_inputs=config.include_inputs,
    masks=masks,
  )
  seen["cells"] = cells
  return outs, outs[-2] if len(arcs) > 1 else first_1, seen


def _strided_cell(
  weights: types.Omega,
  arc: space_lib.CellArc,
  last: tuple[types.Array, types.Array],
  masks: types.Array | None,
) -> tuple[types.Array, types.Statistics]:
  """Section 2.4's reduction cell."""
  seen: types.Statistics = {}
  input_0, seen["reduction_0"] = parts.fit(weights["reduction_0"], last[0])
  input_1, seen["reduction_1"] = parts.fit(weights["reduction_1"], last[1])
  outs, cells = micro_cell.chain(
    weights["reduction"],
    [arc],
    (input_0, input_1),
    input_1,
    include_inputs=False,
    strided=True,
    masks=masks,
  )
  return outs[0], {**seen, "reduction": cells}


def _of_stages(
  masks: types.Array | None, config: MicroConfig
) -> list[types.Array | None]:
  """The masks of each stage's cells, its reduction cell first."""
  if masks is None:
    return [None] * NUM_STAGES
  first, *others = config.normal_cells()
  ends = np.cumsum([first, *(1 + count for count in others)])
  return list(jnp.split(masks, ends[:-1]))


def _init_for(
  key: types.PRNGKey,
  config: MicroConfig,
  num_classes: int,
  shape: tuple[int, int, int],
) -> types.Omega:
  height, width, channels = shape
  return init(key, config, num_classes, channels, min(height, width))


def penalised(child: types.Omega, config: MicroConfig) -> types.Omega:
  """All weights but those of a frozen auxiliary head."""
  frozen = ("aux_head",) if config.aux_frozen else ()
  return {name: part for name, part in child.items() if name not in frozen}


NETWORK = ImageNetwork(
  init=_init_for,
  init_statistics=init_statistics,
  child_params=child_params,
  apply_child=apply_child,
  penalised=penalised,
)
