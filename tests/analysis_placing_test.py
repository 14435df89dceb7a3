"""Places in a table of values, computed by hand."""

import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import placing

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


if __name__ == "__main__":
  absltest.main()
