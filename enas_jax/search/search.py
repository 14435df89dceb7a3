"""The epoch loop of a search, for every task and space (Section 2.2)."""

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import derive, evaluate, loop, metrics, tune
from enas_jax.search import state as states
from enas_jax.search import steps as phases
from enas_jax.spaces import records
from enas_jax.strategies import controller as controller_lib
from enas_jax.strategies import policies

# Candidates that were trained alone, until the run is finished.
_TUNED = "tuned.json"


class Result(NamedTuple):
  """What a finished search hands back.

  Attributes:
    arc: the best candidate, of Python ints.
    record: JSON-ready, as written to `result.json`.
  """

  arc: Any
  record: dict[str, Any]


class Search(loop.Loop):
  """One search in one folder.

  Attributes:
    config: of the search.
    state: of `states.SearchState`.
  """

  def __init__(
    self,
    config: config_lib.SearchConfig,
    task: Any,
    data: loop.Splits,
    workdir: pathlib.Path,
    progress: loop.Progress | None = None,
    stop: Callable[[], int] = lambda: 0,
  ) -> None:
    """Sets the search up, from the newest checkpoint if there is one.

    Args:
      config: of the search.
      task: of `tasks.Task`, with the methods that evaluation needs.
      data: the three splits.
      workdir: the run's folder, which exists.
      progress: is told how far the run is.
      stop: returns the number of a signal that asks the run to end, or 0.
    """
    super().__init__(config.run, task, data, workdir, progress, stop)
    self.config = config
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
    # At once: what cannot be changed must not cost the time of a search.
    self._alone = tune.changed(config, task, data.train, data.valid)
    self._begin(states.init_state(config, task, controller, self._omega_steps))

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
      self._start_clock()
      while int(self.state.epoch) < self.config.run.num_epochs:
        self._run_phase(writer, "omega", self.omega_step, self._omega_steps)
        if int(self.state.epoch) >= self.config.theta.warmup_epochs:
          self._run_phase(writer, "theta", self.theta_step, self._theta_steps)
        self._end_epoch(writer)
      return self.keep_best()
    finally:
      writer.close()

  def _steps_of_epoch(self) -> int:
    return int(self.state.omega_step) + int(self.state.theta_step)

  def _position(self) -> int:
    """Steps of both phases done in all."""
    state = self.state
    epochs = max(int(state.epoch) - self.config.theta.warmup_epochs, 0)
    theta = epochs * self._theta_steps + int(state.theta_step)
    return int(state.total_steps) + theta

  def _end_epoch(self, writer: metrics.MetricWriter) -> None:
    row = self._evaluate_epoch()
    writer.write(row)
    shown = [
      f"{k.removeprefix('valid/')} {v:.4g}"
      for k, v in row.items()
      if k.startswith("valid/")
    ]
    self._progress.line(f"epoch {row['epoch']}: validation " + ", ".join(shown))
    self.state = states.next_epoch(self.state, self._task)
    self._save()

  def _evaluate_epoch(self) -> dict[str, Any]:
    """How the policy's samples do, and uniform ones under the same omega."""
    key = states.step_key(self.state, states.EVAL_KEYS, self.state.epoch)
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

  def keep_best(self) -> Result:
    """Section 2.2: keeps the best of K samples; writes the run's results."""
    state, task = self.state, self._task
    key = states.step_key(state, states.DERIVE_KEYS, state.epoch)
    count = self.config.run.derive_arcs
    self._progress.line(f"deriving: scoring {count} sampled architectures")
    key_policy, key_uniform, key_batch = jax.random.split(key, 3)
    batches = self.config.run.derive_batches
    found = derive.derive(
      self._propose,
      self._propose_uniform,
      task.space.validate,
      functools.partial(self._score, num_batches=batches),
      state,
      self._data.valid,
      (key_policy, key_uniform, key_batch),
      count,
    )
    tuned = self._tune([c.arc for c in found.candidates])
    best = found.candidates[tuned[0].rank - 1 if tuned else 0]
    rewards = [c.reward for c in found.candidates]
    mean, error = derive.mean_and_error(rewards)
    uniform_mean, uniform_error = derive.mean_and_error(found.uniform_rewards)
    self._stop_clock()
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
    if tuned:
      record |= {
        "tuned": len(tuned),
        "rank_before_tuning": tuned[0].rank,
        f"tuned_valid_{task.metric}": tuned[0].valid,
      }
    self._write(found, tuned, record)
    return Result(best.arc, record)

  def _tune(self, arcs: list[Any]) -> list[tune.Tuned]:
    """Trains the best candidates alone, if the run asks for it."""
    if not self.config.run.tune_arcs:
      return []
    path = self._workdir / _TUNED
    spent, done = _read_tuned(path)
    self._seconds = max(self._seconds, spent)

    def tell(each: tune.Tuned) -> None:
      done[each.rank] = (each.nats, each.valid)
      self._stop_clock()
      kept = {"seconds": self._seconds, "done": list(done.items())}
      metrics.write_whole(path, json.dumps(kept))
      self._progress.line(
        f"candidate {each.rank} trained alone: {each.nats:.4f} nats,"
        f" {self._task.metric} {self._task.format_metric(each.valid)}"
      )

    return tune.tune_best(
      *self._alone, self.state, arcs, self._serve_signal, tell, dict(done)
    )

  def _write(
    self,
    found: derive.Derived,
    tuned: list[tune.Tuned],
    record: dict[str, Any],
  ) -> None:
    task, by_rank = self._task, {each.rank: each for each in tuned}
    rows = []
    for rank, candidate in enumerate(found.candidates, start=1):
      row: dict[str, Any] = {"rank": rank, "reward": candidate.reward}
      metric = task.reward_to_metric(candidate.reward)
      if metric is not None:
        row[task.metric] = metric
      if rank in by_rank:
        row["tuned_nats"] = by_rank[rank].nats
        row[f"tuned_{task.metric}"] = by_rank[rank].valid
      rows.append(json.dumps(row | {"arc": task.space.to_dict(candidate.arc)}))
    files = {
      "arcs.jsonl": "\n".join(rows) + "\n",
      "arc.json": records.dumps(record["arc"]),
      "result.json": json.dumps(record, indent=2) + "\n",
    }
    for name, text in files.items():
      metrics.write_whole(self._workdir / name, text)
    (self._workdir / _TUNED).unlink(missing_ok=True)


def _read_tuned(
  path: pathlib.Path,
) -> tuple[float, dict[int, tuple[float, float]]]:
  """Of candidates that were trained before the run was stopped.

  Returns:
    The run's seconds by then; and by rank, nats and metric of each.
  """
  if not path.exists():
    return 0.0, {}
  try:
    kept = json.loads(path.read_text())
    return float(kept["seconds"]), {
      int(rank): (float(nats), float(valid))
      for rank, (nats, valid) in kept["done"]
    }
  except (OSError, ValueError, TypeError, KeyError):
    raise types.InputError(
      f"{path} is damaged: delete it, and the candidates are trained again."
    ) from None
