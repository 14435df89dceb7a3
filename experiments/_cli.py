"""What all experiment scripts share: flags, exit status, folders."""

import dataclasses
import datetime
import importlib.metadata
import itertools
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
from absl import app, flags, logging

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import folder as folder_lib
from enas_jax.search import loop, runs
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import base as tasks_base
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
# Options of the policy's samples, of which the training of one has none.
_SAMPLING = ("omega_num_arcs", "omega_fair_ops", "omega_op_weights")
# Fields that a resumed run may change: they alter no step that was taken.
_FREE_ON_RESUME = {"num_epochs"}


class _Option(NamedTuple):
  """A field of the configuration, which is a flag.

  Attributes:
    path: the part, and where the field is in options of that part, both.
    field: what is known of it.
  """

  path: tuple[str, ...]
  field: dataclasses.Field[Any]

  def get(self, config: Any) -> Any:
    """The field's value."""
    for name in (*self.path, self.field.name):
      config = getattr(config, name)
    return config

  def parse(self, value: Any, name: str) -> Any:
    """The field's value from that of the flag of that name."""
    read = self.field.metadata["parse"]
    return read(value, name) if read else value


Config = config_lib.SearchConfig | config_lib.TrainConfig
Preset = Callable[[str, str], Config]  # spaces.preset or train_preset


def define_config_flags(*names: str, preset: Preset = spaces.preset) -> None:
  """One flag per configuration field, unset; a set flag overrides a preset.

  Args:
    *names: the search spaces; a field that two of them share is one flag.
    preset: the presets, of a search or of a training.
  """
  definers: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
    str: flags.DEFINE_string,
  }
  for space in names:
    for config in _of_every_strategy(preset("paper", space)):
      for name, (_, field) in _config_fields(config, space).items():
        if name not in flags.FLAGS:
          kind = str if field.metadata["parse"] else field.type
          definers[kind](name, None, field.metadata["help"])


def _of_every_strategy(config: Any) -> Iterator[Config]:
  """The configuration of a search by one strategy after the other."""
  if isinstance(config, config_lib.TrainConfig):
    yield config
    return
  for policy in strategies.names():
    yield strategies.with_policy(config, policy)


def _config_fields(config: Config, space: str) -> dict[str, _Option]:
  """The fields of a configuration by flag, without those that do nothing."""
  without = _ignored(config, space)
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
) -> Iterator[tuple[str, _Option]]:
  """The flags and fields of options, also of those that they hold."""
  for field in dataclasses.fields(part):
    value = getattr(part, field.name)
    if dataclasses.is_dataclass(value):
      yield from _options(value, (*path, field.name), f"{field.name}_")
    else:
      yield prefix + field.name, _Option(path, field)


def _ignored(config: Config, space: str) -> tuple[str, ...]:
  """Flags that would do nothing in this space, or in its task."""
  definition = spaces.get(space)
  task = tasks.get(definition.task)
  if isinstance(config, config_lib.TrainConfig):
    return (*task.ignored, *task.ignored_in_training, *_SAMPLING)
  return (*task.ignored, *definition.ignored_in_search)


def define_run_flags(*names: str) -> None:
  """The flags of a run that are not configuration fields.

  Args:
    *names: the search spaces that the script takes. The data set of the first
      one's task is the default, unless their tasks differ.
  """
  flags.DEFINE_enum(
    "preset", "paper", config_lib.PRESETS, "which numbers to start from"
  )
  definitions = [tasks.get(spaces.get(name).task) for name in names]
  texts = list(dict.fromkeys(task.data_help for task in definitions))
  defaults = {task.dataset for task in definitions}
  define_data_flags(
    definitions[0].dataset if len(defaults) == 1 else None, "; ".join(texts)
  )
  define_folder_flags()
  flags.DEFINE_boolean(
    "resume",
    False,
    "continue the run in --workdir from its newest checkpoint",
  )


def import_plugins() -> None:
  """Imports the modules of `--plugin`, which register what is theirs.

  Spaces, strategies and tasks decide which flags there are, so they must be
  known before flags are read. Installed packages name such modules as entry
  points of the group "enas_jax.plugins".
  """
  flags.DEFINE_multi_string(
    "plugin",
    [],
    "a Python module that registers a space, a strategy or a task; may be given"
    " more than once",
  )
  for entry in importlib.metadata.entry_points(group="enas_jax.plugins"):
    entry.load()
  for name in _asked_plugins(sys.argv[1:]):
    try:
      importlib.import_module(name)
    except ImportError as error:
      _fail(f"--plugin={name} cannot be imported: {error}.")


def _asked_plugins(arguments: Sequence[str]) -> list[str]:
  """The values of `--plugin`, before absl knows which flags there are."""
  names = []
  for argument, following in itertools.zip_longest(arguments, arguments[1:]):
    flag, has_value, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and flag == "plugin":
      names.append(value if has_value else following or "")
  return [name for name in names if name]


def define_data_flags(dataset: str | None, data_help: str) -> None:
  """The flags that say which data, and where."""
  flags.DEFINE_string("dataset", dataset, data_help)
  flags.DEFINE_string("data_dir", None, "where data sets lie")


def define_folder_flags() -> None:
  """The flags that say where things are written."""
  flags.DEFINE_string(
    "workdir", None, "the run's folder; by default a new one under ./runs"
  )
  flags.DEFINE_string(
    "compilation_cache_dir",
    str(pathlib.Path.home() / ".cache" / "enas_jax"),
    "keeps compiled programs between runs; empty keeps none",
  )


def resolve_config(
  space: str,
  saved: Mapping[str, Any] | None = None,
  preset: Preset = spaces.preset,
  policy: str | None = None,
  beside: Sequence[str] = (),
) -> Any:
  """The configuration that the flags ask for.

  Args:
    space: the search space.
    saved: the `config` of a run that is resumed, or None. Flags that are set
      must agree with it.
    preset: where the numbers come from: of a search or of a training.
    policy: the strategy, where it is not the one that `--policy` names.
    beside: strategies whose options may be set although this one has none such.

  Raises:
    InputError: if a value is not allowed, does nothing, or would change in a
      resumed run.
  """
  values = flags.FLAGS
  config = preset(values.preset, space)
  if saved is not None:
    config = runs.restore_config(config, saved)
  elif isinstance(config, config_lib.SearchConfig):
    asked = policy or values.policy or config.run.policy
    config = strategies.with_policy(config, asked)
  known = _config_fields(config, space)
  _check_no_others(space, config, known, beside)
  changes: dict[str, dict[str, Any]] = {}
  for name, option in known.items():
    if values[name].value is None or (policy and name == "policy"):
      continue
    value, old = option.parse(values[name].value, name), option.get(config)
    if saved and value != old and name not in _FREE_ON_RESUME:
      raise types.InputError(
        f"--{name} is {values[name].value}, but the run in --workdir has"
        f" {old}; leave the flag out, or give another --workdir."
      )
    place: dict[str, Any] = changes
    for key in option.path:
      place = place.setdefault(key, {})
    place[option.field.name] = value
  config = config_lib.override_parts(config, changes)
  if isinstance(config, config_lib.SearchConfig):
    config = config.settled()
  return config


def check_same(
  space: str, found: Config, wanted: Config, folder: pathlib.Path
) -> None:
  """Refuses to go on with a search that has other numbers than are wanted.

  Raises:
    InputError: if a field differs, unless a resumed run may change it and it is
      to grow: what was done beyond it cannot be undone.
  """
  # First, since of two strategies the other fields have no counterpart.
  options = _config_fields(wanted, space)
  for name in sorted(options, key=lambda name: name != "policy"):
    old, new = (options[name].get(config) for config in (found, wanted))
    grows = name in _FREE_ON_RESUME and old < new
    if old != new and not grows:
      raise types.InputError(
        f"the search in {folder} has --{name}={old}, not {new} as is asked for"
        " here; give another --workdir, or move that folder away."
      )


def _check_no_others(
  space: str, config: Config, known: Collection[str], beside: Sequence[str]
) -> None:
  """Refuses options of other configurations, which would do nothing."""
  values = flags.FLAGS
  is_set = lambda name: name in values and values[name].value is not None
  if isinstance(config, config_lib.SearchConfig):
    policy, allowed = config.run.policy, set(known)
    paper = spaces.preset("paper", space)
    of_strategies = {
      other: _config_fields(strategies.with_policy(paper, other), space).keys()
      for other in strategies.names()
    }
    for other in beside:
      allowed |= of_strategies[other]
    for other, names in of_strategies.items():
      for name in filter(is_set, sorted(names - allowed)):
        raise types.InputError(
          f"--{name} is an option of --policy={other} and does nothing with"
          f" --policy={policy}; leave it out."
        )
    known = allowed
  others: list[tuple[str, Preset]] = [
    *((other, spaces.preset) for other in spaces.names()),
    *((other, spaces.train_preset) for other in spaces.trainable()),
  ]
  for other, preset in others:
    for each in _of_every_strategy(preset("paper", other)):
      names = _config_fields(each, other).keys()
      for name in filter(is_set, sorted(names - set(known))):
        where = f"in the {space} space"
        if other == space:
          where = "here: it is of a search or of a training alone"
        raise types.InputError(
          f"--{name} is an option of the {other} space and does nothing"
          f" {where}; leave it out."
        )


def enable_compilation_cache() -> None:
  """Keeps compiled programs on disk, so that a second run starts at once."""
  folder = flags.FLAGS.compilation_cache_dir
  if folder:
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def open_workdir(experiment: str) -> tuple[pathlib.Path, dict[str, Any] | None]:
  """The run's folder, and the `config.json` in it if the run is resumed.

  The folder is not made yet: a run that is refused leaves none behind.

  Raises:
    InputError: if the folder is in use and `--resume` is not given, or holds
      something else than a run of this experiment.
  """
  values = flags.FLAGS
  resume, given = "resume" in values and values.resume, values.workdir
  if resume and not given:
    raise types.InputError("--resume needs --workdir, the run's folder.")
  stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  workdir = pathlib.Path(given or f"runs/{experiment}-{stamp}").expanduser()
  try:
    used = workdir.exists() and any(workdir.iterdir())
  except OSError as error:
    raise _unusable(workdir, error) from None
  if used and not resume:
    raise types.InputError(
      f"--workdir={workdir} is not empty; give"
      f"{' --resume to continue the run in it, or' * ('resume' in values)}"
      " another folder."
    )
  path = workdir / folder_lib.CONFIG
  if not path.exists():
    if used:
      raise types.InputError(
        f"--workdir={workdir} is not empty and holds no run (no config.json);"
        " give another folder."
      )
    return workdir, None
  saved = folder_lib.read_json(
    path, "its run cannot be read; give another --workdir"
  )
  known = {"experiment", "space", "preset", "dataset", "config"}
  if not known <= saved.keys():
    raise types.InputError(
      f"{path} was not written by {experiment}; give another --workdir."
    )
  if saved["experiment"] != experiment:
    raise types.InputError(
      f"--workdir={workdir} holds a run of {saved['experiment']}, not of"
      f" {experiment}."
    )
  return workdir, saved


def data_dir() -> str | None:
  """`--data_dir`."""
  return flags.FLAGS.data_dir


def resolve_dataset(
  task: tasks_base.Definition, saved: Mapping[str, Any] | None
) -> str:
  """`--dataset`, or that of the run that is resumed, or the task's own.

  Raises:
    InputError: if both are given and differ.
  """
  flag = flags.FLAGS["dataset"]
  if saved is None:
    return str(task.dataset if flag.value is None else flag.value)
  if flag.present and saved["dataset"] != flag.value:
    raise types.InputError(
      f"--dataset is {flag.value}, but the run in --workdir has"
      f" {saved['dataset']}; leave the flag out, or give another --workdir."
    )
  return saved["dataset"]


def write_config(
  workdir: pathlib.Path,
  experiment: str,
  space: str,
  config: Config,
  dataset: str,
  saved: Mapping[str, Any] | None,
  more: Mapping[str, Any] | None = None,
) -> pathlib.Path:
  """Makes the folder and writes `config.json`: what was run, on what.

  Args:
    workdir: the run's folder.
    experiment: the name of the script.
    space: the name of the search space.
    config: the configuration of the run.
    dataset: the name of the data set.
    saved: what `config.json` held, where the run is resumed.
    more: JSON-ready, what else the file shall hold.

  Returns:
    The folder. Without `--workdir` it is another one if a run that was started
    in the same second has taken that name.

  Raises:
    InputError: if the folder cannot be written to.
  """
  packages = ("enas_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
  record = {
    "experiment": experiment,
    "space": space,
    "preset": saved["preset"] if saved else _preset(),
    "dataset": dataset,
    "config": config.to_dict(),
    "seed": config.run.seed,
    "device": device_name(),
    "versions": {
      "python": platform.python_version(),
      **{name: _version(name) for name in packages},
    },
    "commit": _commit(),
    **(more or {}),
  }
  try:
    if flags.FLAGS.workdir is None:
      workdir = folder_lib.make_new(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    folder_lib.write_json(workdir / folder_lib.CONFIG, record)
  except OSError as error:
    raise _unusable(workdir, error) from None
  return workdir


def _preset() -> str | None:
  return flags.FLAGS.preset if "preset" in flags.FLAGS else None


def _unusable(workdir: pathlib.Path, error: OSError) -> types.InputError:
  return types.InputError(
    f"--workdir={workdir} cannot be used: {error.strerror}; give another"
    " folder."
  )


def device_name() -> str:
  """The devices that JAX runs on, in words."""
  devices = jax.devices()
  kind = devices[0].device_kind
  if devices[0].platform == "cpu":
    kind = f"{platform.machine()} CPU, {os.cpu_count()} cores"
  return f"{len(devices)} x {kind}"


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> str | None:
  """The commit that the code is at, if it runs from a checkout."""
  here = pathlib.Path(__file__).resolve().parent
  try:
    found = subprocess.run(
      ["git", "-C", str(here), "rev-parse", "HEAD"],
      capture_output=True,
      text=True,
      timeout=10,
    )
  except (OSError, subprocess.TimeoutExpired):
    return None
  return found.stdout.strip() or None


def run(main: Callable[[], None]) -> NoReturn:
  """Parses the flags, runs `main` and exits with the status of DESIGN.

  0 done; 2 bad input, with one line on stderr; 128 + n after signal n; 1 for
  anything else.
  """
  # The libraries' own notes are not the user's concern.
  logging.set_verbosity(logging.WARNING)

  def parse(argv: Sequence[str]) -> list[str]:
    try:
      rest = flags.FLAGS(argv)
    except flags.Error as error:
      _fail(" ".join(str(error).split()))
    if len(rest) > 1:
      _fail(f"unexpected argument {rest[1]!r}; flags begin with --.")
    return rest

  def guarded(argv: Sequence[str]) -> int:
    del argv
    try:
      main()
    except types.InputError as error:
      _fail(str(error))
    except loop.Interrupted as stopped:
      print(f"{stopped}; go on with --resume", file=sys.stderr)
      return 128 + stopped.signum
    except loop.Diverged as error:
      print(f"error: {error}", file=sys.stderr)
      return 1
    return 0

  app.run(guarded, flags_parser=parse)
  raise AssertionError("app.run returned")


def _fail(message: str) -> NoReturn:
  print(f"error: {message}", file=sys.stderr)
  sys.exit(2)
