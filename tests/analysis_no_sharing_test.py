"""Searches without shared weights, with rewards that are made up here.

`ablations_cli_test` trains some samples.
"""

import math
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import no_sharing, table_reinforce
from tests import analysis_table_reinforce_test as table_test
from tests import tiny

SPACE = table_test.SPACE


def make_config(**strategy):
  strategy = {
    "learning_rate": 0.03,
    "baseline_decay": 0.9,
    "controller": {"temperature": 5.0},
    **strategy,
  }
  return tiny.make_image_config(
    "macro", theta={"num_arcs": 2}, strategy=strategy
  )


def earn(arcs, first):
  """Each operation adds to the reward: 0.9 for (5, 5)."""
  for number, arc in enumerate(arcs, start=first):
    reward = float(np.float32(0.09 * sum(arc.ops)))
    yield no_sharing.Sample(arc, reward, reward, reward - 1, number + 0.5)


class SearchTest(absltest.TestCase):
  def test_it_learns_as_on_a_table(self):
    """A training and a query that say the same teach the same."""
    config = make_config()
    samples = no_sharing.controller_search(config, SPACE, 120, earn)
    rewards = np.asarray([sample.reward for sample in samples])
    table = table_test.make_table(table_test.toy())
    expected = table_reinforce.search(config, table, 120).rewards
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    # Uniform architectures earn 0.45.
    self.assertGreater(rewards[-30:].mean(), rewards[:30].mean() + 0.1)

  def test_random_search_is_chance(self):
    samples = no_sharing.random_search(0, SPACE, 100, earn)
    rewards = np.asarray([sample.reward for sample in samples])
    # The mean of 100 has a standard error of 0.09 sqrt(2 x 35 / 12) / 10.
    self.assertAlmostEqual(rewards.mean(), 0.45, delta=4 * 0.0217)
    fewer = no_sharing.random_search(0, SPACE, 3, earn)
    self.assertEqual(fewer, samples[:3])

  def test_the_best_one(self):
    samples = [
      no_sharing.Sample("abcd"[i], 0.0, valid, 0.0, 0.0)
      for i, valid in enumerate((3.0, math.nan, 1.0, 3.0))
    ]
    self.assertEqual(no_sharing.best_of(samples, 1).arc, "a")
    self.assertEqual(no_sharing.best_of(samples, -1).arc, "c")

  def test_a_budget_that_steps_cannot_spend(self):
    with self.assertRaisesRegex(
      types.InputError, "multiple of theta_num_arcs, 2, got 5"
    ):
      no_sharing.controller_search(make_config(), SPACE, 5, earn)


class LedgerTest(parameterized.TestCase):
  def _path(self):
    return pathlib.Path(tempfile.mkdtemp()) / "samples.jsonl"

  def test_it_goes_on_after_a_stop(self):
    """What was earned is not earned again, and the same samples come out."""
    config, path, calls = make_config(), self._path(), []

    def stop_after(count):
      def earn_some(arcs, first):
        for number, sample in enumerate(earn(arcs, first), start=first):
          if len(calls) == count:
            raise KeyboardInterrupt
          calls.append(number)
          # A network that overflowed: JSON has no such number.
          broken = sample._replace(reward=math.nan)
          yield broken if number == 3 else sample

      return no_sharing.Ledger(path, SPACE, earn_some)

    with self.assertRaises(KeyboardInterrupt):
      no_sharing.controller_search(config, SPACE, 20, stop_after(7))
    resumed = no_sharing.controller_search(config, SPACE, 20, stop_after(20))
    self.assertEqual(calls, list(range(20)))
    self.assertTrue(math.isnan(resumed[3].reward))
    calls.clear()
    path.unlink()
    whole = no_sharing.controller_search(config, SPACE, 20, stop_after(20))
    for one, other in zip(resumed, whole, strict=True):
      np.testing.assert_equal(one._asdict(), other._asdict())
    # Everything is there: nothing is earned any more.
    calls.clear()
    no_sharing.controller_search(config, SPACE, 20, stop_after(0))

  def test_what_does_not_wait_for_another_is_asked_for_at_once(self):
    """So that each device trains one: also of what a stop has left."""
    path, asked = self._path(), []

    def earn_all(arcs, first):
      asked.append((first, len(arcs)))
      return earn(arcs, first)

    for count in (3, 8):
      ledger = no_sharing.Ledger(path, SPACE, earn_all)
      no_sharing.random_search(0, SPACE, count, ledger)
    no_sharing.controller_search(make_config(), SPACE, 4, earn_all)
    self.assertEqual(asked, [(0, 3), (3, 5), (0, 2), (2, 2)])

  def test_another_search_is_refused(self):
    config, path = make_config(), self._path()
    ledger = no_sharing.Ledger(path, SPACE, earn)
    no_sharing.random_search(1, SPACE, 4, ledger)
    before = path.read_text()
    again = no_sharing.Ledger(path, SPACE, earn)
    with self.assertRaisesRegex(types.InputError, "is of another search"):
      no_sharing.controller_search(config, SPACE, 4, again)
    self.assertEqual(path.read_text(), before)

  @parameterized.parameters(
    ('{"arc"', "is damaged: it is not valid JSON: .*; move it away"),
    ('{"arc": {}, "reward": 1}\n', "is damaged: move it away"),
    ("[]\n", "must hold JSON objects; move it away"),
  )
  def test_a_damaged_file_stays(self, content, message):
    path = self._path()
    path.write_text(content)
    with self.assertRaisesRegex(types.InputError, message):
      no_sharing.Ledger(path, SPACE, earn)
    self.assertEqual(path.read_text(), content)


if __name__ == "__main__":
  absltest.main()
