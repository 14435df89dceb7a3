"""REINFORCE and random search on tables made up here."""

import itertools

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import table_reinforce
from enas_jax.spaces.macro import arc as macro
from tests import tiny

SPACE = macro.MacroSpace(2)  # 6 x 6 operations and one skip: 72


def all_choices():
  """In the order in which a table numbers them."""
  return np.array(list(itertools.product(range(6), range(6), range(2))))


def make_table(rewards):
  order = np.random.default_rng(0).permutation(72)
  arcs = SPACE.from_choices(jax.numpy.asarray(all_choices()[order]))
  return table_reinforce.Table(SPACE, arcs, np.asarray(rewards)[order])


def toy():
  """Each operation adds to the reward: 0.9 for (5, 5), with a skip or not."""
  choices = all_choices()
  return 0.09 * (choices[:, 0] + choices[:, 1])


class TableTest(absltest.TestCase):
  def test_every_architecture_has_its_reward(self):
    rewards = np.random.default_rng(1).uniform(size=72)
    table = make_table(rewards)
    np.testing.assert_allclose(table.rewards, rewards, rtol=1e-6)
    found = table.look_up(jax.numpy.asarray([[0, 0, 1], [5, 2, 0], [5, 5, 1]]))
    # The number of (5, 2, 0) is 5 x 12 + 2 x 2.
    np.testing.assert_allclose(found, rewards[[1, 64, 71]], rtol=1e-6)

  def test_gaps_are_refused(self):
    arcs = SPACE.from_choices(jax.numpy.asarray(all_choices()[:70]))
    with self.assertRaisesRegex(
      types.InputError, "lacks 2 of the 72 architectures"
    ):
      table_reinforce.Table(SPACE, arcs, np.zeros(70))
    with self.assertRaisesRegex(types.InputError, "too many for a table"):
      table_reinforce.Table(macro.MacroSpace(12), arcs, np.zeros(70))


class SearchTest(parameterized.TestCase):
  def _config(self):
    strategy = {
      "learning_rate": 0.03,
      "baseline_decay": 0.9,
      "controller": {"temperature": 5.0},
    }
    return tiny.make_image_config(
      "macro", theta={"num_arcs": 2}, strategy=strategy
    )

  def test_it_learns_and_repeats(self):
    table, config = make_table(toy()), self._config()
    found = table_reinforce.search(config, table, 400)
    self.assertLen(found.rewards, 400)
    # Uniform architectures earn 0.45; the optimum 0.9.
    self.assertLess(found.rewards[:40].mean(), 0.6)
    self.assertGreater(found.rewards[-100:].mean(), 0.8)
    self.assertEqual(tuple(found.arc.ops), (5, 5))
    self.assertAlmostEqual(found.reward, 0.9, places=6)
    again = table_reinforce.search(config, table, 400)
    np.testing.assert_array_equal(found.rewards, again.rewards)

  def test_random_search_is_chance(self):
    table = make_table(toy())
    found = table_reinforce.random_search(table, jax.random.key(0), 500)
    self.assertAlmostEqual(found.rewards.mean(), 0.45, delta=0.04)
    self.assertEqual(found.reward, found.rewards.max())
    few = table_reinforce.random_search(table, jax.random.key(2), 3)
    number = np.flatnonzero(
      (all_choices() == np.asarray(SPACE.to_choices(few.arc))).all(axis=1)
    )[0]
    self.assertAlmostEqual(few.reward, toy()[number], places=6)

  def test_a_budget_that_steps_cannot_spend(self):
    with self.assertRaisesRegex(
      types.InputError, "multiple of theta_num_arcs, 2, got 5"
    ):
      table_reinforce.search(self._config(), make_table(toy()), 5)


if __name__ == "__main__":
  absltest.main()
