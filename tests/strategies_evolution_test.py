"""Regularised evolution: mutations, ageing, and whole searches with it."""

import pathlib
import tempfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.search import loop, search
from enas_jax.spaces.macro import arc as macro
from enas_jax.strategies import evolution
from tests import tiny
from tests.search_test import final_files, stop_after

SPACES = {"macro": macro.MacroSpace(4)}


class Judging(NamedTuple):
  """A judge that knows rewards alone."""

  reward: Any


def ones(arc, key):
  """A toy reward: how many operations of the network are the last one."""
  del key
  return jnp.sum((arc.ops == 5).astype(jnp.float32))


class EvolveTest(parameterized.TestCase):
  def _evolve(self, steps, reward=ones, num_arcs=1, **sizes):
    options = evolution.EvolutionConfig(**sizes)
    strategy = evolution.Evolution(SPACES["macro"], options, num_arcs)
    start = strategy.init(jax.random.key(0))

    @jax.jit
    def step(population, key):
      return strategy.update(population, key, Judging(reward))

    trail, population = [start], start
    for index in range(steps):
      population, metrics = step(population, jax.random.key(index))
      trail.append(population)
    return trail, metrics

  def test_the_oldest_gives_way_to_a_child_of_the_best(self):
    """With a tournament that all but surely holds everyone."""
    trail, metrics = self._evolve(12, population_size=4, tournament_size=64)
    for step in range(12):
      before, after = trail[step], trail[step + 1]
      self.assertEqual(int(after.num_scored), step + 1)
      others = np.arange(4) != step % 4
      for name in ("choices", "rewards"):
        np.testing.assert_array_equal(
          getattr(before, name)[others], getattr(after, name)[others]
        )
      child = np.asarray(after.choices[step % 4])
      arc = SPACES["macro"].from_choices(after.choices[step % 4])
      self.assertEqual(after.rewards[step % 4], ones(arc, None))
      if step < 4:  # the members of the start are scored as they are
        np.testing.assert_array_equal(child, before.choices[step])
      else:
        best = np.asarray(before.rewards) == np.max(before.rewards)
        changes = (np.asarray(before.choices)[best] != child).sum(axis=1)
        self.assertIn(1, changes)
    last = trail[-1].rewards
    self.assertAlmostEqual(metrics["population_reward"], np.mean(last))
    self.assertAlmostEqual(metrics["best_reward"], np.max(last))
    self.assertAlmostEqual(metrics["reward"], last[11 % 4])

  def test_the_best_that_ever_lived_is_remembered(self):
    """With one member every child takes the place of its parent."""
    trail, _ = self._evolve(12, population_size=1, tournament_size=1)
    strategy = evolution.Evolution(
      SPACES["macro"], evolution.EvolutionConfig(population_size=1), 1
    )
    earned = [float(p.rewards[0]) for p in trail[1:]]
    self.assertLess(earned[-1], max(earned))  # the best is dead
    first = earned.index(max(earned))
    last = trail[-1]
    self.assertEqual(float(last.best_reward), max(earned))
    np.testing.assert_array_equal(last.best, trail[first + 1].choices[0])
    arcs = strategy.finish(last)
    np.testing.assert_array_equal(
      SPACES["macro"].to_choices(arcs), last.best[None]
    )

  def test_the_sizes_are_those_of_the_paper(self):
    options = evolution.EvolutionConfig()
    sizes = (options.population_size, options.tournament_size)
    self.assertEqual(sizes, (100, 25))  # P and S of Real et al., Section 3

  def test_a_tournament_draws_every_member_alike(self):
    members = jnp.arange(4)
    rewards = members.astype(jnp.float32)
    population = evolution.Population(
      members[:, None], rewards, jnp.int32(4), members[3:], rewards[3]
    )
    keys = jax.random.split(jax.random.key(0), 4000)
    hold = lambda size: jax.vmap(
      lambda key: evolution._hold_tournament(population, key, size)
    )(keys)[:, 0]
    # Five standard deviations of a binomial of p = 1/4.
    np.testing.assert_allclose(
      np.bincount(hold(1), minlength=4), 1000, atol=5 * np.sqrt(750)
    )
    # The best of two is the last one unless neither is: 1 - (3/4)^2.
    best = np.mean(np.asarray(hold(2)) == 3)
    self.assertAlmostEqual(best, 7 / 16, delta=5 * np.sqrt(0.25 / 4000))

  def test_it_finds_the_optimum_of_a_toy(self):
    trail, metrics = self._evolve(
      25, num_arcs=20, population_size=20, tournament_size=10
    )
    self.assertEqual(metrics["best_reward"], 4.0)
    self.assertGreater(metrics["population_reward"], 3.0)
    start = np.mean([ones(*each) for each in _arcs(trail[0])])
    self.assertLess(start, 1.5)  # 4/6 by chance
    again, _ = self._evolve(
      25, num_arcs=20, population_size=20, tournament_size=10
    )
    for a, b in zip(trail[-1], again[-1], strict=True):
      np.testing.assert_array_equal(a, b)

  def test_a_reward_that_is_no_number_never_becomes_a_parent(self):
    def reward(arc, key):
      value = ones(arc, key)
      return jnp.where(arc.ops[0] == 0, jnp.nan, value)

    trail, metrics = self._evolve(
      1, reward, num_arcs=60, population_size=20, tournament_size=60
    )
    self.assertGreater(metrics["rewards_not_finite"], 0)
    for value in metrics.values():
      self.assertTrue(np.isfinite(value))
    rewards = np.asarray(trail[-1].rewards)
    first = np.asarray(trail[-1].choices[:, 0])
    np.testing.assert_array_equal(np.isneginf(rewards), first == 0)
    self.assertFalse(np.isnan(rewards).any())

  def test_before_any_reward_is_a_number_all_metrics_are(self):
    _, metrics = self._evolve(1, lambda arc, key: jnp.float32(jnp.nan))
    self.assertEqual(
      {name: float(value) for name, value in metrics.items()},
      {
        "reward": 0.0,
        "rewards_not_finite": 1.0,
        "population_reward": 0.0,
        "best_reward": 0.0,
      },
    )

  def test_members_are_proposed_once_there_are_any(self):
    space = SPACES["macro"]
    trail, _ = self._evolve(1, num_arcs=3, population_size=3)
    strategy = evolution.Evolution(space, evolution.EvolutionConfig(), 1)
    propose = jax.jit(strategy.propose, static_argnums=2)
    members = {tuple(row) for row in np.asarray(trail[1].choices).tolist()}
    drawn = space.to_choices(propose(trail[1], jax.random.key(0), 60))
    self.assertEqual({tuple(r) for r in np.asarray(drawn).tolist()}, members)
    early = space.to_choices(propose(trail[0], jax.random.key(0), 60))
    self.assertGreater(len({tuple(r) for r in np.asarray(early).tolist()}), 50)


def _arcs(population):
  arcs = SPACES["macro"].from_choices(population.choices)
  for index in range(len(population.choices)):
    yield jax.tree.map(lambda leaf, i=index: leaf[i], arcs), None


class EvolutionSearchTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.dataset = tiny.write_corpus(self.folder)

  def _search(self, name, stop=lambda: 0):
    config = tiny.make_config(
      policy="evolution",
      strategy={"population_size": 3, "tournament_size": 2},
    )
    task, splits = tiny.make_task(config, self.dataset)
    workdir = self.folder / name
    workdir.mkdir(exist_ok=True)
    return search.Search(config, task, splits, workdir, stop=stop), workdir

  def test_stopped_and_resumed_is_uninterrupted(self):
    whole, folder = self._search("whole")
    whole.run()
    rows, record, arcs = final_files(folder)
    self.assertEqual(record["policy"], "evolution")
    self.assertEqual(record["theta_steps"], 10)
    self.assertIn("theta/best_reward", [k for row in rows for k in row])
    self.assertEqual(int(whole.state.strategy.num_scored), 10)
    # In the theta phase of the first epoch, with one member unscored.
    stopped, cut = self._search("cut", stop_after(8))
    with self.assertRaises(loop.Interrupted):
      stopped.run()
    self.assertEqual(int(stopped.state.strategy.num_scored), 2)
    resumed, _ = self._search("cut")
    resumed.run()
    self.assertEqual(final_files(cut), (rows, record, arcs))
    for a, b in zip(whole.state.strategy, resumed.state.strategy, strict=True):
      np.testing.assert_array_equal(a, b)


if __name__ == "__main__":
  absltest.main()
