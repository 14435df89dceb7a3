"""Where an architecture stands among others that were trained the same way.

A space whose true accuracies nobody has computed gets a small table: of
architectures drawn uniformly, each trained alone (`trained_alone`). What a
search kept is trained just so, and has a place among them. Random search that
may look up the truth is known exactly: the expected best of so many.
"""

from typing import NamedTuple

import numpy as np

from enas_jax import types


class Place(NamedTuple):
  """Where one architecture stands.

  Attributes:
    place: 1 + how many of the table are better.
    beaten: the share of the table that is worse; one that is equal counts half.
    regret: how far it lies below the best of the table, in units of the metric;
      negative if it is better than all.
  """

  place: int
  beaten: float
  regret: float


def place(value: float, table: np.ndarray) -> Place:
  """Finds the place of a value.

  Args:
    value: what the architecture is worth; larger is better.
    table: [S] float64, what those of the table are worth, S at least 1.
  """
  worse, equal = float(np.mean(table < value)), float(np.mean(table == value))
  return Place(
    place=1 + int(np.sum(table > value)),
    beaten=worse + equal / 2,
    regret=float(np.max(table)) - value,
  )


def expected_best_of(values: np.ndarray, count: int) -> float:
  """The mean of the best of `count` values drawn with replacement.

  Of n values sorted upwards the i-th is the best with probability
  (i / n)^count - ((i - 1) / n)^count.

  Args:
    values: [n] float64, n at least 1.
    count: how many are drawn, at least 1.

  Raises:
    InputError: if `count` is less than 1.
  """
  if count < 1:
    raise types.InputError(f"count must be at least 1, got {count}.")
  ordered = np.sort(values)
  # [n + 1]: the probability that all draws are among the i smallest.
  below = (np.arange(len(ordered) + 1) / len(ordered)) ** count
  return float(ordered @ np.diff(below))
