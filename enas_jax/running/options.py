"""The options of a search or a training, by the names that flags have."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import parts
from enas_jax.spaces import arcs
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import registry as tasks

# Where the fields of a part of the configuration appear among the flags.
_PREFIXES = {
  "child": "",
  "data": "",
  "omega": "omega_",
  "theta": "theta_",
  "strategy": "theta_",
  "run": "",
}
# Those that a resumed run may change: they alter no step that was taken.
FREE_ON_RESUME = {
  *("num_epochs", "checkpoint_every_minutes", "heartbeat_every_minutes"),
  "loggers",
}
# Options of the policy's samples, of which the training of one has none.
_SAMPLING = ("omega_num_arcs", "omega_fair_ops", "omega_op_weights")


class Option(NamedTuple):
  """A field of the configuration, which is a flag.

  Attributes:
    path: the names that lead to the field, the part's first.
    field: the field, with what its flag needs to know.
  """

  path: tuple[str, ...]
  field: dataclasses.Field[Any]

  def get(self, config: config_lib.AnyConfig) -> Any:
    """The field's value."""
    value: Any = config
    for name in (*self.path, self.field.name):
      value = getattr(value, name)
    return value

  def parse(self, value: Any, name: str) -> Any:
    """The field's value from that of the flag of that name."""
    read = self.field.metadata["parse"]
    return read(value, name) if read else value


def of(config: config_lib.AnyConfig, space: str) -> dict[str, Option]:
  """The fields of a configuration by flag, without those that do nothing."""
  without = _ignored(config, space)
  # `only_for` is a kind of decision, or "" where a field is for every space.
  kinds = {d.kind for d in config.child.space().decisions()} | {""}
  return {
    name: option
    for part, prefix in _PREFIXES.items()
    if hasattr(config, part)
    for name, option in _options(getattr(config, part), (part,), prefix)
    if name not in without and option.field.metadata["only_for"] in kinds
  }


def _options(
  part: Any, path: tuple[str, ...], prefix: str
) -> Iterator[tuple[str, Option]]:
  """The flags and fields of options, also of those that they hold."""
  for field in dataclasses.fields(part):
    value = getattr(part, field.name)
    if dataclasses.is_dataclass(value):
      yield from _options(value, (*path, field.name), f"{field.name}_")
    else:
      yield prefix + field.name, Option(path, field)


def _ignored(config: config_lib.AnyConfig, space: str) -> tuple[str, ...]:
  """Flags that would do nothing in this space, or in its task."""
  definition = spaces.get(space)
  task = tasks.get(definition.task)
  if isinstance(config, config_lib.TrainConfig):
    return (*task.ignored, *task.ignored_in_training, *_SAMPLING)
  return (*task.ignored, *definition.ignored_in_search)


def override(
  config: parts.Config, options: Mapping[str, Option], values: Mapping[str, Any]
) -> parts.Config:
  """The configuration with other values of some options.

  Args:
    config: a configuration of a search or a training.
    options: its options, as `of` gives them.
    values: by the options' names, of the fields' types.

  Raises:
    InputError: if a value is not allowed.
  """
  changes: dict[str, Any] = {}
  for name, value in values.items():
    # Values of one part are gathered: it is checked once all of them are in it.
    place = changes
    for key in options[name].path:
      place = place.setdefault(key, {})
    place[options[name].field.name] = value
  return config_lib.override_parts(config, changes)


def take(
  config: config_lib.AnyConfig, space: str, values: Mapping[str, Any]
) -> dict[str, Any]:
  """Values that were given by name, as the fields hold them.

  Args:
    config: a configuration of a search or a training.
    space: its search space.
    values: by the options' names, Python values or flags' texts.

  Raises:
    InputError: if there is no option of such a name here.
  """
  options = of(config, space)
  for name in values:
    if name not in options:
      near = difflib.get_close_matches(name, options, n=1)
      known = f"do you mean {near[0]}?" if near else f"there are {[*options]}."
      raise types.InputError(f"there is no option {name} here; {known}")
  return {
    name: options[name].parse(value, name) if isinstance(value, str) else value
    for name, value in values.items()
  }


def of_architecture(
  loaded: arcs.Architecture, config: config_lib.AnyConfig
) -> dict[str, Any]:
  """The options of the network that an architecture decides.

  Args:
    loaded: the architecture.
    config: a configuration of its space.
  """
  return {
    field.name: getattr(loaded.space, field.name)
    for field in dataclasses.fields(loaded.space)
    # The others are about drawing architectures at random.
    if field.compare and hasattr(config.child, field.name)
  }


def of_search(searched: config_lib.AnyConfig, space: str) -> dict[str, Any]:
  """The options of the data that a training has from a search."""
  names = tasks.get(spaces.get(space).task).of_data
  return {name: getattr(searched.data, name) for name in names}


def typed(value: Any) -> str:
  """A value as one types it after a flag."""
  if value is None:
    return ""
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, Mapping):
    return typed(tuple(value.items()))  # NAME=VALUE, by commas
  if isinstance(value, list | tuple):
    return ",".join(
      "=".join(map(typed, part)) if isinstance(part, tuple) else typed(part)
      for part in value
    )
  return str(value)
