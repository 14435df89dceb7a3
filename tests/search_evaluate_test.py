"""Scores of a network that is a number: sums and means by hand."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.search import evaluate


class Task:
  """Six examples in three batches; an architecture [] scales them."""

  config = types.SimpleNamespace(
    run=types.SimpleNamespace(matmul_precision="default")
  )

  def start_split(self, carry):
    return jnp.zeros_like(carry)

  def evaluation_chunks(self, split):
    return 3

  def evaluate_chunk(self, omega, arc, split, index, carry):
    two = jax.lax.dynamic_slice(split, (2 * index,), (2,))
    # The carry counts the batches before this one.
    return omega * arc * jnp.sum(two) + 100.0 * carry, jnp.int32(2), carry + 1.0

  nats_chunk = evaluate_chunk

  def finish_evaluation(self, total, count):
    return total / count + 0.5

  def log_probs_chunk(self, omega, arc, split, index, carry):
    """The first of two classes has the probability `arc`, less by a carry."""
    first = arc - carry
    rows = jnp.log(jnp.stack([first, 1.0 - first]))
    # Of the last batch one image was in an earlier one.
    targets = jnp.where(index < 2, jnp.array([0, 1]), jnp.array([0, -1]))
    return jnp.broadcast_to(rows, (2, 2)), targets, carry + 0.125

  def score_log_probs(self, log_probs, targets):
    right = jnp.argmax(log_probs, axis=-1) == targets
    return jnp.sum(right & (targets >= 0)).astype(jnp.float32)

  def reward_batch(self, valid, key):
    return jax.random.uniform(key) + valid

  def reward(self, omega, arc, batch, carry):
    return omega * arc * batch + carry


class Together:
  """Two devices that are one."""

  count = 2

  def whole(self, tree):
    return tree

  def map_arcs(self, one, arcs, *held):
    return jax.lax.map(lambda arc: one(arc, *held), arcs)


STATE = types.SimpleNamespace(omega=jnp.float32(2.0), carry=jnp.float32(7.0))


class EvaluateTest(parameterized.TestCase):
  def test_sums_over_all_batches(self):
    served = []
    split = jnp.arange(6.0)
    arc = 3
    serve = lambda: served.append(1)
    # 2 x 3 x 15, and 0, 100 and 200 of the carry, of 6 examples.
    self.assertAlmostEqual(
      evaluate.make_nats(Task(), serve)(STATE, arc, split), 390 / 6, places=4
    )
    self.assertLen(served, 3)
    self.assertAlmostEqual(
      evaluate.make_evaluate(Task(), serve)(STATE, arc, split), 65.5, places=4
    )

  def test_a_vote_is_the_mean_of_probabilities(self):
    """Of the first class, by batch: 7/8, 6/8, 5/8, and 4/8, 3/8, 2/8.

    Their means are 11/16, 9/16, 7/16. Classes are 0 and 1, 0 and 1, and 0.
    """
    served = []
    serve = lambda: served.append(1)
    vote = evaluate.make_ensemble(Task(), serve)(
      STATE, jnp.array([0.875, 0.5]), jnp.arange(6.0)
    )
    self.assertLen(served, 3 * 2)
    # The one is right with 0 in each batch; the other too at first, as of equal
    # ones the first counts, and then with 1. `finish_evaluation` adds a half.
    np.testing.assert_allclose(vote.metrics, [3 / 5 + 0.5, 2 / 5 + 0.5])
    self.assertAlmostEqual(vote.metric, 2 / 5 + 0.5)
    nats = -np.log(np.array([11, 5, 9, 7, 7]) / 16).sum() / 5
    self.assertAlmostEqual(vote.nats, nats, places=5)

  @parameterized.parameters(1, 3)
  def test_rewards_on_the_same_minibatches(self, num_batches):
    arcs, key = jnp.arange(1.0, 6.0), jax.random.key(0)
    keys = [key] if num_batches == 1 else jax.random.split(key, num_batches)
    batch = np.mean([float(jax.random.uniform(k)) + 4.0 for k in keys])
    expected = 2.0 * np.arange(1, 6) * batch + 7.0
    for devices, calls in ((None, 5), (Together(), 3)):
      served = []
      how = {} if devices is None else {"devices": devices}
      serve = functools.partial(served.append, 1)
      score = evaluate.make_score(Task(), serve_signal=serve, **how)
      # Of five in groups of two the last is filled up.
      with absltest.mock.patch.object(evaluate, "_TOGETHER", 1):
        found = score(
          STATE, arcs, jnp.float32(4.0), key, num_batches=num_batches
        )
      self.assertLen(served, calls)
      np.testing.assert_allclose(found, expected, rtol=1e-6)


if __name__ == "__main__":
  absltest.main()
