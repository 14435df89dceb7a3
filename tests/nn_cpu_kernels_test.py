"""The CPU forms of image operations against XLA's, and inside a switch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.nn import cpu_kernels, cpu_windows, image_ops, ops

CHANNELS = 3
# In chunks of 4 and of 16: without and with images missing in the last.
BATCHES = (8, 17)


def random(seed, *shape):
  values = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def value_and_grads(op, cotangents, *arguments):
  value, pull = jax.vjp(op, *arguments)
  return value, pull(cotangents)


def both_forms(op, *arguments):
  """(value, gradients) of `op(..., form=form)` for both forms."""
  shapes = jax.eval_shape(functools.partial(op, form="plain"), *arguments)
  cotangents = jax.tree.map(lambda s: random(99, *s.shape), shapes)
  return [
    value_and_grads(functools.partial(op, form=form), cotangents, *arguments)
    for form in ("cpu", "plain")
  ]


class FormsTest(parameterized.TestCase):
  def assert_forms_agree(self, op, *arguments):
    results = both_forms(op, *arguments)
    for got, want in zip(*map(jax.tree.leaves, results), strict=True):
      # Two orders of summing float32; relative to the array, as single
      # entries can cancel.
      tolerance = 1e-4 * float(jnp.abs(want).max())
      np.testing.assert_allclose(got, want, rtol=1e-4, atol=tolerance)

  @parameterized.product(
    batch=BATCHES, size=((4, 4), (5, 6)), window=((3, 3), (5, 5), (2, 2))
  )
  def test_conv(self, batch, size, window):
    x, kernel = random(0, batch, *size, CHANNELS), random(1, *window, 3, 2)
    self.assert_forms_agree(image_ops.conv, x, kernel)

  @parameterized.product(
    batch=BATCHES, size=((4, 4), (5, 6)), k=(3, 5), stride=(1, 2)
  )
  def test_depthwise_conv(self, batch, size, k, stride):
    x, kernel = random(2, batch, *size, CHANNELS), random(3, k, k, CHANNELS)
    op = functools.partial(image_ops.depthwise_conv, stride=stride)
    self.assert_forms_agree(op, x, kernel)

  def test_weights_of_a_depthwise_conv_whose_rows_are_cut(self):
    # Three accumulators' rows, and chunks that the batch does not fill.
    x, kernel = random(2, 7, 12, 4, CHANNELS), random(3, 3, 3, CHANNELS)
    self.assert_forms_agree(image_ops.depthwise_conv, x, kernel)

  def test_every_pixel_has_an_output_unless_a_stride_is_given(self):
    x = jnp.arange(12.0).reshape(1, 2, 3, 2)
    kernel = jnp.array([[1.0], [10.0]])
    # 0 + 10, 2 + 30 and so on.
    np.testing.assert_array_equal(
      cpu_kernels.pointwise_conv(x, kernel)[0, ..., 0],
      [[10, 32, 54], [76, 98, 120]],
    )
    for op in (
      lambda x: cpu_windows.depthwise_conv(x, jnp.ones((3, 3, 2))),
      *(cpu_windows.max_pool, cpu_windows.avg_pool),
    ):
      self.assertEqual(jax.eval_shape(op, x).shape, x.shape)

  def test_accumulators_of_a_tall_image_hold_four_rows(self):
    """So that all of them fit the cache; each row has 4 x 3 numbers."""
    grad = functools.partial(
      cpu_windows._depthwise_weight_grad,
      window=(3, 3),
      padding=((1, 1), (1, 1)),
    )
    for height, rows in ((12, 4), (16, 4), (8, 8), (10, 10)):
      images = random(0, 2, height, 4, CHANNELS)
      program = jax.make_jaxpr(grad)(images, images)
      (scan,) = [e for e in program.eqns if e.primitive.name == "scan"]
      self.assertLen(scan.outvars, 9)
      for total in scan.outvars:
        self.assertEqual(total.aval.shape, (rows, 12))

  @parameterized.product(size=((4, 4), (5, 6)), stride=(1, 2))
  def test_pointwise_conv(self, size, stride):
    x, kernel = random(4, 3, *size, CHANNELS), random(5, CHANNELS, 2)
    op = functools.partial(image_ops.pointwise_conv, stride=stride)
    self.assert_forms_agree(op, x, kernel)

  @parameterized.parameters(((1, 0, 1),), ((0, 0, 0),), (None,))
  def test_pointwise_conv_sum(self, bits):
    taken = None if bits is None else jnp.array(bits)
    images = [random(seed, 3, 4, 5, CHANNELS) for seed in range(3)]

    def op(images, kernels, form):
      return image_ops.pointwise_conv_sum(images, kernels, taken, form=form)

    self.assert_forms_agree(op, images, random(5, 3, CHANNELS, 2))

  @parameterized.product(
    name=("max_pool", "avg_pool"),
    size=((4, 4), (5, 6), (1, 2)),
    stride=(1, 2),
  )
  def test_pools(self, name, size, stride):
    op = functools.partial(getattr(image_ops, name), stride=stride)
    self.assert_forms_agree(op, random(6, 7, *size, CHANNELS))

  @parameterized.product(shape=((3, 4, 5, CHANNELS), (7, CHANNELS)))
  def test_batch_norm(self, shape):
    # `both_forms` sends cotangents into the mean and the variance too.
    x = 2.0 * random(7, *shape) + 1.0
    self.assert_forms_agree(
      image_ops.batch_norm, x, random(8, CHANNELS), random(9, CHANNELS)
    )

  @parameterized.product(size=((4, 4), (5, 5)))
  def test_factorized_reduction(self, size):
    x = random(10, 2, *size, CHANNELS)
    self.assert_forms_agree(
      image_ops.factorized_reduction, x, random(11, 3, 2), random(12, 3, 2)
    )


class FiniteDifferenceTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("conv", cpu_kernels.conv, (3, 3, 2, 2)),
    ("depthwise", lambda x, k: cpu_windows.depthwise_conv(x, k, 2), (3, 3, 2)),
  )
  def test_along_a_direction(self, op, kernel_shape):
    with jax.enable_x64(True):
      rng = np.random.default_rng(0)
      point, direction = (
        [jnp.asarray(rng.normal(size=s)) for s in ((5, 4, 5, 2), kernel_shape)]
        for _ in range(2)
      )
      loss = lambda x, kernel: jnp.sum(jnp.sin(op(x, kernel)))
      grads = jax.grad(loss, argnums=(0, 1))(*point)
      slope = sum(jnp.vdot(g, d) for g, d in zip(grads, direction, strict=True))
      step = 1e-5
      up, down = (
        loss(*(p + sign * d for p, d in zip(point, direction, strict=True)))
        for sign in (step, -step)
      )
      self.assertEqual(slope.dtype, jnp.float64)
      np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6)


def branches(form):
  """The operations of the macro space, on (x, weights)."""

  def separable(k):
    return lambda x, w: image_ops.separable_conv(
      x, w[f"depthwise{k}"], w["pointwise"], form=form
    )

  def normalised(op):
    def branch(x, w):
      y = image_ops.pointwise_conv(x, w["pointwise"], form=form)
      y, _, _ = image_ops.batch_norm(y, w["scale"], w["offset"], form=form)
      return op(jax.nn.relu(y), w)

    return branch

  return [
    normalised(op)
    for op in (
      lambda x, w: image_ops.conv(x, w["conv"], form=form),
      separable(3),
      separable(5),
      lambda x, w: image_ops.avg_pool(x, form=form),
      lambda x, w: image_ops.max_pool(x, form=form),
    )
  ]


class SwitchTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.x = random(0, 5, 4, 4, CHANNELS)
    self.weights = {
      "conv": random(1, 3, 3, CHANNELS, CHANNELS),
      "depthwise3": random(2, 3, 3, CHANNELS),
      "depthwise5": random(3, 5, 5, CHANNELS),
      "pointwise": random(4, CHANNELS, CHANNELS),
      "scale": random(5, CHANNELS),
      "offset": random(6, CHANNELS),
    }

  def loss(self, form, index, x, weights):
    y = ops.switch(index, branches(form), x, weights)
    return jnp.sum(jnp.sin(y))

  def test_a_traced_index_under_grad(self):
    grad = jax.value_and_grad(functools.partial(self.loss, "cpu"), (1, 2))
    traced = jax.jit(grad)
    for index in range(5):
      got = traced(jnp.int32(index), self.x, self.weights)
      want = jax.jit(
        jax.value_and_grad(functools.partial(self.loss, "plain", index), (0, 1))
      )(self.x, self.weights)
      for g, w in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        tolerance = 1e-4 * float(jnp.abs(w).max()) + 1e-6
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=tolerance)
    self.assertEqual(traced._cache_size(), 1)

  def test_cpu_never_groups_features(self):
    grad = jax.grad(functools.partial(self.loss, "cpu"), (1, 2))
    text = str(jax.make_jaxpr(grad)(jnp.int32(0), self.x, self.weights))
    self.assertIn("feature_group_count=1", text)
    self.assertNotIn(f"feature_group_count={CHANNELS}", text)
    self.assertIn("cond[", text)


if __name__ == "__main__":
  absltest.main()
