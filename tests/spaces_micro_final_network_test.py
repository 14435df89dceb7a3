"""The network of a found cell against the release and hand computation."""

import functools
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.nn import image_ops
from enas_jax.released import micro as released_micro
from enas_jax.released import tables
from enas_jax.spaces import arcs, decisions
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.micro import final_network as micro_final
from tests import tiny
from tests.golden import checker, vectors

GOLDEN = pathlib.Path(__file__).parent / "golden"
CLASSES = 4
CONFIG = tiny.child_config(
  "micro",
  "released",
  num_nodes=4,
  num_layers=3,
  num_filters=2,
  cell_output="concat",
  drop_features=0.0,
  moving_statistics=True,
  aux_head=False,
)
# Node 3 is the loose end of the normal cell; of the reduction cell, which does
# not take input 1, that input and nodes 2 and 3 are.
ARC = micro.MicroArc(
  micro.CellArc(((0, 1), (2, 1)), ((0, 4), (4, 2))),
  micro.CellArc(((0, 0), (0, 0)), ((4, 1), (3, 4))),
)


def make_images(batch=3, size=8):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.normal(size=(batch, size, size, 3)), jnp.float32)


@functools.cache
def made():
  """The network, its weights and fresh statistics."""
  network = micro_final.network(ARC)
  omega = jax.jit(lambda key: network.init(key, CONFIG, CLASSES, (8, 8, 3)))(
    jax.random.key(0)
  )
  return network, omega, network.init_statistics(CONFIG)


def paths(tree, leaf):
  """Where the tree has leaves of that name."""
  found = jax.tree_util.tree_leaves_with_path(tree)
  keys = [tuple(k.key for k in path) for path, _ in found]
  return {path[:-1] for path in keys if path[-1] == leaf}


class LayoutTest(parameterized.TestCase):
  @parameterized.parameters((False, 3_894_372), (True, 4_389_220))
  def test_counts_of_the_released_network(self, aux_head, expected):
    config = tiny.child_config(
      "micro",
      "released",
      num_layers=15,
      num_filters=36,
      aux_head=aux_head,
      cell_output="concat",
    )
    network = micro_final.network(arcs.load_arc("enas_micro").arc)
    shapes = jax.eval_shape(
      lambda key: network.init(key, config, 10, (32, 32, 3)), jax.random.key(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    self.assertEqual(count, expected)

  def test_cells_by_hand(self):
    found = [
      (cell.filters, cell.channels, cell.reduces, cell.halves, cell.width())
      for cell in micro_final.cells(ARC, CONFIG)
    ]
    self.assertEqual(
      found,
      [
        (2, (6, 6), False, False, 2),
        (4, (6, 2), True, False, 12),
        (4, (2, 12), False, True, 4),
        (8, (12, 4), True, False, 24),
        (8, (4, 24), False, True, 8),
      ],
    )

  def test_weights_by_hand(self):
    _, omega, _ = made()
    normal = {"base", "node_2_side_0"}
    reduction = {"node_2_side_0", "node_2_side_1", "node_3_side_1"}
    reduction |= {"base", "output_1"}
    inputs = {"input_0", "input_1"}
    for cell, names in enumerate(
      [normal, reduction, normal, reduction, normal]
    ):
      self.assertEqual(set(omega[f"cell_{cell}"]), names | inputs)
    self.assertEqual(omega["cell_2"]["input_0"]["w1"].shape, (2, 2))
    self.assertEqual(omega["cell_2"]["input_1"]["kernel"].shape, (12, 4))
    self.assertEqual(omega["cell_3"]["output_1"]["w2"].shape, (8, 4))
    self.assertEqual(omega["fc"].shape, (8, CLASSES))

  def test_deviations(self):
    config = tiny.child_config(
      "micro", num_nodes=4, num_layers=3, num_filters=64
    )
    network = micro_final.network(ARC)
    # Compiled whole, the other cells cost nothing.
    cell = jax.jit(
      lambda key: network.init(key, config, CLASSES, (8, 8, 3))["cell_3"]
    )(jax.random.key(0))
    sep = next(part["conv_1"] for part in cell.values() if "conv_1" in part)
    for name, fan_in in (
      ("depthwise", sep["depthwise"].size),
      ("pointwise", 256),
    ):
      np.testing.assert_allclose(
        np.std(sep[name]), np.sqrt(2 / fan_in), rtol=0.05
      )

  def test_a_frozen_auxiliary_head_is_not_penalised(self):
    network, omega, _ = made()
    omega = {**omega, "aux_head": {}}
    for frozen in (False, True):
      config = tiny.child_config("micro", aux_frozen=frozen)
      self.assertEqual(
        "aux_head" in network.penalised(omega, config), not frozen
      )

  def test_errors(self):
    with self.assertRaisesRegex(types.InputError, "must be of Python ints"):
      micro_final.network(decisions.as_arrays(ARC))
    config = tiny.child_config("micro", num_nodes=7)
    with self.assertRaisesRegex(types.InputError, "num_nodes=7 nodes, got 4"):
      micro_final.network(ARC).init(
        jax.random.key(0), config, CLASSES, (8, 8, 3)
      )


class StatisticsTest(absltest.TestCase):
  def test_a_step_moves_all_and_evaluation_uses_them(self):
    network, omega, fresh = made()
    self.assertEqual(paths(fresh, "mean"), paths(omega, "scale"))
    self.assertEqual(paths(fresh, "variance"), paths(omega, "scale"))
    images = make_images()

    @functools.partial(jax.jit, static_argnames="train")
    def apply(statistics, images, train):
      # An architecture that is given does not matter.
      return network.apply_child(
        omega, statistics, None, images, config=CONFIG, train=train
      )

    with image_ops.using("plain"):
      trained, moved = apply(fresh, images, train=True)
      once, kept = apply(moved, images, train=False)
      each = [apply(moved, one[None], train=False)[0].main for one in images]
    # Corrected for their start, they are what the first step saw.
    stem = image_ops.conv(images, omega["stem"]["kernel"])
    mean, variance = moved["stem"]["mean"], moved["stem"]["variance"]
    np.testing.assert_allclose(mean, stem.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(variance, stem.var((0, 1, 2), ddof=1), rtol=1e-4)
    for old, new in zip(
      jax.tree.leaves(fresh), jax.tree.leaves(moved), strict=True
    ):
      self.assertFalse(np.array_equal(old, new))
    chex.assert_trees_all_equal(kept, moved)
    self.assertGreater(np.abs(once.main).max(), 0.5)
    self.assertEqual(trained.main.shape, once.main.shape)
    # One image or three: an image's logits are its own.
    np.testing.assert_allclose(np.concatenate(each), once.main, atol=1e-4)


class DropPathTest(absltest.TestCase):
  def test_masks_multiply_the_operations_of_their_branch(self):
    _, omega, _ = made()
    cell = micro_final.cells(ARC, CONFIG)[2]
    rng = np.random.default_rng(0)
    sizes = ((2, 8, 8, 2), (2, 4, 4, 12))
    inputs = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in sizes]
    run = lambda masks: micro_final._run_cell(
      omega["cell_2"], cell, inputs, masks
    )[0]
    nodes, _ = micro_final._fit_inputs(omega["cell_2"], inputs)
    # Node 2 is sep(node 0) + node 1, node 3 is node 2 + average(node 1).
    masks = jnp.zeros((2, 2, 2))
    np.testing.assert_allclose(run(masks), nodes[1], atol=1e-6)
    kept = masks.at[1, 1].set(jnp.array([0.0, 1.25]))
    pooled = 1.25 * image_ops.avg_pool(nodes[1])
    expected = nodes[1].at[1].add(pooled[1])
    np.testing.assert_allclose(run(kept), expected, atol=1e-5)

  def test_a_key_must_be_given(self):
    network, omega, fresh = made()
    config = tiny.child_config("micro", num_nodes=4, drop_path=0.4)
    with self.assertRaisesRegex(types.InputError, "key must be given"):
      network.apply_child(
        omega, fresh, ARC, make_images(), config=config, train=True
      )


class ReleasedTest(parameterized.TestCase):
  def test_names_and_back(self):
    network = micro_final.network(ARC)
    config = tiny.child_config(
      "micro",
      "released",
      num_nodes=4,
      num_layers=3,
      num_filters=2,
      moving_statistics=True,
    )
    omega = network.init(jax.random.key(0), config, CLASSES, (17, 17, 3))
    moved = network.init_statistics(config)
    draw = lambda a: jnp.asarray(
      np.random.default_rng(a.size).normal(size=a.shape), a.dtype
    )
    moved = {**jax.tree.map(draw, moved), "steps": jnp.zeros((), jnp.int32)}
    graph = released_micro.fixed(ARC)
    named = tables.write(omega, graph, config)
    named |= tables.write(moved, graph, config)
    self.assertEqual(
      sum(array.size for array in named.values()) + 1,
      sum(leaf.size for leaf in jax.tree.leaves((omega, moved))),
    )
    self.assertEqual(
      named["child/layer_1/final_combine/calibrate_1/path1_conv/w"].shape,
      (1, 1, 4, 2),
    )
    read = lambda like: tables.read(named, graph, config, like)
    chex.assert_trees_all_equal((omega, moved), (read(None), read(moved)))
    del named["child/layer_4/layer_base/bn/moving_mean"]
    with self.assertRaisesRegex(types.InputError, "lack .*layer_4/layer_base"):
      read(moved)

  @parameterized.parameters("micro_child_fixed", "micro_child_fixed_aux")
  def test_vectors_agree(self, stem):
    checks = checker.check(vectors.read(GOLDEN / f"{stem}.npz"))
    self.assertEmpty([each.name for each in checks.done if not each.ok])
    names = {each.name for each in checks.done}
    variables = checks.vectors.grads.take_all("grad/")
    self.assertLessEqual({f"grad/{name}" for name in variables}, names)
    self.assertContainsSubset({"logits_train", "logits_eval"}, names)
    self.assertEmpty(checker.notes(checks))


if __name__ == "__main__":
  absltest.main()
