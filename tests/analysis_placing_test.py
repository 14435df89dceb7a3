"""Places in a table of values, computed by hand."""

import types as types_lib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import placing
from experiments import place

_TABLE = np.array([4.0, 1.0, 3.0, 3.0])


class PlaceTest(parameterized.TestCase):
  @parameterized.parameters(
    (5.0, 1, 1.0, -1.0),
    (4.0, 1, 0.875, 0.0),  # three worse, one equal
    (3.0, 2, 0.5, 1.0),  # one better, two equal, one worse
    (2.0, 4, 0.25, 2.0),
    (0.0, 5, 0.0, 4.0),
  )
  def test_place(self, value, place, beaten, regret):
    self.assertEqual(placing.place(value, _TABLE), (place, beaten, regret))


class ExpectedBestTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, 2.75),
    # Of 16 pairs 7 hold the 4, 8 others a 3, one is twice the 1.
    (2, (7 * 4 + 8 * 3 + 1) / 16),
    (1000, 4.0),
  )
  def test_expected_best(self, count, expected):
    best = placing.expected_best_of(_TABLE, count)
    self.assertAlmostEqual(best, expected, places=12)

  def test_none_is_refused(self):
    with self.assertRaisesRegex(types.InputError, "count must be at least 1"):
      placing.expected_best_of(_TABLE, 0)


class RowsTest(absltest.TestCase):
  def _last(self, sizes):
    space = types_lib.SimpleNamespace(to_tokens=lambda arc: f"tokens of {arc}")
    run = types_lib.SimpleNamespace(
      task=types_lib.SimpleNamespace(
        space=space, metric="perplexity", metric_sign=-1
      ),
      config=types_lib.SimpleNamespace(
        run=types_lib.SimpleNamespace(derive_arcs=2)
      ),
      splits=types_lib.SimpleNamespace(train=None),
    )
    truth = types_lib.SimpleNamespace(
      values=np.array([-3.0, -1.0, -2.0]), validated=lambda space: list("abc")
    )
    with mock.patch.multiple(
      place.zero_cost, score_architectures=lambda *_: sizes, Subject=mock.Mock()
    ):
      return place._rows(run, [], {}, truth)[-1]

  def test_the_largest_of_the_table_where_sizes_differ(self):
    row = self._last([5.0, 6.0, 7.0])
    self.assertEqual(row["method"], "most multiply-adds")
    self.assertEqual(
      (row["tokens"], row["valid_perplexity"]), ("tokens of c", 2.0)
    )
    self.assertEqual((row["place"], row["regret"]), (2, 1.0))
    self.assertEqual(
      self._last([5.0, 5.0, 5.0])["method"], "best of 2 by the truth"
    )


if __name__ == "__main__":
  absltest.main()
