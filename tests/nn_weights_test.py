"""How weights start: their distributions, and that one draw serves all."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.extend import core

from enas_jax import types
from enas_jax.nn import weights
from enas_jax.spaces import registry
from enas_jax.spaces.recurrent import network as recurrent
from tests import tiny

SPECS = {
  "conv": weights.Spec((3, 3, 40, 60), fan_in=360),
  "same_shape": weights.Spec((3, 3, 40, 60), fan_in=360),
  "deep": {"dense": weights.Spec((200, 300), fan_in=200)},
  "parts": weights.Spec((2, 100, 200), fan_in=np.array([2, 50])[:, None, None]),
  "uniform": weights.Spec((150, 200), limit=0.25),
  "wider": weights.Spec((150, 200), limit=1.0),
  **weights.norm_specs((7,)),
  "filled": weights.Spec((2, 3), fill=4.0),
}


def draw(seed=0):
  return jax.jit(lambda key: weights.draw(key, SPECS))(jax.random.key(seed))


def count_draws(function):
  """How many random bits a program asks for, by primitive."""
  found = collections.Counter()

  def count(jaxpr):
    for equation in jaxpr.eqns:
      found[equation.primitive.name] += 1
      for inner in core.jaxprs_in_params(equation.params):
        count(inner)

  count(jax.make_jaxpr(function)(jax.random.key(0)).jaxpr)
  return found["random_bits"]


class DrawTest(parameterized.TestCase):
  def test_distributions(self):
    drawn = draw()
    for array, std in (
      (drawn["conv"], np.sqrt(2 / 360)),
      (drawn["same_shape"], np.sqrt(2 / 360)),
      (drawn["deep"]["dense"], 0.1),
      (drawn["parts"][0], 1.0),
      (drawn["parts"][1], 0.2),
    ):
      # Of n numbers the mean deviates by std / sqrt(n), the deviation by less.
      error = 4 * std / np.sqrt(array.size)
      self.assertAlmostEqual(float(np.mean(array)), 0.0, delta=error)
      self.assertAlmostEqual(float(np.std(array)), std, delta=error)
      # A normal cut off at two of its deviations, whose own is 0.8796.
      self.assertBetween(float(np.max(np.abs(array))) / std, 2.2, 2 / 0.8796)
    for name, limit in (("uniform", 0.25), ("wider", 1.0)):
      array = np.asarray(drawn[name])
      error = 4 * limit / np.sqrt(array.size)
      self.assertAlmostEqual(float(array.mean()), 0.0, delta=error)
      self.assertAlmostEqual(
        float(array.std()), limit / np.sqrt(3), delta=error
      )
      self.assertBetween(float(np.abs(array).max()), 0.99 * limit, limit)
    np.testing.assert_array_equal(drawn["scale"], np.ones(7))
    np.testing.assert_array_equal(drawn["offset"], np.zeros(7))
    np.testing.assert_array_equal(drawn["filled"], np.full((2, 3), 4.0))
    for leaf in jax.tree.leaves(drawn):
      self.assertEqual(leaf.dtype, np.float32)

  def test_leaves_are_independent(self):
    drawn = draw()
    flat = [
      np.ravel(drawn[name])
      for name in ("conv", "same_shape", "parts", "uniform", "wider")
    ]
    flat.append(np.ravel(drawn["deep"]["dense"]))
    for at, a in enumerate(flat):
      for b in flat[:at]:
        n = min(len(a), len(b))
        # Neither the beginnings nor the ends go together.
        for one, other in ((a[:n], b[:n]), (a[-n:], b[-n:]), (a[:n], b[-n:])):
          found = np.corrcoef(one, other)[0, 1]
          self.assertLess(abs(found), 5 / np.sqrt(n))

  def test_a_key_determines_all(self):
    first, again, other = draw(), draw(), draw(1)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    self.assertFalse(np.any(first["conv"] == other["conv"]))
    # Compiled or not.
    plain = weights.draw(jax.random.key(0), SPECS)
    jax.tree.map(
      # A compiler may fuse products with sums, to other roundings.
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7, rtol=1e-6),
      first,
      plain,
    )

  def test_one_draw_for_each_distribution(self):
    self.assertEqual(count_draws(lambda key: weights.draw(key, SPECS)), 2)
    constant = weights.norm_specs((3,))
    self.assertEqual(count_draws(lambda key: weights.draw(key, constant)), 0)

  @parameterized.parameters("macro", "micro", "nasbench201")
  def test_one_draw_for_a_network(self, space):
    config = tiny.child_config(space)
    init = registry.get(space).network.init
    self.assertEqual(
      count_draws(lambda key: init(key, config, 10, (32, 32, 3))), 1
    )

  def test_one_draw_for_the_recurrent_network(self):
    config = tiny.make_config().child
    self.assertEqual(
      count_draws(lambda key: recurrent.init(key, config, 30)), 1
    )


class DropFeaturesTest(absltest.TestCase):
  def test_a_quarter_is_dropped_and_the_rest_grows(self):
    x = jnp.full((50, 200), 3.0)
    dropped = np.asarray(weights.drop_features(jax.random.key(0), x, 0.25))
    # 3 / (1 - 1/4); the mean stays what it was.
    self.assertEqual(set(dropped.ravel().tolist()), {0.0, 4.0})
    # Five standard deviations of a binomial of p = 1/4.
    share = np.mean(dropped == 0)
    self.assertAlmostEqual(share, 0.25, delta=5 * np.sqrt(3 / 16 / 10_000))

  def test_a_key_must_be_given(self):
    with self.assertRaisesRegex(types.InputError, "key must be given"):
      weights.drop_features(None, jnp.ones((1, 2)), 0.25)
