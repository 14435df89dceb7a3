"""The controller: probabilities, scores and the policy gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import controller as controller_lib
from enas_jax import losses
from enas_jax.spaces import recurrent


def make_controller(num_nodes=3, first_node="sampled", **changes):
  config = config_lib.override(
    config_lib.preset("paper"),
    "controller",
    # A wide start, so that probabilities differ.
    **{"hidden_size": 6, "init_range": 1.5, **changes},
  )
  space = recurrent.RecurrentSpace(num_nodes, first_node)
  controller = controller_lib.Controller(space, config.controller)
  return controller, controller.init(jax.random.key(0))


def every_arc(space):
  choices = itertools.product(
    *(range(d.num_choices) for d in space.decisions())
  )
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
        lambda lp, r: losses.reinforce_loss(lp[None], r[None], jnp.array([0.7]))
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


if __name__ == "__main__":
  absltest.main()
