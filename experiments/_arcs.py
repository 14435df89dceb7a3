"""The flag `--arc`, and the configuration that follows from it."""

from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.config import parts
from enas_jax.running import options as options_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import runs
from enas_jax.spaces import arcs, registry
from experiments import _data, _flags


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


def define_run_flag() -> None:
  """`--run`, of scripts that take an architecture from a search."""
  flags.DEFINE_string(
    "run",
    None,
    "the folder of a search: its architecture, its data and their size, and its"
    " preset, where no flag says otherwise",
  )


def take_run(name: str = folder_lib.ARC) -> None:
  """Gives `--arc` and `--preset`, where not set, what the run of `--run` has.

  Args:
    name: the file of the run that `--arc` shall be.

  Raises:
    InputError: if there is no such file, or `--arc` is set as well.
  """
  values = flags.FLAGS
  if values.run is None:
    return
  if values.arc is not None:
    raise types.InputError("give --run or --arc, not both.")
  folder = files.expand(values.run).absolute()
  preset = _data.read_record(folder).get("preset")
  if not (folder / name).exists():
    raise types.InputError(
      f"--run={values.run} has no {name}: it has kept no architecture yet; go"
      " on with it first."
    )
  # As if it had been typed: what follows reads flags alone.
  values["arc"].value = str(folder / name)
  if preset in config_lib.PRESETS and not values["preset"].present:
    values["preset"].value = preset


def config_of_run(space: str) -> config_lib.AnyConfig | None:
  """The configuration of the run of `--run`; None without the flag.

  Args:
    space: the search space of its architecture.

  Raises:
    InputError: if the run is none of that space.
  """
  if flags.FLAGS.run is None:
    return None
  folder = files.expand(flags.FLAGS.run)
  record = _data.read_record(folder)
  known = {"space": str, "config": dict}
  path, advice = folder / folder_lib.CONFIG, "give the folder of a run"
  folder_lib.check_fields(record, known, path, advice)
  if record["space"] != space:
    raise types.InputError(
      f"{path} is of the {record['space']} space, and its architecture of the"
      f" {space} space; give the folder of a run."
    )
  # A training has no such part.
  searched = "theta" in record["config"]
  preset = registry.preset if searched else registry.train_preset
  return runs.restore_config(preset("paper", space), record["config"], "--run")


def on_data_of_run(config: parts.Config, space: str) -> parts.Config:
  """The configuration on the data as the run of `--run` has them.

  Args:
    config: the configuration of a training.
    space: its search space.
  """
  run = config_of_run(space)
  if run is None:
    return config
  of_data = {
    name: value
    for name, value in options_lib.of_search(run, space).items()
    if not _flags.is_set(name)
  }
  return config_lib.override(config, "data", **of_data)


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
    # A flag that repeats what the architecture has does no harm.
    asked = flags.FLAGS[name].value
    if asked not in (None, value):
      raise types.InputError(
        f"--{name} is {asked}, but the architecture of --arc has {value};"
        " leave the flag out."
      )
  # What its authors meant, where no flag says otherwise.
  for name, value in loaded.options.items():
    if flags.FLAGS[name].value is None:
      options[name] = value
  return config_lib.override(config, "child", **options)
