"""Whether one search method beats another, seed by seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from enas_jax import types

# Below this no outcome of Wilcoxon's test can be significant at 5%:
# two-sided, n pairs reach no less than 2 / 2^n.
_FEWEST_FOR_WILCOXON = 6


class Comparison(NamedTuple):
  """Two methods on the same seeds; NaN where a number is not defined.

  Attributes:
    mean_difference: mean of the first minus the second, in their unit.
    standard_error: standard error of that mean, in the same unit.
    wins: number of seeds on which the first is larger.
    ties: number of seeds on which both are equal.
    num_pairs: number of seeds.
    t_p_value: two-sided p value of the paired t test.
    wilcoxon_p_value: two-sided p value of the signed-rank test, from 6 pairs
      that differ.
  """

  mean_difference: float
  standard_error: float
  wins: int
  ties: int
  num_pairs: int
  t_p_value: float
  wilcoxon_p_value: float

  def interval(self, level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean difference by Student's t, in the same unit.

    Args:
      level: the probability that such intervals hold the true difference.

    Returns:
      Its ends; NaN both of fewer than two pairs.
    """
    if self.num_pairs < 2:
      return math.nan, math.nan
    quantile = float(stats.t.ppf(0.5 + level / 2, self.num_pairs - 1))
    wide = quantile * self.standard_error
    return self.mean_difference - wide, self.mean_difference + wide

  def to_dict(self) -> dict[str, float | None]:
    """All attributes, JSON-ready; what is not defined is None."""
    return {
      name: value if math.isfinite(value) else None
      for name, value in self._asdict().items()
    }


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
  """Compares values that belong together by position, e.g. by seed.

  Pairing takes out what both methods owe to the seed: the data's order, the
  initial weights, the benchmark's noise.

  Args:
    first: [n] numbers, e.g. the accuracy of one method by seed.
    second: [n] numbers of the other, in the same order and unit.

  Raises:
    InputError: if they are not two lists of equal length, of at least one.
  """
  a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
  if a.ndim != 1 or a.shape != b.shape or not len(a):
    raise types.InputError(
      "a paired comparison needs two lists of equal length, got shapes"
      f" {a.shape} and {b.shape}."
    )
  difference = a - b
  count = len(difference)
  error = t_p = wilcoxon_p = math.nan
  if count > 1:
    error = float(stats.sem(difference))
    # Without any spread t is infinite, or 0/0.
    if error > 0.0:
      t_p = float(stats.ttest_rel(a, b).pvalue)
  if np.count_nonzero(difference) >= _FEWEST_FOR_WILCOXON:
    # Pairs that are equal are left out, which is SciPy's default.
    wilcoxon_p = float(stats.wilcoxon(difference).pvalue)
  return Comparison(
    mean_difference=float(difference.mean()),
    standard_error=error,
    wins=int(np.sum(difference > 0)),
    ties=int(np.sum(difference == 0)),
    num_pairs=count,
    t_p_value=t_p,
    wilcoxon_p_value=wilcoxon_p,
  )
