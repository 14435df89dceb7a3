"""The controller: probabilities, scores and the policy gradient."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.recurrent import arc as recurrent
from enas_jax.strategies import controller as controller_lib
from enas_jax.strategies import reinforce


def make_controller(num_nodes=3, first_node="sampled", **changes):
  config = dataclasses.replace(
    registry.preset("paper").strategy.controller,
    # A wide start, so that probabilities differ.
    **{"hidden_size": 6, "init_range": 1.5, **changes},
  )
  space = recurrent.RecurrentSpace(num_nodes, first_node)
  controller = controller_lib.Controller(space, config)
  return controller, controller.init(jax.random.key(0))


def make_convolutional(space, preset="released", **changes):
  name = "macro" if isinstance(space, macro.MacroSpace) else "micro"
  config = dataclasses.replace(
    registry.preset(preset, name).strategy.controller,
    **{"hidden_size": 6, "init_range": 1.5, **changes},
  )
  controller = controller_lib.Controller(space, config)
  return controller, controller.init(jax.random.key(0))


def every_arc(space):
  alternatives = []
  for d in space.decisions():
    count = 2 if d.kind == "skips" else d.num_choices
    alternatives += [range(count)] * d.width
  choices = itertools.product(*alternatives)
  return space.from_choices(jnp.asarray(list(choices), jnp.int32))


RELEASED = {
  "distance_prior": 1 / 6,
  "tied_ops": True,
  "scale_index_input": True,
  "entropy": "sampled",
}


class ControllerTest(parameterized.TestCase):
  @parameterized.parameters(
    ("sampled", {}), ("tanh", RELEASED), ("sampled", RELEASED)
  )
  def test_probabilities_of_all_arcs_sum_to_one(self, first_node, options):
    controller, theta = make_controller(2, first_node, **options)
    scored = controller.score(theta, every_arc(controller.space))
    self.assertEqual(scored.log_prob.shape, (controller.space.size(),))
    probs = np.exp(np.asarray(scored.log_prob, np.float64))
    self.assertAlmostEqual(probs.sum(), 1.0, places=5)
    self.assertGreater(probs.max() / probs.min(), 2.0)

  @parameterized.parameters(({},), (RELEASED,))
  def test_a_sample_scores_as_it_was_sampled(self, options):
    controller, theta = make_controller(4, **options)
    sample = controller.sample(theta, jax.random.key(5), 8)
    scored = controller.score(theta, sample.arc)
    for field in ("log_prob", "entropy", "step_log_probs", "step_probs"):
      np.testing.assert_allclose(
        getattr(sample, field), getattr(scored, field), rtol=1e-5, atol=1e-6
      )
    np.testing.assert_allclose(
      sample.log_prob, sample.step_log_probs.sum(axis=1), rtol=1e-5
    )
    self.assertEqual(sample.hidden.shape, (8, 7, 6))
    np.testing.assert_array_equal(sample.skip_kl, np.zeros(8))

  def test_step_probabilities_are_softmaxes_of_the_right_size(self):
    controller, theta = make_controller(4)
    probs = np.asarray(
      controller.sample(theta, jax.random.key(0), 3).step_probs
    )
    np.testing.assert_allclose(probs.sum(axis=-1), 1.0, rtol=1e-5)
    for step, decision in enumerate(controller.space.decisions()):
      inside = probs[:, step, : decision.num_choices]
      self.assertGreater(inside.min(), 0.0)
      np.testing.assert_array_equal(probs[:, step, decision.num_choices :], 0.0)

  def test_full_entropy_is_that_of_the_step_softmaxes(self):
    controller, theta = make_controller(3)
    sample = controller.sample(theta, jax.random.key(1), 5)
    probs = np.asarray(sample.step_probs, np.float64)
    logs = np.log(np.where(probs > 0, probs, 1.0))
    np.testing.assert_allclose(
      sample.entropy, -(probs * logs).sum(axis=(1, 2)), rtol=1e-5
    )

  def test_sampled_entropy_is_of_the_choices_taken(self):
    controller, theta = make_controller(3, **RELEASED)
    sample = controller.sample(theta, jax.random.key(1), 5)
    logs = np.asarray(sample.step_log_probs, np.float64)
    self.assertEqual(sample.entropy.shape, (5,))
    np.testing.assert_allclose(
      sample.entropy, -(np.exp(logs) * logs).sum(axis=1), rtol=1e-5
    )

  def test_attention_tells_nodes_apart(self):
    """Also the cell's inputs; an anchor that is missing would be zeros."""
    for controller, theta in (
      make_controller(4, distance_prior=0.0),
      make_convolutional(micro.MicroSpace(4)),
      make_convolutional(macro.MacroSpace(4)),
    ):
      probs = np.asarray(
        controller.sample(theta, jax.random.key(0), 1).step_probs
      )[0]
      row = 0
      for decision in controller.space.decisions():
        rows = probs[row : row + decision.width]
        row += decision.width
        if decision.kind == "index":
          alternatives = rows[0, : decision.num_choices]
        elif decision.kind == "skips":
          alternatives = rows[:, 1]
        else:
          continue
        distances = np.abs(np.subtract.outer(alternatives, alternatives))
        self.assertGreater(
          distances[np.triu_indices(len(alternatives), 1)].min(initial=1.0),
          1e-6,
          decision,
        )

  def test_samples_follow_the_probabilities(self):
    controller, theta = make_controller(2)
    arcs = every_arc(controller.space)
    expected = np.exp(np.asarray(controller.score(theta, arcs).log_prob))
    count = 20000
    sample = jax.jit(controller.sample, static_argnums=2)(
      theta, jax.random.key(2), count
    )
    choices = np.asarray(controller.space.to_choices(sample.arc))
    # Choices are op, index (always 0), op: 4 x 1 x 4.
    found = np.bincount(choices[:, 0] * 4 + choices[:, 2], minlength=16)
    # Five standard deviations of a binomial of at most p (1 - p) = 1/4.
    np.testing.assert_allclose(
      found / count, expected, atol=5 * np.sqrt(0.25 / count)
    )

  def test_logits_are_cooled_then_squashed(self):
    """With temperature t and constant c no logit leaves [-c, c]."""
    controller, theta = make_controller(
      2, init_range=30.0, temperature=0.5, tanh_constant=1.2
    )
    probs = np.asarray(
      controller.sample(theta, jax.random.key(0), 4).step_probs
    )
    ratio = probs[:, 0].max(axis=-1) / probs[:, 0].min(axis=-1)
    # The largest ratio of two softmax terms is e^(c - (-c)).
    self.assertLessEqual(ratio.max(), np.exp(2 * 1.2) * 1.001)
    self.assertGreater(ratio.max(), np.exp(2 * 1.2) * 0.9)

  def test_distance_prior_by_hand(self):
    """With zero weights an index logit is the prior alone."""
    controller, theta = make_controller(3, distance_prior=0.5)
    theta = jax.tree.map(jnp.zeros_like, theta)
    probs = controller.sample(theta, jax.random.key(0), 1).step_probs
    # Node 3 (row 2) picks row 0 at distance 2 or row 1 at distance 1:
    # logits -0.5 * 4 and -0.5 * 1, so the odds are e^1.5.
    step = [
      d.node == 2 and d.kind == "index" for d in controller.space.decisions()
    ].index(True)
    far, near = np.asarray(probs)[0, step, :2]
    self.assertAlmostEqual(near / far, np.exp(1.5), places=4)

  def test_reinforce_gradient_is_the_exact_gradient(self):
    """Averaged over all arcs by their probability, with any baseline."""
    controller, theta = make_controller(2)
    arcs = every_arc(controller.space)
    rewards = jax.random.normal(jax.random.key(3), (controller.space.size(),))

    def expected_reward(theta):
      return jnp.vdot(jnp.exp(controller.score(theta, arcs).log_prob), rewards)

    exact = jax.grad(expected_reward)(theta)
    probs = jnp.exp(controller.score(theta, arcs).log_prob)

    def surrogate(theta):
      log_prob = controller.score(theta, arcs).log_prob
      each = jax.vmap(
        lambda lp, r: reinforce.reinforce_loss(
          lp[None], r[None], jnp.array([0.7])
        )
      )(log_prob, rewards)
      return jnp.vdot(probs, each)

    estimate = jax.grad(surrogate)(theta)
    for name, value in exact.items():
      np.testing.assert_allclose(
        -estimate[name], value, atol=2e-5, err_msg=name
      )

  def test_theta_starts_within_its_range(self):
    controller, theta = make_controller(3, init_range=0.25)
    for name, value in theta.items():
      array = np.asarray(value)
      self.assertLessEqual(np.abs(array).max(), 0.25, name)
      self.assertGreater(np.abs(array).max(), 0.12, name)

  def test_same_key_same_sample(self):
    controller, theta = make_controller(4)
    first, second, other = (
      np.asarray(controller.sample(theta, jax.random.key(k), 6).log_prob)
      for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    self.assertFalse(np.array_equal(first, other))


# Spaces with the number of choices of an arc and that of decisions.
MACRO, MICRO = (macro.MacroSpace(3), 6, 5), (micro.MicroSpace(3), 8, 8)
# As the recurrent search decides, which any space may.
PLAIN = {"anchor": "first_decision"}


class ConvolutionalTest(parameterized.TestCase):
  @parameterized.product(
    space=(macro.MacroSpace(3), micro.MicroSpace(3)),
    options=(("paper", {}), ("released", {}), ("paper", PLAIN)),
  )
  def test_probabilities_of_all_arcs_sum_to_one(self, space, options):
    preset, changes = options
    controller, theta = make_convolutional(space, preset, **changes)
    scored = controller.score(theta, every_arc(space))
    self.assertEqual(scored.log_prob.shape, (space.size(),))
    probs = np.exp(np.asarray(scored.log_prob, np.float64))
    self.assertAlmostEqual(probs.sum(), 1.0, places=5)
    self.assertGreater(probs.max() / probs.min(), 2.0)

  @parameterized.product(
    sizes=(MACRO, MICRO),
    options=(("paper", {}), ("released", {}), ("paper", PLAIN)),
  )
  def test_a_sample_scores_as_it_was_sampled(self, sizes, options):
    space, num_choices, num_decisions = sizes
    preset, changes = options
    controller, theta = make_convolutional(space, preset, **changes)
    sample = controller.sample(theta, jax.random.key(5), 8)
    scored = controller.score(theta, sample.arc)
    for field in controller_lib.Sample._fields[1:]:
      np.testing.assert_allclose(
        getattr(sample, field), getattr(scored, field), rtol=1e-5, atol=1e-6
      )
    np.testing.assert_allclose(
      sample.log_prob, sample.step_log_probs.sum(axis=1), rtol=1e-5
    )
    self.assertEqual(sample.step_log_probs.shape, (8, num_choices))
    self.assertEqual(sample.hidden.shape, (8, num_decisions, 6))
    self.assertEqual(sample.step_probs.shape[:2], (8, num_choices))
    np.testing.assert_allclose(sample.step_probs.sum(axis=-1), 1.0, rtol=1e-5)

  def test_samples_follow_the_probabilities(self):
    space = macro.MacroSpace(2)
    controller, theta = make_convolutional(space)
    arcs = every_arc(space)
    expected = np.exp(np.asarray(controller.score(theta, arcs).log_prob))
    count = 20000
    sample = jax.jit(controller.sample, static_argnums=2)(
      theta, jax.random.key(2), count
    )
    first, second, skip = np.asarray(space.to_choices(sample.arc)).T
    found = np.bincount(first * 12 + second * 2 + skip, minlength=72)
    # Five standard deviations of a binomial of at most p (1 - p) = 1/4.
    np.testing.assert_allclose(
      found / count, expected, atol=5 * np.sqrt(0.25 / count)
    )

  def test_skip_kl_by_hand(self):
    """With zero weights every skip has probability 1/2."""
    for form in ("sampled", "released"):
      controller, theta = make_convolutional(
        macro.MacroSpace(3), skip_kl=form, skip_target=0.3
      )
      theta = jax.tree.map(jnp.zeros_like, theta)
      sample = controller.sample(theta, jax.random.key(0), 2)
      one = 0.5 * np.log(0.5 / 0.3) + 0.5 * np.log(0.5 / 0.7)
      # Layers 2 and 3 have one skip and two.
      np.testing.assert_allclose(sample.skip_kl, (one + 2 * one) / 2, rtol=1e-5)

  @parameterized.parameters("sampled", "released")
  def test_skip_kl_is_of_the_probabilities(self, form):
    controller, theta = make_convolutional(macro.MacroSpace(3), skip_kl=form)
    sample = controller.sample(theta, jax.random.key(1), 5)
    # Choices are op; op, skip; op, skip, skip.
    prob = np.asarray(sample.step_probs, np.float64)[:, [2, 4, 5], 1]
    if form == "released":
      # Sampled with sigmoid(2 q), compared with sigmoid(q).
      odds = np.sqrt(prob / (1 - prob))
      prob = odds / (1 + odds)
    self.assertGreater(np.ptp(prob), 0.1)
    kl = prob * np.log(prob / 0.4) + (1 - prob) * np.log((1 - prob) / 0.6)
    by_hand = (kl[:, 0] + kl[:, 1] + kl[:, 2]) / 2
    np.testing.assert_allclose(sample.skip_kl, by_hand, rtol=1e-4)

  def test_no_skips_no_kl(self):
    for space in (macro.MacroSpace(1), micro.MicroSpace(3)):
      controller, theta = make_convolutional(space)
      sample = controller.sample(theta, jax.random.key(0), 4)
      np.testing.assert_array_equal(sample.skip_kl, np.zeros(4))

  def test_skips_of_a_layer_are_independent(self):
    space = macro.MacroSpace(4)
    controller, theta = make_convolutional(space)
    # Only the three skips of the last layer differ.
    choices = np.zeros((8, 10), np.int32)
    choices[:, 7:] = list(itertools.product((0, 1), repeat=3))
    scored = controller.score(theta, space.from_choices(jnp.asarray(choices)))
    probs = np.asarray(scored.step_probs)
    np.testing.assert_allclose(probs, np.tile(probs[:1], (8, 1, 1)), rtol=1e-5)
    self.assertLen(set(np.asarray(scored.log_prob).round(5).tolist()), 8)

  @parameterized.parameters("own_step", "first_decision")
  def test_the_reduction_cell_depends_on_the_normal_one(self, anchor):
    space = micro.MicroSpace(4)
    controller, theta = make_convolutional(space, anchor=anchor)
    normal = np.zeros((2, 16), np.int32)
    normal[1, 7] = 1  # the last operation of the normal cell
    reduction = np.zeros((2, 16), np.int32)
    reduction[1, 8:] = 1
    for choices, same in ((normal, slice(0, 8)), (reduction, slice(0, 9))):
      arc = space.from_choices(jnp.asarray(choices))
      probs = np.asarray(controller.score(theta, arc).step_probs)
      np.testing.assert_allclose(probs[0, same], probs[1, same], rtol=1e-5)
      rest = np.abs(probs[0] - probs[1])[same.stop :]
      self.assertGreater(rest.max(), 1e-3)

  def test_full_entropy_is_that_of_the_softmaxes(self):
    controller, theta = make_convolutional(macro.MacroSpace(3), entropy="full")
    sample = controller.sample(theta, jax.random.key(1), 5)
    probs = np.asarray(sample.step_probs, np.float64)
    logs = np.log(np.where(probs > 0, probs, 1.0))
    np.testing.assert_allclose(
      sample.entropy, -(probs * logs).sum(axis=(1, 2)), rtol=1e-5
    )

  def test_the_bias_of_operations_starts_high_and_is_learnt(self):
    controller, theta = make_convolutional(micro.MicroSpace(3))
    np.testing.assert_array_equal(theta["op_bias"], [10, 10, 0, 0, 0])
    arc = controller.sample(theta, jax.random.key(0), 1).arc
    theta = {**theta, "op_bias": jnp.zeros(5)}
    grads = jax.grad(lambda t: controller.score(t, arc).log_prob[0])(theta)
    self.assertGreater(np.abs(np.asarray(grads["op_bias"])).max(), 0.01)
    _, theta = make_convolutional(micro.MicroSpace(3), "paper")
    self.assertNotIn("op_bias", theta)

  def test_the_prior_of_operations_is_of_the_first_cell(self):
    controller, theta = make_convolutional(micro.MicroSpace(3))
    theta = jax.tree.map(jnp.zeros_like, theta)
    probs = controller.sample(theta, jax.random.key(0), 1).step_probs[0]
    # Operations 1 and 2 have the logit 1/4, the others -1/4.
    up, down = np.exp(0.25), np.exp(-0.25)
    normal = np.array([up, up, down, down, down])
    for step in (2, 3):
      np.testing.assert_allclose(probs[step], normal / normal.sum(), rtol=1e-5)
      np.testing.assert_allclose(probs[step + 4], np.full(5, 0.2), rtol=1e-5)

  def test_op_tanh_reduce_is_of_operations_alone(self):
    found = []
    for reduce in (1.0, 2.5):
      controller, theta = make_convolutional(
        micro.MicroSpace(3), "paper", init_range=30.0, op_tanh_reduce=reduce
      )
      sample = controller.sample(theta, jax.random.key(0), 16)
      found.append(np.asarray(sample.step_probs))
      # The largest ratio of two softmax terms is e^(c - (-c)).
      ops, limit = found[-1][:, (2, 3)], np.exp(2 * 2.5 / reduce)
      ratio = (ops.max(axis=-1) / ops.min(axis=-1)).max()
      self.assertLessEqual(ratio, limit * 1.001)
      self.assertGreater(ratio, limit * 0.9)
    # The first decision is that of an input.
    np.testing.assert_array_equal(found[0][:, 0], found[1][:, 0])

  def test_reinforce_and_skip_terms_have_gradients(self):
    controller, theta = make_convolutional(macro.MacroSpace(3))
    arc = controller.sample(theta, jax.random.key(0), 2).arc
    for field in ("log_prob", "skip_kl"):
      grads = jax.grad(
        lambda t, f=field: jnp.sum(getattr(controller.score(t, arc), f))
      )(theta)
      for name in ("lstm", "start", "op_embedding", "attend_v"):
        self.assertGreater(np.abs(np.asarray(grads[name])).max(), 0.0, name)


class ConvolutionalConfigTest(parameterized.TestCase):
  @parameterized.parameters("macro", "micro")
  def test_paper(self, space):
    config = registry.preset("paper", space).strategy.controller
    self.assertEqual(
      (config.hidden_size, config.temperature, config.tanh_constant),
      (100, 5.0, 2.5),
    )
    self.assertEqual((config.skip_target, config.skip_kl), (0.4, "sampled"))
    self.assertEqual(config.init_range, 0.1)

  @parameterized.parameters(
    {"skip_target": 0.0}, {"skip_target": 1.0}, {"skip_kl": "plain"},
    {"anchor": "last"}, {"op_tanh_reduce": 0.0}, {"op_bias": -1.0},
    {"op_prior": float("nan")},
  )  # fmt: skip
  def test_values_are_checked(self, **change):
    config = registry.preset("released", "micro").strategy.controller
    (name,) = change
    with self.assertRaisesRegex(types.InputError, f"controller_{name} must be"):
      dataclasses.replace(config, **change)


if __name__ == "__main__":
  absltest.main()
