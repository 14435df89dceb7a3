"""Configuration of a search, and the presets.

Every field is set by a preset; there are no other defaults. `paper` holds the
numbers that the paper prints, each with its section, and what the paper leaves
open with a word on the choice; the other presets state their differences. A
space has a module of its own here, with its options and its presets.
"""

from collections.abc import Callable, Mapping
from typing import Any

from enas_jax.config import fields, macro, micro, nasbench201, recurrent
from enas_jax.config.images import ImagesConfig
from enas_jax.config.macro import MacroConfig
from enas_jax.config.micro import MicroConfig
from enas_jax.config.nasbench201 import NasBench201Config
from enas_jax.config.parts import (
  ControllerConfig,
  OmegaConfig,
  RunConfig,
  SearchConfig,
  ThetaConfig,
  TrainConfig,
  TrainRunConfig,
  override,
  override_parts,
)
from enas_jax.config.recurrent import RecurrentConfig, TextConfig

PRESETS = ("paper", "released", "small", "smoke")
_TRAINING: dict[str, Mapping[str, Callable[[], Any]]] = {
  "recurrent": recurrent.TRAIN_PRESETS,
  "macro": macro.TRAIN_PRESETS,
  "micro": micro.TRAIN_PRESETS,
}
_SPACES: dict[str, Mapping[str, Callable[[], Any]]] = {
  "recurrent": recurrent.PRESETS,
  "macro": macro.PRESETS,
  "micro": micro.PRESETS,
  "nasbench201": nasbench201.PRESETS,
}
SPACES = tuple(_SPACES)
TRAINABLE = tuple(_TRAINING)

__all__ = [
  "PRESETS",
  "SPACES",
  "TRAINABLE",
  "ControllerConfig",
  "ImagesConfig",
  "MacroConfig",
  "MicroConfig",
  "NasBench201Config",
  "OmegaConfig",
  "RecurrentConfig",
  "RunConfig",
  "SearchConfig",
  "TextConfig",
  "ThetaConfig",
  "TrainConfig",
  "TrainRunConfig",
  "override",
  "override_parts",
  "preset",
  "train_preset",
]


def preset(name: str, space: str = "recurrent") -> SearchConfig[Any, Any]:
  """A space's preset of that name.

  Args:
    name: one of `PRESETS`.
    space: one of `SPACES`.

  Raises:
    InputError: if there is none; the message lists the known ones.
  """
  fields.check_one_of("space", space, SPACES)
  fields.check_one_of("preset", name, PRESETS)
  return _SPACES[space][name]()


def train_preset(name: str, space: str) -> TrainConfig[Any, Any]:
  """The preset of that name for training one architecture of a space.

  Args:
    name: one of `PRESETS`.
    space: one of `TRAINABLE`.

  Raises:
    InputError: if there is none; the message lists the known ones.
  """
  fields.check_one_of("space", space, TRAINABLE)
  fields.check_one_of("preset", name, PRESETS)
  return _TRAINING[space][name]()
