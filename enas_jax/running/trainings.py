"""A whole training of architectures alone: run or gone on with, and shown."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from enas_jax import config as config_lib
from enas_jax import export, types
from enas_jax.loggers import registry as loggers
from enas_jax.report import drawing as drawing_lib
from enas_jax.report import html
from enas_jax.search import checkpoint, folder, hosts, loop, runs, train
from enas_jax.search import devices as devices_lib
from enas_jax.spaces import arcs as arcs_lib
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks

_ADVICE = "--run must be the folder of a training"


class Trained(NamedTuple):
  """A training that has ended.

  Attributes:
    workdir: the training's folder.
    record: what `result.json` holds.
  """

  workdir: pathlib.Path
  record: dict[str, Any]

  def export(self, to: str | os.PathLike[str]) -> None:
    """Writes a model that needs no search; see `enas_jax.export.save`."""
    export.save(to, read_model(self.workdir))

  def _repr_html_(self) -> str:
    """What a notebook shows."""
    return (self.workdir / folder.DRAWING).read_text()


class Ready(NamedTuple):
  """A training of which nothing has been refused.

  Attributes:
    space: the name of the search space.
    arcs: architectures of Python ints.
    config: the training's configuration.
    data: the data set, as the task's `load` returns it.
    devices: the devices that share the work.
  """

  space: str
  arcs: Sequence[types.Arc]
  config: config_lib.TrainConfig
  data: tasks_base.Data
  devices: devices_lib.Devices


def prepare(
  space: str,
  arcs: Sequence[types.Arc],
  config: config_lib.TrainConfig,
  dataset: str,
  data_dir: str | None,
  num_devices: int,
  progress: loop.Progress,
) -> Ready:
  """Loads the data of a training, and refuses what cannot be done.

  Args:
    space: the name of the search space.
    arcs: architectures of Python ints.
    config: the training's configuration.
    dataset: the name of the data set.
    data_dir: the folder where data sets lie, or None.
    num_devices: how many devices share the work; 0: all there are.
    progress: the place where lines go.

  Raises:
    InputError: if the data or a logger cannot be had, or the devices do not
      divide a batch.
  """
  loggers.check(config.run.loggers)  # before data are read
  devices = devices_lib.of(num_devices)
  devices.check(config.data.batch_size)
  task = tasks.get(spaces.get(space).task)
  data = task.load(dataset, data_dir, config)
  progress.line(task.describe(data, config))
  return Ready(space, arcs, config, data, devices)


def run(
  ready: Ready,
  workdir: pathlib.Path,
  omegas: Sequence[types.Omega | None],
  progress: loop.Progress,
  stop: Callable[[], int],
  best: bool = False,
) -> Trained:
  """Trains the architectures, and shows what came out.

  Args:
    ready: the training.
    workdir: the run's folder, which exists.
    omegas: weights that each architecture starts from; None for fresh ones.
    progress: the place where lines go.
    stop: () -> the number of a signal that asks the run to end, or 0.
    best: whether there may be several, of which the best is kept.
  """
  space, arcs, config, data, devices = ready
  kind = spaces.get(space).network.kind
  # Kept, so that a model can be exported once the data are gone.
  preprocessing = export.to_preprocessing(export.preprocessing_of(kind, data))
  folder.write_json(workdir / folder.PREPROCESSING, preprocessing)

  def draw(arc: types.Arc, place: pathlib.Path) -> None:
    drawing = drawing_lib.draw_arc(space, config.child, arc, "Architecture")
    progress.line(drawing.text)
    folder.write(place / folder.DRAWING, drawing.svg)

  watched: dict[str, Any] = {
    "progress": progress,
    "stop": stop,
    "begin": draw,
    "devices": devices,
  }
  if best:
    record = train.train_best(config, arcs, data, workdir, omegas, **watched)
  else:
    record = train.train_arc(
      config, arcs[0], data, workdir, omegas[0], **watched
    )
  if hosts.is_first():
    html.write_report(workdir)
  progress.line(f"result.json and report.html are in {workdir}")
  return Trained(workdir, record)


def read_model(run: pathlib.Path, license: str = "apache-2.0") -> export.Model:
  """What a training has come to, ready to be exported.

  Args:
    run: the folder of a training, finished or stopped.
    license: what others may do with the model, as the hub names it.

  Raises:
    InputError: if it is none.
  """
  saved = _read(run, folder.CONFIG)
  if not {"experiment", "arcs", "init"} <= saved.keys():
    raise types.InputError(
      f"--run={run} is not the folder of a training, as ptb_train or"
      " cifar_train writes it."
    )
  texts = ("experiment", "init", "dataset", "command")
  kinds = {**dict.fromkeys(texts, str), "config": dict, "seed": int}
  folder.check_fields(saved, kinds, run / folder.CONFIG, _ADVICE)
  result = _read(run, folder.RESULT) if (run / folder.RESULT).exists() else {}
  # Of several architectures that were trained, the best on validation data.
  best = result.get("best_rank")
  where = run / f"arc_{best}" if best else run
  loaded = arcs_lib.of_record(_read(where, folder.ARC))
  # Any preset would do, as every field of it is replaced.
  preset = spaces.train_preset("paper", loaded.name)
  config = runs.restore_config(preset, saved["config"])
  state = checkpoint.read_newest(where / folder.CHECKPOINTS)
  # The weights that the training itself evaluates (`Training._shown`).
  averaged = int(state["num_averaged"]) > 0
  preprocessing = export.read_preprocessing(
    loaded.name, _read(run, folder.PREPROCESSING)
  )
  return export.Model(
    space=loaded.name,
    config=config.child,
    arc=loaded.arc,
    child=state["average" if averaged else "omega"],
    statistics=state["carry"].get("statistics", {}),  # {} of text
    preprocessing=preprocessing,
    card=_card(saved, result, int(state["epoch"])) | {"license": license},
  )


def _card(
  saved: Mapping[str, Any], result: Mapping[str, Any], epochs: int
) -> dict[str, Any]:
  return {
    "dataset": saved["dataset"],
    "command": saved["command"],
    "metrics": {
      name: value
      for name, value in result.items()
      # None: the network overflowed, or there is no such split.
      if name.startswith(("valid_", "test_")) and value is not None
    },
    "epochs": epochs,
    "seed": saved["seed"],
    "commit": saved.get("commit"),
    "device": saved.get("device"),
    "versions": saved.get("versions"),
  }


def _read(run: pathlib.Path, name: str) -> dict[str, Any]:
  return folder.read_json(run / name, _ADVICE)
