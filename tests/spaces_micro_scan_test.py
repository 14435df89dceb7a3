"""The scan over a cell's operations against the same sums written out."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.spaces.micro import scan as micro_scan


class ScanTest(parameterized.TestCase):
  """`micro_scan.run` against the same sums written out, by autodiff."""

  @parameterized.product(inputs_apart=[False, True], seed=[0, 1, 2])
  def test_value_and_gradients(self, inputs_apart, seed):
    rows, last, shape = 3, 4, (2, 3, 3, 2)
    rng = np.random.default_rng(seed)
    draw = lambda *size: jnp.asarray(rng.normal(size=size), jnp.float32)
    here = (
      lambda w, x, *_: jnp.tanh(w["a"] * x),
      lambda w, x, *_: x * x * w["b"] + w["a"],
      lambda w, x, *_: x,
    )
    apart = (lambda w, _, x: w["b"] * x[:, ::2, ::2],)
    sources = [int(rng.integers(row + 2)) for row in range(rows) for _ in "ab"]
    chosen = [
      3 if inputs_apart and source < 2 else int(rng.integers(3))
      for source in sources
    ]
    targets = [row + 2 for row in range(rows) for _ in "ab"]
    loose = [bool(node not in sources) for node in range(5 - last, 5)]
    weights = {"a": draw(6, 2), "b": draw(6, 2)}
    buffers = (jnp.zeros((5, *shape)).at[:2].set(draw(2, *shape)),)
    if inputs_apart:
      buffers += (draw(2, 2, 5, 5, 2),)
    branches = here + apart if inputs_apart else here
    kernel, seen = draw(last, 2, 3), draw(*shape[:-1], 3)

    def scanned(plan, weights, kernel, buffers):
      out = micro_scan.run(branches, plan, weights, kernel, buffers)
      return jnp.vdot(out, seen)

    def written_out(weights, kernel, buffers):
      nodes = list(buffers[0])
      for at, (source, op) in enumerate(zip(sources, chosen, strict=True)):
        own = jax.tree.map(lambda leaf, at=at: leaf[at], weights)
        taken = [nodes[source], *(b[min(source, 1)] for b in buffers[1:])]
        nodes[targets[at]] += branches[op](own, *taken)
      ends = zip(loose, nodes[-last:], kernel, strict=True)
      out = sum(jax.nn.relu(x) @ k for end, x, k in ends if end)
      return jnp.vdot(out, seen)

    plan = micro_scan.Plan(
      *map(jnp.array, (sources, chosen, targets)), jnp.array(loose)
    )
    given = (weights, kernel, buffers)
    both = lambda f, first: jax.value_and_grad(f, (first, first + 1, first + 2))
    found = jax.jit(both(scanned, 1))(plan, *given)
    expected = both(written_out, 0)(*given)
    # float32 sums of some hundred terms.
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
  absltest.main()
