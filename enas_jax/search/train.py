"""Training one architecture from its own weights (Sections 3.1 and 3.2)."""

import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.search import (
  derive,
  evaluate,
  folder,
  hosts,
  loop,
  metrics,
  steps,
)
from enas_jax.search import devices as devices_lib
from enas_jax.search import state as state_lib
from enas_jax.spaces import arcs as arcs_lib
from enas_jax.spaces import records
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import base as tasks
from enas_jax.tasks import registry as task_registry

# What candidates are put in order by.
_WORTHS = ("rank", "tuned_nats", "tuned_nats_at_cost", "tuned_steps")
Begin = Callable[[types.Arc, pathlib.Path], None]


def _begin(arc: types.Arc, folder: pathlib.Path) -> None:
  """Does nothing."""


class Training(loop.Loop[state_lib.TrainState]):
  """The training of one architecture in one folder.

  Attributes:
    config: the training's configuration.
    state: the whole truth of it, a `state.TrainState`.
  """

  def __init__(
    self,
    config: config_lib.TrainConfig,
    task: tasks.Task,
    data: tasks.Splits,
    workdir: pathlib.Path,
    progress: loop.Progress | None = None,
    stop: Callable[[], int] = lambda: 0,
    omega: types.Omega | None = None,
    devices: devices_lib.Devices = devices_lib.ONE,
  ) -> None:
    """Sets the training up, from the newest checkpoint if there is one.

    Args:
      config: the training's configuration.
      task: the task, with the network of one architecture (`fixed` of its
        space's definition).
      data: the three splits; `valid` may be None where all is trained on.
      workdir: the run's folder, which exists.
      progress: the place where the run tells how far it is.
      stop: () -> the number of a signal that asks the run to end, or 0.
      omega: weights to start from; None for fresh ones.
      devices: the devices that share the work.

    Raises:
      InputError: if these weights are not the task's, or no checkpoint of those
        that there are can be read.
    """
    super().__init__(config.run, task, data, workdir, progress, stop, devices)
    self.config, self._start = config, omega
    self._evaluate = evaluate.make_evaluate(task, self._serve_signal)
    if omega is not None:
      # Shapes alone: nothing is drawn.
      _check_layout(omega, jax.eval_shape(task.init_omega, jax.random.key(0)))
    self._build()

  def _build(self) -> None:
    config, task = self.config, self._task
    if self._rollbacks.counted:
      config = config.slowed(self._rollbacks.factor)
      task = task.with_config(config)
    self._steps = task.steps_per_epoch(self._data.train)
    self.step = steps.make_train_step(config, task, self._steps, self._devices)
    fresh = self._patiently(
      "the first weights",
      lambda: state_lib.init_training(config, task, self._steps, self._start),
    )
    # Metric of the validation split after each epoch.
    self._history: list[float] = self._begin(fresh).get("history", [])

  @property
  def finished(self) -> bool:
    """Whether every epoch is done and evaluated."""
    done = int(self.state.epoch) >= self.config.run.num_epochs
    return done and self._has_result()

  def load_result(self) -> dict[str, Any]:
    """What a finished run wrote to `result.json`.

    Raises:
      InputError: if it is damaged.
    """
    names = ("params", "epochs", "train_seconds")
    metrics_ = (f"valid_{self._task.metric}", f"test_{self._task.metric}")
    record = self._read_result((*names, *metrics_))
    # Null stands for a metric that overflowed, or of a split that is not there.
    if None in (record[name] for name in names):
      path = self._workdir / folder.RESULT
      advice = "delete it and resume the run, whose end is then repeated"
      raise files.damaged(path, advice)
    return record

  def run(self, facts: dict[str, Any]) -> dict[str, Any]:
    """Trains what is left to train, and evaluates.

    Args:
      facts: JSON-ready, other things for `result.json`: the architecture.

    Returns:
      What was written to `result.json`.

    Raises:
      Interrupted: after a signal, once the checkpoint is saved.
      Diverged: if losses are not finite, however often the run goes back to the
        end of an epoch.
      NotSavedError: if a checkpoint cannot be written.
    """
    return self._run_stably(lambda: self._run_epochs(facts))

  def _rates(self) -> str:
    omega = self.config.omega
    return (
      f"--omega_learning_rate (now {omega.learning_rate:g}) and"
      f" --omega_clip_norm ({omega.clip_norm:g})"
    )

  def _run_epochs(self, facts: dict[str, Any]) -> dict[str, Any]:
    with self._writing() as writer:
      self._clock.start()
      while int(self.state.epoch) < self.config.run.num_epochs:
        self._run_phase(writer, "omega", self.step, self._steps)
        self._end_epoch(writer)
      self._checkpoints.wait()
      record = self._finish(facts)
      writer.finish(self._place(), record)
      return record

  def _steps_left(self) -> dict[str, int]:
    steps = self.config.run.num_epochs * self._steps
    return {"omega": steps - int(self.state.total_steps)}

  def _pending(self) -> dict[str, Any]:
    return {**super()._pending(), "history": self._history}

  def _shown(self) -> state_lib.TrainState:
    if int(self.state.num_averaged):
      # The average is what is judged; steps go on from the weights themselves.
      return self.state.replace(omega=self.state.average)
    return self.state

  def _end_epoch(self, writer: metrics.MetricWriter) -> None:
    row: dict[str, Any] = {
      "phase": "epoch",
      "epoch": int(self.state.epoch) + 1,
      "step": int(self.state.total_steps),
      "theta_step": 0,
    }
    if self._data.valid is not None:
      task = self._task
      score = self._patiently(
        "the evaluation",
        lambda: self._evaluate(self._shown(), (), self._data.valid),
      )
      row[f"valid/{task.metric}"] = score
      averaging = bool(int(self.state.num_averaged))
      self._progress.line(
        f"epoch {row['epoch']}: validation {task.metric}"
        f" {task.format_metric(score)}" + " (averaged weights)" * averaging
      )
      if self._average_is_due(score):
        self.state = steps.begin_average(self.state)
        self._progress.line("from here on weights are averaged")
      # Only now: the trigger compares with epochs before this one.
      self._history.append(score)
    writer.write(row)
    self._end_epoch_saved()

  def _average_is_due(self, score: float) -> bool:
    """The non-monotonic trigger of Merity et al. (2018), as in `enas_lm`."""
    last = self.config.run.average_after
    # enas_lm's: the best of all epochs but the last few.
    before = self._history[:-last] if last else []
    if not before or int(self.state.num_averaged):
      return False
    return self._worse(score, before)

  def _worse(self, score: float, others: list[float]) -> bool:
    sign = self._task.metric_sign
    return sign * score < max(sign * other for other in others)

  def _finish(self, facts: dict[str, Any]) -> dict[str, Any]:
    metric, shown = self._task.metric, self._shown()
    valid = self._data.valid
    record = {
      **facts,
      f"valid_{metric}": None
      if valid is None
      else self._evaluate(shown, (), valid),
      f"test_{metric}": self._evaluate(shown, (), self._data.test),
      "epochs": int(self.state.epoch),
      "steps": int(self.state.total_steps),
      "averaged_steps": int(self.state.num_averaged),
      "train_seconds": self._clock.seconds,
      "seed": self.config.run.seed,
      **self._task.scoring(),
    }
    folder.write_json(self._workdir / folder.RESULT, record)
    return record


def _check_layout(omega: types.Omega, fresh: types.Omega) -> None:
  shapes = lambda tree: jax.tree.map(lambda leaf: tuple(leaf.shape), tree)
  if shapes(omega) != shapes(fresh):
    raise types.InputError(
      "the weights to start from do not fit the network: they were trained on"
      " data with other classes, channels or words, or with other options."
    )


def count_params(weights: types.Omega) -> int:
  """How many numbers a network's weights are, its auxiliary head's left out."""
  body = {name: part for name, part in weights.items() if name != "aux_head"}
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(body))


def best_candidates(text: str, count: int) -> list[arcs_lib.Architecture]:
  """The best different candidates of a search, in the order it would keep them.

  Args:
    text: the path of the search's `arcs.jsonl`.
    count: the number of candidates, K.

  Raises:
    InputError: if they cannot be read or there are fewer lines than that.
  """
  path = files.expand(text)
  try:
    rows = files.read_json_lines(path)
  except types.InputError as error:
    raise types.InputError(f"--arc={error}") from None
  if len(rows) < count:
    raise types.InputError(
      f"--retrain_top is {count}, but {text} has {len(rows)} candidates."
    )
  for row, place in rows:
    if not isinstance(row, dict) or not isinstance(row.get("arc"), dict):
      raise types.InputError(f'{place}: each line must have an "arc".')
    present = [name for name in _WORTHS if row.get(name) is not None]
    folder.check_numbers(row, present, path, "copy it from the run again")
  candidates: list[arcs_lib.Architecture] = []
  # Not by reward alone, which might leave out the one that the search kept.
  for row in derive.in_order([row for row, _ in rows]):
    try:
      candidate = arcs_lib.of_record(row["arc"])
    except types.InputError as error:
      raise types.InputError(f"{text}: {error}") from None
    # A policy that has converged samples the same architecture many times.
    if candidate not in candidates:
      candidates.append(candidate)
  return candidates[:count]


def train_arc(
  config: config_lib.TrainConfig,
  arc: types.Arc,
  data: tasks.Data,
  workdir: pathlib.Path,
  omega: types.Omega | None = None,
  *,
  progress: loop.Progress | None = None,
  stop: Callable[[], int] = lambda: 0,
  begin: Begin = _begin,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> dict[str, Any]:
  """Trains one architecture; of one that is trained, reads what came out.

  Args:
    config: the training's configuration, of a registered space.
    arc: the architecture, of Python ints.
    data: the data set, as the task's `load` returns it.
    workdir: the folder to write to, which exists.
    omega: weights to start from; None for fresh ones.
    progress: the place where lines go.
    stop: () -> the number of a signal that asks the run to end, or 0.
    begin: a function called before the first step, with the architecture and
      the folder.
    devices: the devices that share the work.

  Returns:
    What is in `result.json`.

  Raises:
    InputError: as `Training`.
    Interrupted: after a signal, once the checkpoint is saved.
    Diverged: if a loss is not finite.
  """
  progress = progress or loop.Progress()
  space = config.child.space()
  definition = spaces.get(space.name)
  network = definition.fixed(config.child, arc)
  task = task_registry.get(definition.task).create(config, network, data)
  training = Training(
    config, task, task.splits(data), workdir, progress, stop, omega, devices
  )
  if training.finished:
    progress.line("the run is finished; this is what came out")
    record = training.load_result()
  else:
    written = space.to_dict(arc)
    begin(arc, workdir)
    folder.write(workdir / folder.ARC, records.dumps(written))
    params = count_params(training.state.omega)
    progress.line(f"{params:,} parameters")
    record = training.run({"arc": written, "params": params})
  shown = [
    f"{split} {task.metric} {task.format_metric(value)}"
    for split in ("valid", "test")
    if (value := record[f"{split}_{task.metric}"]) is not None
  ]
  progress.line(
    f"{', '.join(shown)}; {record['params']:,} parameters,"
    f" {record['epochs']} epochs, {record['train_seconds']:.0f} s"
  )
  return record


def train_best(
  config: config_lib.TrainConfig,
  arcs: Sequence[types.Arc],
  data: tasks.Data,
  workdir: pathlib.Path,
  omegas: Sequence[types.Omega | None],
  *,
  progress: loop.Progress | None = None,
  stop: Callable[[], int] = lambda: 0,
  begin: Begin = _begin,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> dict[str, Any]:
  """Trains each architecture and keeps the best on validation data.

  What Section 2.2 leaves out for its cost. Each has a folder of its own in
  `workdir`, arc_1 and so on; `workdir` gets the files of the best.

  Args:
    config: the training's configuration, of a registered space.
    arcs: the architectures, of Python ints.
    data: the data set, with a validation split.
    workdir: the folder to write to, which exists.
    omegas: weights that each starts from; None for fresh ones.
    progress: the place where lines go.
    stop: () -> the number of a signal that asks the run to end, or 0.
    begin: a function called before each first step, with the architecture and
      its folder.
    devices: the devices that share the work.

  Returns:
    What is in `result.json`: that of the best, with "retrained", all of them,
    and "best_rank", its place among them from 1.

  Raises:
    InputError: as `Training`.
    Interrupted: after a signal, once the checkpoint is saved.
    Diverged: if a loss is not finite.
  """
  progress = progress or loop.Progress()
  results = []
  for rank, (arc, omega) in enumerate(zip(arcs, omegas, strict=True), start=1):
    place = workdir / f"arc_{rank}"
    if hosts.is_first():
      place.mkdir(exist_ok=True)
    progress.line(f"architecture {rank} of {len(arcs)}: {place}")
    result = train_arc(
      config, arc, data, place, omega,
      progress=progress, stop=stop, begin=begin, devices=devices,
    )  # fmt: skip
    results.append(result)
  task = task_registry.get(spaces.get(config.child.space().name).task)
  metric = f"valid_{task.metric}"
  # A network that overflowed is worth less than any other. If the run was
  # stopped after it, its file has null.
  worths = [
    task.metric_sign * value
    if value is not None and math.isfinite(value)
    else -math.inf
    for value in (result[metric] for result in results)
  ]
  best = worths.index(max(worths))  # of equal ones the first
  record = {**results[best], "retrained": results, "best_rank": best + 1}
  folder.write_json(workdir / folder.RESULT, record)
  for name in (folder.ARC, folder.DRAWING):
    source = workdir / f"arc_{best + 1}" / name
    if hosts.is_first() and source.exists():
      folder.write(workdir / name, source.read_text())
  progress.line(f"best of {len(results)} by {metric}: candidate {best + 1}")
  return record
