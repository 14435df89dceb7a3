"""What the table of NAS-Bench-201 says of cells, candidates and weights.

Judging a search that has ended: none of this may be seen by one that runs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from enas_jax.analysis import benchmark_table, ranking
from enas_jax.search import state as state_lib
from enas_jax.search import zero_cost
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.tasks import base as tasks


def cell(
  table: benchmark_table.BenchmarkTable, ops: Sequence[int]
) -> dict[str, Any]:
  """What the table says of a cell, JSON-ready.

  Args:
    table: the true accuracies.
    ops: [6] integers, the cell's operations.

  Returns:
    "true_accuracy" in per cent, "rank" from 1, and "regret" in points.

  Raises:
    InputError: if the cell is not in the table.
  """
  return {
    "true_accuracy": table.accuracy(ops),
    "rank": table.rank(ops),
    "regret": table.regret(ops),
  }


class Candidates(NamedTuple):
  """What the candidates of a derive step are worth.

  Attributes:
    truth: [K] float64, their true accuracies, per cent.
    num_tuned: the number of them that were trained alone.
    taus: Kendall's tau of these with the truth, "before" and "after" that
      training; None where it is not defined. {} of fewer than two.
  """

  truth: np.ndarray
  num_tuned: int
  taus: dict[str, float | None]

  def to_dict(self) -> dict[str, Any]:
    """The mean and the correlations, as `result.json` has them."""
    taus = {f"kendall_tau_{at}_tuning": tau for at, tau in self.taus.items()}
    return {"mean_true_accuracy": float(np.mean(self.truth)), **taus}


def candidates(
  table: benchmark_table.BenchmarkTable, rows: Sequence[Mapping[str, Any]]
) -> Candidates:
  """Looks all candidates up, and the order of those that were trained alone.

  Args:
    table: the true accuracies.
    rows: the lines of a run's `arcs.jsonl`.

  Raises:
    InputError: if a cell is not in the table.
  """
  space = nasbench201.NasBench201Space()
  truth = np.asarray(
    [table.accuracy(space.from_dict(row["arc"]).ops) for row in rows]
  )
  tuned = [at for at, row in enumerate(rows) if "tuned_nats" in row]
  taus: dict[str, float | None] = {}
  if len(tuned) > 1:
    # A file has null for what was no number; an array has NaN.
    read = lambda name: np.asarray([rows[at][name] for at in tuned], np.float64)
    for name, scores in (
      ("before", read("reward")),
      ("after", -read("tuned_nats")),  # larger is better, as a reward
    ):
      kept = zero_cost.finite(scores)
      order = ranking.rank_correlation(kept, truth[tuned])
      taus[name] = order.to_dict()["kendall_tau"]
  return Candidates(truth, len(tuned), taus)


def rank_cells(
  table: benchmark_table.BenchmarkTable,
  task: tasks.Task,
  state: state_lib.SearchState,
  valid: tasks.Split,
  count: int,
  advance: Callable[[], object] = lambda: None,
) -> ranking.Ranking:
  """How well shared weights rank cells of the table.

  Args:
    table: the true accuracies.
    task: the search's task.
    state: the search's state.
    valid: the validation split, on which the weights judge by cross-entropy.
    count: the number of cells, S; the same ones for every search.
    advance: a function to call after each cell.
  """
  arcs, truth = table.sample(count, seed=0)
  scores = ranking.score_architectures(
    task, state, arcs, valid, score="nll", advance=advance
  )
  return ranking.rank_correlation(zero_cost.finite(scores), truth)
