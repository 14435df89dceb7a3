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


if __name__ == "__main__":
  absltest.main()
