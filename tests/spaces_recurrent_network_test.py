"""The recurrent supergraph against hand computation and a NumPy oracle."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.spaces import decisions, registry
from enas_jax.spaces.recurrent import arc as recurrent
from enas_jax.spaces.recurrent import network as supergraph
from tests import children, oracles

VOCABULARY, BATCH, TIME, SIZE = 11, 3, 5, 6


def child_config(**changes):
  config = config_lib.override(
    registry.preset("small"),
    "child",
    num_nodes=5,
    hidden_size=SIZE,
    init_range=0.8,
    **changes,
  )
  return config.child


def random_arc(config, seed):
  space = config.space()
  arcs = space.sample_uniform(jax.random.key(seed), 1)
  return space.validate(jax.tree.map(lambda a: a[0], arcs))


def make_inputs(config, seed=0):
  keys = jax.random.split(jax.random.key(seed), 4)
  omega = supergraph.init(keys[0], config, VOCABULARY)
  if config.batch_norm:
    omega["bn_scale"] = jnp.linspace(0.5, 1.5, SIZE)
    omega["bn_offset"] = jnp.linspace(-0.2, 0.3, SIZE)
  tokens = jax.random.randint(keys[1], (TIME, BATCH), 0, VOCABULARY)
  targets = jax.random.randint(keys[2], (TIME, BATCH), 0, VOCABULARY)
  state = jax.random.normal(keys[3], (BATCH, SIZE)) * 0.3
  return omega, tokens, targets, state


class ByHandTest(absltest.TestCase):
  def test_figure_1_with_one_unit(self):
    """Figure 1's cell with scalars, every number worked out below.

    Gate columns are 0, so every gate is sigmoid(0) = 1/2 and a node is the
    mean of its candidate and its input. x = 0.5, h_0 = 0.4:
      h1 = (tanh(0.5 * 1 + 0.4 * 2) + 0.4) / 2 = (tanh(1.3) + 0.4) / 2
      h2 = (relu(3 h1) + h1) / 2 = 2 h1
      h3 = (relu(-1 h2) + h2) / 2 = h2 / 2 = h1
      h4 = (tanh(0.5 h1) + h1) / 2
      h_t = (h3 + h4) / 2
    """
    config = config_lib.override(
      registry.preset("small"),
      "child",
      num_nodes=4,
      hidden_size=1,
      batch_norm=False,
    ).child
    edges = np.zeros((6, 1, 2), np.float32)
    edges[0, 0, 0] = 3.0  # (1, 2) of the paper: row 1, prev 0
    edges[2, 0, 0] = -1.0  # (2, 3): row 2, prev 1
    edges[3, 0, 0] = 0.5  # (1, 4): row 3, prev 0
    omega = {
      "embedding": jnp.array([[0.5]]),
      "w_x": jnp.array([[1.0, 0.0]]),
      "w_h": jnp.array([[2.0, 0.0]]),
      "w_edge": jnp.asarray(edges),
    }
    arc = recurrent.RecurrentArc((0, 0, 1, 0), (0, 1, 1, 0))
    states = children.run_recurrent(
      omega,
      arc,
      jnp.zeros((1, 1), jnp.int32),
      jnp.array([[0.4]]),
      config=config,
    )
    h1 = (math.tanh(1.3) + 0.4) / 2
    h4 = (math.tanh(0.5 * h1) + h1) / 2
    self.assertAlmostEqual(float(states[0, 0, 0]), (h1 + h4) / 2, places=6)


class OracleTest(parameterized.TestCase):
  @parameterized.parameters(
    {},  # the paper's
    {
      "batch_norm": False,
      "weights_per_op": True,
      "output": "all_nodes",
      "first_node": "tanh",
    },  # the released code's
    {"weights_per_op": True},
    {"output": "all_nodes"},
    {"first_node": "tanh", "batch_norm": False},
  )
  def test_states_and_loss(self, **options):
    config = child_config(**options)
    omega, tokens, targets, state = make_inputs(config)
    host = jax.tree.map(np.asarray, omega)
    apply = jax.jit(
      lambda arc: children.run_recurrent(
        omega, arc, tokens, state, config=config
      )
    )
    for seed in range(4):
      arc = random_arc(config, seed)
      expected = oracles.recurrent_states(
        host, arc.prev, arc.ops, tokens, state, output=config.output
      )
      found = apply(decisions.as_arrays(arc))
      # float32 sums of a few dozen terms; batch norm of 3 examples amplifies.
      np.testing.assert_allclose(found, expected, atol=2e-4, err_msg=f"{arc}")
      loss = supergraph.softmax_loss(omega, found, targets)
      np.testing.assert_allclose(
        loss,
        oracles.cross_entropy(host["embedding"], expected, targets),
        atol=1e-3,
      )

  def test_dropout_masks(self):
    config = child_config(
      drop_word=0.3,
      drop_embedding=0.4,
      drop_x=0.5,
      drop_state=0.25,
      drop_output=0.5,
    )
    omega, tokens, targets, state = make_inputs(config)
    masks = supergraph.sample_masks(
      jax.random.key(9), config, BATCH, VOCABULARY
    )
    for name, rate in (("x", 0.5), ("state", 0.25), ("word", 0.3)):
      values = set(np.unique(np.asarray(getattr(masks, name))).tolist())
      self.assertTrue(
        values <= {0.0, float(np.float32(1) / np.float32(1 - rate))}, name
      )
    arc = random_arc(config, 1)
    host = {k: np.asarray(v) for k, v in masks._asdict().items()}
    expected = oracles.recurrent_states(
      jax.tree.map(np.asarray, omega), *arc, tokens, state, masks=host
    )
    found = children.run_recurrent(
      omega, arc, tokens, state, config=config, masks=masks
    )
    np.testing.assert_allclose(found, expected, atol=2e-4)
    loss = supergraph.softmax_loss(omega, found, targets, masks)
    np.testing.assert_allclose(
      loss,
      oracles.cross_entropy(
        np.asarray(omega["embedding"]), expected * host["output"], targets
      ),
      atol=1e-3,
    )

  def test_a_rate_of_zero_draws_no_mask(self):
    masks = supergraph.sample_masks(
      jax.random.key(0), child_config(), BATCH, VOCABULARY
    )
    self.assertEqual(masks, supergraph.Masks())


class GradientTest(parameterized.TestCase):
  def _loss(self, config, tokens, targets, state, masks=None):
    def loss(omega, arc):
      states = children.run_recurrent(
        omega, arc, tokens, state, config=config, masks=masks
      )
      nats = supergraph.softmax_loss(omega, states, targets, masks)
      return jnp.mean(nats) + jnp.mean(jnp.square(states))

    return loss

  @parameterized.parameters(True, False)
  def test_static_arc_equals_traced_arc(self, batch_norm):
    config = child_config(batch_norm=batch_norm, drop_state=0.3)
    omega, tokens, targets, state = make_inputs(config)
    masks = supergraph.sample_masks(
      jax.random.key(2), config, BATCH, VOCABULARY
    )
    loss = self._loss(config, tokens, targets, state, masks)
    traced = jax.jit(jax.value_and_grad(loss))
    for seed in range(4):
      arc = random_arc(config, seed)
      value, grads = jax.jit(jax.value_and_grad(lambda o, a=arc: loss(o, a)))(
        omega
      )
      value_t, grads_t = traced(omega, decisions.as_arrays(arc))
      np.testing.assert_allclose(value, value_t, rtol=1e-5)
      for name, grad in grads.items():
        # Batch norm of three examples amplifies float32 rounding.
        error = np.linalg.norm(grad - grads_t[name])
        self.assertLess(error, 1e-3 * np.linalg.norm(grad) + 1e-7, name)

  @parameterized.parameters(True, False)
  def test_gradient_of_the_time_loop_is_that_of_plain_autodiff(self, bn):
    """The same maths written plainly and differentiated by JAX."""
    config = child_config(batch_norm=bn)
    omega, tokens, targets, state = make_inputs(config)

    def plain(omega, state, arc):
      h, states = state, []
      for t in range(TIME):
        nodes = []
        x = omega["embedding"][tokens[t]]
        for row in range(len(arc.prev)):
          if row == 0:
            source, z = h, x @ omega["w_x"] + h @ omega["w_h"]
          else:
            source = nodes[arc.prev[row]]
            edge = row * (row - 1) // 2 + arc.prev[row]
            z = source @ omega["w_edge"][edge]
          value, c = jnp.split(z, 2, axis=-1)
          f = (jnp.tanh, jax.nn.relu, lambda v: v, jax.nn.sigmoid)
          c = jax.nn.sigmoid(c)
          nodes.append(c * f[arc.ops[row]](value) + (1 - c) * source)
        used = config.space().output_nodes(arc)
        h = sum(nodes[i] for i in used) / len(used)
        if bn:
          centred = h - h.mean(axis=0)
          h = centred / jnp.sqrt(h.var(axis=0) + 1e-5)
          h = h * omega["bn_scale"] + omega["bn_offset"]
        states.append(h)
      states = jnp.stack(states)
      logits = jax.nn.log_softmax(states @ omega["embedding"].T)
      gold = jnp.take_along_axis(logits, targets[..., None], axis=-1)
      return -jnp.mean(gold)

    def ours(omega, state, arc):
      states = children.run_recurrent(omega, arc, tokens, state, config=config)
      return jnp.mean(supergraph.softmax_loss(omega, states, targets))

    for seed in range(3):
      arc = random_arc(config, seed)
      expected = jax.grad(plain, argnums=(0, 1))(omega, state, arc)
      found = jax.grad(ours, argnums=(0, 1))(omega, state, arc)
      for a, b in zip(
        jax.tree.leaves(expected), jax.tree.leaves(found), strict=True
      ):
        error = np.linalg.norm(a - b) / (np.linalg.norm(a) + 1e-8)
        self.assertLess(error, 1e-4, f"{arc}")

  def test_finite_difference_in_float64(self):
    config = child_config(drop_state=0.3)
    with jax.enable_x64(True):
      omega, tokens, targets, state = make_inputs(config)
      omega = jax.tree.map(lambda a: a.astype(jnp.float64), omega)
      state = state.astype(jnp.float64)
      masks = supergraph.Masks(state=jnp.ones((BATCH, SIZE)).at[0, 0].set(0.0))
      arc = random_arc(config, 3)
      loss = self._loss(config, tokens, targets, state, masks)
      direction = jax.tree.map(
        lambda a: jax.random.normal(jax.random.key(a.size), a.shape), omega
      )
      grads = jax.grad(loss)(omega, arc)
      slope = sum(
        jnp.vdot(a, b)
        for a, b in zip(
          jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True
        )
      )
      step = 1e-6
      ahead, behind = (
        loss(jax.tree.map(lambda a, d, s=s: a + s * d, omega, direction), arc)
        for s in (step, -step)
      )
      self.assertAlmostEqual(
        float(slope), float((ahead - behind) / (2 * step)), places=5
      )

  def test_gradient_is_zero_outside_the_child(self):
    for per_op in (False, True):
      config = child_config(weights_per_op=per_op)
      omega, tokens, targets, state = make_inputs(config)
      loss = self._loss(config, tokens, targets, state)
      arc = random_arc(config, 5)
      grad = np.asarray(jax.grad(loss)(omega, arc)["w_edge"])
      grad = grad.reshape(-1, *grad.shape[-2:])
      edges = {
        row * (row - 1) // 2 + arc.prev[row] + (10 * arc.ops[row] * per_op)
        for row in range(1, 5)
      }
      norms = np.linalg.norm(grad, axis=(1, 2))
      self.assertEqual(set(np.flatnonzero(norms).tolist()), edges)

  def test_update_of_the_child_is_the_update_of_omega(self):
    config = child_config()
    omega, *_ = make_inputs(config)
    arc = decisions.as_arrays(random_arc(config, 7))
    child = supergraph.child_params(omega, arc)
    update = jax.tree.map(lambda a: jnp.full_like(a, 0.5), child)
    found = supergraph.add_to_omega(omega, arc, update)
    change = np.asarray(found["w_edge"] - omega["w_edge"])
    rows = {r * (r - 1) // 2 + int(arc.prev[r]) for r in range(1, 5)}
    for row in range(10):
      np.testing.assert_allclose(change[row], 0.5 * (row in rows), atol=1e-6)
    np.testing.assert_allclose(found["w_x"], omega["w_x"] + 0.5, atol=1e-6)


class CompilationTest(absltest.TestCase):
  def test_one_trace_serves_fifty_arcs(self):
    config = child_config()
    omega, tokens, targets, state = make_inputs(config)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def loss(arc):
      states = children.run_recurrent(omega, arc, tokens, state, config=config)
      return jnp.mean(supergraph.softmax_loss(omega, states, targets))

    values = {
      float(loss(decisions.as_arrays(random_arc(config, seed))))
      for seed in range(50)
    }
    self.assertGreater(len(values), 45)  # different arcs, different networks

  def test_a_fixed_child_holds_no_conditional(self):
    config = child_config()
    omega, tokens, _, state = make_inputs(config)
    arc = random_arc(config, 0)

    def text(arc):
      run = lambda o: children.run_recurrent(
        o, arc, tokens, state, config=config
      )
      return str(jax.make_jaxpr(jax.grad(lambda o: run(o).sum()))(omega))

    self.assertNotIn("cond[", text(arc))
    self.assertIn("cond[", text(decisions.as_arrays(arc)))


class PenaltyTest(absltest.TestCase):
  def test_l2(self):
    child = {
      "embedding": jnp.array([[1.0]]),
      "w_x": jnp.array([[2.0, 0.0]]),
      "w_h": jnp.array([[0.0, 1.0]]),
      "w_edge": jnp.array([[[3.0, 0.0]], [[2.0, 1.0]]]),
    }
    # 1 + 4 + 1 + 9 + 4 + 1
    self.assertAlmostEqual(float(supergraph.l2_penalty(child, "squares")), 20.0)
    # (2^4 + 1 + 2^4 + 1) / 2: no embedding, not the first edge.
    released = float(supergraph.l2_penalty(child, "released"))
    self.assertAlmostEqual(released, 17.0)


if __name__ == "__main__":
  absltest.main()
