"""Training found architectures from scratch, in every space."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from absl import flags

from enas_jax import config as config_lib
from enas_jax import export, types
from enas_jax.report import drawing as drawing_lib
from enas_jax.report import html
from enas_jax.search import derive, runs, train
from enas_jax.search import folder as folder_lib
from enas_jax.spaces import arcs, records, registry
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks
from experiments import _arcs, _cli, _search, _terminal

# Options that change no weight's shape: a training that starts from a search's
# weights may have its own.
_FREE = ("moving_statistics", "aux_frozen", "aux_weight", "weight_init")


class Job(NamedTuple):
  """What is to be trained, and where.

  Attributes:
    space: the name of the search space.
    arcs: architectures of Python ints; several with `--retrain_top`.
    config: the configuration of the training.
    dataset: the name of the data set.
    workdir: the run's folder.
    saved: `config.json` of a run that is resumed, or None.
    source: the search whose weights are the start, or None.
  """

  space: str
  arcs: list[Any]
  config: config_lib.TrainConfig
  dataset: str
  workdir: pathlib.Path
  saved: Mapping[str, Any] | None
  source: runs.Run | None


def define_flags(*names: str) -> None:
  """The flags of a script that trains architectures of these spaces."""
  _cli.define_run_flags(*names)
  _cli.define_config_flags(*names, preset=registry.train_preset)
  _arcs.define_arc_flag()
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
    "train this many of the best candidates of --arc=RUN/arcs.jsonl, and keep"
    " the one that is best on validation data; 0: train --arc",
    0,
  )


def open_job(experiment: str, names: tuple[str, ...]) -> Job:
  """What the flags ask for, or the folder of a run that is resumed.

  Raises:
    InputError: if they ask for something that cannot be.
  """
  values = flags.FLAGS
  workdir, saved = _cli.open_workdir(experiment)
  source = None
  if saved:
    loaded = [arcs.of_record(record) for record in saved["arcs"]]
    _check_resumed(saved)
  elif values.retrain_top:
    loaded = _top(values.retrain_top)
  else:
    loaded = [_arcs.load(values.space, registry.train_preset)]
  first = loaded[0]
  if first.name not in names:
    raise types.InputError(
      f"--arc is of the {first.name} space; {experiment} trains architectures"
      f" of: {', '.join(names)}."
    )
  config = _cli.resolve_config(
    first.name, saved and saved["config"], registry.train_preset
  )
  init = saved["init"] if saved else values.init
  if init != "scratch":
    # Also of a run that is resumed: it may have saved no weights yet.
    source = _source(init, first.name)
  if not saved:
    config = _arcs.fit(first, config)
    if source:
      config = _as_searched(config, source.config)
  task = tasks.get(registry.get(first.name).task)
  dataset = _cli.resolve_dataset(task, saved)
  if not saved:
    config = _search.suit(config, task, dataset)
  if len(loaded) > 1 and not task.has_validation(config):
    raise types.InputError(
      "--retrain_top chooses on validation images, but --num_valid is 0."
    )
  return Job(
    first.name,
    [each.arc for each in loaded],
    config,
    dataset,
    workdir,
    saved,
    source,
  )


def _check_resumed(saved: Mapping[str, Any]) -> None:
  """Refuses flags that a resumed run would not follow."""
  for name in ("arc", "init", "retrain_top"):
    flag = flags.FLAGS[name]
    if flag.present and str(flag.value) != str(saved[name]):
      raise types.InputError(
        f"--{name} is {flag.value}, but the run in --workdir has"
        f" {saved[name]}; leave the flag out, or give another --workdir."
      )


def _top(count: int) -> list[arcs.Architecture]:
  """The best candidates that a derive step has written."""
  text = flags.FLAGS.arc
  if text is None or not text.endswith(".jsonl"):
    raise types.InputError(
      "--retrain_top needs --arc=RUN/arcs.jsonl, the candidates of a search."
    )
  path = pathlib.Path(text).expanduser()
  try:
    lines = path.read_text().splitlines()
  except OSError as error:
    raise types.InputError(
      f"--arc={text} cannot be read: {error.strerror}."
    ) from None
  if len(lines) < count:
    raise types.InputError(
      f"--retrain_top is {count}, but {text} has {len(lines)} candidates."
    )
  candidates: list[arcs.Architecture] = []
  # Not by reward alone, which might leave out the one that the search kept.
  for row in derive.in_order([records.loads(line) for line in lines]):
    record = row.get("arc")
    if not isinstance(record, Mapping):
      raise types.InputError(f'{text}: each line must have an "arc".')
    one = arcs.of_record(record)
    # A policy that has converged samples the same architecture many times.
    if one not in candidates:
      candidates.append(one)
  return candidates[:count]


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
  task = tasks.get(registry.get(job.space).task)
  data = task.load(job.dataset, _cli.data_dir(), job.config)
  progress = _terminal.TerminalProgress()
  progress.line(task.describe(data))
  space, values = job.config.child.space(), flags.FLAGS
  _cli.enable_compilation_cache()
  more: dict[str, Any] = {
    "arcs": [space.to_dict(arc) for arc in job.arcs],
    **{
      name: job.saved[name] if job.saved else values[name].value
      for name in ("arc", "init", "retrain_top")
    },
  }
  omegas = _initial(job)
  workdir = _cli.write_config(
    job.workdir, experiment, job.space, job.config, job.dataset, job.saved, more
  )
  job = job._replace(workdir=workdir)
  network = registry.get(job.space).network
  preprocessing = export.preprocessing_of(network.kind, data)
  folder_lib.write_json(
    job.workdir / folder_lib.PREPROCESSING,
    export.to_preprocessing(preprocessing),
  )
  stop = _terminal.SignalCatcher().stop
  several = more["retrain_top"] > 0
  results = []
  for rank, (arc, omega) in enumerate(
    zip(job.arcs, omegas, strict=True), start=1
  ):
    folder = job.workdir / f"arc_{rank}" if several else job.workdir
    folder.mkdir(exist_ok=True)
    if several:
      progress.line(f"architecture {rank} of {len(job.arcs)}: {folder}")
    results.append(_train_one(job, arc, omega, data, folder, stop, progress))
  if several:
    _keep_best(job, task, results, progress)
  html.write_report(job.workdir)
  progress.line(f"result.json and report.html are in {job.workdir}")


def _initial(job: Job) -> list[Any]:
  """The weights that each architecture starts from; None for fresh ones."""
  if job.source is None:
    return [None] * len(job.arcs)
  return [job.source.child_params(arc) for arc in job.arcs]


def _train_one(
  job: Job,
  arc: Any,
  omega: Any,
  data: Any,
  folder: pathlib.Path,
  stop: Callable[[], int],
  progress: Any,
) -> dict[str, Any]:
  space, definition = job.config.child.space(), registry.get(job.space)
  network = definition.fixed(job.config.child, arc)
  task = tasks.get(definition.task).create(job.config, network, data)
  training = train.Training(
    job.config, task, task.splits(data), folder, progress, stop, omega
  )
  if training.finished:
    progress.line("the run is finished; this is what came out")
    record = training.load_result()
  else:
    drawing = drawing_lib.draw_arc(
      job.space, job.config.child, arc, "Architecture"
    )
    progress.line(drawing.text)
    files = {
      folder_lib.ARC: records.dumps(space.to_dict(arc)),
      folder_lib.DRAWING: drawing.svg,
    }
    for name, text in files.items():
      folder_lib.write(folder / name, text)
    params = train.count_params(training.state.omega)
    progress.line(f"{params:,} parameters")
    record = training.run({"arc": space.to_dict(arc), "params": params})
  _show(record, task, progress)
  return record


def _show(record: dict[str, Any], task: Any, progress: Any) -> None:
  shown = [
    f"{split} {task.metric} {task.format_metric(value)}"
    for split in ("valid", "test")
    if (value := record[f"{split}_{task.metric}"]) is not None
  ]
  progress.line(
    f"{', '.join(shown)}; {record['params']:,} parameters,"
    f" {record['epochs']} epochs, {record['train_seconds']:.0f} s"
  )


def _keep_best(
  job: Job,
  task: tasks_base.Definition,
  results: list[dict[str, Any]],
  progress: Any,
) -> None:
  """Section 3.3's other way to choose: train them all, compare, keep one."""
  metric = f"valid_{task.metric}"
  order = sorted(
    range(len(results)), key=lambda at: -task.metric_sign * results[at][metric]
  )
  best = results[order[0]]
  record = {**best, "retrained": results, "best_rank": order[0] + 1}
  folder_lib.write_json(job.workdir / folder_lib.RESULT, record)
  for name in (folder_lib.ARC, folder_lib.DRAWING):
    source = job.workdir / f"arc_{order[0] + 1}" / name
    folder_lib.write(job.workdir / name, source.read_text())
  progress.line(f"best of {len(results)} by {metric}: candidate {order[0] + 1}")
