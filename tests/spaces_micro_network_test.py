"""The micro supergraph against hand computation and a NumPy oracle."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import decisions
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.micro import aux_head, cell_weights, presets
from enas_jax.spaces.micro import cell as micro_cell
from enas_jax.spaces.micro import network as supergraph
from tests import children, oracles_micro, tiny

CLASSES, BATCH, SIZE = 4, 3, 8
RELEASED = tiny.child_config(
  "micro",
  "released",
  num_nodes=5,
  num_layers=6,
  num_filters=2,
  drop_features=0.0,
  aux_head=False,
)
PAPER = tiny.child_config(
  "micro", "paper", num_nodes=5, num_layers=3, num_filters=2, drop_features=0.0
)
FORMS = {"released": RELEASED, "paper": PAPER}


def random_arc(config, seed):
  space = config.space()
  arcs = space.sample_uniform(jax.random.key(seed), 1)
  return space.validate(jax.tree.map(lambda a: a[0], arcs))


def make_omega(config, seed=0, image_size=None):
  """Weights with batch norms that do something."""
  omega = supergraph.init(
    jax.random.key(seed), config, CLASSES, 3, image_size=image_size
  )

  def shift(path, leaf):
    if path[-1].key not in ("scale", "offset"):
      return leaf
    noise = np.random.default_rng(leaf.size).normal(size=leaf.shape)
    return leaf + 0.3 * noise.astype(np.float32)

  return jax.tree_util.tree_map_with_path(shift, omega)


def make_images(size=SIZE, batch=BATCH, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(batch, size, size, 3)), jnp.float32)


def as_float64(tree):
  return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def oracle(omega, arc, images, config):
  return oracles_micro.logits(
    as_float64(omega),
    arc,
    np.asarray(images, np.float64),
    num_layers=config.num_layers,
    reduction=config.reduction,
    include_inputs=config.include_inputs,
  )


def loss_of(config, omega, arc, images):
  logits = children.run_micro(omega, arc, images, config=config, train=True)
  # No symmetry: every logit weighs otherwise.
  weights = jnp.arange(1.0, logits.main.size + 1).reshape(logits.main.shape)
  return jnp.mean(jnp.tanh(logits.main) * weights), logits.main


@functools.cache
def traced_step(form):
  """The one compiled program of a form, which all tests share."""
  loss = functools.partial(loss_of, FORMS[form])
  step = jax.jit(jax.value_and_grad(loss, has_aux=True))

  def run(omega, arc, images):
    out = step(omega, decisions.as_arrays(arc), images)
    # Not the traces: the suite forgets its programs when memory is short.
    assert step._cache_size() == 1, "traced again"
    return out

  return run


class FigureFiveTest(absltest.TestCase):
  def test_the_cell_by_hand(self):
    """Figure 5's cell on 1x1 images of one channel, worked out below.

    On one pixel a pool is the identity and a separable convolution the product
    of its two central weights. Both weights are 1 but the central ones of the
    first application, 2 for node 3 and 3 for node 4; batch norm is
    (x - mean) / deviation (epsilon is tiny against the variances here).
    h1 = (1, 3), h2 = (2, 6), for two images; paper's numbering.
      sep conv 5x5 (h2): twice relu, x w, normalise:
        normalise(2 (2, 6)) = (-1, 1); relu (0, 1), normalise = (-1, 1)
      h3 = sep conv 5x5(h2) + h2 = (-1, 1) + (2, 6) = (1, 7)
      h4 = avg pool(h3) + sep conv 3x3(h1) = (1, 7) + (-1, 1) = (0, 8)
      output: normalise(relu(h4)) = (-1, 1), of the loose end h4 alone
    """
    specs = cell_weights.cell_specs(
      1, num_nodes=4, filters=1, include_inputs=False, released_init=False
    )
    cell = jax.tree.map(
      lambda spec: jnp.full(spec.shape, spec.fill),
      specs,
    )
    for name, width, factor in (("sep_conv_3x3", 3, 3), ("sep_conv_5x5", 5, 2)):
      kernel = cell[name]["depthwise"]
      centre = width // 2
      kernel = kernel.at[..., centre, centre, :].set(1.0)
      kernel = kernel.at[:, :, :, 0, centre, centre].set(factor)
      cell[name]["depthwise"] = kernel
      cell[name]["pointwise"] = jnp.ones_like(cell[name]["pointwise"])
    cell["output"]["kernel"] = jnp.ones_like(cell["output"]["kernel"])
    # Node 3: node 2 by sep conv 5x5, node 2 by identity. Node 4: node 3 by
    # average pooling, node 1 by sep conv 3x3.
    arc = micro.CellArc(inputs=((1, 1), (2, 0)), ops=((1, 4), (2, 0)))
    image = lambda *values: jnp.array(values).reshape(2, 1, 1, 1)
    inputs = (image(1.0, 3.0), image(2.0, 6.0))
    for form in (arc, decisions.as_arrays(arc)):
      run = functools.partial(
        micro_cell.chain,
        arcs=[form],
        first=inputs,
        second_0=inputs[1],
        include_inputs=False,
      )
      out, seen = run(cell)
      seen = seen["run_0" if form is arc else "output"]
      seen = seen["output"] if form is arc else seen
      np.testing.assert_allclose(out.ravel(), (-1.0, 1.0), atol=1e-4)
      # Of 0 and 8, the variance without bias.
      np.testing.assert_allclose(seen["mean"].ravel(), [4.0], atol=1e-4)
      np.testing.assert_allclose(seen["variance"].ravel(), [32.0], rtol=1e-4)
      # h4 itself, (0, 8), by undoing the normalisation.
      scaled = {**cell, "output": {**cell["output"]}}
      scaled["output"] |= dict.fromkeys(
        ("scale", "offset"), jnp.full((1, 1), 4.0)
      )
      out, _ = run(scaled)
      np.testing.assert_allclose(out.ravel(), (0.0, 8.0), atol=1e-3)


class OracleTest(parameterized.TestCase):
  @parameterized.parameters("released", "paper")
  def test_logits(self, form):
    config, images = FORMS[form], make_images()
    omega = make_omega(config)
    for seed in range(5):
      arc = random_arc(config, seed)
      expected, _ = oracle(omega, arc, images, config)
      (_, found), _ = traced_step(form)(omega, arc, images)
      # float32, amplified by some thirty batch norms of few pixels.
      np.testing.assert_allclose(
        found, expected, atol=2e-3, rtol=1e-3, err_msg=f"{arc}"
      )

  def test_auxiliary_head(self):
    config = tiny.child_config(
      "micro",
      "released",
      num_nodes=3,
      num_layers=4,
      num_filters=2,
      drop_features=0.0,
    )
    # 17 pixels are 5 after two reductions, the least there may be.
    size = aux_head.least_image_size()
    omega, images = make_omega(config, image_size=size), make_images(size)
    arc = random_arc(config, 1)
    expected = oracle(omega, arc, images, config)
    apply = functools.partial(children.run_micro, omega, arc, config=config)
    found = jax.jit(functools.partial(apply, train=True))(images)
    np.testing.assert_allclose(found.main, expected[0], atol=1e-3)
    np.testing.assert_allclose(found.aux, expected[1], atol=1e-3)
    self.assertIsNone(
      jax.eval_shape(functools.partial(apply, train=False), images).aux
    )


class GradientTest(parameterized.TestCase):
  # Seed 3 pools nodes that are sums, whose gradient has been wrong before.
  @parameterized.product(form=["released", "paper"], seed=[3])
  def test_static_arc_equals_traced_arc(self, form, seed):
    config, images = FORMS[form], make_images()
    omega, arc = make_omega(config), random_arc(config, seed)
    fixed = jax.jit(
      lambda omega: jax.value_and_grad(
        functools.partial(loss_of, config), has_aux=True
      )(omega, arc, images)
    )
    (value, _), grads = fixed(omega)
    (value_t, _), grads_t = traced_step(form)(omega, arc, images)
    np.testing.assert_allclose(value, value_t, rtol=1e-3, atol=1e-4)
    whole = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
    same = jax.tree.leaves_with_path(grads)
    for (path, a), b in zip(same, jax.tree.leaves(grads_t), strict=True):
      error = np.linalg.norm(a - b)
      bound = 5e-3 * np.linalg.norm(a) + 1e-5 * whole
      self.assertLess(error, bound, jax.tree_util.keystr(path))

  @parameterized.parameters("released", "paper")
  def test_gradient_is_zero_outside_the_child(self, form):
    config, images = FORMS[form], make_images()
    omega = make_omega(config)
    for seed in (1, 2):
      arc = random_arc(config, seed)
      _, grads = traced_step(form)(omega, arc, images)
      for stage in range(presets.NUM_STAGES):
        weights = grads[f"stage_{stage}"]
        for name, cells in (
          ("cells", weights["cells"]),
          ("reduction", weights.get("reduction")),
        ):
          if cells is None:
            continue
          for at in range(cells["output"]["scale"].shape[0]):
            first = stage > 0 and at == 0
            reduces = name == "reduction" or (form == "released" and first)
            cell = arc.reduction if reduces else arc.normal
            self._check_cell(jax.tree.map(lambda a, at=at: a[at], cells), cell)

  def _check_cell(self, grads, arc):
    used = {"sep_conv_3x3": set(), "sep_conv_5x5": set(), "identity": set()}
    for row, side in itertools.product(range(len(arc.inputs)), range(2)):
      node, name = arc.inputs[row][side], micro.OPS[arc.ops[row][side]]
      if name in cell_weights.SEP_CONVS:
        used[name].add((side, sum(r + 2 for r in range(row)) + node))
      elif name == "identity" and node < 2:
        used[name].add((side, 2 * row + node))
    for name, own in used.items():
      if name not in grads:
        continue
      leaf = grads[name]["scale"]
      norms = np.abs(leaf).reshape(*leaf.shape[:2], -1).sum(axis=-1)
      found = set(zip(*map(list, np.nonzero(norms)), strict=True))
      self.assertEqual(found, own, f"{name} {arc}")
      for leaf in grads[name].values():
        for at in itertools.product(*map(range, leaf.shape[:2])):
          if at not in own:
            self.assertFalse(np.any(leaf[at]), f"{name} {at} {arc}")
    kernel = np.asarray(grads["output"]["kernel"])
    first = len(arc.inputs) + 2 - len(kernel)
    read = set(itertools.chain.from_iterable(arc.inputs))
    for row, part in enumerate(kernel):
      self.assertEqual(bool(np.any(part)), row + first not in read)

  def test_finite_difference_in_float64(self):
    config = tiny.child_config(
      "micro",
      "paper",
      num_nodes=4,
      num_layers=3,
      num_filters=2,
      drop_features=0.0,
    )
    with jax.enable_x64(True):
      omega = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float64), make_omega(config)
      )
      images = jnp.asarray(make_images(), jnp.float64)
      arc = random_arc(config, 4)
      loss = jax.jit(lambda omega: loss_of(config, omega, arc, images)[0])
      direction = jax.tree.map(
        lambda a: jax.random.normal(jax.random.key(a.size), a.shape, a.dtype),
        omega,
      )
      slope = sum(
        jnp.vdot(a, b)
        for a, b in zip(
          jax.tree.leaves(jax.jit(jax.grad(loss))(omega)),
          jax.tree.leaves(direction),
          strict=True,
        )
      )
      step = 1e-6
      ahead, behind = (
        loss(jax.tree.map(lambda a, d, s=s: a + s * d, omega, direction))
        for s in (step, -step)
      )
      measured = float((ahead - behind) / (2 * step))
      self.assertAlmostEqual(float(slope) / measured, 1.0, places=4)


class ChildTest(parameterized.TestCase):
  @parameterized.parameters("released", "paper")
  def test_a_child_runs_on_its_own_weights(self, form):
    config, images = FORMS[form], make_images()
    omega, arc = make_omega(config), random_arc(config, 2)
    child = supergraph.child_params(omega, arc, config)
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    self.assertLess(count(child), count(omega) / 2)
    apply = functools.partial(children.run_micro, config=config, train=False)
    found = jax.jit(lambda child: apply(child, arc, images).main)(child)
    (_, expected), grads = traced_step(form)(omega, arc, images)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    # A traced arc may need any weight.
    traced = decisions.as_arrays(arc)
    self.assertIs(supergraph.child_params(omega, traced, config), omega)
    # Nothing is left out that has a gradient, and nothing else is in it.
    own = supergraph.child_params(grads, arc, config)
    square = lambda tree: sum(np.sum(g**2) for g in jax.tree.leaves(tree))
    np.testing.assert_allclose(square(own), square(grads), rtol=1e-5)


class CompilationTest(absltest.TestCase):
  def test_one_trace_serves_fifty_arcs(self):
    omega, images = make_omega(RELEASED), make_images()
    step = traced_step("released")  # refuses to be traced twice
    values = {
      float(step(omega, random_arc(RELEASED, seed), images)[0][0])
      for seed in range(50)
    }
    self.assertGreater(len(values), 45)  # different arcs, different networks

  def test_a_fixed_child_holds_no_conditional(self):
    images = make_images()
    for config in FORMS.values():
      omega, arc = make_omega(config), random_arc(config, 0)

      def text(arc, config=config, omega=omega):
        loss = lambda o: loss_of(config, o, arc, images)[0]
        return str(jax.make_jaxpr(jax.grad(loss))(omega))

      self.assertNotIn("cond[", text(arc))
      self.assertIn("cond[", text(decisions.as_arrays(arc)))


class DropoutTest(absltest.TestCase):
  def test_features_are_dropped_in_training_alone(self):
    config = tiny.child_config(
      "micro",
      "released",
      num_nodes=3,
      num_layers=3,
      num_filters=2,
      aux_head=False,
    )
    omega, images = make_omega(config), make_images()
    # A classifier that shows the features.
    omega["fc"] = jnp.eye(8)
    # Offsets that make every feature positive.
    last = omega["stage_2"]["cells"]["output"]
    last["offset"] = jnp.full_like(last["offset"], 5.0)
    arc = random_arc(config, 0)
    apply = functools.partial(children.run_micro, omega, arc, images)
    plain = apply(config=config, train=False).main
    np.testing.assert_array_less(1e-3, np.abs(plain))
    dropped = apply(config=config, train=True, key=jax.random.key(0)).main
    kept = np.asarray(dropped) != 0
    self.assertTrue(0 < kept.sum() < kept.size)
    np.testing.assert_allclose(dropped[kept], plain[kept] / 0.9, rtol=1e-5)
    with self.assertRaisesRegex(types.InputError, "key must be given"):
      apply(config=config, train=True)


class InitTest(parameterized.TestCase):
  @parameterized.parameters((False, 5_373_140), (True, 5_786_068))
  def test_counts_of_the_released_search(self, aux_head, expected):
    config = tiny.child_config("micro", "released", aux_head=aux_head)
    shapes = jax.eval_shape(
      lambda key: supergraph.init(key, config, 10, 3, 32), jax.random.key(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    self.assertEqual(count, expected)

  def test_concatenated_cells_share_nothing(self):
    config = tiny.child_config("micro", cell_output="concat")
    with self.assertRaisesRegex(types.InputError, "must be 'projected' in"):
      supergraph.init(jax.random.key(0), config, 10, 3)

  def test_deviations(self):
    for init, rows in (("he", None), ("released", (2, 3, 4, 5, 6))):
      config = tiny.child_config(
        "micro",
        "paper",
        weight_init=init,
        num_layers=3,
        reduction="factorized",
      )
      omega = supergraph.init(jax.random.key(0), config, 10, 3)
      sep = omega["stage_2"]["cells"]["sep_conv_3x3"]["pointwise"]
      for row in range(5):
        first, end = (cell_weights.edge_index(r, 0) for r in (row, row + 1))
        fan_in = rows[row] if rows else 80
        np.testing.assert_allclose(
          np.std(sep[:, :, first:end]), np.sqrt(2 / fan_in), rtol=0.03
        )


if __name__ == "__main__":
  absltest.main()
