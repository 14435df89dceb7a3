"""The macro supergraph against hand computation and a NumPy oracle."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import decisions, fixed
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.macro import network as supergraph
from tests import children, oracles_macro, tiny

LAYERS, FILTERS, BATCH, SIZE, CHANNELS, CLASSES = 4, 4, 3, 8, 3, 5
# The paper's form and the released one, which differ in every option.
FORMS = ("paper", "released")


def make_config(form="paper", **changes):
  options = {
    "num_layers": LAYERS,
    "num_filters": FILTERS,
    "drop_features": 0.0,
    "moving_statistics": False,
  }
  return tiny.child_config("macro", form, **(options | changes))


def shapes(config, num_classes=CLASSES, channels=CHANNELS):
  return jax.eval_shape(
    lambda key: supergraph.init(key, config, num_classes, channels),
    jax.random.key(0),
  )


def make_inputs(config):
  """Omega with batch norms away from 1 and 0, and images.

  Drawn by NumPy, as `init` would take longer to compile than most tests run.
  """
  rng = np.random.default_rng(0)

  def draw(leaf):
    if len(leaf.shape) == 1:
      return jnp.asarray(0.5 + rng.random(leaf.shape), jnp.float32)
    spread = np.sqrt(2 / np.prod(leaf.shape[:-1]))
    return jnp.asarray(spread * rng.normal(size=leaf.shape), jnp.float32)

  images = rng.normal(size=(BATCH, SIZE, SIZE, CHANNELS))
  return jax.tree.map(draw, shapes(config)), jnp.asarray(images, jnp.float32)


def random_arc(config, seed):
  space = config.space()
  arcs = space.sample_uniform(jax.random.key(seed), 1)
  return space.validate(jax.tree.map(lambda a: a[0], arcs))


def uniform_arc(config, op, bit):
  size = config.num_layers
  skips = np.tril(np.full((size, size), bit), k=-1)
  return config.space().validate(macro.MacroArc([op] * size, skips))


def make_logits(config, images, train=True):
  def logits(omega, arc):
    return children.run_macro(
      omega, {}, arc, images, config=config, train=train
    )[0]

  return logits


def make_loss(config, images):
  logits = make_logits(config, images)

  def loss(omega, arc):
    log_probs = jax.nn.log_softmax(logits(omega, arc))
    return -jnp.mean(log_probs[jnp.arange(BATCH), jnp.arange(BATCH)])

  return loss


def paths(tree):
  """Leaves by the names on the way to them."""
  return {
    tuple(k.key for k in path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


class ByHandTest(parameterized.TestCase):
  @parameterized.product(form=list(FORMS), skip=[0, 1])
  def test_signs(self, form, skip):
    """Two images of one pixel, 1000 and -1000: s = 1 and -1.

    Such a pixel meets the middle of a kernel alone, and pools leave it. Batch
    norm of two numbers leaves their signs. Let p = relu(s), q = relu(-s).
    All weights are identities but for these: the stem's, (1, -1), so it gives
    (s, -s); and what is named below. Two layers: convolution, max pooling.

    Paper: layer 1 gives (s, -s). The block of the join that is for the stem is
    -1 times the identity. With the skip, layer 2 reads relu(s, -s) = (p, q),
    normalised (s, -s); without it reads the stem, relu(-s, s), so (-s, s).

    Released: layer 1 gives (p, q). The first weights of layer 2 are -1 times
    the identity, so its pool sees relu(-s, s) = (q, p). With the skip, that is
    of the stem, the sum is (q + s, p - s) = (p, q), normalised (s, -s); without
    it is (q, p), normalised (-s, s).

    The classifier doubles the first channel.
    """
    config = make_config(form, num_layers=2, num_filters=2, op_epsilon=1e-5)
    omega = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape),
      shapes(config, num_classes=2, channels=1),
    )
    one = jnp.eye(2)
    omega["stem"]["w"] = (
      omega["stem"]["w"].at[1, 1].set(jnp.array([[1.0, -1.0]]))
    )
    first, second = omega["layer_0"]["conv_3x3"], omega["layer_1"]
    second = second["max_pool_3x3"]
    first["in"]["w"] = one
    first["out"]["w"] = first["out"]["w"].at[1, 1].set(one)
    second["in"]["w"] = one if form == "paper" else -one
    if form == "paper":
      omega["skip_1"]["w"] = jnp.stack([-one, one])
    for norm in (
      *(omega["stem"], first["in"], first["out"], second["in"]),
      omega["skip_1"],
    ):
      norm["scale"] = jnp.ones(2)
    omega["classifier"]["w"] = jnp.diag(jnp.array([2.0, 1.0]))
    images = jnp.array([1000.0, -1000.0])[:, None, None, None]
    arc = macro.MacroArc((0, 4), ((0, 0), (skip, 0)))
    sign = 1.0 if skip else -1.0
    # The epsilon of batch norm shortens a half by 2e-5, several times.
    np.testing.assert_allclose(
      make_logits(config, images)(omega, arc),
      sign * np.array([[2.0, -1.0], [-2.0, 1.0]]),
      atol=1e-3,
    )


class OracleTest(parameterized.TestCase):
  @parameterized.parameters(
    {"form": "paper"},
    {"form": "released"},
    {"form": "paper", "main_input": "previous"},
    {"form": "released", "main_input": "selected"},
  )
  def test_logits(self, form, **changes):
    config = make_config(form, **changes)
    omega, images = make_inputs(config)
    logits = jax.jit(make_logits(config, images))
    host = jax.tree.map(np.asarray, omega)
    # Every operation; every skip or none; and Figure 3's, whose layer 4 takes
    # layers 1 and 3.
    figure = macro.MacroArc(
      (0, 3, 4, 1), ((0,) * 4, (1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0))
    )
    arcs = [uniform_arc(config, op, op % 2) for op in range(6)]
    for arc in [figure, *arcs, *(random_arc(config, i) for i in range(4))]:
      expected = oracles_macro.logits(host, arc, np.asarray(images), config)
      # Batch norm of few numbers amplifies float32 rounding.
      np.testing.assert_allclose(
        logits(omega, decisions.as_arrays(arc)),
        expected,
        atol=2e-4,
        err_msg=f"{arc}",
      )

  def test_evaluation_with_moving_statistics(self):
    config = make_config("released", num_layers=3, moving_statistics=True)
    omega, images = make_inputs(config)
    rng = np.random.default_rng(0)
    statistics = jax.tree.map(
      lambda a: jnp.asarray(0.5 + rng.random(a.shape), a.dtype),
      supergraph.init_statistics(config),
    )
    arc = random_arc(config, 3)
    run = jax.jit(
      lambda omega, statistics: children.run_macro(
        omega, statistics, arc, images, config=config, train=False
      )
    )
    found, after = run(omega, statistics)
    expected = oracles_macro.logits(
      omega, arc, np.asarray(images), config, statistics
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_equal(after, statistics)


class GradientTest(parameterized.TestCase):
  @parameterized.parameters("paper", "released")
  def test_static_arc_equals_traced_arc(self, form):
    config = make_config(form, num_layers=3)
    omega, images = make_inputs(config)
    loss = make_loss(config, images)
    traced = jax.jit(jax.value_and_grad(loss))
    for seed in range(2):
      arc = random_arc(config, seed)
      value, grads = jax.jit(jax.value_and_grad(lambda o, a=arc: loss(o, a)))(
        omega
      )
      value_t, grads_t = traced(omega, decisions.as_arrays(arc))
      np.testing.assert_allclose(value, value_t, rtol=1e-5)
      whole = float(global_norm(grads))
      for path, grad in paths(grads).items():
        # Directions that batch norm undoes hold rounding alone.
        error = np.linalg.norm(grad - paths(grads_t)[path])
        limit = 1e-3 * np.linalg.norm(grad) + 1e-6 * whole
        self.assertLess(error, limit, f"{path} of {arc}")
      self._check_outside(config, arc, grads_t)

  def _check_outside(self, config, arc, grads):
    """No gradient but of the operations sampled and the skips taken."""
    for path, grad in paths(grads).items():
      kind, _, layer = path[0].rpartition("_")
      if kind == "layer" and path[1] != macro.OPS[arc.ops[int(layer)]]:
        self.assertFalse(np.any(grad), f"{path} of {arc}")
      elif kind == "skip" and path[-1] == "w":
        bits = arc.skips[int(layer)][: int(layer)]
        blocks = np.abs(grad).sum(axis=(1, 2))
        taken = np.array([not any(bits), *bits], bool)
        self.assertFalse(np.any(blocks[~taken]), f"{path} of {arc}")
    if config.main_input == "previous":
      # Every layer is on the way to the last one.
      for layer, op in enumerate(arc.ops):
        grad = grads[f"layer_{layer}"][macro.OPS[op]]["in"]["w"]
        self.assertTrue(np.all(grad != 0))

  def test_finite_difference_in_float64(self):
    config = make_config(num_layers=2)
    with jax.enable_x64(True):
      omega, images = make_inputs(config)
      omega = jax.tree.map(lambda a: a.astype(jnp.float64), omega)
      loss = make_loss(config, images.astype(jnp.float64))
      arc = macro.MacroArc((1, 2), ((0, 0), (1, 0)))
      rng = np.random.default_rng(0)
      direction = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape)), omega
      )
      run = jax.jit(lambda o: jax.value_and_grad(loss)(o, arc))
      slope = sum(
        jnp.vdot(*pair)
        for pair in zip(
          jax.tree.leaves(run(omega)[1]),
          jax.tree.leaves(direction),
          strict=True,
        )
      )
      ahead, behind = (
        run(jax.tree.map(lambda a, d, s=s: a + s * d, omega, direction))[0]
        for s in (1e-6, -1e-6)
      )
      np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-4)


class ChildTest(parameterized.TestCase):
  @parameterized.parameters("paper", "released")
  def test_a_child_needs_its_own_weights_alone(self, form):
    config = make_config(form)
    omega, images = make_inputs(config)
    arc = random_arc(config, 1)
    child = supergraph.child_params(omega, arc, config)
    for layer, op in enumerate(arc.ops):
      self.assertEqual(list(child[f"layer_{layer}"]), [macro.OPS[op]])
    run = jax.jit(
      lambda child: (
        supergraph.apply_child(
          child, {}, arc, images, config=config, train=True
        )[0].main
      )
    )
    whole = jax.jit(lambda omega: make_logits(config, images)(omega, arc))
    np.testing.assert_allclose(run(child), whole(omega), atol=1e-5)
    # A traced arc needs them all.
    traced = decisions.as_arrays(arc)
    self.assertIs(supergraph.child_params(omega, traced, config), omega)

  def test_blocks_of_the_join(self):
    config = make_config(num_layers=3)
    omega, _ = make_inputs(config)
    arc = macro.MacroArc((0, 0, 0), ((0, 0, 0), (0, 0, 0), (0, 1, 0)))
    child = supergraph.child_params(omega, arc, config)
    # Layer 2 takes nothing, so the stem; layer 3 takes layer 2.
    for layer, row in ((1, 0), (2, 2)):
      name = f"skip_{layer}"
      np.testing.assert_array_equal(
        child[name]["w"], omega[name]["w"][row : row + 1]
      )

  # A switch a layer, forward and backward; in the CPU form of the paper's join
  # also a conditional a candidate, of which its two joins have 2 and 3.
  @parameterized.parameters(("released", 6), ("paper", 6 + 2 * (2 + 3)))
  def test_a_fixed_child_holds_no_conditional(self, form, conditionals):
    config = make_config(form, num_layers=3)
    omega, images = make_inputs(config)
    arc = random_arc(config, 0)
    text = lambda arc: str(
      jax.make_jaxpr(jax.grad(make_loss(config, images)))(omega, arc)
    )
    loss = make_loss(config, images)
    static = str(jax.make_jaxpr(jax.grad(lambda o: loss(o, arc)))(omega))
    self.assertNotIn("cond[", static)
    traced = text(decisions.as_arrays(arc))
    self.assertEqual(traced.count("cond["), conditionals)


class CompilationTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    chex.clear_trace_counter()

  @parameterized.parameters("paper", "released")
  def test_one_trace_serves_fifty_arcs(self, form):
    config = make_config(form)
    omega, images = make_inputs(config)
    logits = jax.jit(
      chex.assert_max_traces(n=1)(make_logits(config, images, train=False))
    )
    run = lambda arc: np.asarray(logits(omega, decisions.as_arrays(arc)))
    values = {run(random_arc(config, seed)).tobytes() for seed in range(50)}
    # Different arcs, different networks; but in the paper's form a layer that
    # no later one takes makes no difference.
    self.assertGreater(len(values), 45 if form == "released" else 35)
    arc = random_arc(config, 0)
    last = run(arc)
    for op in range(6):
      other = arc._replace(ops=(*arc.ops[:-1], op))
      same = op == arc.ops[-1]
      self.assertEqual(np.allclose(run(other), last, atol=1e-3), same, op)
    for node in range(LAYERS - 1):
      row = list(arc.skips[-1])
      row[node] = 1 - row[node]
      other = arc._replace(skips=(*arc.skips[:-1], tuple(row)))
      self.assertFalse(np.allclose(run(other), last, atol=1e-3), node)


class StatisticsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.config = make_config("released", num_layers=3, moving_statistics=True)
    self.omega, self.images = make_inputs(self.config)
    self.arc = macro.MacroArc((1, 2, 5), ((0, 0, 0), (1, 0, 0), (0, 1, 0)))

  def train(self, statistics, arc, images):
    return children.run_macro(
      self.omega, statistics, arc, images, config=self.config, train=True
    )[1]

  def test_averages(self):
    """Of the stem and of one operation's last batch norm, by definition."""
    run = jax.jit(self.train)
    traced = decisions.as_arrays(self.arc)
    statistics = supergraph.init_statistics(self.config)
    shadow = np.zeros((2, FILTERS))
    plain = np.stack([np.zeros(FILTERS), np.ones(FILTERS)])
    for step in range(1, 4):
      images = self.images * step + step
      once = run(supergraph.init_statistics(self.config), traced, images)
      x = np.asarray(images, np.float64)
      x = oracles_macro._conv(x, np.asarray(self.omega["stem"]["w"]))
      batch = np.stack([x.mean((0, 1, 2)), x.var((0, 1, 2), ddof=1)])
      shadow = 0.9 * shadow + 0.1 * batch
      last = once["layer_0"]["conv_5x5"]["out"]
      # One step of a tenth, from 0 and 1, tells what the batch norm saw.
      start = np.stack([np.zeros(FILTERS), np.ones(FILTERS)])
      seen = (np.stack([last["mean"], last["variance"]]) - 0.9 * start) / 0.1
      plain = 0.9 * plain + 0.1 * seen
      statistics = run(statistics, traced, images)
      for found, wanted in (
        (statistics["stem"], shadow / (1 - 0.9**step)),
        (statistics["layer_0"]["conv_5x5"]["out"], plain),
      ):
        np.testing.assert_allclose(found["mean"], wanted[0], atol=1e-4)
        np.testing.assert_allclose(found["variance"], wanted[1], rtol=1e-4)
    self.assertEqual(int(statistics["steps"]), 3)
    # Every operation's have moved, whichever were sampled.
    fresh = paths(supergraph.init_statistics(self.config))
    for path, leaf in paths(statistics).items():
      self.assertTrue(np.all(leaf != fresh[path]), path)
    self._compare_static(
      run(supergraph.init_statistics(self.config), traced, self.images)
    )

  def _compare_static(self, traced):
    """A fixed child moves its own, by as much."""
    alone = fixed.fix_image_network(supergraph.NETWORK, self.arc)
    start = alone.init_statistics(self.config)
    run = jax.jit(lambda old: self.train(old, self.arc, self.images))
    static = paths(run(start))
    for path, leaf in static.items():
      np.testing.assert_allclose(
        leaf, paths(traced)[path], atol=1e-5, rtol=1e-4, err_msg=str(path)
      )
    whole = run(supergraph.init_statistics(self.config))
    others = paths(whole).keys() - static.keys()
    fresh = paths(supergraph.init_statistics(self.config))
    # A layer has 10 batch norms in its operations, two of a convolution's and
    # one of a pool's; the child's have 2, 2 and 1. Each has two averages.
    self.assertLen(others, 2 * (3 * 10 - 5))
    for path in others:
      np.testing.assert_array_equal(paths(whole)[path], fresh[path])

  def test_none_are_kept_by_default(self):
    self.assertEqual(supergraph.init_statistics(make_config()), {})


class DropoutTest(absltest.TestCase):
  def test_features_are_dropped_in_training_alone(self):
    config = make_config(num_layers=1, drop_features=0.5)
    omega, images = make_inputs(config)
    omega["classifier"]["w"] = jnp.eye(FILTERS)  # logits are the features
    arc = macro.MacroArc((4,), ((0,),))
    run = lambda train, key: np.asarray(
      children.run_macro(
        omega, {}, arc, images, config=config, train=train, key=key
      )[0]
    )
    whole = run(False, None)
    dropped = run(True, jax.random.key(1))
    kept = dropped != 0
    self.assertBetween(kept.mean(), 0.1, 0.9)
    np.testing.assert_allclose(dropped[kept], 2 * whole[kept], rtol=1e-5)
    with self.assertRaisesRegex(types.InputError, "key must be given"):
      run(True, None)


def global_norm(tree):
  return np.sqrt(sum(np.sum(np.square(a)) for a in jax.tree.leaves(tree)))


if __name__ == "__main__":
  absltest.main()
