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
from typing import Any, NamedTuple, TypeVar

import chex
import jax
import numpy as np
import numpy.typing as npt
from scipy import stats

from enas_jax import types
from enas_jax.search import evaluate
from enas_jax.search import state as states
from enas_jax.spaces import decisions
from enas_jax.tasks import base as tasks

_Split = TypeVar("_Split")
# What shared weights may be asked of an architecture; larger is better.
SCORES = ("metric", "nll")


class Estimate(NamedTuple):
  """A statistic with its bootstrap interval; NaN where it is not defined.

  Attributes:
    value: the statistic of the architectures as they are.
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
    num_arcs: S, the number of architectures.
    num_top: number of them that are the truly best.
    ndcg: normalised discounted cumulative gain of the order by score
      (Jarvelin & Kekalainen, 2002), in [0, 1]: the gain of an architecture is
      its truth, from 0 for the worst to 1 for the best. NaN if all are equal.
    regret: the best truth of all minus the best truth among the k with the
      highest scores, by k; in the truth's unit.
    precision: the share of the k with the highest scores that are among the k
      that are truly best, by k.
  """

  kendall_tau: Estimate
  spearman: Estimate
  kendall_tau_top: Estimate
  spearman_top: Estimate
  num_arcs: int
  num_top: int
  ndcg: float
  regret: dict[int, float]
  precision: dict[int, float]

  def to_dict(self) -> dict[str, Any]:
    """All attributes, JSON-ready; what is not defined is None."""
    record: dict[str, Any] = {
      "num_arcs": self.num_arcs,
      "num_top": self.num_top,
      "ndcg": _json(self.ndcg),
      "regret": {str(k): value for k, value in self.regret.items()},
      "precision": {str(k): value for k, value in self.precision.items()},
    }
    for name in _STATISTICS:
      value, low, high = map(_json, getattr(self, name))
      record[name] = value
      record[f"{name}_interval"] = [low, high]
    return record


_STATISTICS = ("kendall_tau", "spearman", "kendall_tau_top", "spearman_top")


def score_architectures(
  task: tasks.Task,
  state: states.SearchState,
  arcs: types.Arc,
  split: chex.ArrayTree,
  *,
  score: str = "metric",
  advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
  """Scores many architectures under the same shared weights.

  One compiled program serves all of them, one after the other: `vmap` over
  arcs would compute every branch of every one.

  Args:
    task: the search's task.
    state: the search's state; omega and the carry are read.
    arcs: architectures, leaves [S, ...] int32.
    split: data as `task.splits` returns them; `take` gives a part.
    score: "metric", accuracy or minus perplexity, or "nll", minus the mean
      cross-entropy in nats.
    advance: function to call after each architecture.

  Returns:
    [S] float64; larger is better. NaN where the network overflowed.

  Raises:
    InputError: if `score` is unknown.
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
  # On the host: slicing a device array would compile a program per leaf.
  arcs = jax.device_get(arcs)
  scores = []
  for index in range(len(jax.tree.leaves(arcs)[0])):
    scores.append(sign * measure(state, decisions.nth(arcs, index), split))
    advance()
  return np.asarray(scores, np.float64)


def take(split: _Split, count: int) -> _Split:
  """The first part of a split.

  Args:
    split: pytree of arrays: images and labels [n, ...], or streams [steps, B].
    count: number of images, or of time steps of every stream.
  """
  return jax.tree.map(lambda leaf: leaf[:count], split)


def rank_correlation(
  scores: npt.ArrayLike,
  truth: npt.ArrayLike,
  *,
  top: float = 0.1,
  num_top: int = 0,
  bootstrap: int = 1000,
  confidence: float = 0.95,
  regret_at: Sequence[int] = (1, 10),
  seed: int = 0,
) -> Ranking:
  """Compares the order of scores with that of the truth.

  Intervals are percentiles over resampled architectures. A resample holds some
  architectures twice; they count as tied, which tau-b allows for.

  Args:
    scores: [S] numbers, larger is better.
    truth: [S] numbers, larger is better.
    top: share of architectures, by truth, that are the truly best; of equal
      ones those that come first.
    num_top: number of architectures that are the truly best, if not 0.
    bootstrap: number of resamples; 0 leaves the intervals NaN.
    confidence: share of the resamples that an interval holds, in (0, 1).
    regret_at: the k of `Ranking.regret` and `Ranking.precision`, those above S
      left out.
    seed: seed of the resampling.

  Raises:
    InputError: if there are not at least two pairs of finite numbers.
  """
  pair = _checked(scores, truth)
  num_arcs = pair.shape[1]
  count = min(num_top, num_arcs) or _num_top(num_arcs, top)
  values = _statistics(pair, count)
  rng = np.random.default_rng(seed)
  # Without resamples a row of NaN stays, which makes the intervals NaN.
  resampled = np.full((max(bootstrap, 1), len(_STATISTICS)), np.nan)
  for row in range(bootstrap):
    # Pairs are drawn, not scores and truths apart: their tie is the question.
    chosen = rng.integers(num_arcs, size=num_arcs)
    resampled[row] = _statistics(pair[:, chosen], count)
  tail = (1.0 - confidence) / 2.0
  estimates: dict[str, Any] = {
    name: Estimate(value, *interval(column, tail))
    for name, value, column in zip(
      _STATISTICS, values, resampled.T, strict=True
    )
  }
  # Stable, as below: of equal scores the first counts, whatever the platform.
  by_score, by_truth = (np.argsort(-row, kind="stable") for row in pair)
  ks = [k for k in regret_at if k <= num_arcs]
  return Ranking(
    **estimates,
    num_arcs=num_arcs,
    num_top=count,
    ndcg=_ndcg(pair[1], by_score),
    regret={k: float(pair[1].max() - pair[1][by_score[:k]].max()) for k in ks},
    precision={
      k: len(np.intersect1d(by_score[:k], by_truth[:k])) / k for k in ks
    },
  )


def _ndcg(truth: np.ndarray, order: np.ndarray) -> float:
  """Of the truth [S] in an order [S], the first counting most."""
  spread = np.ptp(truth)
  if not spread:
    return math.nan
  gains = (truth - truth.min()) / spread
  discounts = 1.0 / np.log2(np.arange(len(truth)) + 2.0)  # log2(place + 1)
  return float(gains[order] @ discounts / (np.sort(gains)[::-1] @ discounts))


def op_preferences(
  records: Sequence[Mapping[str, Any]],
  scores: npt.ArrayLike,
  truth: npt.ArrayLike,
) -> dict[str, dict[str, float]]:
  """Which operations the scores and the truth favour.

  Args:
    records: S architectures, as `to_dict` of their space gives them.
    scores: [S] numbers, larger is better.
    truth: [S] numbers, larger is better.

  Returns:
    Spearman's rho between how often an architecture has an operation and its
    "score" and "truth", by each operation that occurs; NaN where one of the
    two does not vary.

  Raises:
    InputError: if there are not at least two pairs of finite numbers.
  """
  pair = _checked(scores, truth)
  counts = [collections.Counter(_op_names(record)) for record in records]
  favoured = {}
  for name in sorted(set().union(*counts)):
    count = np.asarray([ops[name] for ops in counts], np.float64)
    rho = [_spearman(count, values) for values in pair]
    favoured[name] = dict(zip(("score", "truth"), rho, strict=True))
  return favoured


def _op_names(record: object) -> Iterator[str]:
  """The operations of an architecture, in however many cells and rows."""
  if isinstance(record, Mapping):
    for name, value in record.items():
      if name == "ops":
        yield from np.ravel(value).tolist()
      else:
        yield from _op_names(value)


def _checked(scores: npt.ArrayLike, truth: npt.ArrayLike) -> np.ndarray:
  """Both as one array [2, S] float64."""
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


def _statistics(pair: np.ndarray, count: int) -> list[float]:
  """The values of `_STATISTICS`, for scores and truth [2, S].

  `count` are the truly best.
  """
  # [2, count]; of a resample its own truly best ones.
  best = pair[:, np.argsort(-pair[1], kind="stable")[:count]]
  return [
    correlation(*compared)
    for compared in (pair, best)
    for correlation in (_kendall_tau, _spearman)
  ]


def _num_top(num_arcs: int, top: float) -> int:
  """How many architectures are the truly best, at least one."""
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


def interval(values: np.ndarray, tail: float) -> tuple[float, float]:
  """The quantiles `tail` and 1 - `tail` of what is defined."""
  # A resample in which nothing varies has no correlation.
  values = values[np.isfinite(values)]
  if not len(values):
    return math.nan, math.nan
  low, high = np.quantile(values, [tail, 1.0 - tail])
  return float(low), float(high)


def _json(value: float) -> float | None:
  return value if math.isfinite(value) else None
