"""Options and presets of the search for convolutional cells (Section 2.4)."""

import dataclasses

from enas_jax.config import fields, images, parts
from enas_jax.spaces import records
from enas_jax.spaces.micro import arc as space_lib

NUM_STAGES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class MicroConfig:
  """The space of convolutional cells and the shared network."""

  num_nodes: int = fields.field("nodes of a cell with its two inputs, B")
  num_layers: int = fields.field(
    "convolution cells; two reduction cells come on top"
  )
  num_filters: int = fields.field(
    "channels of the first stage, F; 2 F and 4 F follow"
  )
  reduction: str = fields.field(
    "'strided': operations on a reduction cell's inputs have stride 2 (paper);"
    " 'factorized': the output before it is halved by a factorized reduction,"
    " then its operations have stride 1 (released)"
  )
  include_inputs: bool = fields.field(
    "an input that no node takes is a loose end too (released), instead of"
    " computed nodes alone (paper)"
  )
  weight_init: str = fields.field(
    "'he': He's initialisation (paper); 'released': its fan-in is the number"
    " of nodes to choose from, for weights that the arc picks"
  )
  cell_output: str = fields.field(
    "loose ends of a cell, side by side: 'projected' back to the cell's filters"
    " by ReLU, 1x1 convolution and batch norm; 'concat', left as they are, with"
    " all else as the released code trains a cell (not for a search)"
  )
  drop_path: float = fields.field(
    "rate at which an operation other than identity is dropped, for each image,"
    " in the last cell at the end of training; it grows from 0 with depth and"
    " with time"
  )
  moving_statistics: bool = fields.field(
    "evaluate with batch norm statistics averaged over training steps, but in"
    " a cell's operations, instead of with the batch's own"
  )
  drop_features: float = fields.field(
    "dropout rate of the pooled features into the classifier"
  )
  aux_head: bool = fields.field(
    "a second classifier after the cell that follows the last reduction cell,"
    " in training"
  )
  aux_weight: float = fields.field("weight of the auxiliary head's loss")
  aux_frozen: bool = fields.field(
    "leave the auxiliary head's weights as they start (released)"
  )

  def __post_init__(self) -> None:
    self.space()
    layers, filters = self.num_layers, self.num_filters
    fields.check(layers >= NUM_STAGES, "num_layers", "at least 3", layers)
    records.check_size("num_layers", layers)
    # A factorized reduction has two paths of half the channels each.
    even = filters > 0 and filters % 2 == 0
    fields.check(even, "num_filters", "even and positive", filters)
    fields.check_at_most(self, "", num_filters=fields.WIDEST)
    fields.check_rates(self, "", "drop_features", "drop_path")
    fields.check_not_negative(self, "", "aux_weight")
    fields.check_choice(
      self,
      "",
      reduction=("strided", "factorized"),
      weight_init=("he", "released"),
      cell_output=("projected", "concat"),
    )
    # Section 2.4's reduction cell has no way to shrink an unused input.
    fits = self.reduction == "factorized" or not self.include_inputs
    fields.check(fits, "include_inputs", "false with reduction=strided", True)

  def space(self) -> space_lib.MicroSpace:
    """The space these options describe."""
    return space_lib.MicroSpace(self.num_nodes)

  def loose_ends(self, cell: space_lib.CellArc) -> tuple[int, ...]:
    """The nodes of a fixed cell that form its output, counted from 0.

    Args:
      cell: a cell of Python ints: inputs [B - 2, 2] and ops [B - 2, 2].
    """
    # The authors' final network never leaves an input out.
    inputs = self.include_inputs or self.cell_output == "concat"
    return self.space().loose_ends(cell, inputs)

  def normal_cells(self) -> tuple[int, int, int]:
    """How many cells each stage has, its reduction cell not counted."""
    # As released, what thirds leave over goes to the last stage.
    third = self.num_layers // NUM_STAGES
    return third, third, self.num_layers - 2 * third


Search = parts.SearchConfig[MicroConfig, images.ImagesConfig]
Training = parts.TrainConfig[MicroConfig, images.ImagesConfig]


def _paper() -> Search:
  """The paper's numbers; what it leaves open is marked."""
  child = MicroConfig(
    num_nodes=7,  # Section 2.4
    num_layers=6,  # open; the authors' search script
    num_filters=20,  # open; the authors' search script
    reduction="strided",  # Section 2.4
    include_inputs=False,  # Section 2.4
    weight_init="he",  # Section 3.2
    cell_output="projected",  # open in a search; the authors' code
    drop_path=0.0,  # open in a search; the authors' code
    moving_statistics=False,  # open; the release averages but never reads
    drop_features=0.1,  # open; the authors' search script
    aux_head=False,  # open
    aux_weight=0.4,  # open; the authors' code
    aux_frozen=False,
  )
  return parts.SearchConfig(child=child, **images.paper_parts())


def _released() -> Search:
  """The authors' `cifar10_micro_search.sh`."""
  child = dataclasses.replace(
    _paper().child,
    reduction="factorized",
    include_inputs=True,
    weight_init="released",
    aux_head=True,
    aux_frozen=True,
  )
  config: Search = parts.SearchConfig(child=child, **images.released_parts())
  config = parts.override(config, "data", batch_size=160, reward_batch_size=160)
  config = parts.override(
    config,
    "strategy",
    controller={
      "tanh_constant": 1.1,
      "op_tanh_reduce": 2.5,
      "op_bias": 10.0,
      "op_prior": 0.25,
    },
    learning_rate=0.0035,
  )
  config = parts.override(config, "theta", steps=30, num_arcs=10)
  return parts.override(config, "run", num_epochs=150)


def _small() -> Search:
  """Shows learning on CIFAR-10 at 16 x 16 pixels on two CPU cores."""
  child = dataclasses.replace(
    _paper().child, num_nodes=4, num_layers=3, num_filters=12
  )
  return parts.SearchConfig(child=child, **images.small_parts(num_epochs=8))


def _smoke() -> Search:
  """Exercises every part in about a minute on two CPU cores."""
  return images.shorten(parts.override(_small(), "child", num_filters=8))


PRESETS = {
  "paper": _paper,
  "released": _released,
  "small": _small,
  "smoke": _smoke,
}


def _train_paper() -> Training:
  """Section 3.2; what the paper leaves open is marked."""
  child = dataclasses.replace(
    _paper().child,
    num_layers=18,  # Section 3.2: N = 6
    num_filters=40,  # open; about Table 2's 4.6M parameters
    moving_statistics=True,  # open; the authors' code
    drop_path=0.4,  # open; the authors' script
    drop_features=0.2,  # open; the authors' script
    aux_head=True,  # open; the authors' script
  )
  config: Training = parts.TrainConfig(child=child, **images.paper_training())
  return parts.override(config, "data", cutout=16)  # DeVries & Taylor (2017)


def _train_released() -> Training:
  """The authors' `cifar10_micro_final.sh`."""
  child = dataclasses.replace(
    _train_paper().child,
    num_layers=15,
    num_filters=36,
    cell_output="concat",
    aux_frozen=True,
  )
  config: Training = parts.TrainConfig(child=child, **images.paper_training())
  config = parts.override(config, "data", batch_size=144, num_valid=0)
  config = parts.override(
    config,
    "omega",
    schedule="cosine_epochs",
    min_learning_rate=0.0001,
    l2_weight=2e-4,
  )
  return parts.override(config, "run", num_epochs=630)


def _train_small() -> Training:
  """Trains cells on 16 x 16 pixels in half an hour on one CPU core."""
  child = dataclasses.replace(
    _train_paper().child,
    num_layers=3,
    num_filters=12,
    drop_path=0.0,
    drop_features=0.1,
    aux_head=False,
  )
  return parts.TrainConfig(child=child, **images.small_training(num_epochs=6))


def _train_smoke() -> Training:
  """Exercises every part in about a minute on two CPU cores."""
  return images.shorten_training(
    parts.override(_train_small(), "child", num_filters=8)
  )


TRAIN_PRESETS = {
  "paper": _train_paper,
  "released": _train_released,
  "small": _train_small,
  "smoke": _train_smoke,
}
