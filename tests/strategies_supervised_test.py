"""The controller that must reconstruct architectures of its past."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.config import parts
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import base, registry, reinforce
from tests import tiny


class Constant(base.Judge):
  """Every architecture earns the same."""

  def reward(self, arc, key):
    del arc, key
    return jnp.float32(0.5)


def make(**options):
  config = tiny.make_config(policy="supervised")
  config = parts.override(config, "strategy", **options)
  config = parts.override(config, "theta", num_arcs=2)
  return registry.create(config, config.child.space())


def run(strategy, state, steps, first=0):
  update = jax.jit(lambda state, key: strategy.update(state, key, Constant()))
  metrics = {}
  for index in range(first, first + steps):
    state, metrics = update(state, jax.random.key(index))
  return state, metrics


class SupervisedTest(parameterized.TestCase):
  def test_the_numbers_are_those_of_section_3_3(self):
    options = make().options
    self.assertEqual(
      (options.memory_start, options.memory_add, options.memory_size),
      (5, 1000, 10_000),
    )
    self.assertEqual(
      (options.memory_replace, options.supervised_start), (100, 10)
    )
    self.assertEqual(options.supervised_batch, 100)
    # All else is the preset's.
    kept = {
      field.name: getattr(options, field.name)
      for field in dataclasses.fields(reinforce.config_lib.ReinforceConfig)
    }
    self.assertEqual(kept, vars(tiny.make_config().strategy))

  def test_until_it_begins_it_is_reinforce_bit_for_bit(self):
    strategy = make(memory_size=8, memory_start=1, memory_add=4,
                    memory_replace=1)  # fmt: skip
    plain = strategy.reinforce
    key = jax.random.key(0)
    state = strategy.init(key)
    learnt, _ = run(strategy, state, 3)
    learnt = strategy.end_epoch(learnt, jax.random.key(5))
    self.assertEqual(int(learnt.stored), 4)
    learnt, metrics = run(strategy, learnt, 3, first=3)
    expected, _ = run(plain, plain.init(key), 6)
    chex.assert_trees_all_equal(learnt.policy, expected)
    self.assertEqual(metrics["supervised_nats"], 0.0)
    self.assertEqual(metrics["memory"], 4.0)

  def test_the_memory_fills_and_then_changes_in_a_few_places(self):
    strategy = make(memory_size=5, memory_start=2, memory_add=2,
                    memory_replace=2)  # fmt: skip
    state = strategy.init(jax.random.key(0))
    state = strategy.end_epoch(state, jax.random.key(1))
    self.assertEqual(int(state.epochs), 0)  # theta has not moved yet
    state, _ = run(strategy, state, 1)
    counts, memories = [], []
    for index in range(5):
      state = strategy.end_epoch(state, jax.random.key(index))
      counts.append(int(state.stored))
      memories.append(np.asarray(state.memory))
    self.assertEqual(counts, [0, 2, 4, 5, 5])
    key_arcs, _ = jax.random.split(jax.random.key(1))
    stored = strategy.space.to_choices(strategy.propose(state, key_arcs, 2))
    np.testing.assert_array_equal(memories[1][:2], stored)
    self.assertEqual(np.abs(memories[1][2:]).sum(), 0)
    # What is stored stays, until the memory is full.
    np.testing.assert_array_equal(memories[3][:4], memories[2][:4])
    key_arcs, key_places = jax.random.split(jax.random.key(4))
    places = jax.random.choice(key_places, 5, (2,), replace=False)
    expected = memories[3].copy()
    expected[np.asarray(places)] = strategy.space.to_choices(
      strategy.propose(state, key_arcs, 2)
    )
    np.testing.assert_array_equal(memories[4], expected)

  @parameterized.parameters(0, 1, 2)
  def test_a_memory_of_one_is_enough(self, stored):
    strategy = make(memory_size=4, memory_start=0, supervised_start=1,
                    memory_add=1, memory_replace=0)  # fmt: skip
    state = strategy.init(jax.random.key(0))._replace(stored=jnp.int32(stored))
    _, metrics = run(strategy, state, 1)
    self.assertEqual(metrics["supervised_nats"] > 0.0, stored > 0)

  @parameterized.parameters(1.0, 3.0)
  def test_the_term_is_the_mean_negative_log_probability(self, weight):
    strategy = make(memory_size=4, memory_start=0, memory_add=4,
                    memory_replace=0, supervised_start=1, supervised_batch=6,
                    supervised_weight=weight, entropy_weight=0.0,
                    adam_epsilon=1.0)  # fmt: skip
    start = strategy.init(jax.random.key(0))
    arcs = strategy.space.sample_uniform(jax.random.key(7), 1)
    choices = np.asarray(strategy.space.to_choices(arcs))
    state = start._replace(
      memory=jnp.asarray(np.repeat(choices, 4, axis=0)), stored=jnp.int32(4)
    )
    before = -strategy.inspect(state, arcs).log_prob[0]
    after, metrics = run(strategy, state, 1)
    np.testing.assert_allclose(metrics["supervised_nats"], before, rtol=1e-5)
    # All earn the same, so the baseline leaves the policy gradient nothing: the
    # step is Adam's on the term alone.
    controller = strategy.reinforce.controller
    theta = start.policy.theta
    grads = jax.grad(
      lambda theta: -weight * controller.score(theta, arcs).log_prob[0]
    )(theta)
    optimizer = reinforce.make_optimizer(strategy.options)
    updates, _ = optimizer.update(grads, optimizer.init(theta), theta)
    expected = jax.tree.map(jnp.add, theta, updates)
    chex.assert_trees_all_close(after.policy.theta, expected, atol=2e-6)
    later, metrics = run(strategy, after, 20, first=1)
    self.assertLess(metrics["supervised_nats"], before)
    self.assertLess(-strategy.inspect(later, arcs).log_prob[0], before)

  def test_sizes_are_checked(self):
    for options, words in (
      ({"memory_size": 0}, "theta_memory_size must be positive, got 0"),
      ({"memory_start": -1}, "theta_memory_start must be zero or positive"),
      ({"memory_size": 9}, "theta_memory_replace must be at most .* 9, got"),
    ):
      with self.assertRaisesRegex(types.InputError, words):
        make(**options)

  def test_its_numbers_come_from_those_of_a_controller_and_go_back(self):
    config = spaces.preset("small", "macro")
    there = registry.with_policy(config, "supervised")
    self.assertEqual(registry.with_policy(there, "controller"), config)


if __name__ == "__main__":
  absltest.main()
