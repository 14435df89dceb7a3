"""Paired comparisons against numbers worked out by hand."""

import json
import math

from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import paired


class PairedTest(parameterized.TestCase):
  def test_three_pairs_by_hand(self):
    """Differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt(3) with 2 d.o.f."""
    found = paired.compare([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    self.assertAlmostEqual(found.mean_difference, 2.0)
    self.assertAlmostEqual(found.standard_error, 1 / math.sqrt(3))
    t = 2.0 * math.sqrt(3)
    # Student's distribution with 2 d.o.f. has a closed form.
    self.assertAlmostEqual(found.t_p_value, 1 - t / math.sqrt(2 + t * t))
    self.assertEqual((found.wins, found.ties, found.num_pairs), (3, 0, 3))
    # Of 2 d.o.f. the quantile of 97.5% is 0.95 / sqrt(2 x 0.025 x 0.975).
    wide = 0.95 / math.sqrt(2 * 0.025 * 0.975) / math.sqrt(3)
    low, high = found.interval()
    self.assertAlmostEqual(low, 2.0 - wide)
    self.assertAlmostEqual(high, 2.0 + wide)
    ends = paired.compare([1.0], [0.0]).interval()
    self.assertTrue(all(map(math.isnan, ends)))
    self.assertIsNone(found.to_dict()["wilcoxon_p_value"])

  def test_wilcoxon_of_six(self):
    """All six of one sign: 2 of 2^6 orders are as extreme."""
    second = [0.0] * 6
    found = paired.compare([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], second)
    self.assertAlmostEqual(found.wilcoxon_p_value, 2 / 64)
    # Of ranks 1 to 6 with the smallest negative: W = 1, 4 of 64.
    found = paired.compare([-1.0, 2.0, 3.0, 4.0, 5.0, 6.0], second)
    self.assertAlmostEqual(found.wilcoxon_p_value, 4 / 64)
    self.assertEqual((found.wins, found.ties), (5, 0))

  @parameterized.parameters(
    ([1.0], [1.0], 1), ([1.0, 2.0], [0.5, 1.5], 0), ([3.0, 3.0], [3.0, 3.0], 2)
  )
  def test_without_spread_there_is_no_test(self, first, second, ties):
    record = paired.compare(first, second).to_dict()
    self.assertIsNone(record["t_p_value"])
    self.assertEqual(record["ties"], ties)
    json.dumps(record, allow_nan=False)

  def test_unequal_lengths(self):
    with self.assertRaisesRegex(types.InputError, "equal length"):
      paired.compare([1.0, 2.0], [1.0])


if __name__ == "__main__":
  absltest.main()
