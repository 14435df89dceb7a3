"""The supergraph of NAS-Bench-201's cells against a NumPy oracle."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.nn import image_ops
from enas_jax.spaces import decisions
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.nasbench201 import network as supergraph
from tests import children, tiny

BATCH, SIZE, CHANNELS, CLASSES = 3, 8, 2, 3
SPACE = nasbench201.NasBench201Space()
# Every operation alone on the way to the output, then cells of several.
CELLS = ("000000", "000100", "000200", "000300", "000400", "324133", "413032")


def make_config(**changes):
  options = {"num_cells": 2, "num_filters": 2, "drop_features": 0.0}
  return tiny.child_config("nasbench201", **(options | changes))


def make_inputs(config):
  """Omega, statistics and images away from zeros and ones."""
  rng = np.random.default_rng(0)

  def draw(leaf):
    if len(leaf.shape) == 1:
      return jnp.asarray(0.5 + rng.random(leaf.shape), jnp.float32)
    spread = np.sqrt(2 / np.prod(leaf.shape[-3:-1]))
    return jnp.asarray(spread * rng.normal(size=leaf.shape), jnp.float32)

  shapes = jax.eval_shape(
    lambda key: supergraph.init(key, config, CLASSES, (SIZE, SIZE, CHANNELS)),
    jax.random.key(0),
  )
  statistics = jax.tree.map(
    lambda leaf: jnp.asarray(0.5 + rng.random(leaf.shape), jnp.float32),
    supergraph.init_statistics(config),
  )
  images = rng.normal(size=(BATCH, SIZE, SIZE, CHANNELS))
  images = jnp.asarray(images, jnp.float32)
  return jax.tree.map(draw, shapes), statistics, images


def make_logits(config, images, statistics=None, train=True):
  def logits(omega, arc):
    return children.run_nasbench201(
      omega, statistics or {}, arc, images, config=config, train=train
    )[0].main

  return logits


def oracle(omega, digits, images, statistics=None):
  """The benchmark's network in float64, written from its description."""
  omega, images, statistics = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), (omega, images, statistics)
  )

  def at(tree, path):
    for name in path:
      tree = tree[name]
    return tree

  def norm(x, *path, row=None, affine=True):
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    if statistics:
      found = at(statistics, path)
      mean, variance = (
        found[k] if row is None else found[k][row] for k in ("mean", "variance")
      )
    y = (x - mean) / np.sqrt(variance + 1e-5)
    own = at(omega, path)
    return y * own["scale"] + own["offset"] if affine else y

  def windows(x, stride=1):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    return [
      ((i, j), padded[:, i : i + h : stride, j : j + w : stride])
      for i in range(3)
      for j in range(3)
    ]

  def conv(x, kernel, stride=1):
    if kernel.shape[0] == 1:
      return x @ kernel[0, 0]
    return sum(tap @ kernel[at_] for at_, tap in windows(x, stride))

  def relu(x):
    return np.maximum(x, 0)

  def operate(op, x, stage, row):
    if op == 0:
      return np.zeros_like(x)
    if op == 1:
      return x
    if op == 4:
      count = sum(tap for _, tap in windows(np.ones_like(x)))
      return sum(tap for _, tap in windows(x)) / count
    path = (stage, {2: "nor_conv_1x1", 3: "nor_conv_3x3"}[op])
    y = conv(relu(x), at(omega, path)["w"][row])
    return norm(y, *path, row=row, affine=False)

  ops = [int(digit) for digit in digits]
  x = norm(conv(images, omega["stem"]["w"]), "stem")
  for stage in range(3):
    name, block = f"stage_{stage}", f"reduction_{stage}"
    for cell in range(len(omega[name]["nor_conv_1x1"]["w"])):
      one = operate(ops[0], x, name, (cell, 0))
      two = operate(ops[1], x, name, (cell, 1))
      two = two + operate(ops[2], one, name, (cell, 2))
      three = operate(ops[3], x, name, (cell, 3))
      three = three + operate(ops[4], one, name, (cell, 4))
      x = three + operate(ops[5], two, name, (cell, 5))
    if block in omega:
      y = norm(conv(relu(x), omega[block]["first"]["w"], 2), block, "first")
      y = norm(conv(relu(y), omega[block]["second"]["w"]), block, "second")
      quarters = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
      x = y + sum(quarters) / 4 @ omega[block]["shortcut"]["w"]
  pooled = relu(norm(x, "last")).mean(axis=(1, 2))
  return pooled @ omega["classifier"]["w"] + omega["classifier"]["bias"]


class SupergraphTest(parameterized.TestCase):
  def test_traced_logits_are_the_oracles_with_one_trace(self):
    config = make_config()
    omega, _, images = make_inputs(config)
    logits = jax.jit(chex.assert_max_traces(make_logits(config, images), n=1))
    for digits in CELLS:
      arc = decisions.as_arrays(SPACE.from_digits(digits))
      np.testing.assert_allclose(
        logits(omega, arc), oracle(omega, digits, images), rtol=1e-3, atol=1e-3,
        err_msg=digits,
      )  # fmt: skip

  def test_each_form_of_operations_has_a_trace_of_its_own(self):
    config = make_config(num_cells=1)
    omega, _, images = make_inputs(config)
    arc = decisions.as_arrays(SPACE.from_digits("324133"))
    for form, check in (("cpu", self.assertIn), ("plain", self.assertNotIn)):
      with image_ops.using(form):
        program = jax.make_jaxpr(make_logits(config, images))(omega, arc)
      # Cells have a derivative by hand in both; convolutions in one.
      check("name=_conv\n", str(program))

  def test_evaluation_with_moving_statistics(self):
    config = make_config(num_cells=1, moving_statistics=True)
    omega, statistics, images = make_inputs(config)
    logits = jax.jit(make_logits(config, images, statistics, train=False))
    for digits in ("324133", "000400"):
      np.testing.assert_allclose(
        logits(omega, decisions.as_arrays(SPACE.from_digits(digits))),
        oracle(omega, digits, images, statistics),
        rtol=1e-3,
        atol=1e-3,
      )

  @parameterized.parameters("324133", "000100")
  def test_a_fixed_child_is_the_traced_one(self, digits):
    config = make_config()
    omega, _, images = make_inputs(config)
    arc = SPACE.from_digits(digits)
    child = supergraph.child_params(omega, arc, config)
    count = digits.count("3")
    if count:
      kernels = child["stage_1"]["nor_conv_3x3"]["w"]
      self.assertEqual(kernels.shape, (2, count, 3, 3, 4, 4))
    else:
      self.assertEqual(child["stage_1"], {})
    logits = make_logits(config, images)
    program = jax.make_jaxpr(lambda omega: logits(omega, arc))(omega)
    self.assertNotIn("cond[", str(program))
    np.testing.assert_allclose(
      jax.jit(lambda omega: logits(omega, arc))(omega),
      oracle(omega, digits, images),
      rtol=1e-3,
      atol=1e-3,
    )

  def test_gradients_are_zero_outside_the_child(self):
    config = make_config(num_cells=1)
    omega, _, images = make_inputs(config)
    logits = make_logits(config, images)
    # The one weighs what the logits add up to; all else would add up to 0.
    loss = lambda omega, arc: jnp.sum(jnp.square(logits(omega, arc)))
    digits = "324133"
    arc = decisions.as_arrays(SPACE.from_digits(digits))
    grads = jax.jit(jax.grad(loss))(omega, arc)
    for stage in range(3):
      for op, name in ((2, "nor_conv_1x1"), (3, "nor_conv_3x3")):
        for edge, digit in enumerate(digits):
          found = np.abs(grads[f"stage_{stage}"][name]["w"][0, edge]).max()
          self.assertEqual(found > 0, digit == str(op), (stage, name, edge))

  def test_only_statistics_of_what_ran_move(self):
    config = make_config(num_cells=1, moving_statistics=True)
    omega, statistics, images = make_inputs(config)
    run = jax.jit(
      lambda omega, arc: children.run_nasbench201(
        omega, statistics, arc, images, config=config, train=True
      )[1]
    )
    digits = "324133"
    after = run(omega, decisions.as_arrays(SPACE.from_digits(digits)))
    chex.assert_trees_all_equal_shapes_and_dtypes(after, statistics)
    for op, name in ((2, "nor_conv_1x1"), (3, "nor_conv_3x3")):
      for part in ("mean", "variance"):
        old = statistics["stage_0"][name][part][0]
        new = after["stage_0"][name][part][0]
        moved = np.any(old != new, axis=-1)
        self.assertEqual(moved.tolist(), [d == str(op) for d in digits])
    # A tenth of the way to what the stem's batch norm saw.
    taps = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = sum(
      taps[:, i : i + SIZE, j : j + SIZE] @ np.asarray(omega["stem"]["w"][i, j])
      for i in range(3)
      for j in range(3)
    )
    expected = {
      "mean": y.mean(axis=(0, 1, 2)),
      "variance": y.var(axis=(0, 1, 2)) * 192 / 191,
    }
    for part, seen in expected.items():
      np.testing.assert_allclose(
        after["stem"][part],
        0.9 * statistics["stem"][part] + 0.1 * seen,
        rtol=1e-4,
      )

  def test_init(self):
    config = make_config(num_cells=1)
    with self.assertRaisesRegex(types.InputError, "multiples of 4.*6 x 8"):
      supergraph.init(jax.random.key(0), config, CLASSES, (6, 8, 1))


if __name__ == "__main__":
  absltest.main()
