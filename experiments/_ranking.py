"""How well the weights of a search rank the cells of a benchmark."""

import sys

import tqdm
from absl import flags

from enas_jax.analysis import benchmark_table, ranking
from experiments import _search


def define_flag() -> None:
  """`--ranking_arcs`, of the scripts that look found cells up in a table."""
  flags.DEFINE_integer(
    "ranking_arcs",
    500,
    "uniform cells of the table that the shared weights rank in the end, by"
    " their cross-entropy on all validation images; 0: none",
    lower_bound=0,
  )


def of_table(
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
