"""Options and presets of the search for whole networks (Section 2.3)."""

import dataclasses

from enas_jax.config import fields, images, parts
from enas_jax.spaces.macro import arc as space_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class MacroConfig:
  """The space of entire networks and the shared network."""

  num_layers: int = fields.field("layers the controller decides about, L")
  num_filters: int = fields.field("channels of every image in the network, F")
  main_input: str = fields.field(
    "a layer reads: 'selected', the layers it takes, joined, or the stem where"
    " it takes none (paper); 'previous', the layer before, and what it takes"
    " joins its output (released)"
  )
  skip_combination: str = fields.field(
    "outputs are joined: 'concat', in depth, then 1x1 convolution, batch norm"
    " and ReLU (paper); 'sum', then batch norm (released)"
  )
  conv_order: str = fields.field(
    "within a layer: 'relu_conv_bn' (paper) or 'conv_bn_relu' (released)"
  )
  op_epsilon: float = fields.field(
    "added to the variance in the batch norm after a layer's 3x3 or 5x5"
    " convolution (released: 1e-3)"
  )
  moving_statistics: bool = fields.field(
    "evaluate with batch norm statistics averaged over training steps"
    " (released) instead of with the batch's own"
  )
  drop_features: float = fields.field(
    "dropout rate of the pooled features into the classifier"
  )
  uniform_skip_prob: float = fields.field(
    "probability of each skip connection in random architectures"
  )
  hypernetwork_rank: int = fields.field(
    "arrays whose span holds the weights that a hypernetwork makes for each"
    " architecture (SMASH); what is trained alone only starts with them. 0:"
    " weights are shared (paper)"
  )

  def __post_init__(self) -> None:
    self.space()
    # A reduction has two paths of F / 2 channels each.
    even = self.num_filters > 0 and self.num_filters % 2 == 0
    fields.check(even, "num_filters", "even and positive", self.num_filters)
    fields.check_at_most(
      self, "", num_filters=fields.WIDEST, hypernetwork_rank=fields.WIDEST
    )
    fields.check_positive(self, "", "op_epsilon")
    fields.check_not_negative(self, "", "hypernetwork_rank")
    fields.check_rates(self, "", "drop_features")
    fields.check_choice(
      self,
      "",
      main_input=("selected", "previous"),
      skip_combination=("concat", "sum"),
      conv_order=("relu_conv_bn", "conv_bn_relu"),
    )

  def space(self) -> space_lib.MacroSpace:
    """The space these options describe."""
    return space_lib.MacroSpace(self.num_layers, self.uniform_skip_prob)

  def reductions(self) -> tuple[int, ...]:
    """The layers, counted from 0, after which height and width halve."""
    # As released; one or two layers have no thirds, and are not reduced.
    third = self.num_layers // 3
    return (third - 1, 2 * third - 1) if third else ()


Search = parts.SearchConfig[MacroConfig, images.ImagesConfig]
Training = parts.TrainConfig[MacroConfig, images.ImagesConfig]


def _paper() -> Search:
  """The paper's numbers; what it leaves open is marked."""
  child = MacroConfig(
    num_layers=12,  # Section 2.3
    num_filters=36,  # open; the authors' search script
    main_input="selected",  # Section 2.3
    skip_combination="concat",  # Appendix B
    conv_order="relu_conv_bn",  # Appendix B
    op_epsilon=1e-5,
    moving_statistics=False,  # open
    drop_features=0.1,  # open; the authors' search script
    uniform_skip_prob=0.4,  # Section 3.3
    hypernetwork_rank=0,
  )
  return parts.SearchConfig(child=child, **images.paper_parts())


def _released() -> Search:
  """The authors' `cifar10_macro_search.sh`, with its operations repaired."""
  child = dataclasses.replace(
    _paper().child,
    main_input="previous",
    skip_combination="sum",
    conv_order="conv_bn_relu",
    op_epsilon=1e-3,
    moving_statistics=True,
  )
  config: Search = parts.SearchConfig(child=child, **images.released_parts())
  config = parts.override(
    config,
    "strategy",
    controller={
      "tanh_constant": 1.5,
      "entropy": "sampled",
      "skip_kl": "released",
    },
    learning_rate=0.001,
  )
  config = parts.override(config, "omega", l2_weight=0.00025)
  return parts.override(config, "theta", steps=50, num_arcs=20)


def _small() -> Search:
  """Shows learning on CIFAR-10 at 16 x 16 pixels on two CPU cores."""
  child = dataclasses.replace(_paper().child, num_layers=6, num_filters=24)
  config: Search = parts.SearchConfig(
    child=child, **images.small_parts(num_epochs=10)
  )
  return parts.override(
    config,
    "strategy",
    controller={"hidden_size": 64, "temperature": 1.0},
    learning_rate=0.006,
  )


def _smoke() -> Search:
  """Exercises every part in about a minute on two CPU cores."""
  return images.shorten(
    parts.override(_small(), "child", num_layers=4, num_filters=8)
  )


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
    num_layers=24,  # Figure 7
    num_filters=212,  # open; about Table 2's 21.3M parameters
    moving_statistics=True,  # open; the authors' code
    drop_features=0.5,  # open; the authors' script
  )
  return parts.TrainConfig(child=child, **images.paper_training())


def _train_released() -> Training:
  """The authors' `cifar10_macro_final.sh`, with its operations repaired."""
  child = dataclasses.replace(
    _train_paper().child, num_filters=96, main_input="previous"
  )
  config: Training = parts.TrainConfig(child=child, **images.paper_training())
  config = parts.override(config, "data", batch_size=100, num_valid=0)
  return parts.override(
    config, "omega", schedule="cosine_epochs", l2_weight=2e-4
  )


def _train_small() -> Training:
  """Trains a network on 16 x 16 pixels in half an hour on one CPU core."""
  child = dataclasses.replace(
    _train_paper().child, num_filters=16, drop_features=0.1
  )
  return parts.TrainConfig(child=child, **images.small_training(num_epochs=6))


def _train_smoke() -> Training:
  """Exercises every part in about a minute on two CPU cores."""
  return images.shorten_training(
    parts.override(_train_small(), "child", num_layers=4, num_filters=8)
  )


TRAIN_PRESETS = {
  "paper": _train_paper,
  "released": _train_released,
  "small": _train_small,
  "smoke": _train_smoke,
}
