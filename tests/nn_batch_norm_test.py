"""Batch norm's statistics by hand: seen, fresh, laid beside weights, moved."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from enas_jax.nn import batch_norm

WEIGHTS = {
  "stem": {"scale": jnp.ones(2), "offset": jnp.zeros(2)},
  "cell": {"w": jnp.ones((3, 2)), "out": {"scale": jnp.ones((4, 2))}},
  "head": {"w": jnp.ones(5)},
}


class NormaliseTest(absltest.TestCase):
  def test_by_the_batch(self):
    x = jnp.array([[1.0, 10.0], [3.0, 10.0], [8.0, 40.0]])
    weights = {"scale": jnp.array([2.0, 1.0]), "offset": jnp.array([0.0, 5.0])}
    y, seen = batch_norm.normalise(x, weights)
    np.testing.assert_allclose(seen["mean"], [4.0, 20.0], rtol=1e-6)
    # (9 + 1 + 16) / 2 and (100 + 100 + 400) / 2: of three, two are free.
    np.testing.assert_allclose(seen["variance"], [13.0, 300.0], rtol=1e-6)
    # It divides by the root of the biased ones, 26 / 3 and 200.
    first = 2 * np.array([-3, -1, 4]) / np.sqrt(26 / 3)
    second = 5 + np.array([-10, -10, 20]) / np.sqrt(200)
    np.testing.assert_allclose(y[:, 0], first, rtol=1e-5)
    np.testing.assert_allclose(y[:, 1], second, rtol=1e-5)

  def test_of_two_examples_one_is_free(self):
    weights = {"scale": jnp.ones(1), "offset": jnp.zeros(1)}
    _, seen = batch_norm.normalise(jnp.array([[1.0], [3.0]]), weights)
    np.testing.assert_allclose(seen["variance"], [2.0], rtol=1e-6)

  def test_one_example_has_variance_zero(self):
    weights = {"scale": jnp.ones(1), "offset": jnp.full(1, 3.0)}
    y, seen = batch_norm.normalise(jnp.array([[7.0]]), weights)
    np.testing.assert_array_equal(y, [[3.0]])
    np.testing.assert_array_equal(seen["variance"], [0.0])

  def test_by_given_statistics(self):
    weights = {
      **{"scale": jnp.full(1, 3.0), "offset": jnp.full(1, 1.0)},
      **{"mean": jnp.full(1, 2.0), "variance": jnp.full(1, 4.0)},
    }
    y, seen = batch_norm.normalise(jnp.array([[8.0]]), weights, eps=5.0)
    # 3 * (8 - 2) / sqrt(4 + 5) + 1
    np.testing.assert_allclose(y, [[7.0]], rtol=1e-6)
    self.assertEqual(set(seen), {"mean", "variance"})
    self.assertIs(seen["variance"], weights["variance"])


class StatisticsTest(absltest.TestCase):
  def test_fresh(self):
    fresh = batch_norm.fresh(WEIGHTS)
    self.assertEqual(fresh["steps"].dtype, jnp.int32)
    self.assertEqual(int(fresh["steps"]), 0)
    # What holds no batch norm is left out.
    self.assertEqual(set(fresh), {"steps", "stem", "cell"})
    self.assertEqual(set(fresh["cell"]), {"out"})
    np.testing.assert_array_equal(fresh["stem"]["mean"], [0.0, 0.0])
    np.testing.assert_array_equal(
      fresh["cell"]["out"]["variance"], np.ones((4, 2))
    )
    self.assertEqual(
      set(batch_norm.fresh(WEIGHTS, without=("cell",))), {"steps", "stem"}
    )

  def test_they_lie_beside_the_scales(self):
    fresh = batch_norm.fresh(WEIGHTS, without=("stem",))
    both = batch_norm.with_statistics(WEIGHTS, fresh)
    self.assertEqual(set(both), set(WEIGHTS))
    self.assertEqual(set(both["stem"]), {"scale", "offset"})
    self.assertEqual(set(both["cell"]["out"]), {"scale", "mean", "variance"})
    self.assertIs(both["cell"]["w"], WEIGHTS["cell"]["w"])

  def test_a_first_and_a_second_step(self):
    one = lambda mean, variance: {
      "mean": jnp.float32(mean), "variance": jnp.float32(variance)
    }  # fmt: skip
    # "b" is not seen, and stays.
    start = {
      "steps": jnp.int32(0),
      "a": {"in": one(0, 1), "out": one(0, 1)},
      "b": one(0, 1),
    }
    moved = batch_norm.moved(start, {"a": {"in": one(5, 3), "out": one(5, 3)}})
    self.assertEqual(int(moved["steps"]), 1)
    # Corrected for its start, the first average is what was seen; "out" goes a
    # tenth of the way.
    for name, mean, variance in (("in", 5.0, 3.0), ("out", 0.5, 1.2)):
      np.testing.assert_allclose(moved["a"][name]["mean"], mean, rtol=1e-5)
      np.testing.assert_allclose(
        moved["a"][name]["variance"], variance, rtol=1e-5
      )
    self.assertEqual(moved["b"], start["b"])
    moved = batch_norm.moved(moved, {"a": {"in": one(1, 3), "out": one(5, 2)}})
    self.assertEqual(int(moved["steps"]), 2)
    # (0.09 * 5 + 0.1 * 1) / (1 - 0.81); 0.9 * 0.5 + 0.1 * 5.
    np.testing.assert_allclose(moved["a"]["in"]["mean"], 0.55 / 0.19, rtol=1e-5)
    np.testing.assert_allclose(moved["a"]["out"]["mean"], 0.95, rtol=1e-5)
    np.testing.assert_allclose(
      moved["a"]["out"]["variance"], 0.9 * 1.2 + 0.1 * 2, rtol=1e-5
    )


if __name__ == "__main__":
  absltest.main()
