"""Networks in bfloat16: what is cast, what is not, and how near they come."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.nn import image_ops
from enas_jax.search import precise
from enas_jax.spaces import base, decisions, precision, registry
from enas_jax.tasks import registry as tasks
from tests import tiny


def task_of(space, **run):
  config = registry.preset("smoke", space)
  config = config_lib.override(config, "run", **run)
  if space == "recurrent":
    config = config_lib.override(config, "child", **tiny.FLAGS["child"])
    config = config_lib.override(config, "data", **tiny.FLAGS["data"])
  else:
    config = config_lib.override(
      config, "data", batch_size=8, reward_batch_size=8, image_size=8
    )
  definition = registry.get(space)
  task = tasks.get(definition.task)
  side = getattr(config.data, "image_size", 0)
  shape = base.DataShape(30, (side, side, 3))
  data = task.synthetic(config, shape, 2)
  task = task.create(config, definition.network, data)
  return task, task.splits(data).train


def loss_and_grad(task, train):
  key = jax.random.key(0)

  def loss_of(omega):
    carry = task.init_carry()
    arc = jax.tree.map(lambda a: a[0], task.space.sample_uniform(key, 1))
    batch = task.train_batch(train, carry, jnp.int32(0), key)
    return task.loss(task.child_params(omega, arc), arc, batch, carry, key)

  omega = task.init_omega(key)
  return jax.jit(jax.value_and_grad(loss_of, has_aux=True))(omega)


class PrecisionTest(parameterized.TestCase):
  def test_float32_is_the_network_itself(self):
    for name in registry.names():
      network = registry.get(name).network
      self.assertIs(precision.at(network, "float32"), network)

  @parameterized.parameters("recurrent", "nasbench201")
  def test_losses_and_gradients_are_float32_and_near(self, space):
    (exact, _), grads = loss_and_grad(*task_of(space))
    (loss, (_, carry)), coarse = loss_and_grad(
      *task_of(space, compute_dtype="bfloat16")
    )
    self.assertNotEqual(float(loss), float(exact))
    self.assertLess(abs(float(loss) / float(exact) - 1), 0.02)
    self.assertEqual(loss.dtype, jnp.float32)
    kinds = {leaf.dtype for leaf in jax.tree.leaves((coarse, carry))}
    self.assertNotIn(jnp.dtype("bfloat16"), kinds)
    one, other = (
      np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
      for tree in (grads, coarse)
    )
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    self.assertGreater(cosine, 0.95)

  @parameterized.parameters(
    ("macro", {"num_layers": 3}), ("micro", {"num_nodes": 3, "num_layers": 6})
  )
  def test_mixtures_of_architectures(self, space, changes):
    options = tiny.child_config(space, num_filters=2, **changes)
    network = precision.at(registry.get(space).network, "bfloat16")
    data = base.DataShape(image_shape=(8, 8, 3))
    sizes = decisions.num_alternatives(options.space().decisions()).tolist()
    arc = options.space().relax([jnp.full(size, 1 / size) for size in sizes])

    def logits(key):
      omega = network.init_for(key, options, data)
      child = network.child_params(omega, arc, options)
      with image_ops.using("plain"):
        return network.apply_one(child, arc, options, data)

    got = jax.eval_shape(logits, jax.random.key(0))
    self.assertEqual(got.dtype, jnp.float32)

  def test_statistics_of_batch_norm_are_float32(self):
    x = jax.random.normal(jax.random.key(0), (64, 4, 4, 3)) + 100.0
    x = x.astype(jnp.bfloat16)
    for form in ("cpu", "plain"):
      y, mean, variance = image_ops.batch_norm(
        x, jnp.ones(3), jnp.zeros(3), form=form
      )
      self.assertEqual(y.dtype, jnp.bfloat16)
      wide = np.asarray(x, np.float64).reshape(-1, 3)
      np.testing.assert_allclose(mean, wide.mean(axis=0), rtol=1e-5)
      np.testing.assert_allclose(variance, wide.var(axis=0), rtol=1e-3)

  def test_precision_reaches_every_product_and_its_derivative(self):
    config = registry.preset("smoke")
    config = config_lib.override(config, "run", matmul_precision="highest")
    default = config_lib.override(config, "run", matmul_precision="default")
    grad = jax.grad(lambda w: jnp.sum(jnp.tanh(w @ w)))
    self.assertIs(precise.precise(grad, default), grad)
    text = str(jax.make_jaxpr(precise.precise(grad, config))(jnp.ones((2, 2))))
    self.assertEqual(text.count("dot_general"), 3)
    self.assertEqual(text.count("Precision.HIGHEST, Precision.HIGHEST"), 3)

  def test_another_type_is_refused(self):
    for field in ("compute_dtype", "matmul_precision"):
      with self.assertRaisesRegex(types.InputError, field):
        task_of("recurrent", **{field: "float16"})


if __name__ == "__main__":
  absltest.main()
