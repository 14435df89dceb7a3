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

from absl import flags

from enas_jax.analysis import ranking
from experiments import _cli, _search, _table


def main() -> None:
  """Runs or resumes one search and looks up what it found."""
  # Before the search: what is wrong with the table must not cost its time.
  given = flags.FLAGS.benchmark_table is not None
  table = _table.load_complete() if given else None
  finished = _search.run_search("nasbench201", "nasbench201")
  record = _table.show_result(table, finished.result, finished.workdir)
  if table is not None and flags.FLAGS.ranking_arcs:
    order = _table.rank(finished, table)
    _show(order)
    compared = order.to_dict()
    for name in ("kendall_tau", "kendall_tau_interval", "spearman"):
      record[name] = compared[name]
  # Again: the search wrote it without what the table says.
  _table.write_result(finished.workdir, record)


def _show(order: ranking.Ranking) -> None:
  """Prints how well the shared weights rank uniform cells."""
  tau, rho = order.kendall_tau, order.spearman
  print(
    f"{order.num_arcs} uniform cells by shared weights and by the truth:"
    f" Kendall tau {tau.value:.3f} [{tau.low:.3f}, {tau.high:.3f}], Spearman"
    f" rho {rho.value:.3f} [{rho.low:.3f}, {rho.high:.3f}]",
    flush=True,
  )


if __name__ == "__main__":
  _search.define_flags("nasbench201")
  _table.define_table_flag()
  _table.define_ranking_flag()
  _cli.run(main)
