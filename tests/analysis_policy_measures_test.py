"""Measures of a policy, on distributions that are easy to see through."""

import math

import numpy as np
from absl.testing import absltest

from enas_jax.analysis import policy_measures

LOG2 = math.log(2.0)


class InformationTest(absltest.TestCase):
  # Two choices of two alternatives: the first is a toss, the second depends on
  # it in the first policy and not in the other ones.
  FOLLOWS = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]])
  IGNORES = np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]])
  FIXED = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])

  def test_a_choice_that_follows_from_the_first_tells_one_bit(self):
    np.testing.assert_allclose(
      policy_measures.mutual_information(self.FOLLOWS), [0.0, LOG2]
    )
    np.testing.assert_allclose(
      policy_measures.conditional_entropy(self.FOLLOWS), [LOG2, 0.0]
    )
    np.testing.assert_allclose(
      policy_measures.marginal_entropy(self.FOLLOWS), [LOG2, LOG2]
    )

  def test_a_toss_and_a_certainty_tell_nothing(self):
    for probs in (self.IGNORES, self.FIXED):
      self.assertEqual(
        policy_measures.mutual_information(probs).tolist(), [0, 0]
      )
    np.testing.assert_allclose(
      policy_measures.marginal_entropy(self.IGNORES), [LOG2, LOG2]
    )

  def test_in_between(self):
    probs = np.array([[[0.9, 0.1]], [[0.5, 0.5]], [[0.1, 0.9]]])
    h = lambda p: -p * math.log(p) - (1 - p) * math.log(1 - p)
    expected = LOG2 - (2 * h(0.9) + LOG2) / 3
    information = policy_measures.mutual_information(probs)
    np.testing.assert_allclose(information, [expected])

  def test_the_most_likely_alternative(self):
    self.assertEqual(
      policy_measures.most_likely(self.FOLLOWS).tolist(), [[0.5, 1], [0.5, 1]]
    )


class RankTest(absltest.TestCase):
  def test_states_in_all_directions_on_a_line_and_in_one_point(self):
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    self.assertAlmostEqual(policy_measures.effective_rank(axes), 3.0)
    line = np.outer(np.arange(5.0), [1.0, 2.0, -1.0])
    self.assertAlmostEqual(policy_measures.effective_rank(line), 1.0)
    same = np.full((4, 3), 0.3, np.float32)
    self.assertEqual(policy_measures.effective_rank(same), 1.0)

  def test_a_long_and_a_short_axis(self):
    states = np.array([[3.0, 0], [-3.0, 0], [0, 1.0], [0, -1.0]])
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    self.assertAlmostEqual(policy_measures.effective_rank(states), expected)


class MeasureTest(absltest.TestCase):
  def test_all_of_them(self):
    choices = np.array([[0, 0], [1, 1], [1, 1], [0, 0]])
    probs = InformationTest.FOLLOWS[[0, 1, 1, 0]]
    hidden = np.zeros((4, 2, 3))
    hidden[:, -1, 0] = [0.0, 1.0, 1.0, 0.0]
    hidden[:, 0] = np.arange(12.0).reshape(4, 3)  # earlier states do not count
    seen = policy_measures.measure(choices, np.full(4, -LOG2), probs, hidden)
    self.assertAlmostEqual(seen.entropy_nats, LOG2)
    self.assertAlmostEqual(seen.effective_architectures, 2.0)
    self.assertEqual((seen.distinct, seen.samples), (2, 4))
    self.assertAlmostEqual(seen.certainty, 0.75)
    self.assertEqual(seen.spread, 0.0)
    self.assertAlmostEqual(seen.mutual_information_nats, LOG2)
    self.assertAlmostEqual(seen.explained, 0.5)
    self.assertAlmostEqual(seen.effective_rank, 1.0)

  def test_the_spread_and_a_policy_without_chance(self):
    probs = np.array([[[0.9, 0.1]], [[0.5, 0.5]]])
    choices, hidden = np.array([[0], [1]]), np.ones((2, 1, 2))
    seen = policy_measures.measure(choices, np.zeros(2), probs, hidden)
    self.assertAlmostEqual(seen.spread, 0.2)
    fixed = np.array([[[1.0, 0.0]], [[1.0, 0.0]]])
    seen = policy_measures.measure(choices, np.zeros(2), fixed, hidden)
    self.assertTrue(math.isnan(seen.explained))


if __name__ == "__main__":
  absltest.main()
