"""Decisions of different vocabularies share nothing of the controller."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import decisions, perturbations, registry
from enas_jax.strategies import controller as controller_lib
from tests.outside import widths

SPACE = widths.WidthSpace()


def make_controller(**changes):
  config = dataclasses.replace(
    registry.preset("paper", "macro").strategy.controller,
    **{"hidden_size": 5, "init_range": 1.5, "tied_ops": False, **changes},
  )
  controller = controller_lib.Controller(SPACE, config)
  return controller, controller.init(jax.random.key(0))


class VocabularyTest(parameterized.TestCase):
  def test_each_has_a_classifier_and_embeddings(self):
    _, theta = make_controller()
    for name in ("op_embedding", "width_embedding"):
      self.assertEqual(theta[name].shape, (3, 5))
    for name in ("op_softmax", "width_softmax"):
      self.assertEqual(theta[name].shape, (5, 3))
    _, tied = make_controller(tied_ops=True)
    self.assertNotIn("width_softmax", tied)

  @parameterized.parameters(False, True)
  def test_each_moves_its_decisions_alone(self, tied):
    controller, theta = make_controller(tied_ops=tied)
    arcs = SPACE.from_choices(jnp.zeros((1, 4), jnp.int32))
    before = controller.score(theta, arcs).step_probs[0]
    name = "width_embedding" if tied else "width_softmax"
    changed = {**theta, name: theta[name][::-1, ::-1] + 1.0}
    after = controller.score(changed, arcs).step_probs[0]
    # The first operation is decided before any width.
    np.testing.assert_array_equal(before[0], after[0])
    self.assertGreater(np.abs(before[1] - after[1]).max(), 1e-3)
    np.testing.assert_allclose(after.sum(axis=-1), 1.0, rtol=1e-5)

  def test_a_bias_of_operations_is_none_of_widths(self):
    controller, theta = make_controller(op_bias=5.0, init_range=1e-6)
    arcs = SPACE.from_choices(jnp.zeros((1, 4), jnp.int32))
    probs = np.asarray(controller.score(theta, arcs).step_probs[0])
    np.testing.assert_allclose(probs[1::2], 1 / 3, atol=1e-4)
    self.assertGreater(probs[0, 0], 0.4)


class WeightsTest(absltest.TestCase):
  def test_operations_alone_are_weighed(self):
    """Operations and widths are three each: their number tells nothing."""
    key = jax.random.key(1)
    arcs = decisions.sample_weighed(SPACE, key, 3000, (1.0, 1.0, 8.0))
    share = lambda choices, which: np.mean(np.asarray(choices) == which)
    self.assertAlmostEqual(share(arcs.ops, 2), 0.8, delta=0.03)
    for width in range(3):
      self.assertAlmostEqual(share(arcs.widths, width), 1 / 3, delta=0.03)

  def test_the_number_of_weights_is_that_of_operations(self):
    decisions.check_weights(SPACE, (1.0, 1.0, 1.0), "w")
    with self.assertRaisesRegex(types.InputError, "w must be 3 "):
      decisions.check_weights(SPACE, (1.0, 1.0), "w")


class PerturbationsTest(absltest.TestCase):
  def test_widths_are_no_operations(self):
    change = perturbations.change_ops({0: (1,), 1: (0,)}, share=1.0)
    rng = np.random.default_rng(0)
    changed = change(SPACE, np.array([0, 0, 1, 1]), rng)
    self.assertEqual(changed.tolist(), [1, 0, 0, 1])


if __name__ == "__main__":
  absltest.main()
