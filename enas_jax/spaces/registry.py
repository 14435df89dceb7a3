"""The search spaces, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from enas_jax import config as config_lib
from enas_jax.config import fields
from enas_jax.spaces.macro import presets as macro
from enas_jax.spaces.micro import presets as micro
from enas_jax.spaces.nasbench201 import presets as nasbench201
from enas_jax.spaces.recurrent import presets as recurrent

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


def preset(
  name: str, space: str = "recurrent"
) -> config_lib.SearchConfig[Any, Any]:
  """A space's preset of that name.

  Args:
    name: one of `config.PRESETS`.
    space: one of `SPACES`.

  Raises:
    InputError: if there is none; the message lists the known ones.
  """
  fields.check_one_of("space", space, SPACES)
  fields.check_one_of("preset", name, config_lib.PRESETS)
  return _SPACES[space][name]()


def train_preset(name: str, space: str) -> config_lib.TrainConfig[Any, Any]:
  """The preset of that name for training one architecture of a space.

  Args:
    name: one of `config.PRESETS`.
    space: one of `TRAINABLE`.

  Raises:
    InputError: if there is none; the message lists the known ones.
  """
  fields.check_one_of("space", space, TRAINABLE)
  fields.check_one_of("preset", name, config_lib.PRESETS)
  return _TRAINING[space][name]()
