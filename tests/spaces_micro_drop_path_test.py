"""Drop path: its schedule, its masks, and networks of cells that have it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.nn import image_ops
from enas_jax.spaces import decisions
from enas_jax.spaces.macro import network as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.micro import cell as micro_cell
from enas_jax.spaces.micro import drop_path
from enas_jax.spaces.micro import network as supergraph
from tests import tiny

IDENTITY = micro.OPS.index("identity")
SMALL = dict(num_nodes=4, num_layers=3, num_filters=2, drop_features=0.0)
FORMS = {
  "released": tiny.child_config(
    "micro", "released", drop_path=0.6, aux_head=False, **SMALL
  ),
  "paper": tiny.child_config("micro", "paper", drop_path=0.6, **SMALL),
}
# With separable convolutions, poolings and identities, on inputs and nodes.
ARC = micro.MicroArc(
  micro.CellArc(((0, 1), (2, 1)), ((0, 4), (4, 2))),
  micro.CellArc(((1, 0), (0, 2)), ((4, 1), (3, 0))),
)
ALL_IDENTITY = micro.MicroArc(
  *(cell._replace(ops=((IDENTITY,) * 2,) * 2) for cell in ARC)
)


def make_images(batch=3, size=8):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.normal(size=(batch, size, size, 3)), jnp.float32)


@functools.cache
def make_omega(form):
  return supergraph.init(jax.random.key(0), FORMS[form], 4, 3)


def logits(config, omega, arc, train=True, progress=1.0, seed=1):
  found, _ = supergraph.apply_child(
    omega,
    {},
    arc,
    make_images(),
    config=config,
    train=train,
    key=jax.random.key(seed),
    progress=progress,
  )
  return found.main


class MaskTest(parameterized.TestCase):
  @parameterized.parameters(
    (1.0, [0.9, 0.8, 0.7, 0.6, 0.5]),
    (0.5, [0.95, 0.9, 0.85, 0.8, 0.75]),
    (3.0, [0.9, 0.8, 0.7, 0.6, 0.5]),
  )
  def test_schedule_by_hand(self, progress, expected):
    # Five cells: three and the two reduction cells.
    config = tiny.child_config("micro", num_layers=3, drop_path=0.5)
    found = drop_path.keep_rates(config, jnp.float32(progress))
    np.testing.assert_allclose(found, expected, rtol=1e-6)

  def test_masks_keep_the_mean(self):
    config = tiny.child_config(
      "micro", num_nodes=4, num_layers=3, drop_path=0.5
    )
    batch = 10_000
    masks = drop_path.draw(jax.random.key(0), config, batch, 1.0)
    self.assertEqual(masks.shape, (5, 2, 2, batch))
    keep = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    for cell, rate in zip(np.asarray(masks), keep, strict=True):
      np.testing.assert_allclose(np.unique(cell), [0, 1 / rate], rtol=1e-6)
      # Five standard errors, for each branch alone.
      error = 5 * np.sqrt((1 - rate) / rate / batch)
      np.testing.assert_allclose(cell.mean(-1), 1, atol=error)
    # Branches are dropped each for itself.
    together = np.corrcoef(masks[4].reshape(4, -1)) - np.eye(4)
    self.assertLess(np.abs(together).max(), 0.05)

  def test_identity_is_never_dropped(self):
    masks = jnp.array([[0.0, 2.0], [0.0, 2.0]])
    ops = jnp.array([3, IDENTITY])
    np.testing.assert_array_equal(
      drop_path.for_traced(masks, ops), [[0, 2], [1, 1]]
    )
    x = jnp.ones((2, 1, 1, 1))
    for op, expected in ((3, [0, 2]), (IDENTITY, [1, 1])):
      found = drop_path.apply(masks[0], op, x)
      np.testing.assert_array_equal(found.ravel(), expected)


class NetworkTest(parameterized.TestCase):
  @parameterized.parameters(*FORMS)
  def test_traced_equals_static_with_one_key(self, form):
    config, omega = FORMS[form], make_omega(form)

    def loss(omega, arc):
      found = logits(config, omega, arc, progress=jnp.float32(0.7))
      weights = jnp.arange(1.0, found.size + 1).reshape(found.shape)
      return jnp.sum(jnp.tanh(found) * weights), found

    with image_ops.using("plain"):
      step = jax.value_and_grad(loss, has_aux=True)
      (_, traced), traced_grad = jax.jit(step)(omega, decisions.as_arrays(ARC))
      (_, static), static_grad = jax.jit(functools.partial(step, arc=ARC))(
        omega
      )
    np.testing.assert_allclose(traced, static, atol=1e-4)
    chex.assert_trees_all_close(traced_grad, static_grad, atol=2e-3, rtol=2e-3)
    self.assertGreater(
      max(np.abs(leaf).max() for leaf in jax.tree.leaves(static_grad)), 0.1
    )

  def test_a_dropped_operation_leaves_nothing_but_the_other(self):
    rng = np.random.default_rng(0)
    inputs = [
      jnp.asarray(rng.normal(size=(2, 4, 4, 2)), jnp.float32) for _ in range(2)
    ]
    # Node 2 is maximum of node 0 plus node 1 itself.
    arc = micro.CellArc(((0, 1),), ((3, IDENTITY),))
    masks = jnp.array([[[0.0, 2.0], [0.0, 0.0]]])
    found = micro_cell._fixed_nodes({}, arc, inputs, False, masks)[0][2]
    np.testing.assert_array_equal(found[0], inputs[1][0])
    pooled = image_ops.max_pool(inputs[0])
    np.testing.assert_allclose(
      found[1], 2 * pooled[1] + inputs[1][1], rtol=1e-6
    )

  @parameterized.parameters(
    (ALL_IDENTITY, True, False), (ARC, False, False), (ARC, True, True)
  )
  def test_operations_are_dropped_in_training(self, arc, train, differs):
    config, omega = FORMS["released"], make_omega("released")

    @jax.jit
    def run(seed):
      return logits(config, omega, arc, train, seed=seed)

    with image_ops.using("plain"):
      gap = np.abs(run(1) - run(2)).max()
    self.assertEqual(gap > 1e-2, differs)
    self.assertEqual(gap > 0, differs)

  def test_a_key_must_be_given(self):
    with self.assertRaisesRegex(types.InputError, "key .* operations are drop"):
      supergraph.apply_child(
        {},
        {},
        ARC,
        make_images(),
        config=FORMS["paper"],
        train=True,
      )

  def test_macro_takes_progress_and_has_no_use_for_it(self):
    config = tiny.child_config(
      "macro", num_layers=2, num_filters=2, drop_features=0.0
    )
    omega = macro.NETWORK.init(jax.random.key(0), config, 4, (8, 8, 3))
    arc = config.space().validate(
      jax.tree.map(
        lambda a: a[0], config.space().sample_uniform(jax.random.key(0), 1)
      )
    )
    apply = functools.partial(
      macro.NETWORK.apply_child,
      macro.NETWORK.child_params(omega, arc, config),
      macro.NETWORK.init_statistics(config),
      arc,
      make_images(),
      config=config,
      train=True,
      key=None,
    )
    text = lambda p: str(jax.make_jaxpr(lambda: apply(progress=p)[0].main)())
    one, other = text(0.1), text(1.0)
    self.assertEqual(one, other)


if __name__ == "__main__":
  absltest.main()
