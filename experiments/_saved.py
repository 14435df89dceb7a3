"""A saved configuration that a run starts from: `--config`."""

from collections.abc import Callable
from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.search import folder, runs
from enas_jax.spaces import registry

ADVICE = "give the config.json of a run, or what --print_config printed"
Preset = Callable[[str, str], config_lib.AnyConfig]
_KNOWN = {"space": str, "dataset": str, "config": dict}


def define_flags() -> None:
  """`--config` and `--print_config`."""
  flags.DEFINE_string(
    "config",
    None,
    "start from the numbers and the data set of this file instead of a preset:"
    " the config.json of a run, or what --print_config printed",
  )
  flags.DEFINE_boolean(
    "print_config",
    False,
    "print the configuration as config.json would have it, and do nothing else",
  )


def read() -> dict[str, Any] | None:
  """What the file of `--config` holds; None without the flag.

  Raises:
    InputError: if it cannot be read, is another kind of file, or `--preset` is
      set as well.
  """
  if "config" not in flags.FLAGS or flags.FLAGS.config is None:
    return None
  if flags.FLAGS["preset"].present:
    raise types.InputError("give --preset or --config, not both.")
  file = files.expand(flags.FLAGS.config)
  record = folder.read_json(file, ADVICE)
  folder.check_fields(record, _KNOWN, file, ADVICE)
  return record


def space() -> str | None:
  """The search space of `--config`; None without the flag."""
  record = read()
  return record["space"] if record else None


def preset() -> str | None:
  """The preset that the numbers come from; None where there is no such flag."""
  record = read()
  if record:
    return record.get("preset")
  return flags.FLAGS.preset if "preset" in flags.FLAGS else None


def restore(
  record: dict[str, Any], preset: Preset, space: str, part: str | None = None
) -> config_lib.AnyConfig:
  """The configuration of `--config`.

  Args:
    record: what the file holds.
    preset: (preset, space) -> its configuration of a search or of a training,
      whichever is wanted.
    space: the search space that it should be of.
    part: of a study, which has several, the name of the one that is wanted. A
      file that has none such gives the one that it has; if that is of another
      kind, its preset.

  Raises:
    InputError: if it is of something else, or cannot be of this version.
  """
  path, paper = flags.FLAGS.config, preset("paper", space)
  if record["space"] != space:
    registry.get(record["space"])  # a plugin may be missing
    raise types.InputError(
      f"--config={path} is of the {record['space']} space, not of {space}."
    )
  config, several = record["config"], record.get("configs")
  if part and isinstance(several, dict) and isinstance(several.get(part), dict):
    config = several[part]
  searched = isinstance(paper, config_lib.SearchConfig)
  # A search has such a part, a training none.
  if searched != ("theta" in config):
    if part and record.get("preset") in config_lib.PRESETS:
      return preset(record["preset"], space)
    kinds = ("training", "search")
    raise types.InputError(
      f"--config={path} is of a {kinds[not searched]}, not of a"
      f" {kinds[searched]}."
    )
  return runs.restore_config(paper, config, "--config")
