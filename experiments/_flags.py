"""One flag for each field of a configuration, and what they make of it."""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import parts
from enas_jax.running import options as options_lib
from enas_jax.search import rollback, runs
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks
from experiments import _saved

# A key of JAX has 32 bits of a seed: a larger one would be a smaller one.
LARGEST_SEED = 2**32 - 1
# Fields of the last step, which keeps one architecture.
LAST_STEP = ("derive_", "tune_")
# Those that it may change once it has ended, as its numbers overflowed.
_FREE_ONCE_DIVERGED = {
  *("omega_learning_rate", "omega_min_learning_rate", "omega_clip_norm"),
  *("theta_learning_rate", "max_skipped", "max_rollbacks"),
}


Preset = _saved.Preset  # spaces.preset or train_preset
# What `define_config_flags` was given: (space, preset).
_defined: list[tuple[str, Preset]] = []
_parts: dict[str, str] = {}  # of the configuration, by flag


def is_set(name: str) -> bool:
  """Whether a flag is defined and has a value."""
  return name in flags.FLAGS and flags.FLAGS[name].value is not None


def set_values(*names: str) -> dict[str, Any]:
  """The flags of these names that have a value."""
  return {name: flags.FLAGS[name].value for name in names if is_set(name)}


def define_preset_flag() -> None:
  """`--preset`."""
  flags.DEFINE_enum(
    "preset", "paper", config_lib.PRESETS, "which numbers to start from"
  )


def define_config_flags(*names: str, preset: Preset = spaces.preset) -> None:
  """One flag per configuration field, unset; a set flag overrides a preset.

  Args:
    *names: the search spaces; a field that two of them share is one flag.
    preset: the presets, of a search or of a training.
  """
  for space in names:
    _defined.append((space, preset))
    for config in _of_every_strategy(preset("paper", space)):
      for name, (path, field) in options_lib.of(config, space).items():
        # Another space or strategy may have defined the same option.
        if name not in flags.FLAGS:
          _define(name, field, path[0])


def part_of(name: str) -> str:
  """The part of the configuration that a flag sets; "" if it sets none."""
  return _parts.get(name, "")


def starts(
  space: str | None,
) -> Iterator[tuple[str, config_lib.AnyConfig]]:
  """What the flags of this script start from, with the space.

  Args:
    space: the one space that is asked for, or None.
  """
  dataset = flags.FLAGS.dataset if "dataset" in flags.FLAGS else None
  for name, preset in _defined:
    if space in (None, name):
      config = _start(name, preset)
      # Data of one's own want other sizes, which --help then tells as defaults.
      if dataset:
        config = suit(config, tasks.get(spaces.get(name).task), dataset)
      yield name, config


def _start(
  space: str,
  preset: Preset,
  policy: str | None = None,
  part: str | None = None,
) -> config_lib.AnyConfig:
  """What `--preset` or `--config` says, by the strategy that is asked for."""
  record = _saved.read()
  if record:
    config = _saved.restore(record, preset, space, part)
  else:
    config = preset(flags.FLAGS.preset, space)
  if isinstance(config, config_lib.SearchConfig):
    asked = policy or flags.FLAGS.policy or config.run.policy
    config = strategies.with_policy(config, asked)
  return config


def _define(name: str, field: dataclasses.Field[Any], part: str) -> None:
  definers: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
    str: flags.DEFINE_string,
  }
  # What `parse` reads comes as text: absl has no such type.
  kind = str if field.metadata["parse"] else field.type
  _parts[name] = part
  definers[kind](name, None, field.metadata["help"])


def define_derive_flags() -> None:
  """One flag per field of the derive step, unset."""
  for field in _derive_fields():
    _define(field.name, field, "run")


def override_derive(
  config: config_lib.SearchConfig,
) -> config_lib.SearchConfig:
  """The configuration of a search with the fields of the derive step set.

  Raises:
    InputError: if a value is not allowed.
  """
  changes = {
    field.name: options_lib.Option((), field).parse(
      flags.FLAGS[field.name].value, field.name
    )
    for field in _derive_fields()
    if is_set(field.name)
  }
  return config_lib.override(config, "run", **changes)


def _derive_fields() -> Iterator[dataclasses.Field[Any]]:
  for field in dataclasses.fields(config_lib.RunConfig):
    if field.name.startswith(LAST_STEP):
      yield field


def define_all_config_flags() -> None:
  """One flag per field of every space's searches and trainings."""
  define_config_flags(*spaces.names())
  define_config_flags(*spaces.trainable(), preset=spaces.train_preset)


def _of_every_strategy(
  config: config_lib.AnyConfig,
) -> Iterator[config_lib.AnyConfig]:
  """The configuration of a search by one strategy after the other."""
  if isinstance(config, config_lib.TrainConfig):
    yield config
    return
  for policy in strategies.names():
    yield strategies.with_policy(config, policy)


def resolve_config(
  space: str,
  saved: Mapping[str, Any] | None = None,
  preset: Preset = spaces.preset,
  policy: str | None = None,
  beside: Sequence[str] = (),
  also: Collection[str] = (),
  start: config_lib.AnyConfig | None = None,
  part: str | None = None,
) -> Any:
  """The configuration that the flags ask for.

  Args:
    space: the search space.
    saved: the `config` of a run that is resumed, or None. Flags that are set
      must agree with it.
    preset: the presets that the numbers come from, of a search or a training.
    policy: the strategy, where it is not the one that `--policy` names.
    beside: strategies whose options may be set although this one has none such.
    also: other flags that may be set although this configuration has none such.
    start: a configuration that the flags change, instead of the preset's.
    part: the name of this configuration among those of a study.

  Raises:
    InputError: if a value is not allowed, does nothing, or would change in a
      resumed run.
  """
  values = flags.FLAGS
  if saved is not None:
    config = runs.restore_config(preset("paper", space), saved)
  elif start is not None:
    config = start
  else:
    config = _start(space, preset, policy, part)
  known = options_lib.of(config, space)
  _check_no_others(space, config, {*known, *also}, beside)
  # Both are given: the file may not say otherwise than the run.
  if saved and _saved.read():
    _check_started(known, config, _start(space, preset, policy, part))
  asked = {
    name: option.parse(values[name].value, name)
    for name, option in known.items()
    if is_set(name) and not (policy and name == "policy")
  }
  # A run that is resumed keeps its numbers, but for those that alter no step
  # that was taken.
  others = (
    [
      (name, values[name].value, known[name].get(config))
      for name, value in asked.items()
      if value != known[name].get(config) and name not in _free_on_resume()
    ]
    if saved
    else []
  )
  if others:
    raise differs(*others)
  config = options_lib.override(config, known, asked)
  if isinstance(config, config_lib.SearchConfig):
    # The warm-up in epochs: as a share it would grow with --num_epochs.
    config = config.settled()
    # Options that do not go with the space are refused before there is a run.
    strategies.create(config, config.child.space())
  return config


def _check_started(
  options: Mapping[str, options_lib.Option],
  kept: config_lib.AnyConfig,
  started: config_lib.AnyConfig,
) -> None:
  """Refuses a `--config` with other numbers than the run that is resumed."""
  # First, since of two strategies the other fields have no counterpart.
  for name in sorted(options, key=lambda name: name != "policy"):
    if not is_set(name) and name not in _free_on_resume():
      old, new = (options[name].get(config) for config in (kept, started))
      if old != new:
        raise differs((f"config, its {name}", new, old))


def option_names(config: config_lib.AnyConfig, space: str) -> tuple[str, ...]:
  """The flags that decide a configuration of a space."""
  return tuple(options_lib.of(config, space))


def define_seeds_flag(default: Sequence[str] | None) -> None:
  """`--seeds`, of scripts that repeat what they do."""
  flags.DEFINE_list("seeds", default, "seeds of everything that is repeated")


def seeds(default: Sequence[int] = ()) -> list[int]:
  """The seeds of `--seeds`.

  Args:
    default: those where the flag is not set.

  Raises:
    InputError: if they are not different seeds, or `--seed` is set.
  """
  if flags.FLAGS["seed"].value is not None:
    raise types.InputError("--seed does nothing here; give --seeds.")
  texts = flags.FLAGS.seeds
  if texts is None:
    return list(default)
  try:
    values = [int(text) for text in texts]
  except ValueError:
    values = []
  ok = all(0 <= seed <= LARGEST_SEED for seed in values)
  if not values or not ok or len(set(values)) < len(values):
    raise types.InputError(
      "--seeds must be different integers in [0, 2^32), got"
      f" {','.join(texts)!r}."
    )
  return values


def suit(
  config: parts.Config, task: tasks_base.Definition, dataset: str
) -> parts.Config:
  """`config` with what suits the data set, where nothing says otherwise."""
  if _saved.read():
    return config
  suited = {
    name: value
    for name, value in task.suited(dataset, config).items()
    if not is_set(name)
  }
  return config_lib.override(config, "data", **suited)


def _free_on_resume() -> set[str]:
  workdir = pathlib.Path(flags.FLAGS.workdir).expanduser()
  if rollback.has_ended(workdir):
    return options_lib.FREE_ON_RESUME | _FREE_ONCE_DIVERGED
  return options_lib.FREE_ON_RESUME


def differs(*fields: tuple[str, Any, Any]) -> types.InputError:
  """The error that flags ask for something else than a resumed run has.

  Args:
    *fields: the flags' names, what they ask for, and what the run has.
  """
  named = [
    f"--{name} is {value}, but the run in --workdir has {old}"
    for name, value, old in fields
  ]
  return types.InputError(
    f"{'; '.join(named)}; leave the flag{'s' * (len(named) > 1)} out, or give"
    " another --workdir."
  )


def check_same(
  space: str,
  kept: config_lib.AnyConfig,
  wanted: config_lib.AnyConfig,
  folder: pathlib.Path,
) -> None:
  """Refuses to go on with a search that has other numbers than are wanted.

  Args:
    space: the search space.
    kept: the configuration of the search in the folder.
    wanted: the configuration that it should have.
    folder: the search's folder.

  Raises:
    InputError: if a field differs, unless a resumed run may change it; and
      fewer epochs may not be asked for: those that were run cannot be undone.
  """
  # First, since of two strategies the other fields have no counterpart.
  options = options_lib.of(wanted, space)
  for name in sorted(options, key=lambda name: name != "policy"):
    old, new = (options[name].get(config) for config in (kept, wanted))
    free = name in options_lib.FREE_ON_RESUME
    if free and (name != "num_epochs" or old <= new):
      continue
    if old != new:
      raise types.InputError(
        f"the search in {folder} has --{name}={old}, not {new} as is asked for"
        " here; give another --workdir, or move that folder away."
      )


def _check_no_others(
  space: str,
  config: config_lib.AnyConfig,
  known: Collection[str],
  beside: Sequence[str],
) -> None:
  """Refuses options of other configurations, which would do nothing."""
  allowed = set(known)
  if isinstance(config, config_lib.SearchConfig):
    # Which options there are depends on the space and the strategy alone.
    paper = spaces.preset("paper", space)
    of_strategies = {
      policy: options_lib.of(strategies.with_policy(paper, policy), space)
      for policy in strategies.names()
    }
    for policy in beside:
      allowed |= of_strategies[policy].keys()
    for policy, options in of_strategies.items():
      for name in filter(is_set, options.keys() - allowed):
        raise types.InputError(
          f"--{name} is an option of --policy={policy} and does nothing with"
          f" --policy={config.run.policy}; leave it out."
        )
  others: list[tuple[str, Preset]] = [
    *((other, spaces.preset) for other in spaces.names()),
    *((other, spaces.train_preset) for other in spaces.trainable()),
  ]
  for other, preset in others:
    for variant in _of_every_strategy(preset("paper", other)):
      names = options_lib.of(variant, other).keys()
      for name in filter(is_set, sorted(names - allowed)):
        where = f"in the {space} space"
        if other == space:
          where = "here: it is of a search or of a training alone"
        raise types.InputError(
          f"--{name} is an option of the {other} space and does nothing"
          f" {where}; leave it out."
        )
