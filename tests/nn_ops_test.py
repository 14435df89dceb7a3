"""The switch, relaxed too, and the activations of cells, by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.nn import ops

BRANCHES = (
  lambda x: {"a": x, "b": jnp.sum(x)},
  lambda x: {"a": 2.0 * x, "b": jnp.max(x)},
  lambda x: {"a": x * x, "b": jnp.float32(7.0)},
)
X = jnp.array([1.0, 3.0])


class SwitchTest(absltest.TestCase):
  def test_an_int_and_a_traced_index_choose_alike(self):
    branches = [lambda x, y, f=f: f * x - y for f in (2.0, 3.0, 5.0)]
    traced = jax.jit(lambda i: ops.switch(i, branches, 7.0, 1.0))
    for index, expected in enumerate((13.0, 20.0, 34.0)):
      self.assertEqual(ops.switch(index, branches, 7.0, 1.0), expected)
      self.assertEqual(float(traced(jnp.int32(index))), expected)

  def test_an_int_out_of_range_is_refused(self):
    for index, message in ((-1, "branch -1 of 2"), (2, "branch 2 of 2")):
      with self.assertRaisesRegex(IndexError, message):
        ops.switch(index, [abs, abs], 1.0)

  def test_a_traced_index_is_a_conditional_unless_there_is_no_choice(self):
    def text(count):
      branches = [lambda x, f=f: f * x for f in range(count)]
      return str(
        jax.make_jaxpr(lambda i, x: ops.switch(i, branches, x))(
          jnp.int32(0), 1.0
        )
      )

    self.assertNotIn("cond[", text(1))
    self.assertIn("cond[", text(2))

  def test_a_relaxed_choice_is_a_weighted_sum_with_a_gradient(self):
    branches = [lambda x, y, f=f: {"a": f * x, "b": y} for f in (2.0, 3.0, 5.0)]
    weights = jnp.array([0.5, -1.0, 0.25])

    inputs = jnp.float32(7.0), jnp.float32(8.0)

    def run(weights):
      return ops.switch(weights, branches, *inputs)

    # 0.5 * 14 - 21 + 0.25 * 35, and 8 times the sum of the weights.
    found = run(weights)
    self.assertAlmostEqual(float(found["a"]), -5.25)
    self.assertAlmostEqual(float(found["b"]), -2.0)
    slope = jax.grad(lambda weights: run(weights)["a"])(weights)
    np.testing.assert_allclose(slope, [14.0, 21.0, 35.0])
    # One branch is weighed, too.
    one = ops.switch(
      jnp.array([3.0]), branches[:1], jnp.float32(7.0), jnp.float32(8.0)
    )
    self.assertEqual(float(one["b"]), 24.0)
    with self.assertRaises(AssertionError):
      run(weights[:2])
    with self.assertRaises(AssertionError):
      run(jnp.array([0, 1, 0]))

  def test_is_static(self):
    self.assertTrue(ops.is_static(((1, 2), 0)))
    self.assertFalse(ops.is_static(((1, jnp.int32(2)), 0)))

  def test_pick(self):
    arrays = [jnp.full(2, value) for value in (3.0, 5.0, 7.0)]
    traced = jax.jit(lambda i: ops.pick(i, arrays))
    for index, expected in enumerate((3.0, 5.0, 7.0)):
      np.testing.assert_array_equal(ops.pick(index, arrays), [expected] * 2)
      np.testing.assert_array_equal(traced(jnp.int32(index)), [expected] * 2)


class ActivationTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, np.tanh), (1, lambda x: np.maximum(x, 0.0)), (2, lambda x: x),
    (3, lambda x: 1 / (1 + np.exp(-x))),
  )  # fmt: skip
  def test_values_and_derivatives(self, op, expected):
    x = np.array([-2.0, -0.5, 0.3, 1.7], np.float32)
    y = ops.activate(op, jnp.asarray(x))
    np.testing.assert_allclose(y, expected(x), rtol=1e-6)
    slope = jax.vmap(jax.grad(lambda v: ops.activate(op, v)))(jnp.asarray(x))
    # From what was returned alone, as the backward pass of the time loop has.
    np.testing.assert_allclose(
      ops.activation_grad(op, y), slope, rtol=1e-5, atol=1e-6
    )

  def test_the_slope_of_relu_at_its_corner_is_zero(self):
    np.testing.assert_array_equal(
      ops.activation_grad(1, jnp.array([0.0, 1.0])), [0.0, 1.0]
    )


class RelaxedTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_one_hot_weights_are_the_index(self, index):
    static = ops.switch(index, BRANCHES, X)
    traced = jax.jit(lambda i: ops.switch(i, BRANCHES, X))(jnp.int32(index))
    relaxed = jax.jit(lambda w: ops.switch(w, BRANCHES, X))(
      jax.nn.one_hot(index, 3)
    )
    chex.assert_trees_all_equal(static, traced, relaxed)

  def test_weights_and_their_gradient_by_hand(self):
    weights = jnp.array([0.5, 0.25, 0.25])
    mixed = ops.switch(weights, BRANCHES, X)
    # 0.5 (1, 3) + 0.25 (2, 6) + 0.25 (1, 9); and 0.5 * 4 + 0.25 * 3 + 0.25 * 7.
    np.testing.assert_allclose(mixed["a"], [1.25, 5.25])
    self.assertAlmostEqual(float(mixed["b"]), 4.5)
    grad = jax.grad(lambda w: jnp.sum(ops.switch(w, BRANCHES, X)["a"]))(weights)
    # What each branch returns: 1 + 3, 2 + 6, 1 + 9.
    np.testing.assert_allclose(grad, [4.0, 8.0, 10.0])
    by_x = jax.grad(lambda x: ops.switch(weights, BRANCHES, x)["b"])(X)
    # Half of the sum's, a quarter of the largest's.
    np.testing.assert_allclose(by_x, [0.5, 0.75])

  def test_one_sampled_branch_against_all_of_them(self):
    """Values of the hard mixture; gradients of GDAS's code, by hand."""

    def run(weights, index, x):
      return ops.switch(ops.Sampled(index, weights), BRANCHES[:2], x)["a"]

    hard, index = jnp.array([0.0, 1.0]), jnp.int32(1)
    text = str(jax.make_jaxpr(run)(hard, index, X))
    self.assertIn("cond[", text)
    found, pull = jax.vjp(lambda w, x: run(w, index, x), hard, X)
    dense = ops.switch(hard, BRANCHES[:2], X)["a"]
    np.testing.assert_array_equal(found, dense)
    by_weights, by_x = pull(jnp.array([1.0, 10.0]))
    # 1 * 2 + 10 * 6 of the branch that is run; 1 + 10 of the other one.
    np.testing.assert_array_equal(by_weights, [11.0, 62.0])
    np.testing.assert_array_equal(by_x, [2.0, 20.0])
    with self.assertRaises(AssertionError):
      run(jnp.ones(3), index, X)

  def test_is_relaxed(self):
    self.assertFalse(ops.is_relaxed(((1, 2), jnp.int32(0))))
    self.assertTrue(ops.is_relaxed(((1, 2), X)))
    self.assertTrue(ops.is_relaxed(ops.Sampled(jnp.int32(0), X)))

  def test_one_branch_is_weighted_too(self):
    mixed = ops.switch(jnp.array([0.5]), [lambda x: 3.0 * x], X)
    np.testing.assert_allclose(mixed, [1.5, 4.5])

  def test_what_fits_no_branch_is_refused(self):
    with self.assertRaisesRegex(AssertionError, "shape"):
      ops.switch(jnp.array([0.5, 0.5]), BRANCHES, X)
    with self.assertRaises(AssertionError):
      ops.switch(jnp.array([1, 0, 0]), BRANCHES, X)


if __name__ == "__main__":
  absltest.main()
