"""Image operations against loops in NumPy, in both forms."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.nn import image_ops

FORMS = ("cpu", "plain")
# Even and odd sizes, and both at once.
SIZES = ((4, 4), (5, 5), (6, 3))


def random(seed, *shape):
  values = np.random.default_rng(seed).normal(size=shape)
  return values.astype(np.float32)


def windows(x, window, stride):
  """Yields (output row, output column, window, which of it is the image).

  TensorFlow's SAME: as many outputs as strides fit, the odd padding after.
  """
  batch, height, width, channels = x.shape
  outputs = [-(-size // stride) for size in (height, width)]
  before = [
    max((count - 1) * stride + extent - size, 0) // 2
    for count, extent, size in zip(outputs, window, x.shape[1:3], strict=True)
  ]
  for row in range(outputs[0]):
    for column in range(outputs[1]):
      values = np.zeros((batch, *window, channels))
      inside = np.zeros(window, bool)
      for i in range(window[0]):
        for j in range(window[1]):
          r = row * stride + i - before[0]
          c = column * stride + j - before[1]
          if 0 <= r < height and 0 <= c < width:
            values[:, i, j] = x[:, r, c]
            inside[i, j] = True
      yield row, column, values, inside


def by_windows(x, window, stride, channels, reduce):
  outputs = [-(-size // stride) for size in x.shape[1:3]]
  y = np.zeros((x.shape[0], *outputs, channels))
  for row, column, values, inside in windows(x, window, stride):
    y[:, row, column] = reduce(values, inside)
  return y


def conv_oracle(x, kernel, stride=1):
  return by_windows(
    x.astype(np.float64),
    kernel.shape[:2],
    stride,
    kernel.shape[3],
    lambda v, _: np.einsum("bijc,ijcd->bd", v, kernel.astype(np.float64)),
  )


def depthwise_oracle(x, kernel, stride=1):
  return by_windows(
    x.astype(np.float64),
    kernel.shape[:2],
    stride,
    x.shape[3],
    lambda v, _: np.einsum("bijc,ijc->bc", v, kernel.astype(np.float64)),
  )


def max_oracle(x, stride):
  return by_windows(
    x, (3, 3), stride, x.shape[3], lambda v, inside: v[:, inside].max(axis=1)
  )


def avg_oracle(x, stride):
  return by_windows(
    x, (3, 3), stride, x.shape[3], lambda v, inside: v[:, inside].mean(axis=1)
  )


class OracleTest(parameterized.TestCase):
  def assert_close(self, got, want):
    # Sums of at most 75 products in float32.
    self.assertEqual(got.dtype, jnp.float32)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

  @parameterized.product(
    form=FORMS, size=SIZES, window=((1, 1), (3, 3), (5, 5), (2, 2), (4, 3))
  )
  def test_conv(self, form, size, window):
    x, kernel = random(0, 2, *size, 3), random(1, *window, 3, 2)
    self.assert_close(
      image_ops.conv(x, kernel, form=form), conv_oracle(x, kernel)
    )

  @parameterized.product(form=FORMS, size=SIZES, k=(3, 5), stride=(1, 2))
  def test_depthwise_conv(self, form, size, k, stride):
    x, kernel = random(2, 2, *size, 3), random(3, k, k, 3)
    self.assert_close(
      image_ops.depthwise_conv(x, kernel, stride, form=form),
      depthwise_oracle(x, kernel, stride),
    )

  @parameterized.product(form=FORMS, size=SIZES, stride=(1, 2))
  def test_pointwise_conv(self, form, size, stride):
    x, kernel = random(4, 2, *size, 3), random(5, 3, 2)
    self.assert_close(
      image_ops.pointwise_conv(x, kernel, stride, form=form),
      conv_oracle(x, kernel[None, None], stride),
    )

  @parameterized.product(form=FORMS, bits=((1, 0, 1), (0, 0, 0), None))
  def test_pointwise_conv_sum(self, form, bits):
    images = [random(seed, 2, 4, 5, 3) for seed in range(3)]
    kernels = random(3, 3, 3, 2)
    taken = None if bits is None else jnp.array(bits)
    want = sum(
      bit * conv_oracle(x, kernel[None, None])
      for bit, x, kernel in zip(bits or (1, 1, 1), images, kernels, strict=True)
    )
    self.assert_close(
      image_ops.pointwise_conv_sum(images, kernels, taken, form=form), want
    )

  @parameterized.product(form=FORMS, stride=(1, 2))
  def test_separable_conv(self, form, stride):
    x, depthwise, pointwise = (
      random(6, 2, 4, 5, 3),
      random(7, 3, 3, 3),
      random(8, 3, 2),
    )
    middle = depthwise_oracle(x, depthwise, stride)
    self.assert_close(
      image_ops.separable_conv(x, depthwise, pointwise, stride, form=form),
      conv_oracle(middle, pointwise[None, None]),
    )

  @parameterized.product(form=FORMS, size=(*SIZES, (1, 2)), stride=(1, 2))
  def test_pools(self, form, size, stride):
    # All below 0: padding that took part as 0 would show in the maximum.
    x = random(9, 2, *size, 3) - 10.0
    self.assert_close(
      image_ops.max_pool(x, stride, form=form), max_oracle(x, stride)
    )
    self.assert_close(
      image_ops.avg_pool(x, stride, form=form), avg_oracle(x, stride)
    )

  def test_epsilon_is_the_releases_unless_it_is_given(self):
    """A variance of 0 shows it: 1 / sqrt(1e-5) = 316.2."""
    zero, one = jnp.zeros(1), jnp.ones(1)
    evaluated = image_ops.batch_norm_inference(one, one, zero, zero, zero)
    np.testing.assert_allclose(evaluated, [316.2278], rtol=1e-5)
    # Of -d and d with d^2 = 1e-5 the variance is 1e-5 as well.
    pair = jnp.array([[-1.0], [1.0]]) * np.sqrt(1e-5)
    for form in FORMS:
      y, _, _ = image_ops.batch_norm(pair, one, zero, form=form)
      np.testing.assert_allclose(y[:, 0], np.array([-1, 1]) / np.sqrt(2), 1e-4)

  @parameterized.product(form=FORMS, eps=(1e-5, 1e-3))
  def test_batch_norm(self, form, eps):
    x = 0.1 * random(10, 3, 4, 5, 2) + 3.0
    scale, offset = random(11, 2), random(12, 2)
    y, mean, variance = image_ops.batch_norm(x, scale, offset, eps, form=form)
    wide = x.astype(np.float64)
    want_mean, want_variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    want = (wide - want_mean) / np.sqrt(want_variance + eps) * scale + offset
    self.assert_close(mean, want_mean)
    # The mean is 30 deviations away: x - mean keeps five digits at best.
    np.testing.assert_allclose(variance, want_variance, rtol=1e-4)
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)
    again = image_ops.batch_norm_inference(
      x, scale, offset, mean, variance, eps
    )
    np.testing.assert_allclose(again, y, rtol=1e-4, atol=1e-5)

  @parameterized.product(form=FORMS, size=SIZES)
  def test_factorized_reduction(self, form, size):
    x, w1, w2 = random(13, 2, *size, 3), random(14, 3, 2), random(15, 3, 1)
    rows, columns = (-(-extent // 2) for extent in size)
    want = np.zeros((2, rows, columns, 3))
    for i in range(rows):
      for j in range(columns):
        want[:, i, j, :2] = x[:, 2 * i, 2 * j] @ w1
        if 2 * i + 1 < size[0] and 2 * j + 1 < size[1]:
          want[:, i, j, 2:] = x[:, 2 * i + 1, 2 * j + 1] @ w2
    self.assert_close(
      image_ops.factorized_reduction(x, w1, w2, form=form), want
    )

  def test_global_average_pool(self):
    x = random(16, 2, 3, 4, 5)
    want = x.astype(np.float64).reshape(2, 12, 5).mean(axis=1)
    self.assert_close(image_ops.global_average_pool(x), want)


class ByHandTest(parameterized.TestCase):
  """A row of four pixels, so that each number is one line of arithmetic."""

  @parameterized.product(form=FORMS)
  def test_stride_2_on_an_even_size_pads_only_after(self, form):
    x = jnp.asarray([1.0, 2.0, 4.0, 8.0]).reshape(1, 1, 4, 1)
    # Windows (1, 2, 4) and (4, 8, padding).
    np.testing.assert_allclose(
      image_ops.max_pool(x, 2, form=form).ravel(), [4.0, 8.0]
    )
    np.testing.assert_allclose(
      image_ops.avg_pool(x, 2, form=form).ravel(), [7 / 3, 6.0], rtol=1e-6
    )
    kernel = jnp.zeros((3, 3, 1)).at[1].set([[1.0], [10.0], [100.0]])
    # 1 + 20 + 400 and 4 + 80; of 5 columns, (1, 2) are padded.
    np.testing.assert_allclose(
      image_ops.depthwise_conv(x, kernel, 2, form=form).ravel(), [421.0, 84.0]
    )
    kernel = jnp.zeros((5, 5, 1)).at[2, :, 0].set([1.0, 10.0, 100.0, 1e3, 1e4])
    # Windows (pad, 1, 2, 4, 8) and (2, 4, 8, pad, pad).
    np.testing.assert_allclose(
      image_ops.depthwise_conv(x, kernel, 2, form=form).ravel(),
      [84210.0, 842.0],
    )

  @parameterized.parameters(*FORMS)
  def test_ties(self, form):
    """x = (0, 0, 0) under a gradient for the windows of pixels 0 and 2.

    Window 0 holds pixels 0 and 1, window 2 holds pixels 1 and 2. All tie, and
    the first pixel of a window is paid.
    """
    g = jnp.asarray([1.0, 0.0, 1.0])
    grad = jax.grad(
      lambda x: jnp.sum(
        g * image_ops.max_pool(x.reshape(1, 1, 3, 1), form=form).ravel()
      )
    )
    np.testing.assert_array_equal(grad(jnp.zeros(3)), [1.0, 1.0, 0.0])

  def test_ties_after_a_relu(self):
    x = random(0, 2, 5, 6, 3)
    weights = random(1, 2, 5, 6, 3)

    def loss(x, form):
      return jnp.sum(weights * image_ops.max_pool(jax.nn.relu(x), form=form))

    grads = [jax.grad(loss)(x, form) for form in FORMS]
    np.testing.assert_allclose(*grads, rtol=1e-6, atol=1e-6)

  @parameterized.parameters(*FORMS)
  def test_each_window_is_paid_once_where_x_is_computed_anew(self, form):
    """Compiled, XLA may compute x twice with different rounding."""
    x, w = random(2, 4, 8, 8, 6), random(3, 6, 6)

    def loss(x):
      y = jnp.tanh(x @ w) * 1.7 + x * x
      return jnp.sum(image_ops.max_pool(y, form=form)), y

    pull = jax.jit(
      lambda y: jax.grad(
        lambda e: jnp.sum(image_ops.max_pool(loss(y)[1] + e, form=form))
      )(jnp.zeros_like(y))
    )
    # 8 x 8 windows of gradient 1 for each image and channel.
    np.testing.assert_allclose(pull(x).sum(axis=(1, 2)), 64.0, rtol=1e-5)


class HeNormalTest(absltest.TestCase):
  def test_deviation_and_cut(self):
    w = image_ops.he_normal(jax.random.key(0), (100, 200), 50)
    self.assertEqual(w.dtype, jnp.float32)
    # 20,000 draws: the deviation is known to 0.5%, the mean to 0.0014.
    self.assertAlmostEqual(float(jnp.std(w)), np.sqrt(2 / 50), delta=3e-3)
    self.assertAlmostEqual(float(jnp.mean(w)), 0.0, delta=5e-3)
    self.assertLessEqual(float(jnp.abs(w).max()), 2 * 0.2 / 0.8796)


class DoorsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("rank", image_ops.max_pool, (4, 4, 3)),
    ("channels of a kernel", image_ops.conv, (1, 4, 4, 3), (3, 3, 2, 5)),
    ("no output axis", image_ops.conv, (1, 4, 4, 3), (3, 3, 3)),
    ("depthwise", image_ops.depthwise_conv, (1, 4, 4, 3), (3, 3, 4)),
    ("pointwise", image_ops.pointwise_conv, (1, 4, 4, 3), (2, 5)),
    ("rank, pointwise", image_ops.pointwise_conv, (4, 4, 3), (3, 5)),
    # This one would broadcast.
    ("scale", image_ops.batch_norm, (2, 4, 4, 3), (1,), (3,)),
  )
  def test_wrong_shapes(self, op, *shapes):
    with self.assertRaises(AssertionError):
      op(*(jnp.ones(shape) for shape in shapes))

  def test_pixels_are_no_floats(self):
    pixels = jnp.ones((1, 4, 4, 3), jnp.uint8)
    for op, *others in (
      (image_ops.avg_pool,),
      (image_ops.global_average_pool,),
      (image_ops.pointwise_conv, jnp.ones((3, 5))),
      (image_ops.strided_conv, jnp.ones((3, 3, 3, 5))),
    ):
      with self.assertRaisesRegex(AssertionError, "uint8"):
        op(pixels, *others)

  def test_every_image_of_a_join_has_a_kernel(self):
    images = [jnp.ones((1, 4, 4, 3))] * 2
    with self.assertRaises(AssertionError):
      image_ops.pointwise_conv_sum(images, jnp.ones((3, 3, 5)))
    with self.assertRaises(AssertionError):
      image_ops.pointwise_conv_sum(images, jnp.ones((2, 3, 5)), jnp.ones(2))


class FormTest(absltest.TestCase):
  def test_the_backend_chooses(self):
    x, kernel = random(0, 1, 3, 3, 4), random(1, 3, 3, 4)
    text = {
      form: str(
        jax.make_jaxpr(
          lambda x, k, f=form: image_ops.depthwise_conv(x, k, form=f)
        )(x, kernel)
      )
      for form in (None, *FORMS)
    }
    self.assertIn("feature_group_count=4", text["plain"])
    self.assertNotIn("conv_general_dilated", text["cpu"])
    default = "cpu" if jax.default_backend() == "cpu" else "plain"
    self.assertEqual(
      "conv_general_dilated" in text[None],
      "conv_general_dilated" in text[default],
    )


if __name__ == "__main__":
  absltest.main()
