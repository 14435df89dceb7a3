"""The stages of the network of cells: cells of one size, and their inputs.

Each stage after the first begins with a reduction cell that halves the images
and doubles the filters (Section 2.4).
"""

import functools
from typing import Any

import chex
import jax

from enas_jax import types
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import cell as micro_cell
from enas_jax.spaces.micro import cell_weights, parts
from enas_jax.spaces.micro.presets import MicroConfig

STEM_WIDTH = 3  # channels of the stem, in units of the first stage's


def specs(config: MicroConfig, stage: int) -> dict[str, Any]:
  """The weights of a stage.

  Args:
    config: the network's options.
    stage: the stage, counted from 0; it has F 2^stage filters.

  Returns:
    "cells", as `cell_weights.cell_specs` lays them out, and what brings its
    inputs to its size: "first_0", "first_1" and "second_0" for inputs 0 and 1
    of its first cell and input 0 of its second. Strided reduction cells have
    "reduction", "reduction_0" and "reduction_1" beside them.
  """
  filters = config.num_filters * 2**stage
  count = config.normal_cells()[stage]
  cells = functools.partial(
    cell_weights.cell_specs,
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


def arcs(
  arc: space_lib.MicroArc, config: MicroConfig, stage: int
) -> list[space_lib.CellArc]:
  """The arcs of a stage's "cells".

  Args:
    arc: the architecture, traced or of Python ints.
    config: the network's options.
    stage: the stage, counted from 0.

  Returns:
    The L arcs, inputs and ops [nodes - 2, 2] int each.
  """
  normal = [arc.normal] * config.normal_cells()[stage]
  if stage == 0 or config.reduction == "strided":
    return normal
  # The reduction cell is a cell like the others, with an arc of its own.
  return [arc.reduction, *normal]


def run_first(
  weights: types.Omega,
  arc: space_lib.MicroArc,
  config: MicroConfig,
  stem: types.Array,
  masks: types.Array | None,
) -> tuple[types.Array, types.Array, types.Statistics]:
  """The cells before the first reduction.

  Args:
    weights: arrays as `specs` lays them out for stage 0.
    arc: the architecture, traced or of Python ints.
    config: the network's options.
    stem: [B, H, W, 3F] float32.
    masks: [L, nodes - 2, 2, B] float32, for the stage's cells; or None.

  Returns:
    [L, B, H, W, F] float32, their outputs; what comes before the last of them,
    one such output or the stem; and what the batch norms saw.
  """
  chex.assert_rank(stem, 4)
  count, seen = config.normal_cells()[0], {}
  first_0, seen["first_0"] = parts.fit(weights["first_0"], stem)
  first_1, seen["first_1"] = parts.fit(weights["first_1"], stem)
  # Without a second cell nothing reads it; `chain` wants one all the same.
  second_0 = first_1
  if count > 1:
    second_0, seen["second_0"] = parts.fit(weights["second_0"], stem)
  outs, cells = micro_cell.chain(
    weights["cells"],
    arcs(arc, config, 0),
    (first_0, first_1),
    second_0,
    include_inputs=config.include_inputs,
    masks=masks,
  )
  seen["cells"] = cells
  return outs, outs[-2] if count > 1 else stem, seen


def run_next(
  weights: types.Omega,
  arc: space_lib.MicroArc,
  config: MicroConfig,
  stage: int,
  last: tuple[types.Array, types.Array],
  masks: types.Array | None,
) -> tuple[types.Array, types.Array, types.Statistics]:
  """A reduction cell and the cells after it.

  Args:
    weights: arrays as `specs` lays them out for this stage.
    arc: the architecture, traced or of Python ints.
    config: the network's options.
    stage: the stage, counted from 0.
    last: the last two outputs before it, the later one second.
    masks: [cells, nodes - 2, 2, B] float32, for the stage's cells, the
      reduction cell first; or None.

  Returns:
    [L, B, H, W, F] float32, the cells' outputs, without that of a strided
    reduction cell; what comes before the last of them; and what the batch
    norms saw.
  """
  chex.assert_rank(last, 4)
  cell_arcs = arcs(arc, config, stage)
  seen: types.Statistics = {}
  first_0, seen["first_0"] = parts.reduce_size(
    weights["first_0"], jax.nn.relu(last[1])
  )
  if config.reduction == "factorized":
    # No ReLU before this one, as in the release, where it stands before the
    # cell; `first_0` is what a cell does to an input of another size.
    first_1, seen["first_1"] = parts.reduce_size(weights["first_1"], last[1])
  else:
    reduction_masks = None
    if masks is not None:
      reduction_masks, masks = masks[:1], masks[1:]
    first_1, seen_reducing = _strided_cell(
      weights, arc.reduction, last, reduction_masks
    )
    seen |= seen_reducing
  outs, cells = micro_cell.chain(
    weights["cells"],
    cell_arcs,
    (first_0, first_1),
    first_1,  # two cells before the second: it has that cell's size already
    include_inputs=config.include_inputs,
    masks=masks,
  )
  seen["cells"] = cells
  return outs, outs[-2] if len(cell_arcs) > 1 else first_1, seen


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
