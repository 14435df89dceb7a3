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
from enas_jax.spaces.micro import (
  aux_head,
  cell_weights,
  drop_path,
  parts,
  stages,
)
from enas_jax.spaces.micro.presets import NUM_STAGES, MicroConfig


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
    num_classes: classes of the images.
    channels: channels of the images, C.
    image_size: height and width of the images, in pixels; only the auxiliary
      head needs it.

  Returns:
    A dict of float32 arrays: "stem" with "kernel" [3, 3, C, 3F]; "stage_0" to
    "stage_2", as `stages.specs` lays them out; "fc" [4F, num_classes];
    "aux_head" alone, if there is one, so that an optimizer can tell it apart.

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
  """How each weight starts, laid out as `init` says."""
  stem = stages.STEM_WIDTH * config.num_filters
  # 4F
  last = config.num_filters * 2 ** (NUM_STAGES - 1)
  specs = {
    "stem": parts.conv_specs((3, 3, channels, stem)),
    "fc": weights_lib.Spec((last, num_classes), last),
  }
  for stage in range(NUM_STAGES):
    specs[f"stage_{stage}"] = stages.specs(config, stage)
  if config.aux_head:
    specs["aux_head"] = aux_head.specs(last, num_classes, image_size)
  return specs


def child_params(
  omega: types.Omega, arc: space_lib.MicroArc, config: MicroConfig
) -> types.Omega:
  """The weights of a fixed child, which `apply_child` takes like omega.

  Args:
    omega: the shared weights, as `init` lays them out.
    arc: the cells, of Python ints or traced.
    config: the network's options.

  Returns:
    omega, whose "cells" and "reduction" are laid out as
    `cell_weights.child_cells` says, [n, uses, ...]. All of omega for a traced
    arc: the operations' weights differ in shape, so none can stand for another.
  """
  if not ops.is_static(arc):
    return omega
  child = dict(omega)
  gather = functools.partial(
    cell_weights.child_cells, include_inputs=config.include_inputs
  )
  for stage in range(NUM_STAGES):
    weights = dict(omega[f"stage_{stage}"])
    weights["cells"] = gather(weights["cells"], stages.arcs(arc, config, stage))
    if "reduction" in weights:
      weights["reduction"] = gather(weights["reduction"], [arc.reduction])
    child[f"stage_{stage}"] = weights
  return child


def init_statistics(config: MicroConfig) -> types.Statistics:
  """The moving statistics before the first step.

  Args:
    config: the network's options.

  Returns:
    {} unless `config.moving_statistics`. Else "steps", [] int32, the training
    steps that they have seen; and in the place where `init` has its scale,
    "mean" and "variance" [..., F] of each batch norm but those of a cell's
    operations. The release averages none there; they always use the batch's
    own.
  """
  if not config.moving_statistics:
    return {}
  # No batch norm's size depends on the classes, the channels or the images.
  specs = _specs(config, 1, 1, aux_head.least_image_size())
  return batch_norm.fresh(specs, without=cell_weights.OPERATIONS)


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
    child: the shared weights, as `init` lays them out, or a child's, as
      `child_params` does.
    statistics: the moving statistics, as `init_statistics` lays them out. With
      `config.moving_statistics` a training step moves them, and an evaluation
      uses them.
    arc: the cells; traced int32 arrays, or Python ints for a fixed child; or
      relaxed.
    images: [B, H, W, C] float32, square if there is an auxiliary head.
    config: the network's options.
    train: whether to drop features and to run the auxiliary head. The
      released search rewards the controller with `train` on.
    key: consumed by dropout and drop path; None where nothing is dropped.
    progress: [] float32 in (0, 1], how much of the training is over, for drop
      path.

  Returns:
    The logits, whose `aux` is None unless `train` and `config.aux_head`; and
    the statistics, laid out as they came.

  Raises:
    InputError: if anything is dropped and there is no key.
    AssertionError: if images have another rank or type (at trace time).
  """
  chex.assert_rank([images, progress], [4, 0])
  chex.assert_type(images, float)
  moving = config.moving_statistics
  if moving and not train:
    given = statistics
    if _is_child(child) and not _is_child(statistics):
      # A child of the shared weights, beside statistics of the shared network.
      split = cell_weights.child_statistics
      given = _in_cells(split, statistics, arc, config)
    child = batch_norm.with_statistics(child, given)
  logits, seen = _forward(child, arc, images, config, train, key, progress)
  if moving and train:
    if ops.is_static(arc) and not _is_child(statistics):
      # Back to the shared layout; what operations saw has no place in it.
      seen = _in_cells(cell_weights.shared_statistics, seen, arc, config)
    statistics = batch_norm.moved(statistics, lax.stop_gradient(seen))
  return logits, statistics


def _is_child(tree: types.Omega | types.Statistics) -> bool:
  """Whether weights or statistics are laid out as a fixed child's."""
  return "run_0" in tree["stage_0"]["cells"]


def _in_cells(
  function: Callable[..., types.Statistics],
  statistics: types.Statistics,
  arc: space_lib.MicroArc,
  config: MicroConfig,
) -> types.Statistics:
  """Applies `function` to the statistics of cells, with these cells' arcs."""
  changed = dict(statistics)
  for stage in range(NUM_STAGES):
    name = f"stage_{stage}"
    cells = {
      "cells": stages.arcs(arc, config, stage),
      "reduction": [arc.reduction],
    }
    changed[name] = {
      part: function(tree, cells[part]) if part in cells else tree
      for part, tree in statistics[name].items()
    }
  return changed


def _forward(
  omega: types.Omega,
  arc: space_lib.MicroArc,
  images: types.Array,
  config: MicroConfig,
  train: bool,
  key: types.PRNGKey | None,
  progress: types.Array | float,
) -> tuple[Logits, types.Statistics]:
  """The logits, and what the batch norms saw."""
  seen: types.Statistics = {}
  masks, key = drop_path.masks_of_step(
    config, train, key, images.shape[0], progress
  )
  stage_masks = _of_stages(masks, config)
  stem, seen["stem"] = batch_norm.normalise(
    image_ops.conv(images, omega["stem"]["kernel"]), omega["stem"]
  )
  outs, before, seen["stage_0"] = stages.run_first(
    omega["stage_0"], arc, config, stem, stage_masks[0]
  )
  for stage in range(1, NUM_STAGES):
    # The two outputs before the stage, the later one second.
    name, last = f"stage_{stage}", (before, outs[-1])
    outs, before, seen[name] = stages.run_next(
      omega[name], arc, config, stage, last, stage_masks[stage]
    )
  # [B, 4F]; a cell ends with a batch norm, and the release has a ReLU here.
  features = image_ops.global_average_pool(jax.nn.relu(outs[-1]))
  if train and config.drop_features > 0:
    features = weights_lib.drop_features(key, features, config.drop_features)
  aux = None
  if train and config.aux_head:
    # The cell after the last reduction cell.
    at = -config.normal_cells()[-1]
    aux, seen["aux_head"] = aux_head.logits(omega["aux_head"], outs[at], config)
  return Logits(features @ omega["fc"], aux), seen


def _of_stages(
  masks: types.Array | None, config: MicroConfig
) -> list[types.Array | None]:
  """The masks of each stage's cells, its reduction cell first."""
  if masks is None:
    return [None] * NUM_STAGES
  first, *others = config.normal_cells()
  # By cells up to each stage's end; `split` wants all of these but the last.
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
  """The weights under the l2 penalty: all but a frozen auxiliary head's.

  Args:
    child: nested dicts of float32 arrays, as `init` or `child_params` returns.
    config: the network's options.

  Returns:
    The parts of `child` that are penalised, arrays [...] float32 as they are.
  """
  # What never learns would only decay.
  frozen = ("aux_head",) if config.aux_frozen else ()
  return {name: part for name, part in child.items() if name not in frozen}


NETWORK = ImageNetwork(
  init=_init_for,
  init_statistics=init_statistics,
  child_params=child_params,
  apply_child=apply_child,
  penalised=penalised,
)
