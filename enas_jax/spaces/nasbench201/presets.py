"""Options and presets of the search for a cell of NAS-Bench-201."""

import dataclasses
from typing import Any

from enas_jax.config import fields, images, parts
from enas_jax.spaces import records
from enas_jax.spaces.nasbench201 import arc as space_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class NasBench201Config:
  """The benchmark's skeleton, in which one cell is repeated."""

  num_cells: int = fields.field("cells in each of the three stages, N")
  num_filters: int = fields.field(
    "channels of the first stage, F; the others have twice and four times as"
    " many"
  )
  moving_statistics: bool = fields.field(
    "evaluate with batch norm statistics averaged over training steps, each"
    " operation's over those that ran it, instead of with the batch's own"
  )
  drop_features: float = fields.field(
    "dropout rate of the pooled features into the classifier"
  )

  def __post_init__(self) -> None:
    fields.check_positive(self, "", "num_cells", "num_filters")
    fields.check_at_most(self, "", num_filters=fields.WIDEST)
    records.check_size("num_cells", self.num_cells)
    fields.check_rates(self, "", "drop_features")

  def space(self) -> space_lib.NasBench201Space:
    """The space, which no option changes."""
    return space_lib.NasBench201Space()

  def filters(self) -> tuple[int, ...]:
    """The channels of each stage."""
    return tuple(self.num_filters * 2**stage for stage in range(3))


Search = parts.SearchConfig[NasBench201Config, images.ImagesConfig]


def _with_cell_controller(numbers: dict[str, Any]) -> dict[str, Any]:
  """Every decision is an operation: no step of the LSTM is for attention."""
  strategy = numbers["strategy"]
  controller = dataclasses.replace(strategy.controller, anchor="first_decision")
  return {
    **numbers,
    "strategy": dataclasses.replace(strategy, controller=controller),
  }


def _paper() -> Search:
  """Section 3.2's numbers, on the skeleton that the benchmark searches with."""
  child = NasBench201Config(
    num_cells=5,  # the benchmark's searches
    num_filters=16,  # the benchmark's searches
    moving_statistics=False,  # open
    drop_features=0.0,  # the benchmark has none
  )
  return parts.SearchConfig(
    child=child, **_with_cell_controller(images.paper_parts())
  )


def _released() -> Search:
  """How the benchmark's authors ran ENAS: AutoDL-Projects, `ENAS.config`.

  Theirs differ from these in this: half of the training images, 25,000, are
  for validation and rewards are on augmented images of them, both in batches of
  128 in order; the gradient of theta is clipped at 5; the baseline starts at
  the first reward; the LSTM has two layers and biases; a run keeps the best of
  10 candidates of each epoch and at the end of 100 more, each on a minibatch of
  its own.
  """
  child = dataclasses.replace(_paper().child, moving_statistics=True)
  numbers = _with_cell_controller(images.released_parts())
  config: Search = parts.SearchConfig(child=child, **numbers)
  config = parts.override(config, "data", num_valid=25000)
  config = parts.override(
    config,
    "strategy",
    controller={"hidden_size": 32, "temperature": 5.0, "tied_ops": False},
    learning_rate=0.001,
  )
  config = parts.override(
    config,
    "omega",
    schedule="cosine",
    clip_norm=5.0,
    # PyTorch's decay is of the gradient: half of that of a sum of squares.
    l2_weight=0.000125,
    restart_factor=1,
  )
  config = parts.override(config, "theta", steps=50, num_arcs=20)
  return parts.override(config, "run", derive_arcs=100)


def _small() -> Search:
  """Finds a good cell on CIFAR-10 at 16 x 16 pixels on two CPU cores."""
  child = dataclasses.replace(_paper().child, num_cells=1, num_filters=8)
  num_epochs = 30
  numbers = _with_cell_controller(images.small_parts(num_epochs))
  config: Search = parts.SearchConfig(child=child, **numbers)
  # `experiments/docs/study.md` has the study behind these numbers.
  config = parts.override(config, "data", batch_size=64)
  # Shared weights rank well once all cells alike have seen many steps; a
  # controller that moves before narrows what they see to its first guess. One
  # that moves from the middle on makes them rank better still.
  config = parts.override(
    config,
    "theta",
    warmup_epochs=0.5,  # of all epochs
    steps=40,
    reward="likelihood",
  )
  config = parts.override(
    config,
    "omega",
    learning_rate=0.2,
    # The two convolutions have weights to learn, the others none. Drawn alike,
    # each learns in a fifth of the steps and is made too little of.
    op_weights=(1, 1, 3, 3, 1),
  )
  return parts.override(
    config,
    "run",
    derive_arcs=300,
    derive_batches=8,
    # Of 300 samples about so many differ at most. One cell a stage cannot tell
    # which cells still learn when five are stacked, as in the benchmark; a
    # quarter of an epoch of such networks tells.
    tune_arcs=80,
    tune_from="scratch",
    tune_changes={"num_cells": 5, "image_size": 8, "pad": 1},
    tune_steps=176,
  )


def _smoke() -> Search:
  """Exercises every part in about a minute on two CPU cores."""
  config = images.shorten(parts.override(_small(), "child", num_filters=4))
  config = parts.override(config, "omega", restart_epochs=3)
  config = parts.override(config, "theta", warmup_epochs=2 / 3)
  return parts.override(
    config,
    "run",
    tune_arcs=2,
    tune_changes={"image_size": 8, "pad": 1},
    tune_steps=50,
  )


PRESETS = {
  "paper": _paper,
  "released": _released,
  "small": _small,
  "smoke": _smoke,
}
