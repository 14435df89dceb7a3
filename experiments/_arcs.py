"""The flag `--arc`, and the configuration that follows from it."""

from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import parts
from enas_jax.running import options as options_lib
from enas_jax.spaces import arcs, registry
from experiments import _flags


def define_arc_flag() -> None:
  """The flag of scripts that take an architecture."""
  names = "; ".join(
    f"{name}, {arc.source}" for name, (_, arc) in registry.named().items()
  )
  flags.DEFINE_string(
    "arc",
    None,
    "an architecture: the path of a run's arc.json, a token string of the"
    f" released code, random:SEED, or a name ({names})",
  )


def resolve(
  space: str | None, preset: _flags.Preset = registry.preset
) -> tuple[arcs.Architecture, Any]:
  """The architecture of `--arc`, and a configuration that fits it.

  What the architecture says of its space outweighs the preset.

  Args:
    space: the name of the space that it must be of, or None.
    preset: the presets that the numbers come from, of a search or a training.

  Raises:
    InputError: if there is none, it is not valid, or a flag contradicts it.
  """
  loaded = load(space, preset)
  return loaded, fit(loaded, _flags.resolve_config(loaded.name, preset=preset))


def load(
  space: str | None, preset: _flags.Preset = registry.preset
) -> arcs.Architecture:
  """The architecture of `--arc`; arguments and errors as `resolve`."""
  text = flags.FLAGS.arc
  if text is None:
    raise types.InputError("--arc must be given: the architecture.")
  # Only a random architecture takes its size from the configuration.
  drawn = None
  if space:
    drawn = _flags.resolve_config(space, preset=preset).child.space()
  return arcs.load_arc(text, space, drawn)


def fit(loaded: arcs.Architecture, config: parts.Config) -> parts.Config:
  """`config` with the options of the child that an architecture decides.

  Raises:
    InputError: if a flag contradicts the architecture.
  """
  options = options_lib.of_architecture(loaded, config)
  for name, value in options.items():
    asked = flags.FLAGS[name].value
    if asked not in (None, value):
      raise types.InputError(
        f"--{name} is {asked}, but the architecture of --arc has {value};"
        " leave the flag out."
      )
  for name, value in loaded.options.items():
    if flags.FLAGS[name].value is None:
      options[name] = value
  return config_lib.override(config, "child", **options)
