"""The LSTM policy: its table of steps, and draws of padded decisions."""

import dataclasses

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.spaces import base, registry
from enas_jax.strategies import policy, policy_steps

DECISIONS = (
  base.Decision("op", 0, 4),
  base.Decision("op", 1, 3, vocabulary="width"),
  base.Decision("skips", 1, 1),
  base.Decision("index", 2, 2, cell=1),
  base.Decision("op", 2, 4, cell=1),
)


def make_steps(anchor):
  options = registry.preset("smoke").strategy.controller
  return policy_steps.make(
    DECISIONS, dataclasses.replace(options, anchor=anchor, op_prior=0.5)
  )


class StepsTest(absltest.TestCase):
  def test_a_node_is_anchored_at_its_first_decision(self):
    steps = make_steps("first_decision")
    np.testing.assert_array_equal(steps.decision, range(5))
    np.testing.assert_array_equal(steps.kind, [0, 0, 2, 1, 0])
    np.testing.assert_array_equal(steps.vocabulary, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(steps.size, [4, 3, 1, 2, 4])
    # Three nodes a cell; place 6 is none.
    np.testing.assert_array_equal(steps.window, [0, 0, 0, 3, 3])
    np.testing.assert_array_equal(steps.anchor, [0, 1, 6, 5, 6])
    np.testing.assert_array_equal(steps.vector, steps.anchor)
    # Of operations alone, in the first cell.
    np.testing.assert_array_equal(steps.prior, [0.5, 0, 0, 0, 0])
    self.assertFalse(steps.restarts.any())

  def test_nodes_and_inputs_have_steps_of_their_own(self):
    steps = make_steps("own_step")
    # After node 0; none after skips; two inputs of cell 1 before its decisions.
    np.testing.assert_array_equal(steps.decision, [0, -1, 1, 2, -1, -1, 3, 4])
    np.testing.assert_array_equal(steps.anchor, [6, 0, 6, 1, 3, 4, 6, 6])
    np.testing.assert_array_equal(steps.vector, [6, 0, 6, 1, 6, 6, 6, 6])
    np.testing.assert_array_equal(steps.restarts, [False, True, *[False] * 6])


class SampleTest(parameterized.TestCase):
  @parameterized.parameters(2, 3, 5)
  def test_a_draw_does_not_depend_on_the_widest_decision(self, size):
    key, num_arcs, most = jax.random.key(7), 64, 5
    logits = np.random.default_rng(0).normal(size=(num_arcs, size))
    log_probs = jax.nn.log_softmax(np.float32(logits))
    places = np.arange(num_arcs)[:, None] * size + np.arange(most)
    padded = np.full((num_arcs, most), -np.inf, np.float32)
    padded[:, :size] = log_probs
    np.testing.assert_array_equal(
      policy._sample(key, padded, places),
      jax.random.categorical(key, log_probs),
    )


if __name__ == "__main__":
  absltest.main()
