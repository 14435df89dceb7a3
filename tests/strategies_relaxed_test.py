"""Gradient methods on mixtures: first steps by hand, and what they learn."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.nn import ops
from enas_jax.search import judge as judge_lib
from enas_jax.spaces import decisions
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.strategies import darts, drnas, gdas, relaxed, snas

SPACE = nasbench201.NasBench201Space()
# What each operation of each edge loses; the last operation is the best.
COSTS = jnp.array([5.0, 3.0, 2.0, 1.0, 0.0])
METHODS = {
  "darts": (darts.Darts, darts.DartsConfig),
  "gdas": (gdas.Gdas, gdas.GdasConfig),
  "snas": (snas.Snas, snas.SnasConfig),
  "drnas": (drnas.Drnas, drnas.DrnasConfig),
}


class Judging(NamedTuple):
  """A judge whose loss is the sum of the weights' costs."""

  progress: Any = np.float32(0.0)

  def loss(self, arc, key):
    del key
    branches = [lambda cost=cost: cost for cost in COSTS]
    return sum(ops.switch(choice, branches) for choice in arc.ops)

  def train_loss(self, arc, key):
    return 3.0 * self.loss(arc, key)

  def unrolled_loss(self, arc, key):
    return 2.0 * self.loss(arc, key)


def make(name, num_arcs=1, **options):
  cls, config = METHODS[name]
  return cls(SPACE, config(**options), num_arcs)


class Unmixed(micro.MicroSpace):
  """A space whose network runs one architecture at a time."""

  def relax(self, weights):
    raise decisions.no_mixtures(self)


class ArcTest(absltest.TestCase):
  def test_weights_take_the_places_of_choices(self):
    space = macro.MacroSpace(3)
    rows = [jnp.eye(6)[1], jnp.eye(6)[2], jnp.array([0.75, 0.25])]
    rows += [jnp.eye(6)[3], jnp.array([0.5, 0.5]), jnp.array([0.0, 1.0])]
    arc = jax.jit(lambda rows: space.relax(rows).skips[2][:2])(rows)
    np.testing.assert_array_equal(arc, [0.5, 1.0])
    arc = space.relax(rows)
    self.assertEqual([len(row) for row in arc.skips], [3, 3, 3])
    self.assertEqual(float(arc.skips[1][0]), 0.25)
    self.assertEqual((arc.skips[0], arc.skips[1][1:]), ((0, 0, 0), (0, 0)))
    for layer, place in enumerate((0, 1, 3)):
      np.testing.assert_array_equal(arc.ops[layer], rows[place])
    with self.assertRaises(AssertionError):
      space.relax([jnp.eye(5)[1], *rows[1:]])

  def test_a_sampled_bit_is_its_weight(self):
    arc = macro.MacroSpace(2).relax(
      [
        ops.Sampled(jnp.int32(1), jnp.eye(6)[1]),
        ops.Sampled(jnp.int32(2), jnp.eye(6)[2]),
        ops.Sampled(jnp.int32(1), jnp.array([0.0, 1.0])),
      ]
    )
    self.assertEqual(float(arc.skips[1][0]), 1.0)
    self.assertIsInstance(arc.ops[1], ops.Sampled)

  def test_networks_that_run_no_mixtures_say_so(self):
    for cls, config in METHODS.values():
      with self.assertRaisesRegex(
        types.InputError, "the micro space cannot run a mixture"
      ):
        cls(Unmixed(3), config(), 1)


class StepTest(parameterized.TestCase):
  def test_it_starts_with_weights_of_nearly_the_same_size(self):
    state = make("darts").init(jax.random.key(0))
    self.assertEqual(state.progress, 0.0)
    # Thirty of deviation 0.001; its estimate is good to an eighth.
    self.assertBetween(float(jnp.std(state.alpha)), 0.6e-3, 1.4e-3)

  def test_the_first_step_of_darts_by_hand(self):
    """Adam's first step is the rate times the sign of the gradient."""
    for order in (1, 2):
      strategy = make("darts", order=order, learning_rate=0.1, alpha_decay=0.0)
      state = strategy.init(jax.random.key(0))
      state = state._replace(alpha=jnp.zeros((6, 5)))
      after, metrics = strategy.update(state, jax.random.key(1), Judging())
      # d loss / d alpha_k = p_k (cost_k - mean) = (cost_k - 2.2) / 5.
      expected = np.tile([-0.1, -0.1, 0.1, 0.1, 0.1], (6, 1))
      np.testing.assert_allclose(after.alpha, expected, atol=1e-5)
      self.assertAlmostEqual(float(metrics["nats"]), 13.2 * order, places=4)
      self.assertAlmostEqual(
        float(metrics["entropy_nats"]), 6 * np.log(5), places=4
      )
      # The costs less their mean are 2.8, 0.8, -0.2, -1.2 and -2.2.
      norm = order * np.sqrt(6 * 14.8) / 5
      self.assertAlmostEqual(float(metrics["grad_norm"]), norm, places=4)

  def test_decay_is_part_of_the_gradient(self):
    optimizer = relaxed.make_optimizer(
      darts.DartsConfig(alpha_decay=0.5, learning_rate=0.1)
    )
    alpha = jnp.array([2.0, 2.0, 2.0])
    grads = jnp.array([-0.5, -1.0, -1.5])  # and 1 of the decay
    updates, _ = optimizer.update(grads, optimizer.init(alpha), alpha)
    np.testing.assert_allclose(updates, [-0.1, 0.0, 0.1], atol=1e-6)

  def test_losses_are_those_of_the_method(self):
    for name, factor in (("darts", 1), ("snas", 3), ("drnas", 1), ("gdas", 1)):
      strategy = make(name)
      arc = SPACE.relax(list(jnp.tile(jnp.eye(5)[1], (6, 1))))
      alpha = jnp.zeros((6, 5))
      value = strategy.measure(alpha, arc, None, Judging())
      self.assertEqual(float(value), 18.0 * factor, name)
    # Of alpha = 1 the concentration is 2 in each of 30 places.
    value = make("drnas", anchor_weight=0.5).measure(
      jnp.ones((6, 5)), arc, None, Judging()
    )
    self.assertEqual(float(value), 18.0 + 0.5 * 30)

  def test_samples_of_the_softmax_by_hand(self):
    alpha = jax.random.normal(jax.random.key(3), (6, 5))
    key, progress = jax.random.key(4), jnp.float32(0.5)
    noisy = jax.nn.log_softmax(alpha) + jax.random.gumbel(key, (6, 5))
    # Half-way from 1 to 0.03.
    np.testing.assert_allclose(
      make("snas").weigh(alpha, key, progress),
      jax.nn.softmax(noisy / 0.515), rtol=1e-5,
    )  # fmt: skip
    sample = make("gdas").weigh(alpha, key, progress)
    np.testing.assert_array_equal(sample.chosen, jnp.argmax(noisy, axis=-1))
    np.testing.assert_array_equal(
      sample.weights, jax.nn.one_hot(sample.chosen, 5)
    )
    # The gradient is that of the softmax at half-way from 10 to 0.1.
    some = jax.random.normal(jax.random.key(5), (6, 5))

    def soft(alpha):
      noise = jax.random.gumbel(key, (6, 5))
      return jax.nn.softmax((jax.nn.log_softmax(alpha) + noise) / 5.05)

    expected = jax.grad(lambda alpha: jnp.vdot(soft(alpha), some))(alpha)
    slope = jax.grad(
      lambda a: jnp.vdot(make("gdas").weigh(a, key, progress).weights, some)
    )(alpha)
    np.testing.assert_allclose(slope, expected, atol=1e-6)

  def test_samples_of_the_dirichlet_distribution(self):
    strategy = make("drnas")
    alpha = jnp.tile(jnp.array([2.0, 0.0, 0.0, -1.0, 0.0]), (6, 1))
    shares = drnas.concentration(alpha)
    np.testing.assert_allclose(shares[0], [3, 1, 1, np.exp(-1), 1], rtol=1e-5)
    mean = shares / jnp.sum(shares, axis=-1, keepdims=True)
    np.testing.assert_allclose(
      jnp.exp(strategy.log_probs(alpha)), mean, rtol=1e-5
    )
    keys = jax.random.split(jax.random.key(0), 3000)
    drawn = jax.vmap(lambda key: strategy.weigh(alpha, key, 0.0))(keys)
    np.testing.assert_allclose(jnp.mean(drawn, axis=0), mean, atol=0.02)
    np.testing.assert_allclose(jnp.sum(drawn, axis=-1), 1.0, rtol=1e-5)
    # The gradient of the mean through samples is that of the exact mean.
    exact = jax.grad(
      lambda a: jnp.exp(strategy.log_probs(a))[0, 0]
    )(alpha)[0]  # fmt: skip
    through = jax.grad(
      lambda a: jnp.mean(
        jax.vmap(lambda key: strategy.weigh(a, key, 0.0)[0, 0])(keys)
      )
    )(alpha)[0]
    np.testing.assert_allclose(through, exact, atol=0.02)

  def test_a_concentration_of_almost_nothing(self):
    """elu(-50) + 1 is 0 in float32; no share may be 0, no sample NaN."""
    strategy = make("drnas")
    alpha = jnp.tile(jnp.array([-50.0, 0.0, 0.0, 0.0, 0.0]), (6, 1))
    np.testing.assert_allclose(drnas.concentration(alpha)[:, 0], 1e-6)
    np.testing.assert_allclose(
      jnp.exp(strategy.log_probs(alpha)[:, 0]), 1e-6 / 4, rtol=1e-3
    )
    sample = strategy.weigh(alpha, jax.random.key(0), 0.0)
    np.testing.assert_allclose(jnp.sum(sample, axis=-1), 1.0, rtol=1e-5)

  @parameterized.parameters(*METHODS)
  def test_what_a_choice_lacks_has_no_probability(self, name):
    cls, config = METHODS[name]
    strategy = cls(macro.MacroSpace(3), config(), 1)
    known = strategy.known
    self.assertEqual(known.sum(axis=-1).tolist(), [6, 6, 2, 6, 2, 2])
    # All the same, and whatever stands beyond the alternatives.
    alpha = jnp.where(known, 0.0, 7.0)
    expected = known / known.sum(axis=-1, keepdims=True)
    probs = jnp.exp(strategy.log_probs(alpha))
    np.testing.assert_allclose(probs, expected, rtol=1e-5)
    weights = strategy.weigh(alpha, jax.random.key(0), jnp.float32(0.0))
    rows = getattr(weights, "weights", weights)
    np.testing.assert_array_equal(rows[~known], 0.0)
    np.testing.assert_allclose(jnp.sum(rows, axis=-1), 1.0, rtol=1e-5)

  @parameterized.parameters(*METHODS)
  def test_alpha_goes_to_the_better_operations(self, name):
    strategy = make(name, num_arcs=2, learning_rate=0.05)
    traces = []

    @jax.jit
    def update(state, key):
      traces.append(None)
      return strategy.update(state, key, Judging())

    state = strategy.init(jax.random.key(0))
    start = jnp.exp(strategy.log_probs(state.alpha)) @ COSTS
    for index in range(200):
      state, _ = update(state, jax.random.key(index))
    self.assertLen(traces, 1)
    end = jnp.exp(strategy.log_probs(state.alpha)) @ COSTS
    self.assertLess(float(jnp.max(end)), 0.6 * float(jnp.min(start)))
    best = strategy.finish(state)
    np.testing.assert_array_equal(best.ops, jnp.full((1, 6), 4))

  def test_omega_trains_mixtures_or_samples(self):
    for name in METHODS:
      strategy = make(name)
      state = strategy.init(jax.random.key(0))
      arcs = strategy.train_arcs(state, jax.random.key(1), 3)
      if name == "gdas":
        chex.assert_shape(arcs.ops, (3, 6))
        chex.assert_type(arcs.ops, int)
        continue
      for row in arcs.ops:
        chex.assert_shape(row, (3, 5))
        np.testing.assert_allclose(jnp.sum(row, axis=-1), 1.0, rtol=1e-5)


class UnrollTest(absltest.TestCase):
  def test_against_the_exact_gradient_of_a_quadratic(self):
    """Eqn 8 is exact where the training loss is quadratic in omega."""
    matrix = jnp.array([[2.0, 0.3], [0.3, 1.0]])

    def train_loss(omega, arc):
      pull = arc[0][0] * jnp.array([1.0, -2.0]) + arc[0][1] ** 2
      return omega @ matrix @ omega / 2 + omega @ pull

    def valid_loss(omega, arc):
      return jnp.sum((omega - 1.0) ** 2) + arc[0][1] * omega[0]

    omega, rate = jnp.array([0.5, -1.0]), jnp.float32(0.1)
    weights = jnp.array([0.7, 0.3])
    arc_of = lambda weights: (weights, jnp.int32(3))  # a part is not relaxed

    def exact(weights):
      arc = arc_of(weights)
      after = omega - rate * jax.grad(train_loss)(omega, arc)
      return valid_loss(after, arc)

    def by_differences(weights, clip_norm=0.0):
      return judge_lib.unroll(
        train_loss, valid_loss, omega, arc_of(weights), rate, clip_norm
      )

    value, slope = jax.value_and_grad(by_differences)(weights)
    expected, wanted = jax.value_and_grad(exact)(weights)
    self.assertAlmostEqual(float(value), float(expected), places=5)
    np.testing.assert_allclose(slope, wanted, rtol=1e-3)
    # First order leaves the mixed derivative out.
    first = jax.grad(
      lambda w: valid_loss(omega - rate * jax.grad(train_loss)(omega,
        arc_of(weights)), arc_of(w))
    )(weights)  # fmt: skip
    self.assertGreater(float(jnp.abs(first - wanted).max()), 0.05)
    # A clipped step is a shorter one.
    norm = jnp.linalg.norm(jax.grad(train_loss)(omega, arc_of(weights)))
    clipped = by_differences(weights, clip_norm=float(norm) / 2)
    after = omega - rate / 2 * jax.grad(train_loss)(omega, arc_of(weights))
    self.assertAlmostEqual(
      float(clipped), float(valid_loss(after, arc_of(weights))), places=5
    )


if __name__ == "__main__":
  absltest.main()
