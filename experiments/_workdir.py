"""A run's data set and folder: their flags, and `config.json`."""

import datetime
import pathlib
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.report import results
from enas_jax.running import provenance, record
from enas_jax.search import devices as devices_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import hosts, lock
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks
from experiments import _cli, _data, _flags, _multihost, _saved, _terminal

# What stands for a path in a command line that others shall read.
_PLACES = {
  "data_dir": "DIR",
  "workdir": "RUN",
  "config": "FILE",
  "run": "RUN",
  "table": "TABLE",
  "benchmark_table": "FILE",
  "compilation_cache_dir": "DIR",
}
_AUTO = "auto"  # of --resume: whatever is there
_BOOLEAN = flags.BooleanParser()
_FOLDERS = re.compile(r"(?:[^:=,/]*/)+")


class _ResumeParser(flags.ArgumentParser[Any]):
  """True, false or "auto"; `--resume` alone is true."""

  def parse(self, argument: Any) -> Any:
    try:
      return argument if argument == _AUTO else _BOOLEAN.parse(argument)
    except ValueError:
      raise ValueError(f"expected true, false or {_AUTO}") from None


def define_run_flags(*names: str) -> None:
  """The flags of a run that are not configuration fields.

  Args:
    *names: the search spaces that the script takes. The data set of the first
      one's task is the default, unless their tasks differ.
  """
  _flags.define_preset_flag()
  definitions = [tasks.get(spaces.get(name).task) for name in names]
  texts = list(dict.fromkeys(task.data_help for task in definitions))
  defaults = {task.dataset for task in definitions}
  define_data_flags(
    definitions[0].dataset if len(defaults) == 1 else None, "; ".join(texts)
  )
  define_folder_flags()
  flags.DEFINE_flag(
    flags.Flag(
      _ResumeParser(),
      None,
      "resume",
      False,
      "continue the run in --workdir from its newest checkpoint; with"
      f" --resume={_AUTO} start it if there is none, as a machine that may stop"
      " at any time needs it",
      boolean=True,  # --resume alone, and --noresume
    )
  )
  flags.DEFINE_integer(
    "num_devices", 0, "how many devices share the work; 0: all there are"
  )
  _multihost.define_flags()


def open_devices(batch_size: int) -> devices_lib.Devices:
  """The devices of `--num_devices`.

  Args:
    batch_size: examples of a training batch.

  Raises:
    InputError: if there are not so many, or they do not divide the batch.
  """
  devices = devices_lib.of(flags.FLAGS.num_devices)
  devices.check(batch_size)
  return devices


def define_data_flags(dataset: str | None, data_help: str) -> None:
  """The flags that say which data, and where."""
  flags.DEFINE_string("dataset", dataset, data_help)
  define_data_dir_flag()


def define_data_dir_flag() -> None:
  """`--data_dir`."""
  flags.DEFINE_string("data_dir", None, "where data sets lie")


def define_folder_flags() -> None:
  """The flags that say where things are written."""
  flags.DEFINE_string(
    "workdir", None, "the run's folder; by default a new one under ./runs"
  )
  _cli.define_cache_flag()


def open_workdir(experiment: str) -> tuple[pathlib.Path, dict[str, Any] | None]:
  """The run's folder, and the `config.json` in it if the run is resumed.

  The folder is not made yet: a run that is refused leaves none behind.

  Raises:
    InputError: if the folder is in use and `--resume` is not given, or there
      is nothing to resume, or it holds something else than a run of this
      experiment, or another process writes to it.
  """
  # The first process alone has the folder (`hosts`).
  workdir, saved = hosts.from_first(lambda: _look_at_workdir(experiment))
  if saved is not None:
    _data.take_folder(saved)
  return pathlib.Path(workdir), saved


def _look_at_workdir(experiment: str) -> tuple[str, dict[str, Any] | None]:
  """What `open_workdir` returns, the folder as text."""
  values = flags.FLAGS
  resume, given = "resume" in values and values.resume, values.workdir
  if resume and not given:
    raise types.InputError("--resume needs --workdir, the run's folder.")
  stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  workdir = files.expand(given or f"runs/{experiment}-{stamp}")
  try:
    paths = list(workdir.iterdir()) if workdir.exists() else []
    # All that a process has written that was killed at once.
    begun = (folder_lib.LOCK, f"{folder_lib.CONFIG}.tmp")
    used = any(path.name not in begun for path in paths)
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
    if resume and resume != _AUTO:
      raise types.InputError(
        f"--workdir={workdir} holds no run to go on with; leave --resume out"
        f" to start one there, or give --resume={_AUTO}, which does either."
      )
    return str(workdir), None
  hold(workdir)
  # Held: from here on no other process changes what is read.
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
  kinds = {"space": str, "dataset": str, "config": dict}
  folder_lib.check_fields(saved, kinds, path, "give another --workdir")
  return str(workdir), saved


def resolve_dataset(
  task: tasks_base.Definition,
  saved: Mapping[str, Any] | None,
  source: Mapping[str, Any] | None = None,
) -> str:
  """`--dataset`, or that of a run that is given, or the task's own.

  Args:
    task: the task.
    saved: `config.json` of the run that is resumed, or None.
    source: that of another run that the flags name, or None.

  Raises:
    InputError: if a run is resumed that has another than the flag says.
  """
  flag = flags.FLAGS["dataset"]
  source = _saved.read() or source
  if saved is None and source is not None:
    _data.take_folder(source)
  if saved is None and source is not None and not flag.present:
    return str(source["dataset"])
  if saved is None:
    return str(task.dataset if flag.value is None else flag.value)
  if flag.present and saved["dataset"] != flag.value:
    raise _flags.differs(("dataset", flag.value, saved["dataset"]))
  return saved["dataset"]


def write_config(
  workdir: pathlib.Path,
  experiment: str,
  space: str,
  config: config_lib.AnyConfig,
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
    saved: the record that `config.json` held if the run is resumed, or None.
    more: JSON-ready, other things that the file shall hold.

  Returns:
    The folder. Without `--workdir` it is another one if a run that was started
    in the same second has taken that name.

  Raises:
    InputError: if the folder cannot be written to, or another process writes
      to it.
  """
  made = _record(experiment, space, config, dataset, saved, more)
  place = hosts.from_first(
    lambda: _write_config(workdir, made, saved is not None)
  )
  if flags.FLAGS.workdir is None:
    # What `_commands.to_resume` names after a signal.
    flags.FLAGS["workdir"].value = place
  return pathlib.Path(place)


def _write_config(
  workdir: pathlib.Path, made: Mapping[str, Any], resumed: bool
) -> str:
  """Writes the record of `config.json`, and returns the folder as text."""
  try:
    if flags.FLAGS.workdir is None:
      workdir = folder_lib.make_new(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    hold(workdir)
    # Another process may have begun a run between the look and the lock.
    if not resumed and (workdir / folder_lib.CONFIG).exists():
      raise types.InputError(
        f"--workdir={workdir} has become another run's meanwhile; give another"
        " folder."
      )
    folder_lib.write_json(workdir / folder_lib.CONFIG, made)
  except OSError as error:
    raise _unusable(workdir, error) from None
  return str(workdir)


def print_config(
  experiment: str,
  space: str,
  config: config_lib.AnyConfig,
  dataset: str,
  saved: Mapping[str, Any] | None,
  more: Mapping[str, Any] | None = None,
) -> None:
  """With `--print_config` prints what `write_config` would write, and ends."""
  if flags.FLAGS.print_config:
    made = _record(experiment, space, config, dataset, saved, more)
    _terminal.answer(folder_lib.dumps(made, indent=2))
    sys.exit(0)


def _record(
  experiment: str,
  space: str,
  config: config_lib.AnyConfig,
  dataset: str,
  saved: Mapping[str, Any] | None,
  more: Mapping[str, Any] | None,
) -> dict[str, Any]:
  """What `config.json` holds; arguments as `write_config`."""
  made = record.make(
    experiment,
    space,
    config,
    preset=saved["preset"] if saved else _saved.preset(),
    dataset=dataset,
    data_dir=_data.folder(saved),
    # The command of a run that goes on stays the one that began it.
    command=(saved or {}).get("command") or command_line(),
  )
  return made | dict(more or {})


def hold(folder: pathlib.Path) -> None:
  """Keeps other processes from writing to a run's folder; see `lock.hold`.

  Raises:
    InputError: if another process writes to it, or none can.
  """
  try:
    locked = lock.hold(folder)
  except OSError as error:
    raise types.InputError(
      f"{folder} cannot be written to: {error.strerror}; give another folder."
    ) from None
  if not locked:
    print(
      f"warning: the file system of {folder} has no locks: let no other process"
      " write there.",
      file=sys.stderr,
    )


def _unusable(workdir: pathlib.Path, error: OSError) -> types.InputError:
  return types.InputError(
    f"--workdir={workdir} cannot be used: {error.strerror}; give another"
    " folder."
  )


def command_line() -> str:
  """The command that started this process, as a user types it."""
  script = pathlib.Path(sys.argv[0]).stem
  return shlex.join(["python", "-m", f"experiments.{script}", *sys.argv[1:]])


def shown_command(command: str) -> str:
  """A command line without the paths of a machine.

  Args:
    command: the command line, as a shell reads it.

  Returns:
    The same with DIR, RUN or FILE for the paths that its flags name.
  """
  words: list[str] = []
  name = ""  # of the flag whose value the next word is
  for word in shlex.split(command):
    flag, equals, value = word.partition("=")
    if not word.startswith("-"):
      words.append(shown_value(name, word))
    else:
      shown = shown_value(flag.lstrip("-"), value)
      words.append(f"{flag}{equals}{shown}")
    name = "" if equals else flag.lstrip("-")
  return " ".join(map(shlex.quote, words))


def shown_value(flag: str, value: str) -> str:
  """The value of a flag without the folders in it; see `shown_command`."""
  if flag in _PLACES:
    return _PLACES[flag] if value else value
  # A token string of two cells has a slash between spaces.
  return value if " " in value else _FOLDERS.sub("DIR/", value)


def origin() -> dict[str, Any]:
  """Where numbers of this process come from, as fields of a `results.Table`.

  Returns:
    "command", "commit", "device" and "versions".
  """
  known = provenance.provenance()
  # A table wants words here, and not None.
  known["commit"] = known["commit"] or results.NOT_RECORDED
  return {"command": [shown_command(command_line())], **known}
