"""Search methods compared over seeds, and with chance, on a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from enas_jax.analysis import benchmark_table, paired
from enas_jax.search import derive

# By method, a row for each seed.
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
# Those of a row whose mean is of interest, where they are not None.
_AVERAGED = (
  *("true_accuracy", "rank", "regret"),
  *("search_seconds", "kendall_tau", "omega_steps", "theta_steps"),
)


def summarise(
  rows: Rows,
  table: benchmark_table.BenchmarkTable,
  derive_arcs: int,
  chance_method: str,
) -> dict[str, Any]:
  """Means, chance and the comparisons, JSON-ready.

  Args:
    rows: what each method reached, seeds in the same order; the first method is
      compared with each other one and with chance.
    table: the true accuracies.
    derive_arcs: the number of cells, K, whose best by truth is chance.
    chance_method: the method that searches by chance; each other one is
      compared with it, too, if it is among them.
  """
  accuracies = {
    method: [row["true_accuracy"] for row in of_seeds]
    for method, of_seeds in rows.items()
  }
  chance = {
    "one": float(np.mean(table.accuracies)),
    f"best_of_{derive_arcs}": float(table.expected_best_of(derive_arcs)),
  }
  first, *others = rows
  compared_with: dict[str, Sequence[float]] = {
    method: accuracies[method] for method in others
  }
  # Chance is a number, not a draw: every seed is compared with the same one.
  count = len(accuracies[first])
  compared_with |= {f"chance_{k}": [v] * count for k, v in chance.items()}
  over_chance = {
    method: paired.compare(values, accuracies[chance_method]).to_dict()
    for method, values in accuracies.items()
    if chance_method in accuracies and method != chance_method
  }
  return {
    "space": benchmark_table.SPACE,
    "runs": rows,
    "summary": {method: _mean_row(row) for method, row in rows.items()},
    "chance": chance,
    "optimum": float(np.max(table.accuracies)),
    "compared": first,
    "comparisons": {
      method: paired.compare(accuracies[first], values).to_dict()
      for method, values in compared_with.items()
    },
    "chance_method": chance_method,
    "over_chance": over_chance,
  }


def _mean_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  record: dict[str, Any] = {"num_seeds": len(rows)}
  for name in _AVERAGED:
    values = [row[name] for row in rows if row[name] is not None]
    if values:
      mean, error = derive.mean_and_error(values)
      record[name] = mean
      # One seed says nothing of the spread.
      record[f"{name}_standard_error"] = error if len(values) > 1 else None
  return record
