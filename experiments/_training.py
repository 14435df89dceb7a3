"""Training found architectures from scratch, in every space."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import flags

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.running import progress as progress_lib
from enas_jax.running import trainings
from enas_jax.search import folder as folder_lib
from enas_jax.search import runs, train
from enas_jax.spaces import arcs, registry
from enas_jax.tasks import registry as tasks
from experiments import (
  _arcs,
  _cli,
  _data,
  _flags,
  _multihost,
  _saved,
  _workdir,
)

# Options that change no weight's shape: a training that starts from a search's
# weights may have its own.
_FREE = ("moving_statistics", "aux_frozen", "aux_weight", "weight_init")
# Flags that config.json keeps, since a resumed run follows them.
_KEPT = ("arc", "init", "retrain_top")


class Job(NamedTuple):
  """What is to be trained, and where.

  Attributes:
    space: the name of the search space.
    arcs: architectures of Python ints; several with `--retrain_top`.
    config: the training's configuration.
    dataset: the name of the data set.
    workdir: the run's folder.
    saved: `config.json` of a run that is resumed, or None.
    kept: what `config.json` holds beside the configuration.
    source: the search whose weights are the start, or None.
  """

  space: str
  arcs: list[types.Arc]
  config: config_lib.TrainConfig
  dataset: str
  workdir: pathlib.Path
  saved: Mapping[str, Any] | None
  kept: dict[str, Any]
  source: runs.Run | None


def define_flags(*names: str) -> None:
  """The flags of a script that trains architectures of these spaces."""
  _workdir.define_run_flags(*names)
  _saved.define_flags()
  _flags.define_config_flags(*names, preset=registry.train_preset)
  _arcs.define_arc_flag()
  _arcs.define_run_flag()
  flags.DEFINE_enum("space", None, names, "of --arc, where it does not say")
  flags.DEFINE_string(
    "init",
    "scratch",
    "the weights at the start: 'scratch', or 'omega:RUN', those that the search"
    " in the folder RUN shared, with its network",
  )
  flags.DEFINE_integer(
    "retrain_top",
    0,
    "train this many of the best candidates of --run=RUN, and keep"
    " the one that is best on validation data; 0: train --arc",
    0,
  )


def open_job(experiment: str, names: tuple[str, ...]) -> Job:
  """What the flags ask for, or the folder of a run that is resumed.

  Raises:
    InputError: if they ask for something that cannot be.
  """
  values = flags.FLAGS
  workdir, saved = _workdir.open_workdir(experiment)
  if not saved:
    top = values.retrain_top
    _arcs.take_run(folder_lib.CANDIDATES if top else folder_lib.ARC)
  source = None
  told = saved or _told()
  if told:
    loaded = _saved_arcs(told, workdir if saved else None)
  elif values.retrain_top:
    loaded = _top(values.retrain_top)
  else:
    loaded = [_arcs.load(values.space, registry.train_preset)]
  kept = _kept(told, saved is not None)
  first = loaded[0]
  if first.name not in names:
    raise types.InputError(
      f"--arc is of the {first.name} space; {experiment} trains architectures"
      f" of: {', '.join(names)}."
    )
  config = _flags.resolve_config(
    first.name, saved and saved["config"], registry.train_preset
  )
  init = kept["init"]
  if init != "scratch":
    # Also of a run that is resumed: it may have saved no weights yet.
    source = _source(init, first.name)
  if not saved:
    config = _arcs.fit(first, config)
    if source:
      config = _as_searched(config, source.config)
  task = tasks.get(registry.get(first.name).task)
  dataset = _workdir.resolve_dataset(task, saved, _searched(first.name))
  if not saved:
    config = _flags.suit(config, task, dataset)
    # After `suit`: the search was fitted to these data already.
    config = _arcs.on_data_of_run(config, first.name)
  if len(loaded) > 1 and not task.has_validation(config):
    raise types.InputError(
      "--retrain_top chooses on validation images, but --num_valid is 0."
    )
  return Job(
    first.name,
    [architecture.arc for architecture in loaded],
    config,
    dataset,
    workdir,
    saved,
    # As records: a resumed run reads these, whatever has become of --arc.
    kept | {"arcs": [config.child.space().to_dict(arc.arc) for arc in loaded]},
    source,
  )


def _told() -> Mapping[str, Any] | None:
  """The file of `--config`, if that says what is trained and no flag does."""
  values, record = flags.FLAGS, _saved.read()
  if record is None or values.arc is not None or values.retrain_top:
    return None
  return record if "arcs" in record else None


def _kept(told: Mapping[str, Any] | None, resumed: bool) -> dict[str, Any]:
  """The values of `_KEPT`: of the flags that are set, else of a file.

  Raises:
    InputError: if a run is resumed that would not follow a flag.
  """
  kept = {}
  for name in _KEPT:
    flag = flags.FLAGS[name]
    kept[name] = flag.value
    if told and not flag.present:
      kept[name] = told.get(name)
    elif told and resumed and str(flag.value) != str(told.get(name)):
      raise _flags.differs((name, flag.value, told.get(name)))
  return kept


def _searched(space: str) -> Mapping[str, Any] | None:
  """`config.json` of the run that has `--arc` among its files, or None."""
  path = files.expand(flags.FLAGS.arc or "")
  known = (folder_lib.ARC, folder_lib.CANDIDATES)
  if path.name not in known or not path.with_name(folder_lib.CONFIG).exists():
    return None
  record = _data.read_record(path.parent)
  # An arc.json may have been put beside another run's.
  same = record.get("space") == space and "dataset" in record
  return record if same else None


def _saved_arcs(
  saved: Mapping[str, Any], workdir: pathlib.Path | None
) -> list[arcs.Architecture]:
  """The architectures that `config.json` names, of a run or of `--config`."""
  if workdir is None:
    path, advice = pathlib.Path(flags.FLAGS.config), "give another --config"
  else:
    path, advice = workdir / folder_lib.CONFIG, "give another --workdir"
  kinds = {"arcs": list, "init": str, "retrain_top": int}
  folder_lib.check_fields(saved, kinds, path, advice)
  records = saved["arcs"]
  if not records or not all(isinstance(record, dict) for record in records):
    raise types.InputError(
      f"{path} is damaged: 'arcs' must be a list of architectures; {advice}."
    )
  return [arcs.of_record(record) for record in records]


def _top(count: int) -> list[arcs.Architecture]:
  """The best candidates that a derive step has written."""
  text = flags.FLAGS.arc
  if text is None or not text.endswith(".jsonl"):
    raise types.InputError(
      "--retrain_top needs --run=RUN, or --arc=RUN/arcs.jsonl: the candidates"
      " of a search."
    )
  return train.best_candidates(text, count)


def _source(init: str, space: str) -> runs.Run:
  kind, _, folder = init.partition(":")
  if kind != "omega" or not folder:
    raise types.InputError(
      f"--init must be 'scratch' or 'omega:RUN', got {init!r}."
    )
  run = runs.open_run(folder)
  if run.space != space:
    raise types.InputError(
      f"--init={init}: that search is of the {run.space} space, the"
      f" architecture of the {space} space."
    )
  return run


def _as_searched(
  config: config_lib.TrainConfig, searched: config_lib.SearchConfig
) -> config_lib.TrainConfig:
  """The training's configuration with the network of a search.

  Raises:
    InputError: if a flag asks for another network.
  """
  fixed = {
    field.name: getattr(searched.child, field.name)
    for field in dataclasses.fields(searched.child)
    # What is dropped has no weights of its own.
    if field.name not in _FREE and not field.name.startswith("drop_")
  }
  for name, value in fixed.items():
    asked = flags.FLAGS[name].value if name in flags.FLAGS else None
    if asked not in (None, value):
      raise types.InputError(
        f"--{name} is {asked}, but the search of --init has {value}; leave the"
        " flag out."
      )
  return config_lib.override(config, "child", **fixed)


def run(experiment: str, names: tuple[str, ...]) -> None:
  """Trains what the flags ask for, and shows what came out.

  Args:
    experiment: the name of the script.
    names: the search spaces that it takes.
  """
  job = open_job(experiment, names)
  config, values = job.config, flags.FLAGS
  record = (experiment, job.space, config, job.dataset, job.saved, job.kept)
  _workdir.print_config(*record)
  progress = progress_lib.TerminalProgress()
  ready = trainings.prepare(
    *(job.space, job.arcs, config, job.dataset),
    *(values.data_dir, values.num_devices, progress),
  )
  _cli.enable_compilation_cache()
  _multihost.check_same(config, job.dataset, ready.data, job.arcs)
  # None without a source: fresh weights.
  omegas = [job.source and job.source.child_params(arc) for arc in job.arcs]
  # What is refused has left no folder behind.
  workdir = _workdir.write_config(job.workdir, *record)
  stop = _multihost.catch_signals()
  best = bool(job.kept["retrain_top"])
  trainings.run(ready, workdir, omegas, progress, stop, best)
