"""What the table of NAS-Bench-201 says of cells, candidates and weights."""

import pathlib
import sys
from typing import Any

import numpy as np
import tqdm
from absl import flags

from enas_jax import types
from enas_jax.analysis import benchmark_table, ranking
from enas_jax.report import html
from enas_jax.search import derive, folder
from enas_jax.spaces.nasbench201 import arc as nasbench201
from experiments import _search

_DRAWS = (1, 10, 100)


def define_table_flag() -> None:
  """`--benchmark_table`, of every script that reads the table."""
  flags.DEFINE_string(
    "benchmark_table",
    None,
    "the truth: the table of NAS-Bench-201, a CSV file, perhaps .gz, with the"
    " columns ops and cifar10_test_200",
  )


def define_ranking_flag() -> None:
  """`--ranking_arcs`, of the scripts that look found cells up in a table."""
  flags.DEFINE_integer(
    "ranking_arcs",
    500,
    "uniform cells of the table that the shared weights rank in the end, by"
    " their cross-entropy on all validation images; 0: none",
    lower_bound=0,
  )


def check_space(space: str, run: str, instead: str = "") -> None:
  """Raises InputError if a run is not of the table's space."""
  if space != benchmark_table.SPACE:
    raise types.InputError(
      f"--benchmark_table is for the nasbench201 space, but {run} is a search"
      f" of the {space} space{instead}."
    )


def load_complete() -> benchmark_table.BenchmarkTable:
  """The table of `--benchmark_table`, of every cell.

  Raises:
    InputError: if it cannot be read or lacks a cell.
  """
  table = benchmark_table.BenchmarkTable.load(flags.FLAGS.benchmark_table)
  table.check_complete()
  return table


def look_up_result(
  table: benchmark_table.BenchmarkTable | None,
  result: derive.Result,
  workdir: pathlib.Path,
) -> dict[str, Any]:
  """Prints what the table, if there is one, says of what a search found.

  Returns:
    The search's record with that added.
  """
  ops = "".join(map(str, result.arc.ops))
  arc_str = result.record["arc"]["arc_str"]
  print(f"cell: {ops}, {arc_str}", flush=True)
  record = {**result.record, "ops": ops, "arc_str": arc_str}
  if table is None:
    print("its true accuracy is not looked up: no --benchmark_table")
    return record
  record |= _look_up(table, result.arc.ops)
  return record | look_up_candidates(table, workdir)


def write_result(workdir: pathlib.Path, record: dict[str, Any]) -> None:
  """Writes `result.json` anew, and the report that shows it."""
  folder.write_json(workdir / folder.RESULT, record)
  html.write_report(workdir)


def _look_up(
  table: benchmark_table.BenchmarkTable, ops: tuple[int, ...]
) -> dict[str, Any]:
  """Prints and returns what the table says of a cell."""
  truth = {
    "true_accuracy": table.accuracy(ops),
    "rank": table.rank(ops),
    "regret": table.regret(ops),
  }
  print(
    f"true accuracy {truth['true_accuracy']:.2f}%, rank {truth['rank']:,} of"
    f" {len(table.accuracies):,}; regret {truth['regret']:.2f} points to the"
    f" best cell's {table.optimum:.2f}%"
  )
  chances = ", ".join(
    f"{table.expected_best_of(count):.2f}% (best of {count})"
    for count in _DRAWS
  )
  print(f"by chance: {chances} cells, each trained to the end", flush=True)
  return truth


def look_up_candidates(
  table: benchmark_table.BenchmarkTable, workdir: pathlib.Path
) -> dict[str, Any]:
  """Prints and returns what all candidates are worth, and their order."""
  space = nasbench201.NasBench201Space()
  rows = folder.read_rows(
    workdir / folder.CANDIDATES, "derive again from the search's folder"
  )
  for row in rows:
    row["truth"] = table.accuracy(space.from_dict(row["arc"]).ops)
  truth = [row["truth"] for row in rows]
  found: dict[str, Any] = {"mean_true_accuracy": float(np.mean(truth))}
  print(
    f"{len(rows)} candidates: true accuracy {found['mean_true_accuracy']:.2f}%"
    f" on average, {min(truth):.2f} to {max(truth):.2f}%"
  )
  return found | _rank_tuned([row for row in rows if "tuned_nats" in row])


def _rank_tuned(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """What training candidates alone did for their order."""
  if len(rows) < 2:
    return {}
  truth = [row["truth"] for row in rows]
  found = {}
  for name, scores in (
    ("before", [row["reward"] for row in rows]),
    ("after", [-row["tuned_nats"] for row in rows]),
  ):
    kept = ranking.finite(np.asarray(scores, np.float64))
    order = ranking.rank_correlation(kept, truth)
    found[f"kendall_tau_{name}_tuning"] = order.to_dict()["kendall_tau"]
  before, after = (
    "not defined" if tau is None else f"{tau:.3f}" for tau in found.values()
  )
  print(
    f"{len(rows)} of them trained alone: Kendall tau with the truth {before}"
    f" before, {after} after"
  )
  return found


def rank(
  finished: _search.Finished,
  table: benchmark_table.BenchmarkTable,
  count: int,
) -> ranking.Ranking:
  """Ranks `count` cells, the same for every search, drawn with seed 0."""
  arcs, truth = table.sample(count, seed=0)
  with tqdm.tqdm(
    total=len(truth), desc="ranking", unit="arc", leave=False, disable=None,
    file=sys.stderr,
  ) as bar:  # fmt: skip
    scores = ranking.score_architectures(
      finished.task,
      finished.state,
      arcs,
      finished.splits.valid,
      score="nll",
      advance=bar.update,
    )
  return ranking.rank_correlation(ranking.finite(scores), truth)
