"""Rank correlations by hand and by another route; scores of architectures."""

import json
import math

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import ranking
from enas_jax.spaces import decisions
from tests import tasks_image_classifier_test as image_classifier_test


def tau_b(a, b):
  """Kendall's tau-b from its definition, O(S^2)."""
  a, b = np.asarray(a, float), np.asarray(b, float)
  rows, columns = np.triu_indices(len(a), k=1)
  x, y = np.sign(a[rows] - a[columns]), np.sign(b[rows] - b[columns])
  return np.sum(x * y) / math.sqrt(np.sum(x != 0) * np.sum(y != 0))


def rho(a, b):
  """Spearman's rho: the correlation of mean ranks."""

  def ranks(values):
    values = np.asarray(values, float)
    below = (values[:, None] > values).sum(axis=1)
    return below + (values[:, None] == values).sum(axis=1) / 2

  return np.corrcoef(ranks(a), ranks(b))[0, 1]


def correlate(scores, truth, **options):
  return ranking.rank_correlation(scores, truth, **{"bootstrap": 0, **options})


class RankCorrelationTest(parameterized.TestCase):
  @parameterized.parameters(
    # Of 6 pairs, 5 agree and 1 does not; d^2 = 1 + 1: rho = 1 - 12/60.
    ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6, 0.8),
    ([1, 2, 3, 4], [4, 3, 2, 1], -1.0, -1.0),
    # Pairs of (1, 2, 2, 3): 5 untied, of which 5 agree; tau-b 5/sqrt(5 x 6).
    # Ranks 1, 2.5, 2.5, 4 and 1 to 4: covariance 4.5, variances 4.5 and 5.
    ([1, 2, 2, 3], [1, 2, 3, 4], 5 / math.sqrt(30), 4.5 / math.sqrt(22.5)),
    # Tied in both: 4 of 4 untied pairs agree, 5 untied pairs in each.
    # Ranks 1, 2.5, 2.5, 4 and 1.5, 1.5, 3, 4: covariance 3.75.
    ([1, 2, 2, 3], [1, 1, 2, 3], 4 / 5, 3.75 / 4.5),
  )
  def test_by_hand(self, scores, truth, tau, spearman):
    found = correlate(scores, truth)
    self.assertAlmostEqual(found.kendall_tau.value, tau)
    self.assertAlmostEqual(found.spearman.value, spearman)

  def test_against_the_definitions_with_ties(self):
    rng = np.random.default_rng(0)
    truth = rng.integers(12, size=60)
    scores = truth // 3 + rng.integers(4, size=60)
    found = correlate(scores, truth, top=0.25)
    self.assertAlmostEqual(found.kendall_tau.value, tau_b(scores, truth))
    self.assertAlmostEqual(found.spearman.value, rho(scores, truth))
    best = sorted(range(60), key=lambda i: (-truth[i], i))[:15]
    self.assertEqual((found.num_arcs, found.num_top), (60, 15))
    self.assertAlmostEqual(
      found.kendall_tau_top.value, tau_b(scores[best], truth[best])
    )
    self.assertAlmostEqual(
      found.spearman_top.value, rho(scores[best], truth[best])
    )

  def test_the_top_is_by_truth(self):
    truth = np.arange(20.0)
    scores = truth.copy()
    scores[18:] = scores[18:][::-1]
    found = correlate(scores, truth, top=0.1)
    self.assertEqual(found.num_top, 2)
    self.assertEqual(found.kendall_tau_top.value, -1.0)
    self.assertAlmostEqual(found.kendall_tau.value, 1 - 2 / 190)

  def test_regret_of_the_first_k(self):
    # The order by score is 3, 0, 2, 1; of equal scores the first comes first.
    found = correlate(
      [5.0, 1.0, 5.0, 9.0], [70.0, 90.0, 80.0, 60.0], regret_at=(1, 3, 4, 5)
    )
    self.assertEqual(found.regret, {1: 30.0, 3: 10.0, 4: 0.0})
    # By score the last, worst one comes first; then two of the best three.
    self.assertEqual(found.precision, {1: 0.0, 3: 2 / 3, 4: 1.0})

  def test_gain_counts_most_where_the_score_is_highest(self):
    truth = [10.0, 30.0, 20.0]
    best = correlate([1.0, 3.0, 2.0], truth, bootstrap=0)
    self.assertAlmostEqual(best.ndcg, 1.0)
    # Gains 0, 1 and 1/2 with weights 1, 1 / log2(3) and 1/2.
    ideal = 1.0 + 0.5 / np.log2(3)
    worst = correlate([3.0, 1.0, 2.0], truth, bootstrap=0)
    self.assertAlmostEqual(worst.ndcg, (0.5 / np.log2(3) + 0.5) / ideal)
    equal = correlate([1.0, 2.0], [5.0, 5.0], bootstrap=0)
    self.assertTrue(np.isnan(equal.ndcg))
    self.assertIsNone(equal.to_dict()["ndcg"])

  def test_how_many_are_the_truly_best(self):
    scores, truth = [1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 4.0]
    found = correlate(scores, truth, bootstrap=0, num_top=2)
    self.assertEqual((found.num_top, found.kendall_tau_top.value), (2, -1.0))
    found = correlate(scores, truth, bootstrap=0, num_top=9)
    self.assertEqual(found.num_top, 4)

  def test_intervals_hold_the_value_and_shrink_with_more_architectures(self):
    widths = {}
    for count in (40, 640):
      rng = np.random.default_rng(1)
      truth = rng.normal(size=count)
      scores = truth + rng.normal(size=count)
      found = correlate(scores, truth, bootstrap=200)
      for estimate in found[:2]:
        self.assertLess(estimate.low, estimate.value)
        self.assertGreater(estimate.high, estimate.value)
      widths[count] = found.kendall_tau.high - found.kendall_tau.low
      again = correlate(scores, truth, bootstrap=200, regret_at=())
      self.assertEqual(found[:4], again[:4])
      other = correlate(scores, truth, bootstrap=200, seed=1)
      self.assertNotEqual(found.kendall_tau, other.kendall_tau)
      narrow = correlate(scores, truth, bootstrap=200, confidence=0.5)
      self.assertGreater(narrow.kendall_tau.low, found.kendall_tau.low)
      self.assertLess(narrow.kendall_tau.high, found.kendall_tau.high)
    # Sixteen times the architectures: about a quarter of the width.
    self.assertBetween(widths[640] / widths[40], 0.15, 0.4)

  def test_intervals_cover_the_truth_as_often_as_they_say(self):
    """Of normal pairs with correlation r, tau is 2/pi arcsin r."""
    rng = np.random.default_rng(2)
    expected, covered = 2 / math.pi * math.asin(0.6), 0
    for _ in range(40):
      truth = rng.normal(size=60)
      scores = 0.6 * truth + 0.8 * rng.normal(size=60)
      found = correlate(scores, truth, bootstrap=60, confidence=0.8)
      low, high = found.kendall_tau.low, found.kendall_tau.high
      covered += low <= expected <= high
    # 32 of 40, within four standard deviations of 2.5.
    self.assertBetween(covered, 22, 39)

  def test_what_is_not_defined_is_none(self):
    record = correlate([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], bootstrap=5).to_dict()
    self.assertIsNone(record["kendall_tau"])
    self.assertEqual(record["spearman_interval"], [None, None])
    self.assertIsNone(record["kendall_tau_top"])
    self.assertEqual(record["regret"], {"1": 2.0})
    json.dumps(record, allow_nan=False)

  @parameterized.parameters(
    ([1.0, math.nan, math.inf], [1.0, 2.0, 3.0], r"scores\[1\] .* got nan; 2"),
    ([1.0, 2.0], [1.0, -math.inf], r"truth\[1\] must be a finite number"),
    ([1.0, 2.0], [1.0], "equal length"),
    ([1.0], [1.0], "at least 2 architectures, got 1"),
  )
  def test_refusals(self, scores, truth, message):
    with self.assertRaisesRegex(types.InputError, message):
      correlate(scores, truth)


class ScoreTest(image_classifier_test.PlainTestCase):
  def test_preferred_operations_by_hand(self):
    records = [
      {"space": "x", "one": {"ops": [["b", "a"]]}, "two": {"ops": ["b", "b"]}},
      {"space": "x", "one": {"ops": [["b", "a"]]}, "two": {"ops": ["a", "b"]}},
      {"space": "x", "one": {"ops": [["a", "a"]]}, "two": {"ops": ["a", "b"]}},
      {"space": "x", "one": {"ops": [["a", "a"]]}, "two": {"ops": ["a", "a"]}},
    ]
    scores, truth = [4.0, 3.0, 2.0, 1.0], [3.0, 4.0, 2.0, 1.0]
    found = ranking.op_preferences(records, scores, truth)
    # Counts of b: 3, 2, 1, 0; against the truth d^2 = 1 + 1: 1 - 12/60.
    self.assertEqual(list(found), ["a", "b"])
    for name, sign in (("a", -1), ("b", 1)):
      self.assertAlmostEqual(found[name]["score"], sign)
      self.assertAlmostEqual(found[name]["truth"], sign * 0.8)

  def test_an_operation_that_all_have_alike_prefers_nothing(self):
    records = [{"ops": ["a", "b"]}, {"ops": ["a", "a"]}, {"ops": ["a", "c"]}]
    found = ranking.op_preferences(records, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    self.assertTrue(math.isnan(found["a"]["score"]))
    # Once, twice, once against 1, 2, 3.
    self.assertAlmostEqual(found["a"]["truth"], 0.0)

  def test_one_program_scores_every_architecture(self):
    config, task, splits, _, state = image_classifier_test.make("macro")
    arcs = task.space.sample_uniform(jax.random.key(1), 4)
    # 15 images in batches of 10: two chunks, the second of 5 new images.
    part = ranking.take(splits.valid, 15)
    self.assertLen(part.labels, 15)
    calls = []
    found = {
      score: ranking.score_architectures(
        task,
        state,
        arcs,
        part,
        score=score,
        advance=lambda: calls.append(1),
      )
      for score in ranking.SCORES
    }
    self.assertLen(calls, 8)
    run = image_classifier_test.make_logits(config, "macro", state)
    for index in range(4):
      arc = decisions.nth(arcs, index)
      nats, right = [], []
      for start, fresh in ((0, 0), (5, 5)):
        cut = slice(start, start + 10)
        logits = run(arc, np.asarray(part.images[cut]))[fresh:]
        labels = np.asarray(part.labels[cut])[fresh:]
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        nats += list(-log_probs[np.arange(len(labels)), labels])
        right += list(logits.argmax(axis=1) == labels)
      self.assertLen(nats, 15)
      self.assertAlmostEqual(found["metric"][index], np.mean(right), places=6)
      self.assertAlmostEqual(found["nll"][index], -np.mean(nats), places=4)
    self.assertGreater(len(set(found["nll"])), 1)

  def test_unknown_score(self):
    with self.assertRaisesRegex(types.InputError, "score must be one of"):
      ranking.score_architectures(None, None, None, None, score="f1")


if __name__ == "__main__":
  absltest.main()
