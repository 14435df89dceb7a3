"""Every registered strategy keeps the contract, in every space."""

import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import checkpoint, evaluate
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import base, registry
from tests import tiny

SIZES = {"recurrent": {"num_nodes": 3}, **tiny.IMAGE_FLAGS}
NUM_ARCS = 3


class Judging(base.Judge):
  """Rewards and losses that depend on the architecture alone."""

  progress = np.float32(0.5)

  def __init__(self, space):
    self.space = space

  def reward(self, arc, key):
    del key
    return jnp.mean(self.space.to_choices(arc).astype(jnp.float32))

  def loss(self, arc, key):
    del key
    total = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(arc))
    return jnp.asarray(total, jnp.float32)

  train_loss = unrolled_loss = loss


def make(policy, space):
  config = spaces.preset("smoke", space)
  parts = {
    "child": SIZES[space],
    "strategy": {"controller": {"hidden_size": 4}},
  }
  config = config_lib.override_parts(config, parts)
  config = registry.with_policy(config, policy)
  config = config_lib.override(config, "theta", num_arcs=NUM_ARCS)
  return registry.create(config, config.child.space())


class ContractTest(parameterized.TestCase):
  @parameterized.product(policy=registry.names(), space=spaces.names())
  def test_proposals_are_valid_and_updates_keep_the_layout(self, policy, space):
    strategy = make(policy, space)
    self.assertIsInstance(strategy.learns, bool)
    traces = []

    def step(state, key):
      traces.append(None)
      return strategy.update(state, key, Judging(strategy.space))

    def run():
      state = jax.jit(strategy.init)(jax.random.key(0))
      update, kept = jax.jit(step), []
      for index in range(4):
        state, metrics = update(state, jax.random.key(index))
        kept.append(metrics)
      return state, kept

    state, kept = run()
    self.assertLen(traces, 1)
    chex.assert_trees_all_equal_shapes_and_dtypes(
      state, jax.eval_shape(strategy.init, jax.random.key(0))
    )
    for metrics in kept:
      chex.assert_tree_shape_prefix(metrics, ())
      self.assertEqual(metrics.keys(), kept[0].keys())
      if strategy.learns and "nats" not in metrics:
        self.assertIn("reward", metrics)
        self.assertEqual(metrics["rewards_not_finite"], 0.0)
      for name, value in metrics.items():
        self.assertTrue(np.isfinite(value), name)
    propose = evaluate.make_propose(strategy)
    arcs = propose(state, jax.random.key(9), 5)
    self._check(strategy, arcs, 5)
    trained = jax.jit(strategy.train_arcs, static_argnums=2)(
      state, jax.random.key(9), 5
    )
    chex.assert_tree_shape_prefix(trained, (5,))
    if not getattr(strategy.options, "mixes", False):
      chex.assert_trees_all_equal(trained, arcs)
    added = strategy.finish(state)
    if added is not None:
      self._check(strategy, added, jax.tree.leaves(added)[0].shape[0])
    ended = jax.jit(strategy.end_epoch)(state, jax.random.key(4))
    chex.assert_trees_all_equal_shapes_and_dtypes(ended, state)
    self._check_request(strategy, state)
    self._check_inspection(strategy, state, arcs)
    # The same keys, the same search.
    again, kept_again = run()
    chex.assert_trees_all_equal((state, kept), (again, kept_again))
    chex.assert_trees_all_equal(arcs, propose(again, jax.random.key(9), 5))

  def _check_request(self, strategy, state):
    request = strategy.asks(1)
    if request is None:
      return
    judge = Judging(strategy.space)
    ask = jax.jit(lambda state, key: strategy.ask(state, key, judge))
    asked = ask(state, jax.random.key(5))
    self._check(strategy, asked, request.num_arcs)
    rewards = jnp.arange(request.num_arcs, dtype=jnp.float32)
    told, metrics = jax.jit(strategy.tell)(state, asked, rewards)
    chex.assert_trees_all_equal_shapes_and_dtypes(told, state)
    self.assertEqual(metrics["reward"], rewards.mean())
    chex.assert_trees_all_equal(asked, ask(state, jax.random.key(5)))

  def _check_inspection(self, strategy, state, arcs):
    seen = strategy.inspect(state, arcs)
    if seen is None:
      return
    choices = np.asarray(strategy.space.to_choices(arcs))
    sizes = decisions.num_alternatives(strategy.space.decisions())
    self.assertEqual(seen.probs.shape, (*choices.shape, max(sizes)))
    np.testing.assert_allclose(seen.probs.sum(axis=-1), 1.0, rtol=1e-5)
    known = np.arange(max(sizes))[None] < sizes[:, None]
    self.assertEqual(np.abs(np.asarray(seen.probs)[:, ~known]).sum(), 0)
    taken = np.take_along_axis(seen.probs, choices[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(
      np.log(taken).sum(axis=1), seen.log_prob, rtol=1e-4
    )
    steps = len(strategy.space.decisions())
    self.assertEqual(seen.hidden.shape[:2], (len(choices), steps))

  def _check(self, strategy, arcs, count):
    for leaf in jax.tree.leaves(arcs):
      self.assertEqual((leaf.shape[0], leaf.dtype), (count, jnp.int32))
    for index in range(count):
      strategy.space.validate(decisions.nth(arcs, index))

  @parameterized.parameters(*registry.names())
  def test_the_state_goes_through_a_checkpoint(self, policy):
    strategy = make(policy, "recurrent")
    start = jax.jit(strategy.init)(jax.random.key(0))
    update = jax.jit(
      lambda state, key: strategy.update(state, key, Judging(strategy.space))
    )
    learnt, _ = update(start, jax.random.key(1))
    zero = jnp.int32(0)

    def whole(learnt):
      return state_lib.SearchState(
        epoch=zero, omega_step=zero, theta_step=zero, total_steps=zero,
        omega={"w": jnp.ones(2)}, omega_opt=(), strategy=learnt, carry=(),
        key=jax.random.key(3),
      )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder)
      kept = checkpoint.Checkpoints(path)
      kept.save(1, whole(learnt), {})
      kept.wait()
      restored = checkpoint.Checkpoints(path).restore(whole(start))
    self.assertIsNotNone(restored)
    back = restored[0].strategy
    chex.assert_trees_all_equal(back, learnt)
    self.assertEqual(jax.tree.structure(back), jax.tree.structure(learnt))
    # And it goes on as if nothing had been.
    key = jax.random.key(2)
    chex.assert_trees_all_equal(update(back, key), update(learnt, key))


class RegistryTest(absltest.TestCase):
  def test_options_and_policies_change_together(self):
    config = spaces.preset("smoke")
    uniform = registry.with_policy(config, "random")
    self.assertEqual(uniform.run.policy, "random")
    self.assertFalse(uniform.strategy.learns)
    self.assertEqual(registry.with_policy(config, "controller"), config)
    evolution = registry.with_policy(uniform, "evolution").strategy
    self.assertEqual(
      (evolution.population_size, evolution.tournament_size), (100, 25)
    )
    with self.assertRaisesRegex(
      types.InputError,
      "policy must be one of controller, supervised, tuned_controller, random,"
      " evolution, local_search",
    ):
      registry.with_policy(config, "annealing")
    with self.assertRaisesRegex(
      types.InputError, "cannot become 'controller': .* begin with a preset"
    ):
      registry.with_policy(uniform, "controller")

  def test_mixtures_have_no_operations_that_are_drawn(self):
    config = tiny.make_image_config("nasbench201")
    weighed = {"op_weights": (1.0, 1.0, 3.0, 3.0, 1.0)}
    config = config_lib.override(config, "omega", **weighed)
    for policy, kept in (("random", True), ("gdas", True), ("darts", False)):
      omega = registry.with_policy(config, policy).omega
      self.assertEqual(bool(omega.op_weights), kept, policy)

  def test_options_of_another_strategy_are_refused(self):
    config = tiny.make_config(run={"policy": "random"})
    with self.assertRaisesRegex(
      types.InputError, "policy is random, but the options are a Reinforce"
    ):
      registry.create(config, config.child.space())

  def test_a_strategy_from_outside(self):
    known = registry.get("random")
    registry.register(known)  # the same again changes nothing
    with self.assertRaisesRegex(ValueError, "a policy 'random' already"):
      registry.register(known._replace(options=dict))
    self.assertEqual(registry.get("random"), known)

  def test_sizes_of_evolution_are_checked(self):
    options = registry.get("evolution").options
    for name in ("population_size", "tournament_size"):
      with self.assertRaisesRegex(
        types.InputError, f"theta_{name} must be positive, got 0"
      ):
        options(**{name: 0})


class RewardTest(absltest.TestCase):
  def test_the_mean_is_of_finite_rewards(self):
    found = base.reward_metrics(jnp.array([1.0, jnp.nan, 4.0, jnp.inf]))
    self.assertEqual(float(found["reward"]), 2.5)
    self.assertEqual(float(found["rewards_not_finite"]), 2.0)
    one = base.reward_metrics(jnp.array([jnp.nan, 3.0, jnp.inf]))
    self.assertEqual(float(one["reward"]), 3.0)
    none = base.reward_metrics(jnp.array([jnp.nan, jnp.inf]))
    self.assertEqual(float(none["reward"]), 0.0)
    rewards = jnp.array([0.1, 0.2, 0.7])
    whole = base.reward_metrics(rewards)["reward"]
    self.assertEqual(whole, jnp.mean(rewards))


if __name__ == "__main__":
  absltest.main()
