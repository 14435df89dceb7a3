"""Single edits, and climbs on tables of rewards that are known."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import decisions
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.recurrent import arc as recurrent
from enas_jax.strategies import base, edits, local_search

SPACES = {
  "recurrent": recurrent.RecurrentSpace(4),
  "macro": macro.MacroSpace(4),
  "micro": micro.MicroSpace(4),
}
CELLS = nasbench201.NasBench201Space()


class MutationTest(parameterized.TestCase):
  @parameterized.parameters(*SPACES)
  def test_one_entry_changes_and_the_child_is_valid(self, name):
    space = SPACES[name]
    sizes = decisions.num_alternatives(space.decisions())
    parent = space.to_choices(space.sample_uniform(jax.random.key(0), 1))[0]
    keys = jax.random.split(jax.random.key(1), 400)
    mutate = jax.jit(jax.vmap(lambda k: edits.mutate(parent, k, sizes)))
    children = np.asarray(mutate(keys))
    changed = children != np.asarray(parent)
    np.testing.assert_array_equal(changed.sum(axis=1), 1)
    self.assertLen(sizes, len(parent))
    # Every entry is drawn about as often, those without alternative never,
    # and every other value comes up.
    free = sizes > 1
    np.testing.assert_array_equal(changed[:, ~free], False)
    counts = changed[:, free].sum(axis=0)
    expected = 400 / free.sum()
    self.assertLess(np.abs(counts - expected).max(), 5 * expected**0.5)
    for entry in np.flatnonzero(free):
      values = set(children[changed[:, entry], entry])
      self.assertEqual(
        values, set(range(sizes[entry])) - {int(parent[entry])}, entry
      )
    arcs = jax.device_get(space.from_choices(jnp.asarray(children[:20])))
    for index in range(20):
      space.validate(jax.tree.map(lambda leaf, i=index: leaf[i], arcs))

  def test_alternatives_by_hand(self):
    # Layers of 6 operations; layer 1 has one skip, layer 2 two.
    sizes = decisions.num_alternatives(macro.MacroSpace(3).decisions())
    self.assertEqual(list(sizes), [6, 6, 2, 6, 2, 2])

  @parameterized.parameters(*SPACES)
  def test_numbered_edits_are_the_whole_neighbourhood(self, name):
    space = SPACES[name]
    sizes = decisions.num_alternatives(space.decisions())
    parent = space.to_choices(space.sample_uniform(jax.random.key(0), 1))[0]
    numbers = jnp.arange(edits.count(sizes))
    apply = jax.jit(jax.vmap(lambda n: edits.apply(parent, n, sizes)))
    children = {tuple(row) for row in np.asarray(apply(numbers)).tolist()}
    start = np.asarray(parent)
    expected = set()
    for entry, size in enumerate(sizes):
      for value in set(range(size)) - {int(start[entry])}:
        other = start.copy()
        other[entry] = value
        expected.add(tuple(other.tolist()))
    self.assertEqual(children, expected)
    self.assertLen(numbers, len(expected))


class Table(base.Judge):
  """A judge that knows the reward of every cell of NAS-Bench-201.

  Minibatches differ by far more than cells do.
  """

  def __init__(self, rewards):
    self.known = jnp.asarray(rewards, jnp.float32)

  def reward(self, arc, key):
    index = jnp.sum(arc.ops * 5 ** jnp.arange(5, -1, -1))
    return self.known[index] + 1000 * jax.random.randint(key, (), 0, 9)


def all_choices():
  return np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)


def climb(rewards, steps, num_arcs=1, seed=0, **options):
  strategy = local_search.LocalSearch(
    CELLS, local_search.LocalSearchConfig(**options), num_arcs
  )
  state = jax.jit(strategy.init)(jax.random.key(seed))
  update = jax.jit(
    lambda state, key: strategy.update(state, key, Table(rewards))
  )
  trail, metrics = [jax.device_get(state)], {}
  for index in range(steps):
    state, metrics = update(state, jax.random.key(100 + index))
    trail.append(jax.device_get(state))
  return strategy, trail, metrics


class ClimbTest(parameterized.TestCase):
  def test_a_step_by_hand(self):
    """The first better neighbour is taken; a failure costs one edit."""
    rewards = all_choices().sum(axis=1)
    _, trail, metrics = climb(rewards, 60)
    moves = 0
    for before, after in zip(trail, trail[1:], strict=False):
      if after.climbs > before.climbs:
        # All 24 neighbours have failed: only the best cell has none better.
        np.testing.assert_array_equal(before.holder, 4)
        self.assertEqual(before.failures, 24)
        np.testing.assert_array_equal(after.best, 4)
        self.assertEqual(after.failures, 0)
        continue
      edit = before.order[before.failures]
      entry, turn = divmod(int(edit), 4)
      neighbour = before.holder.copy()
      neighbour[entry] = (neighbour[entry] + turn + 1) % 5
      if neighbour.sum() > before.holder.sum():
        moves += 1
        np.testing.assert_array_equal(after.holder, neighbour)
        self.assertEqual(after.failures, 0)
        self.assertFalse((after.order == before.order).all())
      else:
        np.testing.assert_array_equal(after.holder, before.holder)
        self.assertEqual(after.failures, before.failures + 1)
        np.testing.assert_array_equal(after.order, before.order)
      self.assertEqual(sorted(after.order), list(range(24)))
    self.assertGreater(moves, 2)
    self.assertGreaterEqual(trail[-1].climbs, 1)
    self.assertEqual(trail[-1].contests, 60)
    self.assertEqual(metrics["climbs"], trail[-1].climbs)
    self.assertEqual(metrics["failures"], trail[-1].failures)

  @parameterized.parameters(0, 12)
  def test_restarts_find_the_better_of_two_optima(self, patience):
    """All 0 is worth 25 and all 4 is worth 24; most climbs end at all 4."""
    cells = all_choices()
    rewards = np.maximum(cells.sum(axis=1), 25 - 5 * (cells > 0).sum(axis=1))
    strategy, trail, _ = climb(
      rewards, 20, num_arcs=200, patience=patience, contest_batches=2
    )
    bests = [trail_state.best.sum() for trail_state in trail[1:]]
    self.assertIn(24, bests)  # the first climbs end there
    np.testing.assert_array_equal(trail[-1].best, 0)
    arcs = strategy.finish(trail[-1])
    np.testing.assert_array_equal(arcs.ops, [trail[-1].holder, [0] * 6])
    # An earlier end of a climb leaves time for more of them.
    self.assertGreater(trail[-1].climbs, 40 if patience == 0 else 60)

  def test_noise_that_is_common_to_both_changes_nothing(self):
    rewards = all_choices().sum(axis=1)
    _, trail, _ = climb(rewards, 30)
    sums = [state.holder.sum() for state in trail if not state.climbs]
    self.assertEqual(sums, sorted(sums))

  def test_a_reward_that_is_no_number_never_wins(self):
    rewards = all_choices().sum(axis=1).astype(float)
    rewards[all_choices()[:, 0] == 4] = np.nan
    _, trail, metrics = climb(rewards, 1, num_arcs=400)
    np.testing.assert_array_equal(trail[-1].best, [3, 4, 4, 4, 4, 4])
    self.assertGreater(metrics["rewards_not_finite"], 0)
    self.assertTrue(np.isfinite(metrics["reward"]))

  def test_proposals_are_the_neighbourhoods_of_holder_and_best(self):
    strategy, trail, _ = climb(all_choices().sum(axis=1), 1)
    propose = jax.jit(strategy.propose, static_argnums=2)
    holder, best = np.array([1, 1, 1, 1, 1, 1]), np.array([3, 3, 3, 3, 3, 3])
    state = trail[-1]._replace(holder=holder, best=best)
    distance = lambda arcs, centre: (arcs.ops != centre).sum(axis=1)
    arcs = propose(state, jax.random.key(0), 500)
    np.testing.assert_array_less(distance(arcs, holder), 2)
    same = (distance(arcs, holder) == 0).mean()
    # One in 25, within five standard deviations.
    self.assertAlmostEqual(same, 1 / 25, delta=5 * (0.04 * 0.96 / 500) ** 0.5)
    arcs = propose(state._replace(climbs=1), jax.random.key(0), 500)
    near = distance(arcs, holder) < 2
    np.testing.assert_array_less(distance(arcs, best)[~near], 2)
    self.assertAlmostEqual(near.mean(), 0.5, delta=5 * (0.25 / 500) ** 0.5)
    early = propose(trail[0], jax.random.key(0), 500)
    self.assertGreater(distance(early, trail[0].holder).mean(), 4)

  def test_options_are_checked(self):
    for options, words in (
      ({"patience": -1}, "theta_patience must be zero or positive, got -1"),
      ({"contest_batches": 0}, "theta_contest_batches must be positive, got 0"),
    ):
      with self.assertRaisesRegex(types.InputError, words):
        local_search.LocalSearchConfig(**options)


if __name__ == "__main__":
  absltest.main()
