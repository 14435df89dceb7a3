r"""Searches a cell of NAS-Bench-201 on CIFAR-10 and looks up how good it is.

  python -m experiments.nasbench201 --data_dir=DIR --preset=small \
    --benchmark_table=FILE

The benchmark has trained every cell of the space. With `--benchmark_table`, a
CSV file with the columns `ops` (six digits) and `cifar10_test_200` (per cent),
the run ends with the true accuracy of the cell found, its rank and its regret.
Presets: `paper` and `released` (a GPU; not yet run), `small` (16 x 16 pixels,
half an hour on two CPU cores), `smoke` (about a minute). Without CIFAR-10,
`--dataset=digits` needs no download; the table still says what CIFAR-10 makes
of the cell.
"""

import json
import pathlib
from typing import Any

import numpy as np
from absl import flags

from enas_jax import metrics
from enas_jax.analysis import benchmark_table, ranking
from enas_jax.report import html
from enas_jax.spaces import nasbench201
from experiments import _cli, _images, _ranking, _search

_DRAWS = (1, 10, 100)


def main() -> None:
  """Runs or resumes one search and looks up what it found."""
  path, table = flags.FLAGS.benchmark_table, None
  if path is not None:
    # Before the search: what is wrong with the table must not cost its time.
    table = benchmark_table.BenchmarkTable.load(path)
    table.check_complete()
  finished = _images.run_search(
    "nasbench201", "nasbench201", "Cell found by ENAS"
  )
  result = finished.result
  record = {
    **result.record,
    "ops": "".join(map(str, result.arc.ops)),
    "arc_str": result.record["arc"]["arc_str"],
  }
  print(f"cell: {record['ops']}, {record['arc_str']}", flush=True)
  if table is None:
    print("its true accuracy is not looked up: no --benchmark_table")
  else:
    record |= look_up(table, result.arc.ops)
    record |= look_up_candidates(table, finished.workdir)
    if flags.FLAGS.ranking_arcs:
      record |= rank(table, finished)
  metrics.write_whole(
    finished.workdir / "result.json", json.dumps(record, indent=2) + "\n"
  )
  html.write_report(finished.workdir)


def look_up(
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
  rows = [
    json.loads(line)
    for line in (workdir / "arcs.jsonl").read_text().splitlines()
  ]
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
  table: benchmark_table.BenchmarkTable, finished: _search.Finished
) -> dict[str, Any]:
  """Prints and returns how well the shared weights rank uniform cells."""
  found = _ranking.of_table(finished, table, flags.FLAGS.ranking_arcs)
  tau, rho = found.kendall_tau, found.spearman
  print(
    f"{found.num_arcs} uniform cells by shared weights and by the truth:"
    f" Kendall tau {tau.value:.3f} [{tau.low:.3f}, {tau.high:.3f}], Spearman"
    f" rho {rho.value:.3f} [{rho.low:.3f}, {rho.high:.3f}]",
    flush=True,
  )
  record = found.to_dict()
  return {
    name: record[name]
    for name in ("kendall_tau", "kendall_tau_interval", "spearman")
  }


if __name__ == "__main__":
  _cli.define_run_flags("cifar10", _images.DATA_HELP)
  _cli.define_config_flags("nasbench201")
  flags.DEFINE_string(
    "benchmark_table",
    None,
    "a CSV file, perhaps .gz, with the true accuracy of every cell: columns"
    " ops and cifar10_test_200",
  )
  _ranking.define_flag()
  _cli.run(main)
