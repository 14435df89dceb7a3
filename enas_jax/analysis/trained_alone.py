"""Architectures of a search's space, drawn by chance, each trained alone."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import evaluate, loop, runs, tune
from enas_jax.search import folder as folder_lib
from enas_jax.spaces import base as spaces
from enas_jax.strategies import uniform


def train(
  run: runs.Opened,
  folder: pathlib.Path,
  num_arcs: int,
  seed: int,
  changes: Mapping[str, Any],
  progress: loop.Progress,
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

  Returns:
    The file: "arc", "nats" and "valid_METRIC" of the task, both on the whole
    validation split.

  Raises:
    InputError: if the file has architectures that were drawn or trained
      otherwise, or the configuration is not allowed.
    Diverged: if one is worth nothing finite.
  """
  changes = {
    "tune_from": "scratch",
    "tune_arcs": num_arcs,
    "tune_halvings": 0,  # the truth is of equal trainings
    **changes,
  }
  config = config_lib.override(run.config, "run", **changes)
  names = ("tune_steps", "tune_rate", "tune_changes")
  training = {name: getattr(config.run, name) for name in names}
  # As JSON gives it back.
  training["tune_changes"] = dict(config.run.tune_changes)
  training |= {"drawn_with_seed": seed}
  path, space = folder / folder_lib.TRAINED_ALONE, run.task.space
  metric = f"valid_{run.task.metric}"
  rows = _read(path, training, metric)
  arcs = _draw(space, num_arcs, seed)
  steps = config.run.tune_steps
  done = {
    (space.from_dict(row["arc"]), steps): (row["nats"], row[metric])
    for row in rows
  }

  def tell(one: tune.Tuned) -> None:
    name = f"architecture {one.rank} of {num_arcs}"
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
  tune.tune_best(
    alone, run.state, arcs, lambda arc: arc, lambda: None, tell, done
  )
  return path


def _draw(space: spaces.Space, num_arcs: int, seed: int) -> list[types.Arc]:
  """Architectures of Python ints; fewer of them are the first of more."""
  keys = [jax.random.fold_in(jax.random.key(seed), i) for i in range(num_arcs)]
  propose = evaluate.make_propose(uniform.Uniform(space))
  drawn = [evaluate.nth(propose((), key, 1), 0) for key in keys]
  return [space.validate(jax.device_get(arc)) for arc in drawn]


def _read(
  path: pathlib.Path, training: dict[str, Any], metric: str
) -> list[dict[str, Any]]:
  """The rows of a file that may be there from an earlier call."""
  if not path.exists():
    return []
  advice = "move it away, and architectures are trained again"
  rows = folder_lib.read_rows(path, advice)
  for row in rows:
    if not {"arc", "nats", metric, "training"} <= row.keys():
      raise types.InputError(f"{path} is damaged: {advice}.")
    if (other := row["training"]) != training:
      raise types.InputError(
        f"{path} has architectures of another training, {other} and not"
        f" {training}: ask for the same, move it away, or give it as --truth."
      )
  return rows
