"""One architecture with weights of its own is the supergraph at it."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from enas_jax.nn import batch_norm
from enas_jax.spaces import decisions, registry
from tests import tiny
from tests.tasks_image_classifier_test import PlainTestCase

_CLASSES, _SHAPE, _BATCH = 3, (8, 8, 2), 16


def make(space, **changes):
  """Options, an architecture, the shared network and that of it alone."""
  changes = {**tiny.IMAGE_FLAGS[space], "drop_features": 0.0, **changes}
  config = tiny.child_config(space, **changes)
  arcs = config.space().sample_uniform(jax.random.key(4), 1)
  arc = config.space().validate(jax.tree.map(lambda leaf: leaf[0], arcs))
  definition = registry.get(space)
  return config, arc, definition.network, definition.fixed(config, arc)


class FixedTest(PlainTestCase, parameterized.TestCase):
  @parameterized.parameters("macro", "micro", "nasbench201")
  def test_it_is_the_supergraph_at_that_architecture(self, space):
    config, arc, shared, alone = make(space)
    key, images = jax.random.key(0), jax.random.normal(
      jax.random.key(1), (_BATCH, *_SHAPE)
    )  # fmt: skip
    draw = lambda init: jax.jit(lambda k: init(k, config, _CLASSES, _SHAPE))(
      key
    )
    omega, child = draw(shared.init), draw(alone.init)
    for a, b in zip(
      jax.tree.leaves(child),
      jax.tree.leaves(shared.child_params(omega, arc, config)),
      strict=True,
    ):
      np.testing.assert_array_equal(a, b)
    run = lambda net: jax.jit(
      lambda weights, arc: (
        net.apply_child(
          weights, {}, arc, images, config=config, train=False, key=None
        )[0].main
      )
    )
    np.testing.assert_allclose(
      run(alone)(child, ()),
      run(shared)(omega, decisions.as_arrays(arc)),
      rtol=2e-4,
      atol=2e-4,
    )

  @parameterized.parameters("macro", "micro", "nasbench201")
  def test_statistics_serve_one_image_as_they_serve_many(self, space):
    config, _, _, alone = make(space, moving_statistics=True)
    child = jax.jit(lambda k: alone.init(k, config, _CLASSES, _SHAPE))(
      jax.random.key(0)
    )
    statistics = alone.init_statistics(config)
    images = jax.random.normal(jax.random.key(1), (_BATCH, *_SHAPE))
    call = jax.jit(
      lambda statistics, images, train: alone.apply_child(
        child, statistics, (), images, config=config, train=train, key=None
      ),
      static_argnums=2,
    )
    trained, _ = call(statistics, images, True)
    for _ in range(80):
      _, statistics = call(statistics, images, True)
    many, kept = call(statistics, images, False)
    one, _ = call(statistics, images[3:4], False)
    np.testing.assert_allclose(one.main[0], many.main[3], rtol=1e-4, atol=1e-5)
    # The statistics have come to the batch's; their variance is unbiased.
    spread = float(jnp.std(trained.main))
    np.testing.assert_allclose(many.main, trained.main, atol=0.25 * spread)
    for a, b in zip(
      jax.tree.leaves(kept), jax.tree.leaves(statistics), strict=True
    ):
      np.testing.assert_array_equal(a, b)
    # Every batch norm has some, and no other ones.
    norms = {p[:-1] for p in self._places(child) if p[-1] == "scale"}
    owners = {p[:-1] for p in self._places(statistics) if p[-1] == "mean"}
    if space != "nasbench201":  # whose cells' batch norms have no scale
      self.assertEqual(owners, norms)
    self.assertNotEmpty(owners)

  def _places(self, tree):
    paths, _ = zip(*jax.tree.leaves_with_path(tree), strict=True)
    return [tuple(key.key for key in path) for path in paths]

  def test_statistics_start_at_the_identity(self):
    weights = {"a": {"scale": np.zeros(3)}, "b": {"w": np.zeros(2)}}
    found = batch_norm.fresh(weights)
    self.assertEqual(set(found), {"steps", "a"})
    np.testing.assert_array_equal(found["a"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(found["a"]["variance"], np.ones(3))
