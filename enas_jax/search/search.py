"""The epoch loop of a search, for every task, space and strategy (Sec. 2.2)."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.loggers import base as loggers
from enas_jax.search import (
  asking,
  derive,
  folder,
  hosts,
  loop,
  metrics,
  steps,
  theta_steps,
)
from enas_jax.search import costs as costs_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry
from enas_jax.tasks import base as tasks

_NUMBERS = (
  *("candidates", "search_seconds"),
  *("mean_reward_policy", "mean_reward_uniform"),
  *("standard_error_policy", "standard_error_uniform"),
)
_POLICY_ARCS = 1000  # frequencies within 1.6 per cent, one standard error


class Search(loop.Loop[state_lib.SearchState]):
  """One search in one folder.

  Attributes:
    config: the search's configuration.
    state: the whole truth of it, a `state.SearchState`.
  """

  def __init__(
    self,
    config: config_lib.SearchConfig,
    task: tasks.Task,
    data: tasks.Splits,
    workdir: pathlib.Path,
    progress: loop.Progress | None = None,
    stop: Callable[[], int] = lambda: 0,
    devices: devices_lib.Devices = devices_lib.ONE,
    draw: Callable[[types.Arc], bytes] | None = None,
  ) -> None:
    """Sets the search up, from the newest checkpoint if there is one.

    Args:
      config: the search's configuration.
      task: the task that is learnt.
      data: the three splits.
      workdir: the run's folder, which exists.
      progress: the place where the run tells how far it is.
      stop: () -> the number of a signal that asks the run to end, or 0.
      devices: the devices that share the work.
      draw: an architecture of Python ints -> a PNG of it, for the loggers;
        None: they are shown none.

    Raises:
      InputError: if the configuration cannot be followed, or no checkpoint of
        those that there are can be read.
    """
    super().__init__(config.run, task, data, workdir, progress, stop, devices)
    self.config, self._draw = config, draw
    self._shown: types.Arc | None = None  # to the loggers
    self._vocabularies = spaces.of_options(config.child).vocabularies
    self._build()

  def _build(self) -> None:
    config, task, data = self.config, self._task, self._data
    devices = self._devices
    if self._rollbacks.counted:
      config = config.slowed(self._rollbacks.factor)
      task = task.with_config(config)
    strategy = registry.create(config, task.space)
    self._omega_steps = task.steps_per_epoch(data.train)
    self._theta_steps = config.theta.steps if strategy.learns else 0
    self.omega_step = steps.make_omega_step(
      config, task, strategy, self._omega_steps, devices
    )
    fresh = self._patiently(
      # Also of a run that goes on: its checkpoint is read into this layout.
      "the first weights",
      lambda: state_lib.init_state(config, task, strategy, self._omega_steps),
    )
    path, tell = self._workdir / folder.COSTS, self._progress.line
    costs = self._patiently(
      "what costs are found with",
      lambda: costs_lib.find(config, task, data.valid, fresh, path, tell),
    )
    self.theta_step = theta_steps.make_theta_step(
      task, strategy, devices, costs
    )
    self._end_strategy = theta_steps.make_epoch_end(strategy)
    self._learns = strategy.learns
    self._derivation = derive.Derivation(
      config, task, data, self._workdir, self._progress, self._clock, devices,
      self._serve_signal, costs,
    )  # fmt: skip
    score = self._derivation.score
    self._asking = asking.Asking(
      config, task, data, strategy, score, self._serve_signal, devices, costs
    )
    # What the strategy has heard, when a signal ended the evaluation after it.
    self._answered: dict[str, Any] = self._begin(fresh).get("answered", {})

  @property
  def finished(self) -> bool:
    """Whether every epoch is done and the architecture derived."""
    done = int(self.state.epoch) >= self.config.run.num_epochs
    return done and self._has_result()

  def load_result(self) -> derive.Result:
    """What a finished run wrote to `result.json`.

    Raises:
      InputError: if it is damaged.
    """
    metric, path = self._task.metric, self._workdir / folder.RESULT
    splits = (f"valid_{metric}", f"test_{metric}")
    record = self._read_result((*_NUMBERS, *splits))
    if not isinstance(record.get("arc"), dict):
      raise types.InputError(f'{path} is damaged: "arc" must be an object.')
    space = self._task.space
    try:
      arc = space.from_dict(record["arc"])
    except types.InputError as error:
      raise types.InputError(f"{path}: {error}") from None
    return derive.Result(arc, {**record, "arc": space.to_dict(arc)})

  def run(self) -> derive.Result:
    """Runs what is left of the search and derives an architecture.

    Raises:
      Interrupted: after a signal, once the checkpoint is saved.
      Diverged: if losses or rewards are not finite, however often the run goes
        back to the end of an epoch.
      NotSavedError: if a checkpoint cannot be written.
    """
    return self._run_stably(self._run_to_end)

  def _rates(self) -> str:
    omega, strategy = self.config.omega, self.config.strategy
    rates = [
      f"--omega_learning_rate (now {omega.learning_rate:g})",
      f"--omega_clip_norm ({omega.clip_norm:g})",
    ]
    if (rate := getattr(strategy, "learning_rate", None)) is not None:
      rates.append(f"--theta_learning_rate ({rate:g})")
    return ", ".join(rates)

  def _run_to_end(self) -> derive.Result:
    with self._writing() as writer:
      self._clock.start()
      while int(self.state.epoch) < self.config.run.num_epochs:
        self._run_phase(writer, "omega", self.omega_step, self._omega_steps)
        # In earlier epochs omega alone is trained: theta rests.
        if int(self.state.epoch) >= self.config.warmup_epochs:
          self._run_phase(writer, "theta", self.theta_step, self._theta_steps)
          self._answer(writer)
        self._end_epoch(writer)
      result = self._patiently(
        "the scores of candidates",
        lambda: self._derivation.run(self.state),
      )
      self._checkpoints.wait()
      writer.finish(self._place(), result.record)
      return result

  def _steps_of_epoch(self) -> int:
    return int(self.state.omega_step) + int(self.state.theta_step)

  def _position(self) -> int:
    """Steps of both phases done in all."""
    theta = state_lib.theta_steps(self.config, self.state)
    return int(self.state.total_steps) + theta

  def _steps_left(self) -> dict[str, int]:
    run, config = self.config.run, self.config
    theta = (run.num_epochs - config.warmup_epochs) * self._theta_steps
    return {
      "omega": run.num_epochs * self._omega_steps - int(self.state.total_steps),
      "theta": theta - state_lib.theta_steps(config, self.state),
    }

  def _pending(self) -> dict[str, Any]:
    return {**super()._pending(), "answered": self._answered}

  def _answer(self, writer: metrics.MetricWriter) -> None:
    """Trains the candidates alone that the strategy asks about, if any."""
    epoch = int(self.state.epoch)
    if self._answered.get("epoch") != epoch:
      self.state, row = self._asking.answer(self.state)
      self._answered = {"epoch": epoch, "row": row}
    if row := self._answered["row"]:
      writer.write(self._between("asked") | row)
      self._progress.line(
        f"candidates trained alone: reward {row['asked/reward']:.4g}"
      )

  def _between(self, phase: str) -> dict[str, Any]:
    """The first fields of a row that is written between two epochs."""
    return {"phase": phase, **self._place(ending=True)._asdict()}

  def _end_epoch(self, writer: metrics.MetricWriter) -> None:
    row, best = self._patiently("the evaluation", self._evaluate_epoch)
    writer.write(row)
    self._show(writer, best)
    shown = [
      f"{k.removeprefix('valid/')} {v:.4g}"
      for k, v in row.items()
      if k.startswith("valid/")
    ]
    self._progress.line(f"epoch {row['epoch']}: validation " + ", ".join(shown))
    if self._learns:
      self._write_policy(writer)
      self.state = self._end_strategy(self.state)
    # Last: of a run that is killed before it the rows are written again.
    self._end_epoch_saved()

  def _show(self, writer: metrics.MetricWriter, arc: types.Arc) -> None:
    """Shows the loggers an architecture, if it is another than before."""
    if self._draw is None or arc == self._shown:
      return
    self._shown, draw = arc, self._draw
    place = self._place(ending=True)
    writer.picture(place, "architecture", lambda: draw(arc))

  def _write_policy(self, writer: metrics.MetricWriter) -> None:
    """Adds to `policy.jsonl` how often each alternative is proposed now."""
    state, space = self.state, self._task.space
    key = state_lib.step_key(state, state_lib.POLICY_KEYS, jnp.int32(0))
    arcs = self._derivation.propose(state.strategy, key, _POLICY_ARCS)
    epoch = int(state.epoch) + 1
    frequencies = decisions.frequencies(space, arcs)
    row = {"epoch": epoch, "frequencies": frequencies}
    names = decisions.alternatives(space, self._vocabularies)
    choices = [
      loggers.Choice(label, known, shares)
      for (label, known), shares in zip(names, frequencies, strict=True)
    ]
    writer.choices(self._place(ending=True), choices)
    if not hosts.is_first():
      return
    path = self._workdir / folder.POLICY
    advice = "delete it and resume the run, which then lacks earlier epochs"
    rows = folder.read_rows(path, advice) if path.exists() else []
    for old in rows:
      folder.check_fields(old, {"epoch": int}, path, advice)
    # A run that was killed may have written this epoch before.
    rows = [old for old in rows if old["epoch"] < epoch]
    folder.write_rows(path, [*rows, row])

  def _evaluate_epoch(self) -> tuple[dict[str, Any], types.Arc]:
    """How the policy's samples do, and uniform ones under the same omega.

    Returns:
      The row of the epoch, and the best of the samples, of Python ints.
    """
    state, valid, ask = self.state, self._data.valid, self._derivation
    key = state_lib.step_key(state, state_lib.EVAL_KEYS, state.epoch)
    key_policy, key_uniform, key_batch = jax.random.split(key, 3)
    count = self.config.run.eval_arcs
    arcs = ask.propose(state.strategy, key_policy, count)
    uniform = ask.propose_uniform((), key_uniform, count)
    epoch = int(state.epoch) + 1
    self._progress.start("evaluation", epoch, 0, count)
    whole = []
    for index in range(count):
      one = decisions.nth(arcs, index)
      whole.append(ask.evaluate(state, one, valid))
      self._progress.advance()
    policy_mean, uniform_mean = (
      # One minibatch for both, so that the means can be compared.
      derive.mean_and_error(ask.score(state, some, valid, key_batch))[0]
      for some in (arcs, uniform)
    )
    spent = {}
    if ask.costs is not None:
      spent = {
        f"cost/{who}": float(np.mean(ask.costs_of(some)))
        for who, some in (("policy", arcs), ("uniform", uniform))
      }
    row = {
      **self._between("epoch"),
      **spent,
      f"valid/{self._task.metric}": derive.mean_and_error(whole)[0],
      "valid/reward_policy": policy_mean,
      "valid/reward_uniform": uniform_mean,
    }
    # Otherwise `argmax` would take the first NaN for the largest.
    worths = self._task.metric_sign * np.asarray(whole)
    index = np.nan_to_num(worths, nan=-np.inf).argmax()
    best = decisions.nth(arcs, int(index))
    return row, self._task.space.validate(jax.device_get(best))


def describe_result(
  record: dict[str, Any], task: tasks.Task, sampled: int
) -> list[str]:
  """What a search came to, in lines for people.

  Args:
    record: the record of `result.json`.
    task: the search's task.
    sampled: over how many architectures mean rewards are: candidates may be
      more, by what the strategy adds.
  """
  count = record["candidates"]
  chances = [
    f"{_number(record[f'mean_reward_{who}'])}"
    f" +- {_number(record[f'standard_error_{who}'])} ({who})"
    for who in ("policy", "uniform")
  ]
  lines = [
    f"mean reward {', '.join(chances)}; {sampled} architectures each,"
    f" {record.get('policy')} policy"
  ]
  if _is_chance(record):
    lines.append(
      "the policy's samples earn no more than uniform ones, within two standard"
      " errors: chance chose this architecture"
    )
  best = f"best of {count}"
  if "tuned" in record:
    alone = record.get(f"tuned_valid_{task.metric}")
    rank = f"number {record.get('rank_before_tuning')} by reward"
    if alone is None or math.isnan(alone):
      lines.append(
        f"all {record['tuned']} trained alone overflowed; kept is {rank}"
      )
    else:
      lines.append(
        f"best of {record['tuned']} trained alone: {task.metric}"
        f" {task.format_metric(alone)} (validation); {rank}"
      )
      best = "the same"
  valid, test = (
    _metric(task, record[f"{split}_{task.metric}"])
    for split in ("valid", "test")
  )
  lines.append(
    f"{best} with shared weights: {task.metric} {valid} (validation), {test}"
    f" (test); {record['search_seconds'] or 0:.0f} s of search"
  )
  return lines


def _is_chance(record: Mapping[str, Any]) -> bool:
  """Whether a policy's mean reward is not clearly above the uniform one's."""
  names = ("mean_reward", "standard_error")
  (policy, error), (uniform, other) = (
    [
      math.nan if (v := record[f"{name}_{who}"]) is None else v
      for name in names
    ]
    for who in ("policy", "uniform")
  )
  return not policy - uniform > 2 * math.hypot(error, other)


def describe_candidates(
  rows: Sequence[Mapping[str, Any]], task: tasks.Task, most: int = 5
) -> list[str]:
  """The best different candidates of a search, in lines for people.

  Args:
    rows: the objects of `arcs.jsonl`.
    task: the search's task.
    most: how many are told of.
  """
  same: dict[str, list[Mapping[str, Any]]] = {}
  for row in derive.in_order(rows):
    same.setdefault(str(row["arc"]["tokens"]), []).append(row)
  lines = [f"{len(same)} different candidates of {len(rows)}; the best:"]
  for tokens, equal in list(same.items())[:most]:
    first = equal[0]
    worth = f"reward {_number(first['reward'])}"
    if (metric := first.get(task.metric)) is not None:
      worth = f"{task.metric} {task.format_metric(metric)}"
    times = f", {len(equal)} times" if len(equal) > 1 else ""
    lines.append(f"  {worth}{times}: {tokens}")
  return lines


def _metric(task: tasks.Task, value: float | None) -> str:
  return "none" if value is None else task.format_metric(value)


def _number(value: float | None) -> str:
  """Four places; a file has null where no architecture earned a number."""
  return "none" if value is None or math.isnan(value) else f"{value:.4f}"
