"""The search spaces, by name: a space is a folder and a line here."""

from collections.abc import Mapping
from typing import Any

from enas_jax import config as config_lib
from enas_jax.config import fields, registry
from enas_jax.spaces import base

_REGISTRY = registry.Registry[base.Definition](
  "space",
  {
    "recurrent": "enas_jax.spaces.recurrent.definition",
    "macro": "enas_jax.spaces.macro.definition",
    "micro": "enas_jax.spaces.micro.definition",
    "nasbench201": "enas_jax.spaces.nasbench201.definition",
  },
)
register, names, get = _REGISTRY.register, _REGISTRY.names, _REGISTRY.get


def of_options(options: base.Options) -> base.Definition:
  """The space whose options these are."""
  known = {get(name).options: get(name) for name in names()}
  return known[type(options)]


def trainable() -> tuple[str, ...]:
  """The spaces whose architectures can be trained alone."""
  return tuple(name for name in names() if get(name).train_presets)


def named() -> Mapping[str, tuple[base.Definition, base.Named]]:
  """The architectures that have a name, with their space."""
  return {
    key: (definition, value)
    for definition in map(get, names())
    for key, value in definition.named.items()
  }


def preset(
  name: str, space: str = "recurrent"
) -> config_lib.SearchConfig[Any, Any]:
  """A space's preset of a search.

  Args:
    name: the preset, one of `config.PRESETS`.
    space: the search space, one of `names()`.

  Raises:
    InputError: if there is none; the message lists the known ones.
  """
  presets = get(space).presets
  fields.check_one_of("preset", name, tuple(presets))
  return presets[name]()


def train_preset(name: str, space: str) -> config_lib.TrainConfig[Any, Any]:
  """A space's preset of the training of one architecture.

  Args:
    name: the preset, one of `config.PRESETS`.
    space: the search space, one of `trainable()`.

  Raises:
    InputError: if there is none; the message lists the known ones.
  """
  fields.check_one_of("space", space, trainable())
  presets = get(space).train_presets
  fields.check_one_of("preset", name, tuple(presets))
  return presets[name]()
