"""Architectures of a search's space, drawn by chance, each trained alone."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import devices as devices_lib
from enas_jax.search import evaluate, loop, runs, tune
from enas_jax.search import folder as folder_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions
from enas_jax.strategies import uniform

_SETTINGS = ("tune_steps", "tune_rate", "tune_changes")  # of one training


def train(
  run: runs.Opened,
  folder: pathlib.Path,
  num_arcs: int,
  seed: int,
  changes: Mapping[str, Any],
  progress: loop.Progress,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> pathlib.Path:
  """Draws architectures uniformly and trains each from fresh weights.

  They are trained as `search.tune` trains candidates of the search. A file of
  the run's folder has a line of JSON for each, written when it is done, so that
  a later call goes on after a stop, and draws more of them if asked.

  Args:
    run: the search.
    folder: the run's folder.
    num_arcs: the number drawn; one that comes twice is trained once.
    seed: the seed of the draw.
    changes: fields of the configuration's `run` that differ from the search's.
    progress: the place where a line about each goes.
    devices: the devices that share the work, as in `tune.tune_best`.

  Returns:
    The file: "arc", "nats" and "valid_METRIC" of the task, both on the whole
    validation split.

  Raises:
    InputError: if the file has architectures that were drawn or trained
      otherwise, or the configuration is not allowed.
    Diverged: if one is worth nothing finite.
  """
  # All of them are trained: `tune_arcs` would else leave some out.
  config = _alone(run.config, tune_arcs=num_arcs, **changes)
  training = {**_settings(config), "drawn_with_seed": seed}
  path = folder / folder_lib.TRAINED_ALONE
  arcs = _draw(run.task.space, num_arcs, seed)
  _train(run, config, arcs, path, training, progress, devices)
  return path


def train_alike(
  run: runs.Opened,
  folder: pathlib.Path,
  arcs: Sequence[types.Arc],
  progress: loop.Progress,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> dict[types.Arc, float]:
  """Trains architectures just as those that `train` drew were trained.

  A second file of the run's folder, in the same form, keeps what is done.

  Args:
    run: the search.
    folder: the run's folder, where `train` has been.
    arcs: architectures of Python ints; one that comes twice, or that was drawn,
      is not trained again.
    progress: the place where a line about each goes.
    devices: the devices that share the work, as in `tune.tune_best`.

  Returns:
    The task's metric on the whole validation split, of every one.

  Raises:
    InputError: if there is no table in the folder, or a file is damaged, or
      those of the second one were trained otherwise.
    Diverged: if one is worth nothing finite.
  """
  path, space = folder / folder_lib.TRAINED_ALONE, run.task.space
  if not path.exists():
    raise types.InputError(
      f"{folder} has no {path.name}: make one by experiments.ranking with"
      " --tune_steps."
    )
  metric = f"valid_{run.task.metric}"
  rows = _read(path, None, metric)
  if not rows:
    raise types.InputError(f"{path} is empty: move it away, and make another.")
  training = dict(rows[0]["training"])
  _read(path, training, metric)  # all of one training
  # What a search has kept was not drawn.
  training.pop("drawn_with_seed", None)
  known = {space.from_dict(row["arc"]): float(row[metric]) for row in rows}
  missing = [arc for arc in dict.fromkeys(arcs) if arc not in known]
  if missing:
    config = _alone(run.config, tune_arcs=len(missing), **training)
    kept = folder / folder_lib.PLACED
    rows = _train(run, config, missing, kept, training, progress, devices)
    for row in rows:
      known[space.from_dict(row["arc"])] = float(row[metric])
  return {arc: known[arc] for arc in arcs}


def _alone(
  config: config_lib.SearchConfig, **changes: Any
) -> config_lib.SearchConfig:
  """The search's configuration, for a training that is the truth."""
  # The truth is of equal trainings.
  fixed = {"tune_from": "scratch", "tune_halvings": 0}
  return config_lib.override(config, "run", **{**fixed, **changes})


def _settings(config: config_lib.SearchConfig) -> dict[str, Any]:
  """What tells one training from another, as JSON gives it back."""
  settings = {name: getattr(config.run, name) for name in _SETTINGS}
  return {**settings, "tune_changes": dict(config.run.tune_changes)}


def _train(
  run: runs.Opened,
  config: config_lib.SearchConfig,
  arcs: list[types.Arc],
  path: pathlib.Path,
  training: dict[str, Any],
  progress: loop.Progress,
  devices: devices_lib.Devices,
) -> list[dict[str, Any]]:
  """Trains what the file lacks, row by row; returns all of its rows."""
  space = run.task.space
  metric = f"valid_{run.task.metric}"
  rows = _read(path, training, metric)
  steps = config.run.tune_steps
  done = {
    (space.from_dict(row["arc"]), steps): (row["nats"], row[metric])
    for row in rows
  }

  def tell(one: tune.Tuned) -> None:
    name = f"architecture {one.rank} of {len(arcs)}"
    if not (math.isfinite(one.nats) and math.isfinite(one.valid)):
      raise loop.Diverged(
        f"{name}, trained alone, has {one.nats} nats: give a smaller"
        " --tune_rate."
      )
    row = {"arc": space.to_dict(one.arc), "nats": one.nats, metric: one.valid}
    rows.append(row | {"training": training})
    folder_lib.write_rows(path, rows)
    progress.line(
      f"{name} trained alone: {one.nats:.4f} nats,"
      f" {run.task.metric} {run.task.format_metric(one.valid)}"
    )

  splits = run.splits
  alone = tune.changed(config, run.task, splits.train, splits.valid)
  # The first function is `live`: the identity, so that two that compute the
  # same are both trained, and both have a row.
  tune.tune_best(
    alone, run.state, arcs, lambda arc: arc, lambda: None, tell, done, devices
  )
  return rows


def _draw(space: spaces.Space, num_arcs: int, seed: int) -> list[types.Arc]:
  """Architectures of Python ints; fewer of them are the first of more."""
  keys = [jax.random.fold_in(jax.random.key(seed), i) for i in range(num_arcs)]
  propose = evaluate.make_propose(uniform.Uniform(space))
  drawn = [decisions.nth(propose((), key, 1), 0) for key in keys]
  return [space.validate(jax.device_get(arc)) for arc in drawn]


def _read(
  path: pathlib.Path, training: dict[str, Any] | None, metric: str
) -> list[dict[str, Any]]:
  """The rows of a file from an earlier call, all of that training if given."""
  if not path.exists():
    return []
  advice = "move it away, and architectures are trained again"
  rows = folder_lib.read_rows(path, advice)
  for row in rows:
    if not _is_whole(row, metric):
      raise types.InputError(f"{path} is damaged: {advice}.")
    if training is not None and (other := row["training"]) != training:
      raise types.InputError(
        f"{path} has architectures of another training, {other} and not"
        f" {training}: ask for the same, move it away, or give it as --truth."
      )
  return rows


def _is_whole(row: Mapping[str, Any], metric: str) -> bool:
  """Whether a row has an architecture, finite numbers and a training."""
  training = row.get("training")
  known = {*_SETTINGS, "drawn_with_seed"}
  return (
    isinstance(row.get("arc"), dict)
    and all(type(row.get(name)) in (int, float) for name in ("nats", metric))
    and isinstance(training, dict)
    # They become fields of a configuration, which has no others.
    and training.keys() <= known
  )
