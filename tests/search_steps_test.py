"""The two phases: what each step changes, and by how much."""

import pathlib
import tempfile
from types import SimpleNamespace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.nn import ops
from enas_jax.search import evaluate, steps, theta_steps
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.spaces.recurrent import network as supergraph
from enas_jax.strategies import registry, uniform
from tests import children, oracles, tiny


def host(tree):
  """A copy on the host: donated buffers are gone after a step."""
  return jax.tree.map(np.array, tree.replace(key=jax.random.key_data(tree.key)))


class PhasesTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = pathlib.Path(tempfile.mkdtemp())
    cls.dataset = tiny.write_corpus(folder)

  def _make(self, **changes):
    config = tiny.make_config(**changes)
    task, splits = tiny.make_task(config, self.dataset)
    strategy = registry.create(config, task.space)
    count = task.steps_per_epoch(splits.train)
    state = state_lib.init_state(config, task, strategy, count)
    omega_step = steps.make_omega_step(config, task, strategy, count)
    theta_step = theta_steps.make_theta_step(task, strategy)
    return config, task, splits, state, omega_step, theta_step

  def test_omega_step_leaves_theta_alone_and_the_reverse(self):
    _, _, splits, state, omega_step, theta_step = self._make()
    before = host(state)
    state, _ = omega_step(state, splits.train)
    middle = host(state)
    chex.assert_trees_all_equal(before.strategy, middle.strategy)
    self.assertFalse(
      np.array_equal(before.omega["embedding"], middle.omega["embedding"])
    )
    # The very first reward is its own baseline and moves nothing.
    for _ in range(2):
      state, _ = theta_step(state, splits.valid, splits.train)
    after = host(state)
    chex.assert_trees_all_equal(middle.omega, after.omega)
    chex.assert_trees_all_equal(middle.carry, after.carry)
    lstm = [part.strategy.theta["lstm"] for part in (middle, after)]
    self.assertFalse(np.array_equal(*lstm))

  def test_the_whole_omega_step_by_plain_gradient(self):
    """Gather, clip, rate and scatter against a dense gradient step."""
    config, task, splits, state, *_ = self._make(
      omega={"learning_rate": 3.0, "clip_norm": 0.05, "l2_weight": 0.01}
    )
    step = steps.make_arcs_step(config, task, 6)
    arc = task.space.from_tokens("2 0 1 1 3")
    before = host(state)
    after, found = step(state, splits.train, arc)

    def loss(omega):
      states = children.run_recurrent(
        omega,
        arc,
        splits.train[:5],
        jnp.zeros((4, 8)),
        config=config.child,
      )
      nats = supergraph.softmax_loss(omega, states, splits.train[1:6])
      child = supergraph.child_params(omega, arc)
      l2 = sum(jnp.sum(w * w) for w in child.values())
      return jnp.mean(nats) + 0.01 * l2

    grads = jax.grad(loss)(jax.tree.map(jnp.asarray, before.omega))
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in grads.values()))
    self.assertGreater(norm, 0.05)
    self.assertAlmostEqual(float(found["grad_norm"]), norm, places=4)
    for name, grad in grads.items():
      expected = before.omega[name] - 3.0 * grad * 0.05 / norm
      np.testing.assert_allclose(
        after.omega[name], expected, atol=1e-5, err_msg=name
      )

  def test_several_arcs_average_their_gradients(self):
    config, task, splits, state, *_ = self._make(
      omega={"num_arcs": 2, "clip_norm": 1e6}
    )
    single = tiny.make_config(omega={"clip_norm": 1e6})
    arcs = task.space.sample_uniform(jax.random.key(1), 2)
    both, _ = steps.make_arcs_step(config, task, 6)(state, splits.train, arcs)
    alone = steps.make_arcs_step(single, task, 6)
    each = [
      alone(state, splits.train, decisions.nth(arcs, i))[0] for i in range(2)
    ]
    for name, start in state.omega.items():
      mean = sum(np.asarray(e.omega[name] - start) for e in each) / 2
      np.testing.assert_allclose(
        both.omega[name] - start, mean, atol=1e-6, err_msg=name
      )

  def test_reward_is_c_over_perplexity(self):
    config, task, splits, state, *_ = self._make()
    arc = task.space.from_tokens("1 0 2 1 0")
    batch = task.reward_batch(splits.valid, jax.random.key(3))
    omega = jax.tree.map(np.asarray, state.omega)
    states = oracles.recurrent_states(
      omega, *arc, np.asarray(batch.inputs), np.zeros((4, 8))
    )
    nats = oracles.cross_entropy(
      omega["embedding"], states, np.asarray(batch.targets)
    )
    expected = 80.0 / np.exp(nats.mean())
    found = float(task.reward(state.omega, arc, batch, state.carry))
    self.assertAlmostEqual(found, expected, delta=1e-3 * expected)
    self.assertAlmostEqual(task.reward_to_metric(found), 80.0 / found)

  def test_whole_split_perplexity_counts_every_token(self):
    config, task, splits, state, *_ = self._make()
    arc = task.space.from_tokens("0 0 1 0 3")
    found = evaluate.make_evaluate(task)(state, arc, splits.valid)
    stream = np.asarray(splits.valid)
    self.assertNotEqual((len(stream) - 1) % 5, 0)  # the last window is partial
    omega = jax.tree.map(np.asarray, state.omega)
    states = oracles.recurrent_states(
      omega, *arc, stream[:-1], np.zeros((4, 8))
    )
    nats = oracles.cross_entropy(omega["embedding"], states, stream[1:])
    self.assertAlmostEqual(found, np.exp(nats.mean()), delta=1e-2)

  def test_windows_follow_each_other_and_the_carry_too(self):
    config, task, splits, state, *_ = self._make()
    step = steps.make_arcs_step(config, task, 6)
    arc = task.space.from_tokens("0 0 1 0 3")
    first, _ = step(state, splits.train, arc)
    self.assertEqual(int(first.omega_step), 1)
    batch = task.train_batch(
      splits.train, first.carry, first.omega_step, state.key
    )
    np.testing.assert_array_equal(batch.inputs, splits.train[5:10])
    expected = children.run_recurrent(
      state.omega,
      arc,
      splits.train[:5],
      jnp.zeros((4, 8)),
      config=config.child,
    )[-1]
    np.testing.assert_allclose(first.carry.state, expected, atol=1e-5)
    self.assertEqual(int(first.carry.position), 5)
    again = state_lib.next_epoch(first, task)
    # The epoch stopped short: the next one goes on.
    np.testing.assert_array_equal(again.carry.state, first.carry.state)
    self.assertEqual(int(again.carry.position), 5)
    batch = task.train_batch(
      splits.train, again.carry, again.omega_step, state.key
    )
    np.testing.assert_array_equal(batch.inputs, splits.train[5:10])
    self.assertFalse(batch.fresh)
    self.assertEqual(int(again.epoch), 1)
    self.assertEqual(int(again.omega_step), 0)
    self.assertEqual(int(again.total_steps), 1)

  def test_a_whole_pass_begins_at_the_beginning(self):
    config, task, splits, state, *_ = self._make(omega={"steps": 0})
    carry = state.carry._replace(
      state=jnp.ones((4, 8)), position=jnp.int32(330)
    )
    again = state_lib.next_epoch(state.replace(carry=carry), task)
    np.testing.assert_array_equal(again.carry.state, 0.0)
    self.assertEqual(int(again.carry.position), 0)

  def test_text_that_has_ended_begins_anew_with_a_state_of_zeros(self):
    config, task, splits, state, *_ = self._make()
    count = len(splits.train)
    arc = task.space.from_tokens("0 0 1 0 3")
    child = task.child_params(state.omega, arc)
    key = jax.random.key(0)

    def step(position):
      carry = state.carry._replace(
        state=jnp.ones((4, 8)), position=jnp.int32(position)
      )
      batch = task.train_batch(splits.train, carry, jnp.int32(0), key)
      loss, (_, after) = task.loss(child, arc, batch, carry, key)
      return batch, loss, after

    # Five words and the one after them: this window is the last.
    batch, _, after = step(count - 6)
    np.testing.assert_array_equal(batch.targets, splits.train[-5:])
    self.assertEqual(int(after.position), count - 1)
    batch, loss, after = step(count - 5)
    np.testing.assert_array_equal(batch.inputs, splits.train[:5])
    self.assertEqual(int(after.position), 5)
    start = task.init_carry()
    first = task.train_batch(splits.train, start, jnp.int32(0), key)
    expected, (_, next_carry) = task.loss(child, arc, first, start, key)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(after.state, next_carry.state, rtol=1e-6)

  def test_omega_learns_the_text(self):
    """31 words start at ln 31 = 3.4 nats; the text has ln 3 = 1.1."""
    _, task, splits, state, omega_step, _ = self._make(
      omega={"steps": 50, "learning_rate": 2.0}
    )
    losses = []
    for _ in range(8):
      for _ in range(50):
        state, found = omega_step(state, splits.train)
        losses.append(float(found["nats"]))
      state = state_lib.next_epoch(state, task)
    self.assertGreater(np.mean(losses[:5]), 3.2)
    self.assertLess(np.mean(losses[-20:]), 2.9)

  def test_omega_learns_from_proposals_when_the_warm_up_is_over(self):
    config, task, splits, *_ = self._make(
      theta={"warmup_epochs": 1}, omega={"num_arcs": 2}
    )
    proposed = decisions.as_arrays(task.space.from_tokens("2 0 1 1 3"))

    class Same(uniform.Uniform):
      """Proposes one architecture, and would learn."""

      learns = True

      def propose(self, state, key, num_arcs):
        return jax.tree.map(
          lambda leaf: jnp.broadcast_to(leaf, (num_arcs, *leaf.shape)), proposed
        )

    step = steps.make_omega_step(config, task, Same(task.space), 6)
    alone = jax.jit(steps.make_arcs_step(config, task, 6))
    state = state_lib.init_state(config, task, uniform.Uniform(task.space), 6)
    arcs = Same(task.space).propose((), None, 2)
    for epoch, warm in ((0, True), (1, False), (2, False)):
      at = state.replace(epoch=jnp.int32(epoch))
      expected, _ = alone(at, splits.train, arcs)
      after, _ = step(jax.tree.map(jnp.copy, at), splits.train)
      gap = max(
        float(np.abs(a - b).max())
        for a, b in zip(
          jax.tree.leaves(after.omega),
          jax.tree.leaves(expected.omega),
          strict=True,
        )
      )
      if warm:
        self.assertGreater(gap, 1e-4)
      else:
        self.assertLess(gap, 1e-6)

  def test_a_theta_step_may_ask_for_losses_of_relaxed_choices(self):
    """A toy: the loss of a choice is the batch's mean times its number."""

    class Relaxed(NamedTuple):
      op: Any  # [3] float32

    class Toy:
      config = tiny.make_config()
      batch_axis = 0

      def loss_batch(self, split, key):
        return split

      def start_split(self, carry):
        return carry

      def child_params(self, omega, arc):
        return omega

      def loss(self, child, arc, batch, carry, key):
        branches = [lambda x, i=i: i * child * jnp.mean(x) for i in range(3)]
        nats = ops.switch(arc.op, branches, batch)
        return nats + 100.0, ({"nats": nats}, carry)

    class Descending(uniform.Uniform):
      """One step down the gradient of the weights, and what it saw."""

      def update(self, state, key, judge):
        loss, grad = jax.value_and_grad(judge.loss)(Relaxed(state), key)
        trained = judge.train_loss(Relaxed(state), key)
        return state - grad.op, {"reward": -loss, "train": trained}

    state = self._make()[3]
    state = state.replace(
      strategy=jnp.array([0.2, 0.3, 0.5]), omega=jnp.float32(2.0)
    )
    step = theta_steps.make_theta_step(Toy(), Descending(None))
    valid, train = jnp.array([1.0, 2.0]), jnp.array([10.0])
    after, metrics = step(state, valid, train)
    # The mean is 1.5: 0.3 x 2 x 1.5 + 0.5 x 4 x 1.5, without the penalty.
    self.assertAlmostEqual(float(metrics["reward"]), -3.9, places=5)
    self.assertAlmostEqual(float(metrics["train"]), 26.0, places=4)
    np.testing.assert_allclose(
      after.strategy, [0.2, 0.3 - 3.0, 0.5 - 6.0], rtol=1e-6
    )
    self.assertEqual(int(after.theta_step), 1)

  def test_a_theta_step_that_overflows_teaches_nothing(self):
    class Counting(uniform.Uniform):
      """Adds up, and fails where its state is 1."""

      def update(self, state, key, judge):
        bad = jnp.where(state == 1.0, jnp.inf, 0.0)
        return state + 1.0, {"reward": state, "nats": bad}

    state = self._make()[3]
    toy = SimpleNamespace(config=tiny.make_config())
    step = theta_steps.make_theta_step(toy, Counting(None))
    seen = []
    for at in (0.0, 1.0, 2.0):
      state = state.replace(strategy=jnp.float32(at))
      state, metrics = step(state, None, None)
      seen.append((float(state.strategy), float(metrics["skipped"])))
    self.assertEqual(seen, [(1.0, 0.0), (1.0, 1.0), (3.0, 0.0)])
    self.assertEqual(int(state.theta_step), 3)  # it counts all the same

  def test_theta_learns_to_prefer_the_better_operation(self):
    """Reward 1 for a first node of ReLU, else 0: probability must rise."""
    config, task, splits, state, *_ = self._make(
      theta={"num_arcs": 4},
      strategy={"learning_rate": 0.05, "baseline_decay": 0.9},
    )

    class OneGoodOperation:
      batch_axis = 0
      config = task.config

      def reward_batch(self, valid, key):
        return ()

      def reward(self, omega, arc, batch, carry):
        return (arc.ops[0] == 1).astype(jnp.float32)

    strategy = registry.create(config, task.space)
    step = theta_steps.make_theta_step(OneGoodOperation(), strategy)

    def chance(learnt):
      sample = strategy.controller.sample(learnt.theta, jax.random.key(0), 1)
      return float(sample.step_probs[0, 0, 1])

    before = chance(state.strategy)
    for _ in range(60):
      state, _ = step(state, splits.valid, splits.train)
    self.assertLess(before, 0.35)
    self.assertGreater(chance(state.strategy), 0.7)

  def test_steps_compile_once_for_all_arcs(self):
    _, _, splits, state, omega_step, theta_step = self._make()
    for _ in range(12):
      state, _ = omega_step(state, splits.train)
      state, _ = theta_step(state, splits.valid, splits.train)
    self.assertEqual(omega_step._cache_size(), 1)
    self.assertEqual(theta_step._cache_size(), 1)

  def test_keys_are_used_once(self):
    config, task, splits, state, *_ = self._make()
    step = steps.make_arcs_step(config, task, 6)
    arc = decisions.as_arrays(task.space.from_tokens("0 0 1 0 3"))
    with jax.debug_key_reuse(True):
      jax.jit(step)(state, splits.train, arc)

  def test_the_random_policy_proposes_uniformly(self):
    config, task, _, state, *_ = self._make(policy="random")
    strategy = registry.create(config, task.space)
    self.assertFalse(strategy.learns)
    arcs = strategy.propose(state.strategy, jax.random.key(0), 1000)
    counts = np.bincount(np.asarray(arcs.ops)[:, 2], minlength=4)
    # Five standard deviations, sqrt(1000 * 3/16) = 13.7 each.
    np.testing.assert_allclose(counts, 250, atol=70)


if __name__ == "__main__":
  absltest.main()
