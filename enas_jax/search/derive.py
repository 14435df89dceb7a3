"""The end of a search: score candidates, train the best alone, keep one.

Section 2.2 samples architectures from the trained policy, scores each with the
shared weights on one validation minibatch, and keeps the best. Scores that
train nothing may have a say in the order (`search.zero_cost`), and
`search.tune` trains the first few alone before one is kept.
"""

import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import fields
from enas_jax.search import costs as costs_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import (
  evaluate,
  folder,
  loop,
  tune,
  tuned_file,
  zero_cost,
)
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions, records
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry, uniform
from enas_jax.tasks import base as tasks

REWARD = "reward"  # of `run.derive_scores`, the one of the shared weights


class Candidate(NamedTuple):
  """An architecture and its reward on the minibatch of the derive step.

  Attributes:
    arc: the architecture, of Python ints.
    reward: larger is better.
    cost: what it costs, if the run counts that.
    score: the reward at that cost, or the sum of the ranks by
      `run.derive_scores`, larger is better; None if the reward alone orders the
      candidates.
  """

  arc: types.Arc
  reward: float
  cost: float | None = None
  score: float | None = None

  @property
  def worth(self) -> float:
    """What orders it among the others, larger is better."""
    return self.reward if self.score is None else self.score


class Ranked(NamedTuple):
  """What the shared weights say of candidates.

  Attributes:
    candidates: K samples of the strategy, what it adds to them, and perhaps
      uniform architectures, best first.
    policy_rewards: [K], of the samples alone, best first.
    uniform_rewards: [K], of uniform architectures under the same weights and on
      the same minibatch: what chance alone earns.
  """

  candidates: list[Candidate]
  policy_rewards: list[float]
  uniform_rewards: list[float]


class Result(NamedTuple):
  """What a finished search hands back.

  Attributes:
    arc: the best candidate, of Python ints.
    record: JSON-ready, as written to `result.json`.
  """

  arc: types.Arc
  record: dict[str, Any]


def check(
  config: config_lib.SearchConfig, task: tasks.Task, data: tasks.Splits
) -> tune.Alone:
  """Refuses a derive step that cannot be made, before the time of a search.

  Returns:
    What candidates are trained alone with, as `tune.changed` has it.

  Raises:
    InputError: if candidates cannot be scored or trained as the configuration
      says.
  """
  definition = spaces.of_options(config.child)
  known = (REWARD, *zero_cost.SCORES)
  for name in config.run.derive_scores:
    fields.check_one_of("derive_scores", name, known)
    zero_cost.check(name, definition)
  costs_lib.check(config, task)
  return tune.changed(config, task, data.train, data.valid)


class Derivation:
  """The derive step of one search in one folder.

  Attributes:
    propose: (strategy's state, key, S) -> arcs, leaves [S, ...].
    propose_uniform: the same without a state, ().
    score: see `evaluate.make_score`.
    evaluate: see `evaluate.make_evaluate`.
    costs: what rewards are traded off against, or None.
  """

  def __init__(
    self,
    config: config_lib.SearchConfig,
    task: tasks.Task,
    data: tasks.Splits,
    workdir: pathlib.Path,
    progress: loop.Progress,
    clock: loop.Clock,
    devices: devices_lib.Devices = devices_lib.ONE,
    serve_signal: Callable[[], None] = lambda: None,
    costs: costs_lib.Costs | None = None,
  ) -> None:
    """Compiles nothing yet.

    Args:
      config: the search's configuration.
      task: the task that was learnt.
      data: the three splits.
      workdir: the folder to write to, which exists.
      progress: the place where lines go.
      clock: the clock that counts the search's seconds.
      devices: the devices that share the work; the data are whole on each.
      serve_signal: a function called between scores, parts of evaluations and
        steps of training; may raise.
      costs: what rewards are traded off against, if at all.

    Raises:
      InputError: if candidates cannot be trained as the configuration says. At
        once: that must not cost the time of a search.
    """
    self._config, self._task, self._data = config, task, data
    self._workdir, self._progress, self._clock = workdir, progress, clock
    self._devices, self._serve_signal = devices, serve_signal
    self._strategy = registry.create(config, task.space)
    self._alone = check(config, task, data)
    self._definition = spaces.of_options(config.child)
    self.propose = evaluate.make_propose(self._strategy)
    self.propose_uniform = evaluate.make_propose(uniform.Uniform(task.space))
    self.score = evaluate.make_score(task, devices, serve_signal)
    self.evaluate = evaluate.make_evaluate(task, serve_signal)
    self.costs = costs
    self._each_cost = evaluate.make_each(costs.of) if costs else None

  def costs_of(self, arcs: types.Arc) -> list[float]:
    """The costs of architectures, leaves [S, ...]; asked only if they count."""
    assert self._each_cost is not None
    return np.asarray(self._each_cost(arcs), np.float64).tolist()

  def run(self, state: state_lib.SearchState) -> Result:
    """Keeps the best candidate, and writes what was found.

    Args:
      state: the search's state, at its end.
    """
    run, task, data = self._config.run, self._task, self._data
    self._progress.line(
      f"deriving: scoring {run.derive_arcs} sampled architectures"
    )
    ranked = self.rank(state)
    tuned = self._tune(state, ranked)
    # Of the last round first; those that overflowed have learnt nothing.
    sound = [one for one in tuned if math.isfinite(one.nats)]
    # Ranks count from 1.
    best = ranked.candidates[sound[0].rank - 1 if sound else 0]
    if not sound and not math.isfinite(best.reward):
      raise loop.Diverged("no candidate has a reward that is a finite number.")
    if tuned and not sound:
      self._progress.line(
        f"all {len(tuned)} candidates trained alone overflowed: the first by"
        " shared weights is kept; a smaller --tune_rate may help"
      )
    mean, error = mean_and_error(ranked.policy_rewards)
    uniform_mean, uniform_error = mean_and_error(ranked.uniform_rewards)
    # What follows measures the result, and is no part of the search.
    self._clock.stop()
    record = {
      "arc": task.space.to_dict(best.arc),
      "reward": best.reward,
      "policy": run.policy,
      "candidates": len(ranked.candidates),
      "mean_reward_policy": mean,
      "standard_error_policy": error,
      "mean_reward_uniform": uniform_mean,
      "standard_error_uniform": uniform_error,
      f"valid_{task.metric}": self.evaluate(state, best.arc, data.valid),
      f"test_{task.metric}": self.evaluate(state, best.arc, data.test),
      "epochs": int(state.epoch),
      "omega_steps": int(state.total_steps),
      "theta_steps": state_lib.theta_steps(self._config, state),
      "search_seconds": self._clock.seconds,
      "seed": run.seed,
      **task.scoring(),
      "data": self._definition.network.setting(task.data_shape),
    }
    if self.costs is not None:
      record |= {
        "cost": self.costs.column,
        "cost_target": self.costs.target,
        "cost_error": self.costs.error,
        self.costs.column: best.cost,
      }
    if tuned:
      record |= {
        "tuned": len(tuned),
        "rank_before_tuning": sound[0].rank if sound else 1,
        f"tuned_valid_{task.metric}": sound[0].valid if sound else math.nan,
      }
    self._write(ranked, tuned, record)
    return Result(best.arc, record)

  def rank(self, state: state_lib.SearchState) -> Ranked:
    """Samples K architectures, scores them and puts them in order.

    Args:
      state: the search's state, at its end.
    """
    run, valid = self._config.run, self._data.valid
    key = state_lib.step_key(state, state_lib.DERIVE_KEYS, state.epoch)
    key_policy, key_uniform, key_batch = jax.random.split(key, 3)
    arcs = self.propose(state.strategy, key_policy, run.derive_arcs)
    added = self._strategy.finish(state.strategy)
    if added is not None:
      # Behind the samples, whose rewards are then the first `derive_arcs`.
      arcs = jax.tree.map(lambda *both: jnp.concatenate(both), arcs, added)
    # Judged on the samples' minibatch, so that means can be compared.
    chance = self.propose_uniform((), key_uniform, run.derive_arcs)
    rewards, uniform_rewards = (
      self.score(state, some, valid, key_batch, num_batches=run.derive_batches)
      for some in (arcs, chance)
    )
    validate = self._task.space.validate
    pools = [(arcs, rewards)]
    if run.derive_uniform:
      pools.append((chance, uniform_rewards))
    candidates = []
    for some, earned in pools:
      known = self.costs_of(some) if self.costs else [None] * len(earned)
      candidates += [
        self._candidate(validate(decisions.nth(some, index)), reward, cost)
        for index, (reward, cost) in enumerate(zip(earned, known, strict=True))
      ]
    if run.derive_scores:
      candidates = self._scored(state, candidates)
    # The sort is stable, so ties keep the order of sampling. What overflowed is
    # last, whatever scores say that never saw its rewards.
    candidates.sort(
      key=lambda one: (not math.isfinite(one.reward), _worth(one.worth))
    )
    policy_rewards = sorted(rewards[: run.derive_arcs], key=_worth)
    return Ranked(candidates, policy_rewards, uniform_rewards)

  def _candidate(
    self, arc: types.Arc, reward: float, cost: float | None
  ) -> Candidate:
    """With the reward at its cost, if costs count."""
    if self.costs is None or cost is None:
      return Candidate(arc, reward)
    score = reward * math.exp(-self.costs.handicap(cost))
    return Candidate(arc, reward, cost, score)

  def _scored(
    self, state: state_lib.SearchState, candidates: Sequence[Candidate]
  ) -> list[Candidate]:
    """The candidates with the sum of their ranks among different ones.

    Raises:
      Diverged: if no reward is a finite number.
    """
    config, run = self._config, self._config.run
    # Equal architectures have met the same minibatch, and share their reward.
    rewards = {one.arc: one.worth for one in candidates}
    if not any(map(math.isfinite, rewards.values())):
      raise loop.Diverged("no candidate has a reward that is a finite number.")
    names = ", ".join(run.derive_scores)
    self._progress.line(f"ordering {len(rewards)} candidates by {names}")
    key = state_lib.step_key(state, state_lib.SCORE_KEYS, state.epoch)
    subject = zero_cost.Subject.of(
      *(config, self._task, self._data.train),
      list(jax.random.split(key, run.derive_draws)),
    )
    columns = []
    for name in run.derive_scores:
      if name == REWARD:
        earned = np.asarray(list(rewards.values()), np.float64)
        columns.append(zero_cost.finite(earned))
        continue
      columns.append(
        zero_cost.score_architectures(
          name, subject, list(rewards), self._serve_signal
        )
      )
    total = zero_cost.rank_sum(columns)
    scores = dict(zip(rewards, map(float, total), strict=True))
    return [one._replace(score=scores[one.arc]) for one in candidates]

  def _tune(
    self, state: state_lib.SearchState, ranked: Ranked
  ) -> list[tune.Tuned]:
    """Trains the best candidates alone, if the run asks for it."""
    if not self._config.run.tune_arcs:
      return []
    path, space = self._workdir / folder.TUNED, self._task.space
    position = self._position(state)
    spent, done = tuned_file.read(path, space, position)
    # The checkpoint is of the last epoch's end: it knows of no time since.
    self._clock.seconds = max(self._clock.seconds, spent)

    def tell(one: tune.Tuned) -> None:
      done[one.arc, one.steps] = (one.nats, one.valid)
      self._clock.stop()
      seconds = self._clock.seconds
      tuned_file.write(path, space, position, seconds, done)
      halving = self._config.run.tune_halvings
      count = f" for {one.steps} steps" if halving else ""
      self._progress.line(
        f"candidate {one.rank} trained alone{count}: {one.nats:.4f} nats,"
        f" {self._task.metric} {self._task.format_metric(one.valid)}"
      )

    arcs = [candidate.arc for candidate in ranked.candidates]
    handicaps = self._handicaps(ranked)
    live = functools.partial(self._definition.live, self._config.child)
    return tune.tune_best(
      self._alone,
      state,
      arcs,
      live,
      self._serve_signal,
      tell,
      # A copy, as `tell` adds to `done` meanwhile.
      dict(done),
      self._devices,
      handicaps,
    )

  def _handicaps(self, ranked: Ranked) -> dict[types.Arc, float]:
    """What their costs add to candidates' cross-entropies; {} without costs."""
    if self.costs is None:
      return {}
    return {
      one.arc: self.costs.handicap(one.cost)
      for one in ranked.candidates
      if one.cost is not None
    }

  def _position(self, state: state_lib.SearchState) -> list[int]:
    """Steps of both phases: another state of the search has other ones."""
    theta = state_lib.theta_steps(self._config, state)
    return [int(state.total_steps), theta]

  def _write(
    self, ranked: Ranked, tuned: list[tune.Tuned], record: dict[str, Any]
  ) -> None:
    task, by_rank = self._task, {one.rank: one for one in tuned}
    handicaps = self._handicaps(ranked)
    rows = []
    for rank, candidate in enumerate(ranked.candidates, start=1):
      row: dict[str, Any] = {"rank": rank, "reward": candidate.reward}
      if self.costs is not None:
        row[self.costs.column] = candidate.cost
      if candidate.score is not None:
        row["score"] = candidate.score
      metric = task.reward_to_metric(candidate.reward)
      if metric is not None:
        row[task.metric] = metric
      if rank in by_rank:
        row["tuned_nats"] = by_rank[rank].nats
        row[f"tuned_{task.metric}"] = by_rank[rank].valid
        if candidate.arc in handicaps:
          nats = by_rank[rank].nats + handicaps[candidate.arc]
          row["tuned_nats_at_cost"] = nats
        if self._config.run.tune_halvings:
          row["tuned_steps"] = by_rank[rank].steps
      rows.append(row | {"arc": task.space.to_dict(candidate.arc)})
    folder.write_rows(self._workdir / folder.CANDIDATES, rows)
    rewards = {
      "policy": ranked.policy_rewards,
      "uniform": ranked.uniform_rewards,
    }
    folder.write_json(self._workdir / folder.REWARDS, rewards)
    folder.write(self._workdir / folder.ARC, records.dumps(record["arc"]))
    # After all else: a run that has it is finished.
    folder.write_json(self._workdir / folder.RESULT, record)
    folder.remove(self._workdir / folder.TUNED)


def _worth(reward: float) -> float:
  """The order of rewards, best first; NaN never wins."""
  return -reward if math.isfinite(reward) else math.inf


def in_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """Candidates of `arcs.jsonl`, in the order in which a search would keep them.

  Those that were trained alone come first, those for the most steps before the
  others, by how good they became: the first is the one that the search kept.
  The rest follow by reward.
  """

  def place(row: Mapping[str, Any]) -> tuple[bool, int, float]:
    nats = row.get("tuned_nats_at_cost", row.get("tuned_nats"))
    # Whoever edits the file may write null.
    worth = row.get("rank") or 0 if nats is None else nats
    return nats is None, -(row.get("tuned_steps") or 0), worth

  return sorted(rows, key=place)


def mean_and_error(values: list[float]) -> tuple[float, float]:
  """Mean and standard error of the mean, of those values that are finite.

  Both are NaN if none is.
  """
  array = np.asarray([v for v in values if math.isfinite(v)], np.float64)
  if not len(array):
    return math.nan, math.nan
  error = array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else 0.0
  return float(array.mean()), float(error)
