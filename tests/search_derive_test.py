"""The order of candidates: by reward, or with scores that train nothing."""

import math
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest
from scipy import stats

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import derive, loop, search, tune, zero_cost
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions, describe
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry
from tests import tiny

SPACE = "nasbench201"


def derivation(task, splits, **changes):
  config = config_lib.override(task.config, "run", **changes)
  workdir = pathlib.Path(tempfile.mkdtemp())
  return derive.Derivation(
    config, task, splits, workdir, loop.Progress(), loop.Clock()
  )


class RecordsTest(absltest.TestCase):
  def test_mean_and_error_by_hand(self):
    nan = float("nan")
    # 1, 2 and 6: squares 4, 1 and 9 from the mean, over 2, over 3.
    mean, error = derive.mean_and_error([1.0, nan, 2.0, math.inf, 6.0])
    self.assertEqual(mean, 3.0)
    self.assertAlmostEqual(error, math.sqrt(14 / 2 / 3))
    self.assertEqual(derive.mean_and_error([4.0, nan]), (4.0, 0.0))
    for values in ([], [nan, -math.inf]):
      self.assertTrue(all(map(math.isnan, derive.mean_and_error(values))))

  def test_what_was_trained_longest_comes_first(self):
    rows = [
      {"rank": 3, "reward": 0.3},
      {"rank": 1, "reward": 0.9},
      {"rank": 4, "tuned_nats": 1.0, "tuned_steps": 3},
      {"rank": 5, "tuned_nats": 2.5, "tuned_steps": 9},
      {"rank": 2, "tuned_nats": 2.0, "tuned_steps": 9},
      {"rank": 6, "tuned_nats": 0.5, "tuned_steps": 3},
    ]
    order = [row["rank"] for row in derive.in_order(rows)]
    self.assertEqual(order, [2, 5, 6, 4, 1, 3])
    # Null, of a file that somebody has edited, is as good as nothing.
    rows += [{"rank": None}, {"rank": 7, "tuned_nats": 3, "tuned_steps": None}]
    order = [row["rank"] for row in derive.in_order(rows)]
    self.assertEqual(order, [2, 5, 6, 4, 7, None, 1, 3])


class OrderTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    config = tiny.make_image_config(
      SPACE, policy="random", run={"derive_arcs": 12}
    )
    cls.task, cls.splits = tiny.make_image_task(config, SPACE)
    strategy = registry.create(config, cls.task.space)
    cls.state = state_lib.init_state(config, cls.task, strategy, 2)
    plain = derivation(cls.task, cls.splits)
    # Compiled once for all that follow.
    cls.shared = {
      name: getattr(plain, name)
      for name in ("propose", "propose_uniform", "score")
    }
    cls.plain = plain.rank(cls.state)

  def _rank(self, **changes):
    one = derivation(self.task, self.splits, **changes)
    vars(one).update(self.shared)
    return one.rank(self.state).candidates

  def test_ranks_are_added(self):
    candidates = self._rank(derive_scores=("reward", "multiply_adds"))
    options = self.task.config.child
    live = spaces.get(SPACE).live
    rewards = {one.arc: one.reward for one in self.plain.candidates}
    arcs = list(rewards)
    sizes = [
      describe.describe(SPACE, options, live(options, arc))["multiply_adds"]
      for arc in arcs
    ]
    total = stats.rankdata(list(rewards.values())) + stats.rankdata(sizes)
    expected = dict(zip(arcs, total, strict=True))
    self.assertLen(candidates, 12)
    for one in candidates:
      self.assertEqual(one.score, expected[one.arc])
      self.assertEqual(one.reward, rewards[one.arc])
    scores = [one.score for one in candidates]
    self.assertEqual(scores, sorted(scores, reverse=True))
    self.assertNotEqual(
      [one.arc for one in candidates],
      [one.arc for one in self.plain.candidates],
    )

  def test_draws_of_fresh_weights(self):
    """As many as are asked, all different, the same ones each time."""
    seen = []

    def score(name, subject, arcs, advance):
      sums = [
        [float(jax.numpy.sum(leaf)) for leaf in jax.tree.leaves(draw.omega)]
        for draw in subject.draws
      ]
      seen.append((name, sums))
      return np.arange(len(arcs), dtype=np.float64)

    with mock.patch.object(zero_cost, "score_architectures", score):
      for _ in range(2):
        found = self._rank(derive_scores=("jacob_cov",), derive_draws=2)
    self.assertEqual(seen[0], seen[1])
    name, (first, second) = seen[0]
    self.assertEqual(name, "jacob_cov")
    self.assertNotEqual(first, second)
    # The last of those that differ has the largest score.
    self.assertEqual(found[0].score, len({one.arc for one in found}) - 1)

  def test_uniform_architectures_may_be_candidates(self):
    candidates = self._rank(derive_uniform=True)
    self.assertLen(candidates, 24)
    rewards = sorted(one.reward for one in candidates)
    both = self.plain.policy_rewards + self.plain.uniform_rewards
    np.testing.assert_array_equal(rewards, sorted(both))

  def test_what_overflowed_is_last_whatever_its_size(self):
    largest = self._rank(derive_scores=("multiply_adds",))[0].arc
    space, earn = self.task.space, self.shared["score"]

    def score(state, arcs, *args, **kwargs):
      earned = earn(state, arcs, *args, **kwargs)
      found = [
        space.validate(jax.device_get(decisions.nth(arcs, index)))
        for index in range(len(earned))
      ]
      return [
        math.nan if arc == largest else reward
        for arc, reward in zip(found, earned, strict=True)
      ]

    one = derivation(self.task, self.splits, derive_scores=("multiply_adds",))
    vars(one).update(self.shared | {"score": score})
    candidates = one.rank(self.state).candidates
    self.assertTrue(math.isfinite(candidates[0].reward))
    self.assertEqual(candidates[-1].arc, largest)

  def _run(self, *nats):
    """The first two candidates trained alone, and lines for people."""
    one, said = derivation(self.task, self.splits), []
    vars(one).update(self.shared | {"evaluate": lambda *_: 0.5})
    one._progress.line = said.append
    tuned = [
      tune.Tuned(self.plain.candidates[rank - 1].arc, rank, value, value, 3)
      for rank, value in zip((2, 1), nats, strict=True)
    ]
    with mock.patch.object(one, "_tune", lambda *_: tuned):
      result = one.run(self.state)
    said += search.describe_result(result.record, self.task, 12)
    return result, "\n".join(said)

  def test_where_all_trained_alone_overflow_the_first_is_kept_and_it_is_said(
    self,
  ):
    result, said = self._run(math.nan, math.inf)
    self.assertEqual(result.arc, self.plain.candidates[0].arc)
    self.assertEqual(result.record["rank_before_tuning"], 1)
    self.assertIn("all 2 candidates trained alone overflowed: the first", said)
    self.assertIn("all 2 trained alone overflowed; kept is number 1", said)
    # One that went on to the last round, and one that was dropped before.
    result, said = self._run(math.nan, 0.25)
    self.assertEqual(result.arc, self.plain.candidates[0].arc)
    self.assertNotIn("overflowed", said)
    self.assertIn("best of 2 trained alone: accuracy 25.0%", said)

  def test_without_any_finite_reward(self):
    vars_of = dict(self.shared)
    vars_of["score"] = lambda *args, **kwargs: [float("nan")] * 12
    one = derivation(self.task, self.splits, derive_scores=("reward", "params"))
    vars(one).update(vars_of)
    with self.assertRaisesRegex(loop.Diverged, "no candidate has a reward"):
      one.rank(self.state)

  def test_refusals(self):
    with self.assertRaisesRegex(
      types.InputError, "derive_scores must be one of reward, params"
    ):
      derivation(self.task, self.splits, derive_scores=("luck",))
    with self.assertRaisesRegex(types.InputError, "must be different names"):
      derivation(self.task, self.splits, derive_scores=("params", "params"))
    text = tiny.make_config(run={"derive_scores": ("jacob_cov",)})
    task = tiny.text_task(text, 7)
    with self.assertRaisesRegex(
      types.InputError, "jacob_cov is defined for networks that read images"
    ):
      derive.check(text, task, self.splits)


if __name__ == "__main__":
  absltest.main()
