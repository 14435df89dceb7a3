"""Whether shared weights rank architectures as the truth does.

The truth is a table, or the result of training each architecture alone. A
search keeps the best of what its shared weights rank, so what matters is the
order: Kendall's tau and Spearman's rho, over all architectures and over those
that are truly best, and how far the truth of the first k lies below the best.
Which operations the scores and the truth favour shows where the two part.
"""

import collections
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import stats

from enas_jax import types
from enas_jax.search import evaluate

# By score, how shared weights judge; larger is better in both.
SCORES = ("metric", "nll")


class Estimate(NamedTuple):
  """A statistic with its bootstrap interval; NaN where it is not defined.

  Attributes:
    value: over the architectures as they are.
    low: the interval's lower end.
    high: its upper end.
  """

  value: float
  low: float
  high: float


class Ranking(NamedTuple):
  """How well scores rank architectures.

  Attributes:
    kendall_tau: tau-b, corrected for ties, in [-1, 1].
    spearman: Spearman's rho, in [-1, 1].
    kendall_tau_top: tau-b among the truly best.
    spearman_top: rho among the truly best.
    num_arcs: how many architectures.
    num_top: how many of them are the truly best.
    regret: by k, the best truth of all minus the best truth among the k with
      the highest scores.
  """

  kendall_tau: Estimate
  spearman: Estimate
  kendall_tau_top: Estimate
  spearman_top: Estimate
  num_arcs: int
  num_top: int
  regret: dict[int, float]

  def to_dict(self) -> dict[str, Any]:
    """JSON-ready; what is not defined is None."""
    record: dict[str, Any] = {
      "num_arcs": self.num_arcs,
      "num_top": self.num_top,
      "regret": {str(k): value for k, value in self.regret.items()},
    }
    for name in _STATISTICS:
      found = getattr(self, name)
      record[name] = _json(found.value)
      record[f"{name}_interval"] = [_json(found.low), _json(found.high)]
    return record


_STATISTICS = ("kendall_tau", "spearman", "kendall_tau_top", "spearman_top")


def score_architectures(
  task: Any,
  state: Any,
  arcs: types.Arc,
  split: Any,
  *,
  score: str = "metric",
  advance: Callable[[], Any] = lambda: None,
) -> np.ndarray:
  """Scores many architectures under the same shared weights.

  One compiled program serves all of them, one after the other: `vmap` over
  arcs would compute every branch of every one.

  Args:
    task: of the search, e.g. `image_classifier.ImageClassifier`.
    state: of the search; omega and the carry are read.
    arcs: leaves [S, ...].
    split: as `task.prepare` returns it; see `take` for less than a whole one.
    score: "metric", accuracy or minus perplexity, or "nll", minus the mean
      cross-entropy in nats.
    advance: is called after each architecture.

  Returns:
    [S] float64; larger is better. NaN where the network overflowed.
  """
  if score not in SCORES:
    raise types.InputError(
      f"score must be one of {', '.join(SCORES)}, got {score!r}."
    )
  if score == "nll":
    measure, sign = evaluate.make_nats(task), -1.0
  else:
    measure = evaluate.make_evaluate(task)
    sign = float(task.metric_sign)
  arcs = jax.device_get(arcs)
  found = []
  for index in range(len(jax.tree.leaves(arcs)[0])):
    found.append(sign * measure(state, evaluate.nth(arcs, index), split))
    advance()
  return np.asarray(found, np.float64)


def finite(scores: np.ndarray) -> np.ndarray:
  """The scores, with those of networks that overflowed below all others.

  Raises:
    InputError: if no score is a finite number.
  """
  known = np.isfinite(scores)
  if not known.any():
    raise types.InputError(
      "no score is a finite number: the weights have diverged."
    )
  return np.where(known, scores, scores[known].min() - 1.0)


def take(split: Any, count: int) -> Any:
  """The first `count` images, or time steps of every stream, of a split."""
  return jax.tree.map(lambda leaf: leaf[:count], split)


def rank_correlation(
  scores: Any,
  truth: Any,
  *,
  top: float = 0.1,
  bootstrap: int = 1000,
  confidence: float = 0.95,
  regret_at: Sequence[int] = (1, 10),
  seed: int = 0,
) -> Ranking:
  """Compares the order of scores with that of the truth.

  Intervals are percentiles over resampled architectures. A resample holds some
  architectures twice; they count as tied, which tau-b allows for.

  Args:
    scores: [S], larger is better.
    truth: [S], larger is better.
    top: the share of architectures, by truth, that are the truly best; of equal
      ones those that come first.
    bootstrap: resamples; 0 leaves the intervals NaN.
    confidence: of the intervals.
    regret_at: the k of `Ranking.regret`, those above S left out.
    seed: of the resampling.

  Raises:
    InputError: if there are not at least two pairs of finite numbers.
  """
  pair = _checked(scores, truth)
  num_arcs = pair.shape[1]
  values = _statistics(pair, top)
  rng = np.random.default_rng(seed)
  resampled = np.full((max(bootstrap, 1), len(_STATISTICS)), np.nan)
  for row in range(bootstrap):
    chosen = rng.integers(num_arcs, size=num_arcs)
    resampled[row] = _statistics(pair[:, chosen], top)
  tail = (1.0 - confidence) / 2.0
  estimates: dict[str, Any] = {
    name: Estimate(value, *_interval(column, tail))
    for name, value, column in zip(
      _STATISTICS, values, resampled.T, strict=True
    )
  }
  by_score = np.argsort(-pair[0], kind="stable")
  return Ranking(
    **estimates,
    num_arcs=num_arcs,
    num_top=_num_top(num_arcs, top),
    regret={
      k: float(pair[1].max() - pair[1][by_score[:k]].max())
      for k in regret_at
      if k <= num_arcs
    },
  )


def op_preferences(
  records: Sequence[Mapping[str, Any]], scores: Any, truth: Any
) -> dict[str, dict[str, float]]:
  """Which operations the scores and the truth favour.

  Args:
    records: S architectures, as `to_dict` of their space gives them.
    scores: [S], larger is better.
    truth: [S], larger is better.

  Raises:
    InputError: as `rank_correlation`.

  Returns:
    By operation, of those that occur, Spearman's rho between how often an
    architecture has it and "score" and "truth"; NaN where that does not vary.
  """
  pair = _checked(scores, truth)
  counts = [collections.Counter(_op_names(record)) for record in records]
  found = {}
  for name in sorted(set().union(*counts)):
    count = np.asarray([each[name] for each in counts], np.float64)
    rho = [_spearman(count, values) for values in pair]
    found[name] = dict(zip(("score", "truth"), rho, strict=True))
  return found


def _op_names(record: Any) -> Iterator[str]:
  """The operations of an architecture, in however many cells and rows."""
  if isinstance(record, Mapping):
    for name, value in record.items():
      if name == "ops":
        yield from np.ravel(value).tolist()
      else:
        yield from _op_names(value)


def _checked(scores: Any, truth: Any) -> np.ndarray:
  """Both as one array [2, S]."""
  scores = np.asarray(scores, np.float64)
  truth = np.asarray(truth, np.float64)
  if scores.ndim != 1 or scores.shape != truth.shape:
    raise types.InputError(
      "scores and truth must be two lists of equal length, got shapes"
      f" {scores.shape} and {truth.shape}."
    )
  if len(scores) < 2:
    raise types.InputError(
      f"a ranking needs at least 2 architectures, got {len(scores)}."
    )
  for name, values in (("scores", scores), ("truth", truth)):
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
      raise types.InputError(
        f"{name}[{wrong[0]}] must be a finite number, got {values[wrong[0]]};"
        f" {len(wrong)} of {len(values)} are not: leave those out."
      )
  return np.stack([scores, truth])


def _statistics(pair: np.ndarray, top: float) -> list[float]:
  """Of `_STATISTICS`, for scores and truth [2, S]."""
  count = _num_top(pair.shape[1], top)
  best = pair[:, np.argsort(-pair[1], kind="stable")[:count]]
  return [
    correlation(*each)
    for each in (pair, best)
    for correlation in (_kendall_tau, _spearman)
  ]


def _num_top(num_arcs: int, top: float) -> int:
  # 0.1 of 30 is 3, whatever the float says.
  return min(num_arcs, math.ceil(round(top * num_arcs, 6)))


def _kendall_tau(a: np.ndarray, b: np.ndarray) -> float:
  # scipy would warn of a constant or too short input.
  if not (_varies(a) and _varies(b)):
    return math.nan
  return float(stats.kendalltau(a, b).statistic)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
  if not (_varies(a) and _varies(b)):
    return math.nan
  return float(stats.spearmanr(a, b).statistic)


def _varies(values: np.ndarray) -> bool:
  return len(values) > 1 and bool(np.any(values != values[0]))


def _interval(values: np.ndarray, tail: float) -> tuple[float, float]:
  """The quantiles `tail` and 1 - `tail` of what is defined."""
  values = values[np.isfinite(values)]
  if not len(values):
    return math.nan, math.nan
  low, high = np.quantile(values, [tail, 1.0 - tail])
  return float(low), float(high)


def _json(value: float) -> float | None:
  return value if math.isfinite(value) else None
