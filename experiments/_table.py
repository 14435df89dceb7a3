"""Flags of the table of NAS-Bench-201, and what it says, printed."""

import pathlib
import sys
from typing import Any

import tqdm
from absl import flags

from enas_jax import types
from enas_jax.analysis import benchmark_table, ranking, table_lookup
from enas_jax.report import html
from enas_jax.running import searches
from enas_jax.search import derive, folder, hosts

_DRAWS = (1, 10, 100)


def define_table_flag() -> None:
  """`--benchmark_table`, of every script that reads the table."""
  flags.DEFINE_string(
    "benchmark_table",
    None,
    "the truth: the table of NAS-Bench-201, a CSV file, perhaps .gz, with the"
    " columns ops and that of --truth_column; or analog-nasbench, the table of"
    " that package",
  )
  flags.DEFINE_string(
    "truth_column",
    benchmark_table.ACCURACY,
    "the column of --benchmark_table that is the truth, in per cent",
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
  # Or it would be refused once the search is over.
  flags.register_validator(
    "ranking_arcs",
    lambda count: count != 1,
    message="must be 0, or at least 2: one alone has no order",
  )


def check_space(space: str, run: str, instead: str = "") -> None:
  """Raises InputError if a run is not of the table's space."""
  if space != benchmark_table.SPACE:
    raise types.InputError(
      f"--benchmark_table is for the nasbench201 space, but {run} is a search"
      f" of the {space} space{instead}."
    )


def load() -> benchmark_table.BenchmarkTable:
  """The table of `--benchmark_table`.

  Raises:
    InputError: if it cannot be read.
  """
  values = flags.FLAGS
  return benchmark_table.BenchmarkTable.load(
    values.benchmark_table, values.truth_column
  )


def load_complete() -> benchmark_table.BenchmarkTable:
  """The table of `--benchmark_table`, of every cell.

  Raises:
    InputError: if it cannot be read or lacks a cell.
  """
  table = load()
  table.check_complete()
  return table


def show_result(
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
  truth = table_lookup.cell(table, result.arc.ops)
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
  return record | truth | _show_candidates(table, workdir)


def _show_candidates(
  table: benchmark_table.BenchmarkTable, workdir: pathlib.Path
) -> dict[str, Any]:
  """Prints and returns what all candidates are worth, and their order."""
  rows = folder.read_rows(
    workdir / folder.CANDIDATES, "derive again from the search's folder"
  )
  candidates = table_lookup.candidates(table, rows)
  truth, record = candidates.truth, candidates.to_dict()
  print(
    f"{len(rows)} candidates: true accuracy {record['mean_true_accuracy']:.2f}%"
    f" on average, {min(truth):.2f} to {max(truth):.2f}%"
  )
  if candidates.taus:
    before, after = (
      "not defined" if tau is None else f"{tau:.3f}"
      for tau in candidates.taus.values()
    )
    print(
      f"{candidates.num_tuned} of them trained alone: Kendall tau with the"
      f" truth {before} before, {after} after"
    )
  return record


def write_result(workdir: pathlib.Path, record: dict[str, Any]) -> None:
  """Writes `result.json` anew, and the report that shows it."""
  folder.write_json(workdir / folder.RESULT, record)
  if hosts.is_first():
    html.write_report(workdir)


def rank(
  finished: searches.Finished, table: benchmark_table.BenchmarkTable
) -> ranking.Ranking:
  """How well the weights of a search rank `--ranking_arcs` cells."""
  count = min(flags.FLAGS.ranking_arcs, len(table.accuracies))
  with tqdm.tqdm(
    total=count, desc="ranking", unit="arc", leave=False, disable=None,
    file=sys.stderr,
  ) as bar:  # fmt: skip
    return table_lookup.rank_cells(
      table, finished.task, finished.state, finished.splits.valid, count,
      bar.update,
    )  # fmt: skip
