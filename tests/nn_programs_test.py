"""How large a traced program is."""

import jax
import jax.numpy as jnp
from absl.testing import absltest

from enas_jax.nn import programs


class SizeTest(absltest.TestCase):
  def _size(self, function, *args):
    return programs.size(jax.jit(function).trace(*args).jaxpr)

  def test_counts_what_operations_run_and_every_branch(self):
    x = jnp.ones(3)
    self.assertEqual(self._size(lambda x: jnp.sin(x) * x, x), 2)
    # The call, and the two inside.
    inner = jax.jit(lambda x: jnp.sin(x) * x)
    self.assertEqual(self._size(lambda x: inner(x), x), 3)
    # The loop, and what one round does.
    loop = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, length=9)
    self.assertEqual(self._size(loop, x), 2)
    # A predicate is made an index (1); the conditional (1); 2 and 1 inside.
    cond = lambda p, x: jax.lax.cond(
      p, lambda x: jnp.cos(jnp.sin(x)), jnp.exp, x
    )
    self.assertEqual(self._size(cond, True, x), 5)


class WorkTest(absltest.TestCase):
  def _operations(self, function, *args):
    return programs.operations(jax.jit(function).trace(*args).jaxpr)

  def test_multiply_adds_of_a_product(self):
    # Each of 2 x 3 x 7 results sums 5 products; whichever axis is summed.
    plain, other = (
      self._operations(lambda a, b, axes=axes: jax.lax.dot_general(a, b, axes),
        jnp.ones(shape), jnp.ones((2, 5, 7)))
      for axes, shape in (
        ((((2,), (1,)), ((0,), (0,))), (2, 3, 5)),
        ((((1,), (1,)), ((0,), (0,))), (2, 5, 3)),
      )
    )  # fmt: skip
    self.assertEqual([programs.multiply_adds(e) for e in plain], [210])
    self.assertEqual([programs.multiply_adds(e) for e in other], [210])

  def test_multiply_adds_of_a_convolution(self):
    def convolve(x, kernel, groups):
      (eqn,) = self._operations(
        lambda x, kernel: jax.lax.conv_general_dilated(
          x, kernel, (2, 2), "SAME", feature_group_count=groups,
          dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ), x, kernel,
      )  # fmt: skip
      return programs.multiply_adds(eqn)

    x = jnp.ones((2, 8, 8, 4))
    # 2 x 4 x 4 x 6 results of 3 x 3 x 4 products; depthwise, of 3 x 3.
    self.assertEqual(convolve(x, jnp.ones((3, 3, 4, 6)), 1), 192 * 36)
    self.assertEqual(convolve(x, jnp.ones((3, 3, 1, 4)), 4), 128 * 9)

  def test_other_operations_multiply_nothing(self):
    (eqn,) = self._operations(jnp.sin, jnp.ones(3))
    self.assertEqual(programs.multiply_adds(eqn), 0)
    self.assertEqual(programs.repetitions(eqn), 1)
    (loop,) = self._operations(
      lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, length=9)[0],
      jnp.ones(3),
    )
    self.assertEqual(programs.repetitions(loop), 9)
    self.assertLen(list(programs.inside(loop)), 1)

  def test_each_device_runs_its_part(self):
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    split, whole = jax.P("data"), jax.P()
    double = jax.shard_map(
      jnp.dot, mesh=mesh, in_specs=(split, whole), out_specs=split
    )
    (eqn,) = self._operations(double, jnp.ones((8, 3)), jnp.ones((3, 5)))
    self.assertEqual(programs.repetitions(eqn), 4)
    (inner,) = programs.inside(eqn)
    # 2 of 8 rows, on each.
    done = sum(map(programs.multiply_adds, programs.operations(inner)))
    self.assertEqual(done, 2 * 3 * 5)


if __name__ == "__main__":
  absltest.main()
