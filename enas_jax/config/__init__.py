"""Configuration of a search and of a training: the parts that spaces share.

Nearly every field is set by a preset. A few of a run have defaults (`run.py`,
`saving.py`): how it computes, saves itself and orders candidates. A space's
options and its presets are in its folder, `spaces/NAME/presets.py`.
"""

from enas_jax.config.images import ImagesConfig
from enas_jax.config.parts import (
  AnyConfig,
  OmegaConfig,
  SearchConfig,
  StrategyOptions,
  ThetaConfig,
  TrainConfig,
  override,
  override_parts,
)
from enas_jax.config.reinforce import ControllerConfig, ReinforceConfig
from enas_jax.config.run import RunConfig, TrainRunConfig
from enas_jax.config.text import TextConfig

# `paper`: the numbers printed in the paper; `released`: the authors' scripts;
# `small`: shows learning on two CPU cores; `smoke`: every part in a minute.
PRESETS = ("paper", "released", "small", "smoke")

__all__ = [
  "PRESETS",
  "AnyConfig",
  "ControllerConfig",
  "ImagesConfig",
  "OmegaConfig",
  "ReinforceConfig",
  "RunConfig",
  "SearchConfig",
  "StrategyOptions",
  "TextConfig",
  "ThetaConfig",
  "TrainConfig",
  "TrainRunConfig",
  "override",
  "override_parts",
]
