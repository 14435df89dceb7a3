"""Traced cells' derivative by hand, against autodiff of fixed ones."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from enas_jax.nn import image_ops
from enas_jax.spaces import decisions
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.nasbench201 import cell

SPACE = nasbench201.NasBench201Space()
CELLS, WIDTH = 2, 2


def random(seed, *shape):
  return jnp.asarray(
    np.random.default_rng(seed).normal(size=shape), jnp.float32
  )


class CellTest(absltest.TestCase):
  def test_gradients(self):
    weights = {
      name: {"w": random(k, CELLS, 6, k, k, WIDTH, WIDTH)}
      for name, k in cell.CONVS.items()
    }
    x, wanted = random(5, 3, 4, 4, WIDTH), random(6, 3, 4, 4, WIDTH)

    def loss(weights, x, arc):
      y, seen = cell.run(weights, arc, x, CELLS)
      # What batch norms saw hands on no gradient.
      return jnp.sum(wanted * y) + jnp.sum(seen["mean"])

    grad = jax.grad(loss, argnums=(0, 1))
    traced = jax.jit(grad)
    for digits in ("324133", "413042"):
      arc = SPACE.from_digits(digits)
      ours = traced(weights, x, decisions.as_arrays(arc))
      child = {
        name: {"w": conv["w"][:, jnp.array(rows)]}
        for name, conv in weights.items()
        if (rows := [i for i, op in enumerate(arc.ops) if _is(op, name)])
      }
      with image_ops.using("plain"):
        plain, d_x = jax.jit(lambda *of, arc=arc: grad(*of, arc))(child, x)
      np.testing.assert_allclose(ours[1], d_x, rtol=1e-3, atol=1e-3)
      for name, conv in ours[0].items():
        used = np.array([_is(op, name) for op in arc.ops])
        np.testing.assert_array_equal(conv["w"][:, ~used], 0.0)
        if name in plain:
          np.testing.assert_allclose(
            conv["w"][:, used], plain[name]["w"], rtol=1e-3, atol=1e-3
          )


def _is(op, name):
  return nasbench201.OPS[op] == name


if __name__ == "__main__":
  absltest.main()
