"""Scores without training, against NumPy on a network of two layers."""

import dataclasses
import math
import types as python_types
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax import lax

from enas_jax import types
from enas_jax.search import zero_cost
from enas_jax.spaces import base, decisions, describe, registry
from enas_jax.spaces.nasbench201 import arc as nasbench201
from tests import tiny


class Arc(NamedTuple):
  keep: Any  # 1: the hidden layer counts; 0: its output is dropped


@dataclasses.dataclass(frozen=True)
class Options:
  moving_statistics: bool = False
  drop_features: float = 0.5


def apply_child(child, statistics, arc, images, *, config, train, key):
  # Only the loss of a training step is taken as in training; what looks at the
  # network drops nothing, and whoever is given statistics must say so.
  assert (config is None) == train and key is None
  if config is not None:
    assert statistics == config.moving_statistics
    assert not (config.moving_statistics and config.drop_features)
  rows = images.reshape(images.shape[0], -1)
  first = child["first"]
  hidden = jax.nn.relu(rows @ first["w1"]) * first["scale"]
  return base.Logits(arc.keep * (hidden @ child["w2"])), {}


NETWORK = base.ImageNetwork(
  init=lambda *_: None,
  init_statistics=lambda options: options.moving_statistics,
  child_params=lambda omega, arc, options: omega,
  apply_child=apply_child,
  penalised=lambda child, options: child,
)


class Task:
  network = NETWORK

  def init_carry(self):
    return {}

  def start_split(self, carry):
    return carry

  def child_params(self, omega, arc):
    del arc
    return omega

  def loss(self, child, arc, batch, carry, key):
    del carry, key
    logits, _ = apply_child(
      child, {}, arc, batch.images, config=None, train=True, key=None
    )
    log_probs = jax.nn.log_softmax(logits.main)
    nats = -jnp.mean(
      jnp.take_along_axis(log_probs, batch.labels[:, None], axis=1)
    )
    return nats + 100.0, ({"nats": nats}, {})


def make_subject(seed=0):
  rng = np.random.default_rng(seed)
  omega = {
    "first": {
      "w1": rng.normal(size=(4, 3)).astype(np.float32),
      "scale": np.float32([1.0, 1.0, 1.0]),
    },
    "w2": rng.normal(size=(3, 2)).astype(np.float32),
  }
  # Every image opens a hidden unit: the kernel of dead ones has no correlation.
  images = rng.normal(size=(5, 2, 2, 1)).astype(np.float32)
  images += 0.5 * omega["first"]["w1"].sum(axis=1).reshape(2, 2, 1)
  batch = types.ImageBatch(jnp.asarray(images), jnp.array([0, 1, 1, 0, 1]))
  config = python_types.SimpleNamespace(child=Options())
  definition = python_types.SimpleNamespace(network=NETWORK, name="toy")
  draw = zero_cost.Draw(
    jax.tree.map(jnp.asarray, omega), batch, jax.random.key(0)
  )
  return zero_cost.Subject(config, definition, Task(), (draw,))


class DrawsTest(absltest.TestCase):
  def test_each_key_draws_weights_and_an_epochs_first_batch(self):
    def train_batch(train, carry, step, key):
      return train, carry, int(step), jax.random.key_data(key).tolist()

    task = python_types.SimpleNamespace(
      init_omega=lambda key: jax.random.uniform(key),
      init_carry=lambda: "carry",
      start_epoch=lambda carry, key: (carry, jax.random.key_data(key).tolist()),
      train_batch=train_batch,
    )
    options = registry.preset("smoke", "nasbench201").child
    config = python_types.SimpleNamespace(child=options)
    key = jax.random.key(3)
    subject = zero_cost.Subject.of(config, task, "train", [key, key])
    self.assertEqual(subject.definition.name, "nasbench201")
    omega, epoch, batch, rest = jax.random.split(key, 4)
    words = lambda key: jax.random.key_data(key).tolist()
    for draw in subject.draws:
      self.assertEqual(float(draw.omega), float(jax.random.uniform(omega)))
      carry = ("carry", words(epoch))
      self.assertEqual(draw.batch, ("train", carry, 0, words(batch)))
      self.assertEqual(words(draw.key), words(rest))

  def test_one_draw_is_the_score_and_several_add_their_ranks(self):
    subjects = [make_subject(seed) for seed in (0, 1)]
    arcs = [Arc(keep) for keep in (2, 0, 1)]
    raw = [
      [zero_cost.make("snip", subject)(arc)[0] for arc in arcs]
      for subject in subjects
    ]
    draws = tuple(subject.draws[0] for subject in subjects)
    whole = dataclasses.replace(subjects[0], draws=draws)
    seen = []
    one = zero_cost.score_architectures("snip", subjects[0], arcs)
    both = zero_cost.score_architectures(
      "snip", whole, arcs, lambda: seen.append(1)
    )
    np.testing.assert_array_equal(one, raw[0])
    ranks = [1 + np.argsort(np.argsort(column)) for column in raw]
    np.testing.assert_array_equal(both, ranks[0] + ranks[1])
    # Logits of 0 have no gradient in the weights before them.
    self.assertEqual((one[1], both[1], len(seen)), (0.0, 2.0, 3))


class OracleTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.subject = make_subject()
    (draw,) = self.subject.draws
    omega = jax.tree.map(np.asarray, draw.omega)
    self.w1, self.w2 = omega["first"]["w1"], omega["w2"]
    self.rows = np.asarray(draw.batch.images).reshape(5, 4)
    self.labels = draw.batch.labels
    self.open = self.rows @ self.w1 > 0

  def score(self, name, keep=1):
    (value,) = zero_cost.make(name, self.subject)(Arc(keep))
    return value

  def _grads(self):
    hidden = np.maximum(self.rows @ self.w1, 0)
    logits = hidden @ self.w2
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    d_logits = (probs - np.eye(2)[self.labels]) / 5
    d_hidden = d_logits @ self.w2.T * self.open
    return {
      "w1": self.rows.T @ d_hidden,
      "w2": hidden.T @ d_logits,
      "scale": np.sum(hidden * (d_logits @ self.w2.T), axis=0),
    }

  def test_of_the_gradient(self):
    grads = self._grads()
    norm = math.sqrt(sum(np.sum(np.square(g)) for g in grads.values()))
    self.assertAlmostEqual(self.score("grad_norm"), norm, places=5)
    # Scales and offsets of batch norm are no weights to be pruned.
    snip = np.abs(self.w1 * grads["w1"]).sum()
    snip += np.abs(self.w2 * grads["w2"]).sum()
    self.assertAlmostEqual(self.score("snip"), snip, places=5)
    self.assertEqual(self.score("snip", keep=0), 0.0)

  def test_synflow_counts_the_flow_once_a_layer(self):
    flow = np.sum(np.ones(4) @ np.abs(self.w1) @ np.abs(self.w2))
    self.assertAlmostEqual(self.score("synflow"), math.log(2 * flow), places=5)
    self.assertEqual(self.score("synflow", keep=0), -math.inf)

  def test_jacob_cov(self):
    rows = (self.open * self.w2.sum(axis=1)) @ self.w1.T
    values = np.linalg.eigvalsh(np.corrcoef(rows)) + 1e-5
    values = np.maximum(values, 1e-5)
    expected = -np.sum(np.log(values) + 1 / values)
    self.assertAlmostEqual(self.score("jacob_cov") / expected, 1.0, places=1)

  def test_naswot_is_the_kernel_of_the_codes(self):
    kernel = np.array(
      [[np.sum(a == b) for b in self.open] for a in self.open], np.float64
    )
    sign, expected = np.linalg.slogdet(kernel)
    if sign == 0:
      self.assertEqual(self.score("naswot"), -math.inf)
    else:
      self.assertAlmostEqual(self.score("naswot"), expected, places=5)

  def test_batch_norms_take_what_the_batch_has(self):
    options = Options(moving_statistics=True, drop_features=0.0)
    config = python_types.SimpleNamespace(child=options)
    seen = []

    def look(*given, config, train, key):
      seen.append(config.moving_statistics)
      return apply_child(*given, config=config, train=train, key=key)

    task = Task()
    task.network = NETWORK._replace(apply_child=look)
    self.subject = dataclasses.replace(self.subject, config=config, task=task)
    self.assertTrue(np.isfinite(self.score("jacob_cov")))
    self.score("naswot")
    self.assertEqual(set(seen), {False})

  def test_of_text_only_what_needs_no_images(self):
    definition = python_types.SimpleNamespace(
      network=registry.get("recurrent").network, name="recurrent"
    )
    subject = dataclasses.replace(self.subject, definition=definition)
    for name in ("synflow", "jacob_cov", "naswot"):
      with self.assertRaisesRegex(types.InputError, f"score {name} is defined"):
        zero_cost.make(name, subject)


class SynflowTest(parameterized.TestCase):
  @parameterized.parameters(*tiny.IMAGE_FLAGS)
  def test_no_batch_norm_hides_the_size_of_what_comes_before_it(self, space):
    subject, arc = self.make(space)
    (draw,) = subject.draws
    stem = jax.tree.map(lambda w: 2 * w, draw.omega["stem"])
    for name in ("scale", "offset"):
      stem[name] = draw.omega["stem"][name]
    doubled = draw._replace(omega={**draw.omega, "stem": stem})
    both = dataclasses.replace(subject, draws=(draw, doubled))
    once, twice = zero_cost.make("synflow", both)(arc)
    # What flows is a product of a weight of each layer.
    self.assertAlmostEqual(twice - once, math.log(2), places=4)

  def test_cells_as_if_they_had_no_batch_norm(self):
    subject, arc = self.make("micro")
    (draw,), network = subject.draws, subject.definition.network
    options = subject.config.child
    child = jax.tree.map(
      jnp.abs, network.child_params(draw.omega, arc, options)
    )
    ones = jnp.ones((1, 8, 8, 2))
    without = lambda x, weights: (x, {"mean": jnp.float32(0.0)})

    def flow(child):
      logits, _ = network.apply_child(
        child, {}, arc, ones, config=options, train=False
      )
      return jnp.sum(logits.main)

    with mock.patch("enas_jax.nn.batch_norm.normalise", without):
      grads = jax.grad(flow)(child)
    # Weights and gradients are positive, and those of batch norms 0.
    total = sum(
      float(jnp.sum(w * g))
      for w, g in zip(*map(jax.tree.leaves, (child, grads)), strict=True)
    )
    (score,) = zero_cost.make("synflow", subject)(arc)
    self.assertAlmostEqual(score, math.log(total), places=3)

  def make(self, space):
    config = tiny.make_image_config(space)
    task, splits = tiny.make_image_task(config, space)
    keys = [jax.random.key(0)]
    subject = zero_cost.Subject.of(config, task, splits.train, keys)
    choices = jax.random.key(1)
    arcs = task.space.sample_uniform(choices, 1)
    return subject, task.space.validate(decisions.nth(arcs, 0))


class ReluInputsTest(absltest.TestCase):
  def test_inside_functions_and_loops(self):
    @jax.jit
    def layer(x, w):
      return jax.nn.relu(w * x)

    def forward(x, weights):
      x, seen = lax.scan(lambda x, w: (layer(x, w), w), x, weights)
      return jax.nn.relu(x - 30.0) + jnp.sum(seen)

    x, weights = jnp.array([1.0, -2.0]), jnp.array([-3.0, 2.0])
    kept = zero_cost.relu_inputs(
      jax.make_jaxpr(forward)(x, weights), x, weights
    )
    self.assertEqual(
      [leaf.tolist() for leaf in kept], [[-3, 6], [0, 12], [-30, -18]]
    )


class RankSumTest(absltest.TestCase):
  def test_ranks_are_added_and_ties_share(self):
    first, second = np.array([1.0, 9.0, 5.0]), np.array([2.0, 2.0, 7.0])
    self.assertEqual(
      zero_cost.rank_sum([first, second]).tolist(), [2.5, 4.5, 5.0]
    )
    self.assertIs(zero_cost.rank_sum([first]), first)


class LiveTest(parameterized.TestCase):
  # Edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3; 0 none, 1 skip, 2 1x1, 3 3x3, 4 pool.
  @parameterized.parameters(
    ("333333", "333333"),
    ("033333", "030303"),  # nothing reaches node 1
    ("333300", "000300"),  # nothing reads nodes 1 and 2
    ("330303", "030303"),  # nobody reads node 1
    ("333000", "000000"),  # nothing reaches the output
    ("000000", "000000"),
  )
  def test_dead_edges_become_none(self, ops, expected):
    definition = registry.get("nasbench201")
    space = nasbench201.NasBench201Space()
    options = registry.preset("smoke", "nasbench201").child
    live = definition.live(options, space.from_digits(ops))
    self.assertEqual(space.to_digits(live), expected)
    # What is dead, computes nothing.
    depth = definition.shape(options, live).depth
    self.assertEqual(
      depth, definition.shape(options, space.from_digits(ops)).depth
    )

  def test_size_without_what_is_dead(self):
    options = registry.preset("smoke", "nasbench201").child
    space = nasbench201.NasBench201Space()
    config = python_types.SimpleNamespace(child=options)
    definition = registry.get("nasbench201")
    subject = zero_cost.Subject(config, definition, None, ())
    for name in ("params", "multiply_adds"):
      score = zero_cost.make(name, subject)
      (dead,), (whole,) = (
        score(space.from_digits(ops)) for ops in ("333300", "000300")
      )
      self.assertEqual(dead, whole)
      arc = space.from_digits("333300")
      self.assertLess(
        dead, describe.describe("nasbench201", options, arc)[name]
      )

  def test_elsewhere_everything_counts(self):
    definition = registry.get("micro")
    self.assertEqual(definition.live(None, (1, 2)), (1, 2))


if __name__ == "__main__":
  absltest.main()
