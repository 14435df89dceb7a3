"""One call for a whole search, and one for a training, as a notebook has it."""

import contextlib
import datetime
import filecmp
import os
import pathlib
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.running import options as options_lib
from enas_jax.running import progress as progress_lib
from enas_jax.running import record, searches, trainings
from enas_jax.search import folder as folder_lib
from enas_jax.search import lock, loop, runs
from enas_jax.spaces import arcs as arcs_lib
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks

_PRESET = "small"
# The scripts that go on with such runs.
_SEARCH, _TRAIN = "search", "train"


def search(
  space: str,
  data: Any = None,
  *,
  preset: str | None = None,
  workdir: str | os.PathLike[str] | None = None,
  data_dir: str | None = None,
  num_devices: int = 0,
  progress: bool | loop.Progress = True,
  **options: Any,
) -> searches.Finished:
  """Searches an architecture; a second call with the same folder goes on.

  The folder is that of `python -m experiments.search`: `derive`, `train` and
  the other scripts take it, and that script goes on with it.

  Args:
    space: name of the search space, such as "micro" or "recurrent".
    data: name of a data set, as `--dataset` takes it; or for images a pair
      (images, labels) of arrays, or such pairs by split, "train", "test" and
      perhaps "valid"; for text, texts by split, "train", "valid" and "test"; or
      a `pathlib.Path` of the archive or folder that holds them. Arrays and
      texts are written into the run's folder. None: the task's data set.
    preset: numbers to start from, one of `PRESETS`; by default "small".
    workdir: folder of the run; by default a new one below `runs`.
    data_dir: folder where named data sets lie.
    num_devices: how many devices share the work; 0: all there are.
    progress: whether to show bars and lines; or whatever shall be told.
    **options: options of the configuration, by the names of their flags:
      `num_epochs=5`.

  Returns:
    The architecture that is kept, its record, drawing, folder and candidates.

  Raises:
    InputError: if something does not go together, the data cannot be had, or
      the folder holds another run.
    Interrupted: after a signal, once the checkpoint is saved: the same call
      goes on.
  """
  progress = _shown(progress)
  task = tasks.get(spaces.get(space).task)
  folder = None if workdir is None else files.expand(workdir).absolute()
  saved = None
  with tempfile.TemporaryDirectory() as scratch:
    # Data wait here: the run's folder is made once nothing can be refused.
    kept = pathlib.Path(scratch)
    named = data is None or isinstance(data, str)
    dataset: str | None = data if named else task.keep(data, kept)
    if folder and (folder / folder_lib.CONFIG).exists():
      saved = _saved(folder, _SEARCH, space=space, preset=preset)
      _check_data(saved, dataset, kept, folder)
      config = _going_on(spaces.preset, space, saved, options, folder)
      place = data_dir or saved["data_dir"]
      ready = searches.prepare(
        space, config, saved["dataset"], place, num_devices, progress
      )
    else:
      dataset, preset = dataset or task.dataset, preset or _PRESET
      config = _fresh(space, task, dataset, preset, options)
      # What is refused must leave no folder behind.
      ready = searches.prepare(
        space, config, dataset, data_dir, num_devices, progress
      )
      folder = _begin(folder, _SEARCH)
      dataset = _move(dataset, kept, folder)
      words = {"space": space, "preset": preset, "dataset": dataset}
      _write(_SEARCH, space, config, words, data_dir, folder, options)
  with _writing(folder) as stop:
    _keep(config, saved, folder)
    return searches.run(ready, folder, progress, stop)


def train(
  run: searches.Finished | str | os.PathLike[str],
  *,
  preset: str | None = None,
  workdir: str | os.PathLike[str] | None = None,
  data_dir: str | None = None,
  num_devices: int = 0,
  progress: bool | loop.Progress = True,
  **options: Any,
) -> trainings.Trained:
  """Trains the architecture of a search from fresh weights.

  A second call with the same folder goes on, as `python -m experiments.train`
  does.

  Args:
    run: the search, or its folder. The data and their size are its.
    preset: numbers of the training, one of `PRESETS`; by default the search's.
    workdir: folder of the training; by default a new one below `runs`.
    data_dir: folder where named data sets lie; by default as in the search.
    num_devices: how many devices share the work; 0: all there are.
    progress: whether to show bars and lines; or whatever shall be told.
    **options: options of the configuration, by the names of their flags.

  Returns:
    The record of what came out, and the folder; `export` writes the model.

  Raises:
    InputError: if something does not go together, the data cannot be had, or
      the folder holds another run.
    Interrupted: after a signal, once the checkpoint is saved: the same call
      goes on.
  """
  progress = _shown(progress)
  source = run.workdir if isinstance(run, searches.Finished) else run
  source = files.expand(source).absolute()
  space, searched, dataset = runs.read_config(source)
  told = folder_lib.read_json(source / folder_lib.CONFIG, "give another run")
  arc = str(source / folder_lib.ARC)
  loaded = arcs_lib.load_arc(arc, space)
  folder = None if workdir is None else files.expand(workdir).absolute()
  place = data_dir or told.get("data_dir")
  begun = folder is not None and (folder / folder_lib.CONFIG).exists()
  saved = None
  if folder and begun:
    saved = _saved(folder, _TRAIN, space=space, preset=preset, arc=arc)
    config = _going_on(spaces.train_preset, space, saved, options, folder)
  else:
    preset = preset or str(told.get("preset") or _PRESET)
    config = spaces.train_preset(preset, space)
    values = options_lib.take(config, space, options)
    child = options_lib.of_architecture(loaded, config)
    of_data = options_lib.of_search(searched, space)
    known = options_lib.of(config, space)
    # Of the same option the last of the three counts.
    config = options_lib.override(config, known, child | of_data | values)
  ready = trainings.prepare(
    space, [loaded.arc], config, dataset, place, num_devices, progress
  )
  if not (folder and begun):
    folder = _begin(folder, _TRAIN)
    words = {"arc": arc, "preset": preset, "dataset": dataset}
    # As `experiments.train` keeps them, so that it can go on with the run.
    more = {"arc": arc, "init": "scratch", "retrain_top": 0}
    more["arcs"] = [loaded.space.to_dict(loaded.arc)]
    # Told in the command, which names the architecture and not the search.
    given = options | options_lib.of_search(config, space)
    _write(_TRAIN, space, config, words, place, folder, given, more)
  with _writing(folder) as stop:
    _keep(config, saved, folder)
    return trainings.run(ready, folder, [None], progress, stop)


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[Callable[[], int]]:
  """Holds the folder and catches signals; then leaves both to others.

  Raises:
    InputError: if another process writes to the folder.
  """
  lock.hold(folder)
  try:
    with progress_lib.signals() as stop:
      yield stop
  finally:
    # The scripts end with their process; a notebook lives on.
    lock.release(folder)


def _shown(progress: bool | loop.Progress) -> loop.Progress:
  if isinstance(progress, bool):
    return progress_lib.TerminalProgress() if progress else loop.Progress()
  return progress


def _fresh(
  space: str,
  task: tasks_base.Definition,
  dataset: str,
  preset: str,
  options: Mapping[str, Any],
) -> config_lib.SearchConfig:
  """What a new search is made by."""
  config = spaces.preset(preset, space)
  # First: which options there are depends on the strategy.
  config = strategies.with_policy(
    config, options.get("policy", config.run.policy)
  )
  values = options_lib.take(config, space, options)
  suited = {
    name: value
    for name, value in task.suited(dataset, config).items()
    if name not in values
  }
  config = config_lib.override(config, "data", **suited)
  known = options_lib.of(config, space)
  config = options_lib.override(config, known, values).settled()
  # Options that do not go with the space are refused before there is a run.
  strategies.create(config, config.child.space())
  return config


def _saved(
  folder: pathlib.Path, experiment: str, **asked: str | None
) -> dict[str, Any]:
  """`config.json` of the run in the folder.

  Raises:
    InputError: if it is another one than the call asks for.
  """
  path, advice = folder / folder_lib.CONFIG, "give another workdir"
  saved = {"data_dir": None} | folder_lib.read_json(path, advice)
  kinds = {"space": str, "dataset": str, "config": dict, "experiment": str}
  folder_lib.check_fields(saved, kinds, path, advice)
  for name, value in {"experiment": experiment, **asked}.items():
    if value is not None and saved.get(name) != value:
      raise _differs(folder, name, saved.get(name), value)
  return saved


def _going_on(
  preset: Callable[[str, str], Any],
  space: str,
  saved: Mapping[str, Any],
  options: Mapping[str, Any],
  folder: pathlib.Path,
) -> Any:
  """What the run in the folder is made by, perhaps for more epochs."""
  config = runs.restore_config(preset("paper", space), saved["config"])
  values = options_lib.take(config, space, options)
  warmup = values.get("theta_warmup_epochs")
  if isinstance(warmup, int | float) and warmup < 1:
    del values["theta_warmup_epochs"]  # a share, which the run keeps as epochs
  known = options_lib.of(config, space)
  wanted = options_lib.override(config, known, values)
  for name in values:
    old, new = (known[name].get(one) for one in (config, wanted))
    if old != new and name not in options_lib.FREE_ON_RESUME:
      raise _differs(folder, name, old, new)
  return wanted


def _check_data(
  saved: Mapping[str, Any],
  dataset: str | None,
  kept: pathlib.Path,
  folder: pathlib.Path,
) -> None:
  """Refuses other data than the run in the folder has.

  Args:
    saved: `config.json` of the run.
    dataset: name of the data set that is asked for; None: the run's.
    kept: folder where data were written that have no name.
    folder: folder of the run.
  """
  if dataset is None:
    return
  if _renamed(dataset, kept, folder) != saved["dataset"]:
    raise _differs(folder, "data", saved["dataset"], dataset)
  paths = [path for path in kept.rglob("*") if path.is_file()]
  for path in paths:
    other = folder / path.relative_to(kept)
    # By content: these files were written just now, and their times differ.
    if not other.exists() or not filecmp.cmp(path, other, shallow=False):
      raise types.InputError(
        f"the run in {folder} has other data; give another workdir."
      )


def _write(
  experiment: str,
  space: str,
  config: config_lib.AnyConfig,
  words: Mapping[str, Any],
  data_dir: str | None,
  folder: pathlib.Path,
  options: Mapping[str, Any],
  more: Mapping[str, Any] | None = None,
) -> None:
  """Writes `config.json` of a new run, with the command that does the same.

  Args:
    experiment: name of the script that goes on with the run.
    space: name of the search space.
    config: configuration of the run.
    words: flags of that script, "preset" and "dataset" among them.
    data_dir: folder where named data sets lie, or None.
    folder: folder of the run.
    options: options that were given.
    more: JSON-ready, what else the file shall hold.
  """
  place = data_dir and str(files.expand(data_dir).absolute())
  flags = {**words, "workdir": folder, "data_dir": place, **options}
  command = [
    f"--{name}={options_lib.typed(word)}"
    for name, word in flags.items()
    if word is not None
  ]
  made = record.make(
    experiment,
    space,
    config,
    preset=words["preset"],
    dataset=words["dataset"],
    data_dir=place,
    command=shlex.join(["python", "-m", f"experiments.{experiment}", *command]),
  )
  folder_lib.write_json(folder / folder_lib.CONFIG, made | dict(more or {}))


def _keep(
  config: config_lib.AnyConfig,
  saved: Mapping[str, Any] | None,
  folder: pathlib.Path,
) -> None:
  """Writes what a call has changed of a run that goes on, such as its epochs.

  Args:
    config: configuration of the run.
    saved: `config.json` of a run that goes on; None of a new one.
    folder: folder of the run.
  """
  if saved is None:
    return
  told = config.to_dict()
  # As JSON, which has lists where the configuration has tuples.
  if folder_lib.dumps(told) != folder_lib.dumps(saved["config"]):
    path = folder / folder_lib.CONFIG
    folder_lib.write_json(path, {**saved, "config": told})


def _begin(folder: pathlib.Path | None, experiment: str) -> pathlib.Path:
  """The folder of a new run, which is this process's.

  Raises:
    InputError: if it is in use, or cannot be written to.
  """
  try:
    if folder is None:
      # `make_new` adds a number if another run began in the same second.
      stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
      folder = folder_lib.make_new(pathlib.Path(f"runs/{experiment}-{stamp}"))
      folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # All that a process has written that was killed at once.
    begun = (folder_lib.LOCK, f"{folder_lib.CONFIG}.tmp")
    if any(path.name not in begun for path in folder.iterdir()):
      raise types.InputError(
        f"{folder} is not empty and holds no run (no config.json); give another"
        " workdir."
      )
    lock.hold(folder)
  except OSError as error:
    raise types.InputError(
      f"{folder} cannot be used: {error.strerror}; give another workdir."
    ) from None
  return folder


def _move(dataset: str, kept: pathlib.Path, folder: pathlib.Path) -> str:
  """Moves data that have no name into the run's folder; their name there."""
  for path in kept.iterdir():
    shutil.move(path, folder / path.name)
  return _renamed(dataset, kept, folder)


def _renamed(dataset: str, kept: pathlib.Path, folder: pathlib.Path) -> str:
  return dataset.replace(str(kept), str(folder))


def _differs(
  folder: pathlib.Path, name: str, old: Any, new: Any
) -> types.InputError:
  return types.InputError(
    f"{name} is {new!r}, but the run in {folder} has {old!r}; give another"
    " workdir."
  )
