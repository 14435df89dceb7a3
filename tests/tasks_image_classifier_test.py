"""Image classification as a task, and the phases on it."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.data import augment
from enas_jax.nn import image_ops
from enas_jax.running import options
from enas_jax.search import evaluate
from enas_jax.search import state as states
from enas_jax.search import steps as phases
from enas_jax.spaces import decisions
from enas_jax.spaces.macro import arc as macro_space
from enas_jax.spaces.micro import network as micro
from enas_jax.strategies import registry
from enas_jax.tasks import image_classifier
from tests import children, tiny

SPACES = ("macro", "micro")


def host(tree):
  """A copy on the host: donated buffers are gone after a step."""
  return jax.tree.map(np.array, tree)


def make(space, **changes):
  config = tiny.make_image_config(space, **changes)
  task, splits = tiny.make_image_task(config, space)
  strategy = registry.create(config, task.space)
  steps = task.steps_per_epoch(splits.train)
  state = states.init_state(config, task, strategy, steps)
  return config, task, splits, strategy, state


def make_logits(config, space, state):
  """Builds (arc, images as uint8) -> logits, by the supergraph alone."""
  data = tiny.make_images()
  options = {"config": config.child, "train": False}

  # Op by op, a network would compile for minutes.
  @jax.jit
  def run(omega, statistics, arc, x):
    if space == "macro":
      return children.run_macro(omega, statistics, arc, x, **options)[0]
    return children.run_micro(omega, arc, x, **options).main

  def logits(arc, pixels):
    x = jnp.asarray((pixels / 255.0 - data.mean) / data.std, jnp.float32)
    return np.asarray(run(state.omega, state.carry["statistics"], arc, x))

  return logits


class PlainTestCase(parameterized.TestCase):
  """With XLA's own kernels: their programs compile several times faster."""

  def setUp(self):
    super().setUp()
    self.enterContext(image_ops.using("plain"))


class TaskTest(PlainTestCase):
  def test_an_epoch_shows_every_image_once_in_a_new_order(self):
    config, task, splits, _, state = make("macro", omega={"steps": 0})
    self.assertEqual(task.steps_per_epoch(splits.train), 6)  # 50 // 8
    orders = []
    for _ in range(2):
      order = np.asarray(state.carry["order"])
      np.testing.assert_array_equal(np.sort(order), np.arange(50))
      orders.append(order)
      shown = [
        task.train_batch(splits.train, state.carry, step, jax.random.key(1))
        for step in range(6)
      ]
      labels = np.concatenate([batch.labels for batch in shown])
      np.testing.assert_array_equal(
        labels, np.asarray(splits.train.labels)[order[:48]]
      )
      state = states.next_epoch(state, task)
    self.assertFalse(np.array_equal(*orders))

  def test_a_training_batch_is_augmented_and_a_reward_batch_is_not(self):
    config, task, splits, _, state = make(
      "macro", data={"reward_batch_size": 24}
    )
    key = jax.random.key(2)
    order = np.asarray(state.carry["order"])
    plain = augment.standardise(
      splits.train.images[order[8:16]], task.mean, task.std
    )
    batch = task.train_batch(splits.train, state.carry, jnp.int32(1), key)
    expected = augment.augment(key, plain, 1, flip=True)
    np.testing.assert_array_equal(batch.images, expected)
    self.assertFalse(np.array_equal(batch.images, plain))
    # All 24 validation images, so the batch is a permutation of the split.
    reward = task.reward_batch(splits.valid, key)
    whole = np.asarray(splits.valid.images, np.float64)
    whole = (whole / 255 - task.mean) / task.std
    np.testing.assert_allclose(
      np.sort(np.asarray(reward.images).sum((1, 2, 3))),
      np.sort(whole.sum((1, 2, 3))),
      rtol=1e-4,
    )

  @parameterized.parameters(*SPACES)
  def test_rewards_and_whole_splits_are_accuracies(self, space):
    config, task, splits, _, state = make(space)
    logits = make_logits(config, space, state)
    # 24 images in batches of 10: the last holds 6 that were seen.
    pixels = np.asarray(splits.valid.images)
    arcs = task.space.sample_uniform(jax.random.key(3), 8)
    for index in range(8):
      arc = decisions.nth(arcs, index)
      parts = [logits(arc, pixels[start : start + 10]) for start in (0, 10, 14)]
      whole = np.concatenate([*parts[:2], parts[2][6:]]).argmax(-1)
      expected = np.mean(whole == np.asarray(splits.valid.labels))
      if 0.05 < expected < 0.95:  # else it says nothing
        break
    else:
      self.fail("no architecture is partly right")
    measure = evaluate.make_evaluate(task)
    score = measure(state, arc, splits.valid)
    self.assertAlmostEqual(score, expected, places=6)
    batch = task.reward_batch(splits.valid, jax.random.key(4))
    data = tiny.make_images()
    shown = (np.asarray(batch.images) * data.std + data.mean) * 255.0
    right = logits(arc, shown).argmax(-1) == np.asarray(batch.labels)
    earn = jax.jit(task.reward)
    reward = earn(state.omega, arc, batch, state.carry)
    self.assertAlmostEqual(float(reward), np.mean(right), places=6)
    self.assertEqual(task.reward_to_metric(0.3), 0.3)
    # Not the accuracy of class 0, which `argmax` takes where all are NaN.
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, state.omega)
    self.assertTrue(np.isnan(earn(broken, arc, batch, state.carry)))
    broken = state.replace(omega=broken)
    self.assertTrue(np.isnan(measure(broken, arc, splits.valid)))

  def test_likelihood_is_the_geometric_mean_of_what_the_labels_get(self):
    theta = {"reward": "likelihood", "reward_scale": 3.0}
    config, task, splits, _, state = make("macro", theta=theta)
    logits = make_logits(config, "macro", state)
    arc = decisions.nth(task.space.sample_uniform(jax.random.key(3), 1), 0)
    batch = task.reward_batch(splits.valid, jax.random.key(4))
    data = tiny.make_images()
    shown = (np.asarray(batch.images) * data.std + data.mean) * 255.0
    odds = np.exp(logits(arc, shown).astype(np.float64))
    chances = odds / odds.sum(-1, keepdims=True)
    right = chances[np.arange(len(odds)), np.asarray(batch.labels)]
    reward = jax.jit(task.reward)(state.omega, arc, batch, state.carry)
    expected = 3.0 * np.prod(right) ** (1 / len(right))
    self.assertAlmostEqual(float(reward), expected, places=5)
    self.assertIsNone(task.reward_to_metric(float(reward)))

  def test_the_scale_of_the_likelihood_is_an_option(self):
    config = tiny.make_image_config("macro", theta={"reward": "likelihood"})
    values = options.take(config, "macro", {"theta_reward_scale": 3.0})
    known = options.of(config, "macro")
    changed = options.override(config, known, values)
    self.assertEqual(changed.theta.reward_scale, 3.0)

  def test_scores_do_not_depend_on_the_order_of_the_files(self):
    """Sorted by class, a batch of one class would be normalised by itself."""
    config = tiny.make_image_config("macro")
    data = tiny.make_images(num_train=60, num_valid=60)
    by_class = np.argsort(data.valid_labels, kind="stable")
    data = data._replace(
      valid_images=data.valid_images[by_class],
      valid_labels=data.valid_labels[by_class],
    )
    task = image_classifier.ImageClassifier.of(
      config, tiny.NETWORKS["macro"], data
    )
    valid, again = task.splits(data).valid, task.splits(data).valid
    np.testing.assert_array_equal(valid.images, again.images)
    # The same pairs of image and label, in another order.
    pairs = lambda images, labels: sorted(
      (int(label), image.tobytes())
      for image, label in zip(np.asarray(images), labels, strict=True)
    )
    self.assertEqual(
      pairs(valid.images, valid.labels),
      pairs(data.valid_images, data.valid_labels),
    )
    # Every batch of 10 has all three classes.
    for batch in np.asarray(valid.labels).reshape(6, 10):
      self.assertEqual(set(batch.tolist()), {0, 1, 2})
    # Not the order of the training images, which are as many.
    same = data._replace(
      train_images=data.valid_images, train_labels=data.valid_labels
    )
    self.assertFalse(
      np.array_equal(task.splits(same).train.labels, valid.labels)
    )
    self.assertEqual(task.scoring(), {"scoring_batch_size": 10})

  def test_changed_images_are_smaller(self):
    config = tiny.make_image_config("nasbench201")
    data = tiny.make_images()
    double = data._replace(
      **{
        name: getattr(data, name).repeat(2, axis=1).repeat(2, axis=2)
        for name in ("train_images", "valid_images")
      }
    )
    task = image_classifier.ImageClassifier.of(
      config, tiny.NETWORKS["nasbench201"], double
    )
    given = [
      task.prepare(
        getattr(double, f"{name}_images"), getattr(double, f"{name}_labels"), ""
      )
      for name in ("train", "valid")
    ]
    changes = {"image_size": 8, "batch_size": 10}
    config = config_lib.override(config, "data", **changes)
    small, train, valid = task.changed(config, *given)
    np.testing.assert_array_equal(train.images, data.train_images)
    np.testing.assert_array_equal(train.labels, data.train_labels)
    np.testing.assert_array_equal(valid.images, data.valid_images)
    pixels = data.train_images / 255
    np.testing.assert_allclose(small.mean, pixels.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(small.std, pixels.std((0, 1, 2)), rtol=1e-5)
    self.assertEqual(small.image_shape, (8, 8, 2))
    self.assertEqual(small.steps_per_epoch(train), 5)
    for changes, message in (
      ({"image_size": 12}, "image_size is 12"),
      ({"num_valid": 7}, "num_valid cannot change"),
      ({"batch_size": 51}, "50 images, too few for one batch of 51"),
    ):
      other = config_lib.override(config, "data", **changes)
      with self.assertRaisesRegex(types.InputError, message):
        task.changed(other, *given)

  def test_too_few_images_are_refused(self):
    config = tiny.make_image_config("macro", data={"batch_size": 64})
    with self.assertRaisesRegex(
      types.InputError, "train split has 50 images, too few for one batch of 64"
    ):
      tiny.make_image_task(config, "macro")


class OmegaPhaseTest(PlainTestCase):
  def test_an_operation_that_weighs_nothing_does_not_learn(self):
    weights = [1e-9] * 6
    weights[4] = 1.0
    config, task, splits, strategy, state = make(
      "macro",
      omega={
        "op_weights": weights, "momentum": 0.0, "l2_weight": 0.0,
      },
      policy="random",
    )  # fmt: skip
    step = phases.make_omega_step(config, task, strategy, 4)
    before = host(state.omega)["layer_1"]
    for _ in range(4):
      state, _ = step(state, splits.train)
    after = host(state.omega)["layer_1"]
    moved = [
      bool(np.any(new["in"]["w"] != before[op]["in"]["w"]))
      for op, new in after.items()
    ]
    self.assertEqual(sum(moved), 1)
    self.assertTrue(moved[list(after).index(macro_space.OPS[4])])

  @parameterized.parameters(1, 3)
  def test_fair_operations_learn_equally_often(self, num_arcs):
    """Over any six successive arcs, across epochs: four steps make one."""
    config, task, splits, strategy, state = make(
      "macro",
      omega={
        "fair_ops": True, "num_arcs": num_arcs, "momentum": 0.0,
        "l2_weight": 0.0, "steps": 4,
      },
      policy="random",
    )  # fmt: skip
    step = phases.make_omega_step(config, task, strategy, 4)
    for _ in range(3):
      before, counts = host(state.omega), np.zeros(6, int)
      for _ in range(6 // num_arcs):
        state, _ = step(state, splits.train)
        after = host(state.omega)
        # The last layer: the output is all that certainly has a gradient.
        counts += [
          bool(np.any(new["in"]["w"] != before["layer_1"][op]["in"]["w"]))
          for op, new in after["layer_1"].items()
        ]
        before = after
        if int(state.omega_step) == 4:
          state = states.next_epoch(state, task)
      np.testing.assert_array_equal(counts, 1)

  @parameterized.parameters(2, 1)
  def test_nesterov_by_hand(self, num_arcs):
    """Two steps, against w -= lr (g + 0.9 a) with a = 0.9 a + g."""
    config, task, splits, _, state = make(
      "macro",
      child={**tiny.IMAGE_FLAGS["macro"], "drop_features": 0.0},
      omega={"num_arcs": num_arcs, "schedule": "exponential", "l2_weight": 0.1},
    )
    step = jax.jit(phases.make_arcs_step(config, task, 6))
    grad = jax.jit(jax.grad(lambda *args: task.loss(*args)[0]))
    arcs = task.space.sample_uniform(jax.random.key(5), num_arcs)
    each = [decisions.nth(arcs, index) for index in range(num_arcs)]
    momentum = None
    for _ in range(2):
      keys = jax.random.split(
        states.step_key(state, states.OMEGA_KEYS, state.omega_step)
      )
      batch = task.train_batch(
        splits.train, state.carry, state.omega_step, keys[0]
      )

      grads = [
        grad(state.omega, arc, batch, state.carry, keys[1]) for arc in each
      ]
      mean = jax.tree.map(lambda *g: sum(g) / num_arcs, *grads)
      momentum = (
        mean
        if momentum is None
        else jax.tree.map(lambda a, g: 0.9 * a + g, momentum, mean)
      )
      expected = jax.tree.map(
        lambda w, g, a: w - 0.05 * (g + 0.9 * a), state.omega, mean, momentum
      )
      state, found = step(
        state, splits.train, each[0] if num_arcs == 1 else arcs
      )
      norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(mean)))
      np.testing.assert_allclose(found["grad_norm"], norm, rtol=1e-4)
      jax.tree.map(
        lambda w, e: np.testing.assert_allclose(w, e, atol=2e-5),
        state.omega,
        expected,
      )

  def test_weights_of_other_operations_decay_and_nothing_else(self):
    config, task, splits, _, state = make(
      "macro", omega={"momentum": 0.0, "l2_weight": 0.25}
    )
    arc = decisions.as_arrays(task.space.from_tokens("0 2 1"))
    before = host(state.omega)
    step = jax.jit(phases.make_arcs_step(config, task, 6))
    state, _ = step(state, splits.train, arc)
    old = before["layer_0"]["conv_5x5"]["out"]["w"]
    new = state.omega["layer_0"]["conv_5x5"]["out"]["w"]
    # The gradient of 0.25 w^2 is 0.5 w.
    np.testing.assert_allclose(new, old * (1 - 0.05 * 0.5), rtol=1e-5)
    taken = state.omega["layer_0"]["conv_3x3"]["out"]["w"]
    old = before["layer_0"]["conv_3x3"]["out"]["w"]
    self.assertGreater(np.abs(taken - old * (1 - 0.025)).max(), 1e-4)

  @parameterized.parameters(True, False)
  def test_the_frozen_auxiliary_head_stays_as_it_started(self, frozen):
    config, task, _, _, _ = make("micro")
    child = {**tiny.IMAGE_FLAGS["micro"], "aux_head": True}
    config = tiny.make_image_config(
      "micro", child={**child, "aux_frozen": frozen}
    )
    data = tiny.make_images()
    wide = np.kron(data.train_images, np.ones((1, 3, 3, 1), np.uint8))
    task = type(task)(
      config,
      micro.NETWORK,
      3,
      (24, 24, 2),
      50,
      mean=data.mean,
      std=data.std,
    )
    train = task.prepare(wide, data.train_labels, "train")
    strategy = registry.create(config, task.space)
    state = states.init_state(config, task, strategy, 6)
    before = host(state.omega)
    arc = decisions.nth(task.space.sample_uniform(jax.random.key(3), 1), 0)
    step = jax.jit(phases.make_arcs_step(config, task, 6))
    state, found = step(state, train, arc)
    moved = jax.tree.map(
      lambda a, b: float(np.abs(a - b).max()), state.omega, before
    )
    self.assertEqual(max(jax.tree.leaves(moved["aux_head"])) == 0.0, frozen)
    self.assertGreater(max(jax.tree.leaves(moved["stem"])), 0.0)
    # The auxiliary loss is part of the loss either way.
    self.assertGreater(float(found["loss"]), float(found["nats"]) + 0.2)

  def test_moving_statistics_move_in_training_and_serve_evaluation(self):
    config, task, splits, _, state = make(
      "macro",
      child={**tiny.IMAGE_FLAGS["macro"], "moving_statistics": True},
    )
    arc = decisions.nth(task.space.sample_uniform(jax.random.key(3), 1), 0)
    step = jax.jit(phases.make_arcs_step(config, task, 6))
    state, _ = step(state, splits.train, arc)
    statistics = host(state.carry["statistics"])
    self.assertEqual(statistics["steps"], 1)
    self.assertGreater(np.abs(statistics["stem"]["mean"]).max(), 1e-3)
    state = states.next_epoch(state, task)
    np.testing.assert_array_equal(
      state.carry["statistics"]["stem"]["mean"], statistics["stem"]["mean"]
    )
    # With given statistics an image's class does not depend on the others.
    images = np.asarray(splits.valid.images)
    logits = make_logits(config, "macro", state)
    right = np.concatenate(
      [logits(arc, images[start : start + 3]) for start in range(0, 24, 3)]
    )
    expected = np.mean(right.argmax(-1) == np.asarray(splits.valid.labels))
    found = evaluate.make_evaluate(task)(state, arc, splits.valid)
    self.assertAlmostEqual(found, expected, places=6)

  @parameterized.parameters(*SPACES)
  def test_omega_learns_the_images_with_one_compilation(self, space):
    config, task, splits, strategy, state = make(
      space,
      data={"batch_size": 24, "reward_batch_size": 10, "pad": 1},
      omega={"steps": 2},
    )
    step = phases.make_omega_step(config, task, strategy, 2)
    nats = []
    for _ in range(60):
      for _ in range(2):
        state, found = step(state, splits.train)
        nats.append(float(found["nats"]))
      state = states.next_epoch(state, task)
    self.assertGreater(np.mean(nats[:5]), 1.05)  # ln 3 = 1.1
    self.assertLess(np.mean(nats[-20:]), 0.9)
    self.assertEqual(step._cache_size(), 1)


if __name__ == "__main__":
  absltest.main()
