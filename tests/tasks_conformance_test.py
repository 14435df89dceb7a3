"""Every task of the registry keeps the contract of `tasks/base.py`."""

import inspect
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.search import evaluate
from enas_jax.spaces import base as spaces_base
from enas_jax.spaces import decisions
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import base
from enas_jax.tasks import registry as tasks
from tests import tiny

# By task, a search small enough for a test, and how many predictions the
# validation split of its random data holds.
CASES = {
  # 3 windows of 5 steps in 4 streams; the first word is not predicted.
  "language_model": ("recurrent", tiny.make_config(), 4 * 3 * 5),
  "image_classifier": (
    "nasbench201",
    tiny.make_image_config("nasbench201", data={"image_size": 8}),
    3 * 8,
  ),
}
DATA = spaces_base.DataShape(
  vocabulary_size=11, image_shape=(8, 8, 2), num_classes=3
)


def make(name, **theta):
  """The task of that name on three random batches, and its data."""
  space, config, _ = CASES[name]
  config = config_lib.override(config, "theta", **theta)
  definition = tasks.get(name)
  data = definition.synthetic(config, DATA, 3)
  task = definition.create(config, spaces.get(space).network, data)
  return task, task.splits(data)


def state_of(task):
  """omega, a carry at the start of an epoch, and an arc."""
  key = jax.random.key(0)
  omega = jax.jit(task.init_omega)(key)
  carry = task.start_epoch(task.init_carry(), jax.random.key(1))
  arcs = task.space.sample_uniform(jax.random.key(2), 3)
  return omega, carry, arcs


class TaskTest(parameterized.TestCase):
  def test_every_task_has_a_case(self):
    self.assertContainsSubset(CASES, tasks.names())
    for name in CASES:
      self.assertEqual(tasks.get(name).name, name)
      self.assertEqual(spaces.get(CASES[name][0]).task, name)

  @parameterized.parameters(*CASES)
  def test_it_has_every_member_of_the_contract(self, name):
    task, _ = make(name)
    members = {
      *(n for n, _ in inspect.getmembers(base.Task) if not n.startswith("_")),
      *base.Task.__annotations__,
    }
    self.assertGreater(len(members), 25)
    for member in members:
      self.assertTrue(hasattr(task, member), member)
    definition = tasks.get(name)
    self.assertEqual(task.metric, definition.metric)
    self.assertEqual(task.metric_sign, definition.metric_sign)
    self.assertIn(task.metric_sign, (-1, 1))

  @parameterized.parameters(*CASES)
  def test_a_step_of_training(self, name):
    """One trace for all architectures; a carry of the same form."""
    task, splits = make(name)
    omega, carry, arcs = state_of(task)
    traces = []

    @jax.jit
    def step(omega, arc, carry, index, key):
      traces.append(index)
      batch = task.train_batch(splits.train, carry, index, key)

      def loss(omega):
        return task.loss(task.child_params(omega, arc), arc, batch, carry, key)

      (value, (metrics, after)), grads = jax.value_and_grad(loss, has_aux=True)(
        omega
      )
      return value, metrics, after, grads, task.rate_factor(batch)

    losses = []
    for index in range(3):
      arc = decisions.nth(arcs, index)
      key = jax.random.fold_in(jax.random.key(3), index)
      value, metrics, after, grads, factor = step(
        omega, arc, carry, jnp.int32(index), key
      )
      self.assertEqual(value.shape, ())
      # Near to chance, in nats, with a small penalty on top.
      self.assertBetween(float(metrics["nats"]), 0.5, 10.0)
      self.assertGreaterEqual(float(value), float(metrics["nats"]))
      self.assertEqual(float(factor), 1.0)
      self.assertGreater(
        max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)), 0.0
      )
      shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
      self.assertEqual(shapes(after), shapes(carry))
      carry = after
      losses.append(float(value))
    self.assertLen(traces, 1)
    self.assertLen(set(losses), 3)

  @parameterized.parameters(*CASES)
  def test_chunks_cover_a_split_once(self, name):
    task, splits = make(name)
    omega, carry, arcs = state_of(task)
    arc, split = decisions.nth(arcs, 0), splits.valid
    sums = {}
    for chunk_of in (task.evaluate_chunk, task.nats_chunk):
      chunk = jax.jit(chunk_of)
      at, totals, counts = task.start_split(carry), [], []
      for index in range(task.evaluation_chunks(split)):
        total, count, at = chunk(omega, arc, split, jnp.int32(index), at)
        totals.append(float(total))
        counts.append(float(count))
      self.assertEqual(sum(counts), CASES[name][2])
      sums[chunk_of.__name__] = sum(totals), sum(counts)
    total, count = sums["nats_chunk"]
    self.assertBetween(total / count, 0.5, 10.0)
    value = task.finish_evaluation(*sums["evaluate_chunk"])
    self.assertTrue(math.isfinite(value))
    self.assertIsInstance(task.format_metric(value), str)

  @parameterized.parameters(*CASES)
  def test_log_probabilities(self, name):
    """They sum to 1, and say what the other two methods say."""
    task, splits = make(name)
    omega, carry, arcs = state_of(task)
    arc, split = decisions.nth(arcs, 0), splits.valid
    log_probs_of, nats_of, score_of = map(
      jax.jit, (task.log_probs_chunk, task.nats_chunk, task.evaluate_chunk)
    )
    carries, counted = [task.start_split(carry)] * 3, 0
    for index in range(task.evaluation_chunks(split)):
      where = omega, arc, split, jnp.int32(index)
      log_probs, targets, carries[0] = log_probs_of(*where, carries[0])
      nats, count, carries[1] = nats_of(*where, carries[1])
      total, _, carries[2] = score_of(*where, carries[2])
      np.testing.assert_allclose(
        np.exp(np.asarray(log_probs, np.float64)).sum(axis=1), 1.0, rtol=1e-5
      )
      log_probs, targets = np.asarray(log_probs), np.asarray(targets)
      known = np.flatnonzero(targets >= 0)
      self.assertLen(known, int(count))
      right = log_probs[known, targets[known]]
      # Sums of float32 in another order.
      np.testing.assert_allclose(-right.sum(), nats, rtol=1e-5)
      scored = task.score_log_probs(jnp.asarray(log_probs), targets)
      np.testing.assert_allclose(scored, total, rtol=1e-5)
      counted += len(known)
    self.assertEqual(counted, CASES[name][2])

  @parameterized.parameters(*CASES)
  def test_an_ensemble(self, name):
    """One is itself; of two the probabilities are averaged, in NumPy."""
    task, splits = make(name)
    omega, carry, arcs = state_of(task)
    state, split = types.SimpleNamespace(omega=omega, carry=carry), splits.valid
    ensemble = evaluate.make_ensemble(task)
    metric_of, nats_of = (
      make(task) for make in (evaluate.make_evaluate, evaluate.make_nats)
    )
    first = jax.tree.map(lambda leaf: leaf[:1], arcs)
    one, arc = ensemble(state, first, split), decisions.nth(arcs, 0)
    expected = metric_of(state, arc, split)
    # float32: a logarithm of a rounded exponential.
    self.assertAlmostEqual(one.metric / expected, 1.0, delta=1e-5)
    self.assertAlmostEqual(one.metrics[0] / expected, 1.0, delta=1e-5)
    self.assertAlmostEqual(one.nats, nats_of(state, arc, split), delta=1e-5)

    two = jax.tree.map(lambda leaf: leaf[:2], arcs)
    voted = ensemble(state, two, split)
    log_probs_of = jax.jit(task.log_probs_chunk)
    carries, total, nats, count = [task.start_split(carry)] * 2, 0.0, 0.0, 0
    for index in range(task.evaluation_chunks(split)):
      probs = []
      for place in range(2):
        log_probs, targets, carries[place] = log_probs_of(
          omega, decisions.nth(arcs, place), split, jnp.int32(index),
          carries[place],
        )  # fmt: skip
        probs.append(np.exp(np.asarray(log_probs, np.float64)))
      mean, targets = np.mean(probs, axis=0), np.asarray(targets)
      known = np.flatnonzero(targets >= 0)
      nats -= np.log(mean[known, targets[known]]).sum()
      total += float(
        task.score_log_probs(jnp.asarray(np.log(mean), jnp.float32), targets)
      )
      count += len(known)
    self.assertAlmostEqual(voted.nats, nats / count, delta=1e-5)
    expected = task.finish_evaluation(total, count)
    self.assertAlmostEqual(voted.metric / expected, 1.0, delta=1e-5)
    self.assertAlmostEqual(voted.metrics[0], one.metrics[0], places=6)
    # Averaged probabilities are never worse than averaged cross-entropies.
    each = [nats_of(state, decisions.nth(arcs, i), split) for i in range(2)]
    self.assertLess(voted.nats, np.mean(each))

  @parameterized.parameters(*CASES)
  def test_the_error_that_a_table_shows(self, name):
    """Less is better, whatever the metric."""
    definition = tasks.get(name)
    low, high = (definition.error_of(metric) for metric in (0.25, 0.75))
    self.assertEqual(low < high, definition.metric_sign < 0)
    self.assertNotEmpty(definition.error_name)

  @parameterized.parameters(*CASES)
  def test_a_gradient_of_the_architecture_has_a_batch_of_omegas_size(
    self, name
  ):
    task, splits = make(name)
    carry, key = task.init_carry(), jax.random.key(0)
    size = lambda batch: jax.tree.leaves(batch)[0].shape[task.batch_axis]
    trained = task.train_batch(splits.train, carry, jnp.int32(0), key)
    self.assertEqual(size(task.loss_batch(splits.valid, key)), size(trained))

  @parameterized.parameters(*CASES)
  def test_the_likelihood_is_a_reward(self, name):
    """c exp(-nats) on a minibatch that the key draws."""
    task, splits = make(name, reward="likelihood", reward_scale=5.0)
    omega, carry, arcs = state_of(task)

    @jax.jit
    def reward(arc, key):
      batch = task.reward_batch(splits.valid, key)
      return task.reward(omega, arc, batch, carry)

    rewards = [
      float(reward(decisions.nth(arcs, i), jax.random.key(i)))
      for i in (0, 0, 1)
    ]
    self.assertEqual(rewards[0], rewards[1])
    self.assertNotEqual(rewards[0], rewards[2])
    for value in rewards:
      self.assertBetween(-math.log(value / 5.0), 0.5, 10.0)
      metric = task.reward_to_metric(value)
      if metric is not None:
        self.assertTrue(math.isfinite(metric))
    # Of a network that overflows.
    task.reward_to_metric(0.0)

  @parameterized.parameters(*CASES)
  def test_another_configuration_of_the_same_data(self, name):
    task, splits = make(name)
    same, train, valid = task.changed(task.config, splits.train, splits.valid)
    for new, old in ((train, splits.train), (valid, splits.valid)):
      for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
        np.testing.assert_array_equal(a, b)
    self.assertEqual(same.steps_per_epoch(train), 3)
    other = config_lib.override(task.config, "omega", steps=2)
    self.assertEqual(task.with_config(other).steps_per_epoch(train), 2)
    # What scores depend on goes into a record of JSON.
    for value in task.scoring().values():
      self.assertIsInstance(value, int)
    self.assertGreater(task.least_split(), 0)


if __name__ == "__main__":
  absltest.main()
