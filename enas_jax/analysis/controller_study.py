"""The analysis of Adam & Lorraine (2019), of the controller of any search.

A trained controller stands beside the untrained one that the same search began
with. Where a search without a controller, of the same network and data, is
given too, its shared weights judge the same architectures: they have adapted to
no policy, so that what a policy gains under the search's own weights and not
under these is the weights' adaptation to it, and not better architectures.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from enas_jax import types
from enas_jax.analysis import policy_measures, ranking, similarity
from enas_jax.search import evaluate, runs
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import base as strategies
from enas_jax.strategies import registry, uniform

# The columns of Table 1.
COLUMNS = (
  "common_operations",
  "common_connections",
  "edit_distance",
  "performance_difference",
)
# Enough to tell architectures apart: thousands of them are scored.
_NUM_EXAMPLES = 200
# Table 1 of Adam & Lorraine (2019), by the kind of controller.
PUBLISHED: Mapping[str, tuple[float, ...]] = {
  "untrained": (-0.090, -0.130, -0.064, 0.004),
  "supervised": (-0.404, -0.160, 0.100, 0.163),
  "controller": (-0.315, -0.072, -0.028, -0.001),
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How much is sampled.

  Attributes:
    num_arcs: architectures of each policy, scored under the shared weights.
    num_pairs_of: architectures whose pairs Table 1 compares, and which Figures
      3 and 4 show; the first ones of `num_arcs`.
    num_examples: validation images, or time steps of text, that score one, as
      far as there are so many; 0: 200, or one batch if that is more.
    bootstrap: resamples of the intervals.
    seed: seed of the samples and of the bootstrap.
  """

  num_arcs: int = 1000
  num_pairs_of: int = 100
  num_examples: int = 0
  bootstrap: int = 500
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Controller:
  """A controller, trained or not.

  Attributes:
    kind: the strategy's name, or "untrained".
    choices: [S, C] int, samples.
    probs: [S, C, A] float, see `strategies.base.Inspection`.
    hidden: [S, D, H] float, see there.
    measures: it in numbers.
    table: Table 1: the correlation by the name of the column.
    exact: whether edit distances are exact, or upper bounds.
  """

  kind: str
  choices: np.ndarray
  probs: np.ndarray
  hidden: np.ndarray
  measures: policy_measures.Measures
  table: Mapping[str, ranking.Estimate]
  exact: bool


@dataclasses.dataclass(frozen=True)
class Study:
  """One search under the microscope.

  Attributes:
    name: the name of the run.
    space: the name of the search space.
    policy: the strategy's name.
    seed: the search's seed.
    metric: the name of what `performance` holds.
    trained: the controller at the end of the search.
    untrained: the one that it began with.
    performance: the metric of S architectures on validation data, by who drew
      them, "policy" or "uniform", and by whose weights judged them, "own" or
      "beside"; NaN where a network overflowed.
  """

  name: str
  space: str
  policy: str
  seed: int
  metric: str
  trained: Controller
  untrained: Controller
  performance: Mapping[tuple[str, str], np.ndarray]


def check_beside(run: runs.Run, beside: runs.Run) -> None:
  """Refuses weights that cannot judge the run's architectures.

  Raises:
    InputError: if the two have another network, data or schedule, or the second
      has a strategy that learns.
  """
  if beside.config.strategy.learns:
    raise types.InputError(
      f"{beside.folder} is a search by {beside.config.run.policy}, which adapts"
      " its weights to what it proposes; give one by --policy=random."
    )
  same = {
    "space": (run.space, beside.space),
    "data set": (run.dataset, beside.dataset),
    "network": (run.config.child, beside.config.child),
    "minibatches": (run.config.data, beside.config.data),
    "training of omega": (run.config.omega, beside.config.omega),
  }
  for name, (first, second) in same.items():
    if first != second:
      raise types.InputError(
        f"{beside.folder} has another {name} than {run.folder}; give a search"
        " that differs by --policy=random alone."
      )


def study(
  run: runs.Opened,
  name: str,
  options: Options,
  beside: runs.Opened | None = None,
  advance: Callable[[], object] = lambda: None,
) -> Study:
  """Samples from a search's controller and measures what it does.

  Args:
    run: the search.
    name: its name in tables and figures.
    options: the sizes.
    beside: a search without a controller whose weights judge, too.
    advance: function to call after each architecture that is scored.

  Raises:
    InputError: if the strategy has no controller, or the data are too few.
  """
  config, task = run.config, run.task
  strategy = registry.create(config, task.space)
  kind = config.run.policy
  key = jax.random.key(options.seed)
  key_trained, key_untrained, key_uniform = jax.random.split(key, 3)
  # The search's own start: its seed, split as `init_state` does.
  _, key_theta, _ = jax.random.split(jax.random.key(config.run.seed), 3)
  fresh = state_lib.init_strategy(strategy, key_theta)
  propose, inspect = (
    evaluate.make_propose(strategy),
    evaluate.make_inspect(strategy),
  )
  count = options.num_arcs
  arcs = propose(run.state.strategy, key_trained, count)
  first = propose(fresh, key_untrained, count)
  chance = evaluate.make_propose(uniform.Uniform(task.space))(
    (), key_uniform, count
  )
  seen, seen_fresh = inspect(run.state.strategy, arcs), inspect(fresh, first)
  if seen is None or seen_fresh is None:
    raise types.InputError(
      f"{name} is a search by {kind}, which has no controller to look at; give"
      " it as --beside if it learns nothing."
    )
  scored = {"policy": arcs, "uniform": chance}  # leaves [S, ...]
  judges = {"own": run} | ({"beside": beside} if beside else {})
  scorers = {
    whose: _scorer(judge, options, advance) for whose, judge in judges.items()
  }
  performance = {
    (who, whose): score(some)
    for whose, score in scorers.items()
    for who, some in scored.items()
  }
  pairs = options.num_pairs_of
  few = jax.tree.map(lambda leaf: leaf[:pairs], first)  # leaves [P, ...]
  look = lambda *of: _look(run, options, *of)
  return Study(
    name=name,
    space=run.space,
    policy=kind,
    seed=config.run.seed,
    metric=task.metric,
    trained=look(kind, arcs, seen, performance["policy", "own"]),
    # Only Table 1 asks what the untrained controller's samples are worth.
    untrained=look("untrained", first, seen_fresh, scorers["own"](few)),
    performance=performance,
  )


def _scorer(
  judge: runs.Opened, options: Options, advance: Callable[[], object]
) -> Callable[[types.Arc], np.ndarray]:
  """Builds (arcs, leaves [S, ...]) -> [S] float64, their metric.

  Raises:
    InputError: if so few examples make no batch.
  """
  least = judge.task.least_split()
  count = options.num_examples or max(_NUM_EXAMPLES, least)
  if count < least:
    raise types.InputError(
      f"--num_examples must be at least {least} here, got {count}."
    )
  valid = ranking.take(judge.splits.valid, count)

  def score(arcs: types.Arc) -> np.ndarray:
    scores = ranking.score_architectures(
      judge.task, judge.state, arcs, valid, advance=advance
    )
    return float(judge.task.metric_sign) * scores  # the metric as it is

  return score


def _look(
  run: runs.Opened,
  options: Options,
  kind: str,
  arcs: types.Arc,
  seen: strategies.Inspection,
  performance: np.ndarray,
) -> Controller:
  """A controller in numbers, and its row of Table 1."""
  space = run.task.space
  log_prob, probs, hidden = (np.asarray(part) for part in seen)
  choices = np.asarray(space.to_choices(arcs))  # [S, C]
  count = min(options.num_pairs_of, len(choices))
  alike, linked = similarity.common(space.decisions(), choices[:count])
  draw = spaces.get(run.space).draw
  host = jax.device_get(arcs)
  graphs = [
    similarity.as_networkx(
      draw(run.config.child, space.validate(decisions.nth(host, index)))
    )
    for index in range(count)
  ]
  distances, exact = similarity.edit_distances(graphs)
  worth = performance[:count]  # [P], the metric of each
  measures = {
    "common_operations": alike,
    "edit_distance": distances,
    "performance_difference": np.abs(worth[:, None] - worth[None]),  # [P, P]
  }
  if linked is not None:
    measures["common_connections"] = linked
  return Controller(
    kind=kind,
    choices=choices,
    probs=probs,
    hidden=hidden,
    measures=policy_measures.measure(choices, log_prob, probs, hidden),
    table=similarity.correlations(
      similarity.final_distances(hidden[:count]),
      measures,
      bootstrap=options.bootstrap,
      seed=options.seed,
    ),
    exact=exact,
  )


def table_rows(studies: Sequence[Study]) -> list[dict[str, Any]]:
  """Table 1, a row for every controller, with intervals and the paper's value.

  Returns:
    JSON-ready: "run", "space", "seed", "controller", and by the name of each
    column the correlation, its interval's ends and the published one.
  """
  rows = []
  for one in studies:
    for controller in (one.trained, one.untrained):
      row: dict[str, Any] = {
        "run": one.name,
        "space": one.space,
        "seed": one.seed,
        "controller": controller.kind,
        "edit_distance_is": "exact" if controller.exact else "an upper bound",
      }
      published = PUBLISHED.get(controller.kind, (None,) * len(COLUMNS))
      for name, value in zip(COLUMNS, published, strict=True):
        nothing = ranking.Estimate(math.nan, math.nan, math.nan)
        estimate = controller.table.get(name, nothing)
        row[name] = _json(estimate.value)
        row[f"{name}_low"] = _json(estimate.low)
        row[f"{name}_high"] = _json(estimate.high)
        row[f"{name}_published"] = value
      rows.append(row)
  return rows


def signs(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Which correlations have the sign that the paper found.

  Args:
    rows: as `table_rows` returns them.

  Returns:
    For every kind of controller and column: the mean over runs, its standard
    deviation, how many runs have a correlation, how many of these have the
    published sign, and the published value.
  """
  agreement = []
  kinds = dict.fromkeys(row["controller"] for row in rows)
  for kind in kinds:
    for column in COLUMNS:
      of_kind = [row for row in rows if row["controller"] == kind]
      values = [row[column] for row in of_kind if row[column] is not None]
      published = of_kind[0][f"{column}_published"]  # the same of all runs
      agree = [value * published > 0 for value in values if published]
      agreement.append(
        {
          "controller": kind,
          "column": column,
          "mean": float(np.mean(values)) if values else None,
          "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
          "runs": len(values),
          "published": published,
          "same_sign": sum(agree) if published else None,
        }
      )
  return agreement


def performance_rows(one: Study) -> list[dict[str, Any]]:
  """Figure 2 in numbers: a row for every drawer and every judge."""
  rows = []
  for (who, whose), values in one.performance.items():
    known = values[np.isfinite(values)]  # NaN where a network overflowed
    low, middle, high = (
      (float(q) for q in np.quantile(known, [0.05, 0.5, 0.95]))
      if len(known)
      else (None, None, None)
    )
    rows.append(
      {
        "run": one.name,
        "drawn_by": one.policy if who == "policy" else "uniform",
        "weights": whose,
        "architectures": len(values),
        "not_finite": int(len(values) - len(known)),
        "mean": _json(float(known.mean())) if len(known) else None,
        "sd": _json(float(known.std(ddof=1))) if len(known) > 1 else None,
        "low_5": low,
        "median": middle,
        "high_95": high,
      }
    )
  return rows


def measure_rows(studies: Sequence[Study]) -> list[dict[str, Any]]:
  """The measures that need no eye, a row for every controller."""
  rows = []
  for one in studies:
    for controller in (one.trained, one.untrained):
      numbers = {
        name: _json(value) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(controller.measures).items()
      }
      row = {"run": one.name, "space": one.space, "seed": one.seed}
      rows.append(row | {"controller": controller.kind} | numbers)
  return rows


def certainty_rows(
  studies: Sequence[Study], labels: Sequence[str]
) -> list[dict[str, Any]]:
  """How likely the most likely alternative is, by controller and choice.

  A row has the mean over samples and the quantiles between which nine tenths of
  them lie, as means over the searches.

  Args:
    studies: the searches, of one space.
    labels: of the C choices.
  """
  kinds: dict[str, list[np.ndarray]] = {}  # [3, C] each
  for one in studies:
    for controller in (one.trained, one.untrained):
      most = policy_measures.most_likely(controller.probs)  # [S, C]
      low, high = np.quantile(most, [0.05, 0.95], axis=0)  # [C] each
      kinds.setdefault(controller.kind, []).append(
        np.stack([most.mean(axis=0), low, high])
      )
  names = ("probability", "low_5", "high_95")
  return [
    {"controller": kind, "choice": place + 1, "label": label}
    | dict(zip(names, numbers, strict=True))
    for kind, tables in kinds.items()
    for place, (label, numbers) in enumerate(
      zip(labels, np.mean(tables, axis=0).T.tolist(), strict=True)
    )
  ]


def entropies(
  rows: Sequence[Mapping[str, Any]],
) -> tuple[np.ndarray, np.ndarray]:
  """The entropy of each choice over the epochs of a search.

  Args:
    rows: of the run's `policy.jsonl`.

  Returns:
    [E] int, the epochs; and [E, C] float64, nats, of the frequencies of the
    alternatives of each choice, each choice by itself.

  Raises:
    KeyError, TypeError, ValueError: if the rows are something else.
  """
  epochs = np.asarray([int(row["epoch"]) for row in rows])
  table = np.asarray(
    [
      [
        policy_measures.marginal_entropy(np.asarray(shares, float)[None, None])[
          0
        ]
        for shares in row["frequencies"]
      ]
      for row in rows
    ],
    np.float64,
  )
  return epochs, table


def _json(value: float) -> float | None:
  return value if math.isfinite(value) else None
