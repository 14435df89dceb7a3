"""The epoch loop of a search, for every task and space (Section 2.2)."""

import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from enas_jax import checkpoint, derive, evaluate, metrics, phases, policies
from enas_jax import config as config_lib
from enas_jax import controller as controller_lib
from enas_jax.spaces import records


class Interrupted(Exception):
  """A signal ended the run; its checkpoint is saved.

  Attributes:
    signum: the signal's number.
  """

  def __init__(self, signum: int) -> None:
    super().__init__(f"stopped by signal {signum}")
    self.signum = signum


class Diverged(Exception):
  """The loss or the reward is no longer a finite number."""


class Progress:
  """Where a run tells how far it is; this one tells nothing."""

  def start(self, phase: str, epoch: int, done: int, total: int) -> None:
    """A phase of `total` steps goes on after its first `done`."""

  def advance(self) -> None:
    """One more step is done."""

  def finish(self, summary: str) -> None:
    """The phase is over."""

  def line(self, text: str) -> None:
    """Something worth a line."""


class Splits(NamedTuple):
  """Training, validation and test data as `task.prepare` returns them."""

  train: Any
  valid: Any
  test: Any


class Result(NamedTuple):
  """What a finished search hands back.

  Attributes:
    arc: the best candidate, of Python ints.
    record: JSON-ready, as written to `result.json`.
  """

  arc: Any
  record: dict[str, Any]


class Search:
  """One search in one folder.

  Attributes:
    state: the search's state; the whole truth of it.
  """

  def __init__(
    self,
    config: config_lib.SearchConfig,
    task: Any,
    data: Splits,
    workdir: pathlib.Path,
    progress: Progress | None = None,
    stop: Callable[[], int] = lambda: 0,
  ) -> None:
    """Sets the search up, from the newest checkpoint if there is one.

    Args:
      config: of the search.
      task: of `phases.Task`, with the methods that evaluation needs.
      data: the three splits.
      workdir: the run's folder, which exists.
      progress: is told how far the run is.
      stop: returns the number of a signal that asks the run to end, or 0.
    """
    self.config, self._task, self._data = config, task, data
    self._workdir, self._stop = workdir, stop
    self._progress = progress or Progress()
    controller = controller_lib.Controller(task.space, config.controller)
    self._policy = policies.make_policy(config, controller)
    self._omega_steps = task.steps_per_epoch(data.train)
    # Under the uniform policy theta stays as it is.
    self._theta_steps = config.theta.steps if self._policy.learns else 0
    self.omega_step = phases.make_omega_step(
      config, task, self._policy, self._omega_steps
    )
    self.theta_step = phases.make_theta_step(config, task, controller)
    self._propose = evaluate.make_propose(self._policy)
    self._propose_uniform = evaluate.make_propose(
      policies.UniformPolicy(task.space)
    )
    self._score = evaluate.make_score(task)
    self._evaluate = evaluate.make_evaluate(task)
    self._checkpoints = checkpoint.Checkpoints(workdir / "checkpoints")
    self.state, self._window, self._seconds = self._begin(controller)

  def _begin(self, controller: controller_lib.Controller) -> Any:
    fresh = phases.init_state(
      self.config, self._task, controller, self._omega_steps
    )
    found = self._checkpoints.restore(fresh)
    if found is None:
      return fresh, [], 0.0
    state, pending = found
    self._progress.line(
      f"resuming after {int(state.epoch)} epochs and"
      f" {int(state.omega_step) + int(state.theta_step)} steps of the next"
    )
    return state, pending["window"], pending["seconds"]

  @property
  def finished(self) -> bool:
    """Whether every epoch is done and the architecture derived."""
    done = int(self.state.epoch) >= self.config.run.num_epochs
    return done and (self._workdir / "result.json").exists()

  def load_result(self) -> Result:
    """What a finished run wrote to `result.json`."""
    record = json.loads((self._workdir / "result.json").read_text())
    return Result(self._task.space.from_dict(record["arc"]), record)

  def run(self) -> Result:
    """Runs what is left of the search and derives an architecture.

    Raises:
      Interrupted: after a signal, once the checkpoint is saved.
      Diverged: if a loss or a reward is not finite.
    """
    writer = metrics.MetricWriter(self._workdir, self._position())
    try:
      self._clock = time.monotonic()
      while int(self.state.epoch) < self.config.run.num_epochs:
        self._run_phase(writer, "omega", self.omega_step, self._omega_steps)
        self._run_phase(writer, "theta", self.theta_step, self._theta_steps)
        self._end_epoch(writer)
      return self._derive()
    finally:
      writer.close()

  def _position(self) -> int:
    """Steps of both phases done in all."""
    state = self.state
    theta = int(state.epoch) * self._theta_steps + int(state.theta_step)
    return int(state.total_steps) + theta

  def _run_phase(
    self,
    writer: metrics.MetricWriter,
    phase: str,
    step: phases.OmegaStep,
    total: int,
  ) -> None:
    """Runs the phase's steps that this epoch still lacks."""
    data = self._data.train if phase == "omega" else self._data.valid
    done = int(getattr(self.state, f"{phase}_step"))
    if done >= total:
      return
    self._progress.start(phase, int(self.state.epoch) + 1, done, total)
    before, since = time.monotonic(), done
    row: dict[str, Any] = {}
    for index in range(done, total):
      self.state, found = step(self.state, data)
      if len(self._window) > 1:
        # Two steps in flight keep the device busy; more would only delay the
        # answer to a signal.
        jax.block_until_ready(self._window[-1])
      self._window.append(found)
      self._progress.advance()
      if index == done:
        # The first step may compile; its time is no step's time.
        jax.block_until_ready(found)
        before, since = time.monotonic(), done + 1
      if (index + 1) % self.config.run.log_every == 0 or index + 1 == total:
        row = self._row(phase)
        now = time.monotonic()
        if index + 1 > since:
          row["sec_per_step"] = (now - before) / (index + 1 - since)
        before, since = now, index + 1
        writer.write(row)
        self._check_finite(row, phase)
      self._serve_signal()
    self._progress.finish(_summary(phase, row))

  def _row(self, phase: str) -> dict[str, Any]:
    """Means over the steps since the last row; empties the window."""
    window = jax.device_get(self._window)
    self._window = []
    row: dict[str, Any] = {
      "phase": phase,
      "epoch": int(self.state.epoch) + 1,
      "step": int(self.state.total_steps),
      "theta_step": self._position() - int(self.state.total_steps),
    }
    for name in window[0]:
      key = f"{phase}/loss_nats" if name == "nats" else f"{phase}/{name}"
      row[key] = sum(float(w[name]) for w in window) / len(window)
    return row

  def _check_finite(self, row: dict[str, Any], phase: str) -> None:
    for name, value in row.items():
      if isinstance(value, float) and not math.isfinite(value):
        advice = "lower --omega_learning_rate or --omega_clip_norm"
        raise Diverged(
          f"{name} is {value} in epoch {row['epoch']} ({phase} phase); the last"
          f" checkpoint is kept; {advice}."
        )

  def _serve_signal(self) -> None:
    signum = self._stop()
    if signum:
      self._save()
      raise Interrupted(signum)

  def _save(self) -> None:
    now = time.monotonic()
    self._seconds += now - self._clock
    self._clock = now
    window = [
      {k: float(v) for k, v in step.items()}
      for step in jax.device_get(self._window)
    ]
    pending = {"window": window, "seconds": self._seconds}
    self._checkpoints.save(self._position(), self.state, pending)

  def _end_epoch(self, writer: metrics.MetricWriter) -> None:
    row = self._evaluate_epoch()
    writer.write(row)
    shown = [
      f"{k.removeprefix('valid/')} {v:.4g}"
      for k, v in row.items()
      if k.startswith("valid/")
    ]
    self._progress.line(f"epoch {row['epoch']}: validation " + ", ".join(shown))
    self.state = phases.next_epoch(self.state, self._task)
    self._save()

  def _evaluate_epoch(self) -> dict[str, Any]:
    """How the policy's samples do, and uniform ones under the same omega."""
    key = phases.step_key(self.state, phases.EVAL_KEYS, self.state.epoch)
    key_policy, key_uniform, key_batch = jax.random.split(key, 3)
    count, task = self.config.run.eval_arcs, self._task
    state, valid = self.state, self._data.valid
    arcs = self._propose(state.theta, key_policy, count)
    uniform = self._propose_uniform(state.theta, key_uniform, count)
    whole = [
      self._evaluate(state, evaluate.nth(arcs, i), valid) for i in range(count)
    ]
    policy_mean, _ = derive.mean_and_error(
      self._score(state, arcs, valid, key_batch)
    )
    uniform_mean, _ = derive.mean_and_error(
      self._score(state, uniform, valid, key_batch)
    )
    return {
      "phase": "epoch",
      "epoch": int(self.state.epoch) + 1,
      "step": int(self.state.total_steps),
      "theta_step": self._position() - int(self.state.total_steps),
      f"valid/{task.metric}": derive.mean_and_error(whole)[0],
      "valid/reward_policy": policy_mean,
      "valid/reward_uniform": uniform_mean,
    }

  def _derive(self) -> Result:
    """Section 2.2: keep the best of K samples; writes the run's results."""
    state, task = self.state, self._task
    key = phases.step_key(state, phases.DERIVE_KEYS, state.epoch)
    count = self.config.run.derive_arcs
    self._progress.line(f"deriving: scoring {count} sampled architectures")
    key_policy, key_uniform, key_batch = jax.random.split(key, 3)
    found = derive.derive(
      self._propose,
      self._propose_uniform,
      task.space.validate,
      self._score,
      state,
      self._data.valid,
      (key_policy, key_uniform, key_batch),
      count,
    )
    best = found.candidates[0]
    rewards = [c.reward for c in found.candidates]
    mean, error = derive.mean_and_error(rewards)
    uniform_mean, uniform_error = derive.mean_and_error(found.uniform_rewards)
    self._seconds += time.monotonic() - self._clock
    record = {
      "arc": task.space.to_dict(best.arc),
      "reward": best.reward,
      "policy": self.config.run.policy,
      "candidates": count,
      "mean_reward_policy": mean,
      "standard_error_policy": error,
      "mean_reward_uniform": uniform_mean,
      "standard_error_uniform": uniform_error,
      f"valid_{task.metric}": self._evaluate(state, best.arc, self._data.valid),
      f"test_{task.metric}": self._evaluate(state, best.arc, self._data.test),
      "epochs": int(state.epoch),
      "omega_steps": int(state.total_steps),
      "theta_steps": self._position() - int(state.total_steps),
      "search_seconds": self._seconds,
      "seed": self.config.run.seed,
    }
    self._write(found, record)
    return Result(best.arc, record)

  def _write(self, found: derive.Derived, record: dict[str, Any]) -> None:
    task = self._task
    rows = [
      json.dumps(
        {
          "rank": rank,
          "reward": candidate.reward,
          task.metric: task.reward_to_metric(candidate.reward),
          "arc": task.space.to_dict(candidate.arc),
        }
      )
      for rank, candidate in enumerate(found.candidates, start=1)
    ]
    files = {
      "arcs.jsonl": "\n".join(rows) + "\n",
      "arc.json": records.dumps(record["arc"]),
      "result.json": json.dumps(record, indent=2) + "\n",
    }
    for name, text in files.items():
      metrics.write_whole(self._workdir / name, text)


def _summary(phase: str, row: dict[str, Any]) -> str:
  """The last row of a phase in a few words."""
  names = {
    "omega": ("omega/loss_nats", "omega/grad_norm", "omega/learning_rate"),
    "theta": ("theta/reward", "theta/baseline", "theta/entropy_nats"),
  }[phase]
  shown = [f"{n.split('/')[1]} {row[n]:.4g}" for n in names if n in row]
  if "sec_per_step" in row:
    shown.append(f"{row['sec_per_step']:.3g} s/step")
  return ", ".join(shown)
