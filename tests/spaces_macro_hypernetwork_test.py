"""The hypernetwork that makes the weights of each macro network (SMASH)."""

import functools
import json
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import search
from enas_jax.spaces import decisions
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro import network
from tests import tiny

LAYERS, FILTERS, RANK = 3, 4, 2
FIRST = space_lib.MacroArc((1, 4, 2), ((0, 0, 0), (1, 0, 0), (0, 1, 0)))
# Another operation in the last layer.
SECOND = FIRST._replace(ops=(1, 4, 0))


@functools.cache
def config(rank=RANK, **changes):
  return tiny.child_config(
    "macro", num_layers=LAYERS, num_filters=FILTERS, hypernetwork_rank=rank,
    drop_features=0.0, **changes,
  )  # fmt: skip


@functools.cache
def omega():
  draw = jax.jit(lambda key: network.init(key, config(), 3, 2))
  return draw(jax.random.key(0))


@functools.cache
def fill():
  weights = omega()  # not drawn while something is traced
  return jax.jit(lambda arc: network.child_params(weights, arc, config()))


@functools.cache
def logits():
  images = jax.random.normal(jax.random.key(1), (5, 8, 8, 2))

  @jax.jit
  def run(omega, arc):
    child = network.child_params(omega, arc, config())
    return network.apply_child(
      child, {}, arc, images, config=config(), train=True
    )[0].main

  return run


class HypernetworkTest(parameterized.TestCase):
  def test_mixtures_are_refused(self):
    space = config().space()
    sizes = decisions.num_alternatives(space.decisions()).tolist()
    arc = space.relax([jnp.full(size, 1 / size) for size in sizes])
    with self.assertRaisesRegex(types.InputError, "hypernetwork_rank must be"):
      network.child_params({}, arc, config())

  @parameterized.parameters("concat", "sum")
  def test_what_is_made_has_the_layout_of_shared_weights(self, combination):
    made, shared = (
      jax.eval_shape(
        lambda key, options=options: network.child_params(
          network.init(key, options, 3, 2),
          decisions.as_arrays(FIRST),
          options,
        ),
        jax.random.key(0),
      )
      for options in (
        config(skip_combination=combination),
        config(rank=0, skip_combination=combination),
      )
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(made, shared)

  def test_an_architecture_has_weights_of_its_own_and_always_the_same(self):
    first, again, second = (
      fill()(decisions.as_arrays(arc)) for arc in (FIRST, FIRST, SECOND)
    )
    chex.assert_trees_all_equal(first, again)
    for name in ("layer_0", "layer_1", "layer_2"):
      for op in space_lib.OPS:
        # What one layer decides changes the weights of all.
        gap = first[name][op]["in"]["w"] - second[name][op]["in"]["w"]
        self.assertGreater(np.abs(gap).max(), 1e-4, (name, op))
    gap = first["skip_2"]["w"] - second["skip_2"]["w"]
    self.assertGreater(np.abs(gap).max(), 1e-4)
    for name in ("stem", "classifier"):
      chex.assert_trees_all_equal(first[name], omega()[name])

  def test_layers_lie_in_the_span_of_the_bases(self):
    """By NumPy: w = c B with c of length 1, whatever the architecture."""
    bases = omega()["hypernetwork"]["bases"]["conv_5x5"]["out"]["w"]
    basis = np.asarray(bases).reshape(RANK, -1)
    for arc in (FIRST, SECOND):
      filled = fill()(decisions.as_arrays(arc))
      for layer in range(LAYERS):
        w = np.asarray(filled[f"layer_{layer}"]["conv_5x5"]["out"]["w"])
        c, *_ = np.linalg.lstsq(basis.T, w.ravel(), rcond=None)
        np.testing.assert_allclose(c @ basis, w.ravel(), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(c), 1.0, atol=1e-4)

  def test_the_coefficients_by_an_oracle(self):
    net = jax.tree.map(np.asarray, omega()["hypernetwork"])
    about = []
    for layer in range(LAYERS):
      vector = net["ops"][FIRST.ops[layer]] + net["depths"][layer]
      for node in range(layer):
        vector = vector + FIRST.skips[layer][node] * net["skips"][node]
      about.append(vector)
    both = np.concatenate([about[1], np.mean(about, axis=0)])
    hidden = np.maximum(both @ net["w_in"] + net["b_in"], 0)
    # The last vectors are those of a join's candidates.
    raw = np.einsum("u,uar->ar", hidden, net["w_out"])[-LAYERS:]
    c = raw / np.sqrt((raw**2).sum(axis=1, keepdims=True) + 1e-6)
    expected = np.einsum("ar,rij->aij", c[:2], net["join"])
    filled = fill()(decisions.as_arrays(FIRST))
    np.testing.assert_allclose(filled["skip_1"]["w"], expected, atol=1e-5)

  @parameterized.parameters(FIRST, SECOND)
  def test_traced_is_static(self, *arc):
    arc = space_lib.MacroArc(*arc)
    traced = logits()(omega(), decisions.as_arrays(arc))
    images = jax.random.normal(jax.random.key(1), (5, 8, 8, 2))

    @jax.jit
    def static(omega):
      child = network.child_params(omega, arc, config())
      return network.apply_child(
        child, {}, arc, images, config=config(), train=True
      )[0].main

    np.testing.assert_allclose(traced, static(omega()), rtol=1e-4, atol=1e-5)

  def test_the_gradient_reaches_the_hypernetwork(self):
    arc = decisions.as_arrays(FIRST)
    labels = jnp.array([0, 1, 2, 0, 1])

    def loss(omega):
      chosen = jax.nn.log_softmax(logits()(omega, arc))[jnp.arange(5), labels]
      return -jnp.mean(chosen)

    grads = jax.grad(loss)(omega())["hypernetwork"]
    for name in ("ops", "depths", "skips", "w_in", "b_in", "w_out", "join"):
      self.assertGreater(np.abs(grads[name]).max(), 0.0, name)
    used = {"conv_5x5", "max_pool_3x3", "sep_conv_3x3"}
    for op, basis in grads["bases"].items():
      moved = np.abs(basis["in"]["w"]).max()
      self.assertEqual(moved > 0.0, op in used, op)

  def test_a_negative_rank_is_refused(self):
    with self.assertRaisesRegex(
      types.InputError, "hypernetwork_rank must be zero or positive, got -1"
    ):
      config(rank=-1)


class SmashSearchTest(absltest.TestCase):
  def test_the_loss_falls_in_a_random_search(self):
    options = tiny.make_image_config(
      "macro", policy="random",
      child={**tiny.IMAGE_FLAGS["macro"], "hypernetwork_rank": RANK},
      omega={"learning_rate": 0.05},
      run={**tiny.FLAGS["run"], "log_every": 100, "num_epochs": 16},
    )  # fmt: skip
    task, splits = tiny.make_image_task(options, "macro")
    workdir = pathlib.Path(tempfile.mkdtemp())
    run = search.Search(options, task, splits, workdir)
    result = run.run()
    self.assertEqual(result.record["policy"], "random")
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["phase"] == "omega"]
    losses = [row["omega/loss_nats"] for row in rows]
    self.assertLen(losses, 16)
    # A network that knows how frequent classes are has ln 3 = 1.1.
    self.assertLess(np.mean(losses[-4:]), 0.9, losses)


if __name__ == "__main__":
  absltest.main()
