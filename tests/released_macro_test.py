"""The macro network's weights in the released code's naming."""

import dataclasses
import pathlib

import chex
import numpy as np
from absl.testing import absltest

from enas_jax import types
from enas_jax.released import macro, tables
from enas_jax.spaces.macro import network
from tests import tiny
from tests.golden import checker, vectors

GOLDEN = pathlib.Path(__file__).parent / "golden" / "macro_child_search.npz"


class ReleasedTest(absltest.TestCase):
  def test_vectors_agree(self):
    checks = checker.check(vectors.read(GOLDEN))
    failed = [str(each) for each in checks.done if not each.ok]
    self.assertEmpty(failed)
    self.assertEmpty(checker.notes(checks))
    names = [each.name for each in checks.done]
    self.assertLen(set(names), len(names))
    for name in ("logits_eval", "logits_train", "loss_train"):
      self.assertIn(name, names)
      self.assertIn(f"static/{name}", names)

  def test_the_graph_as_published_is_refused(self):
    loaded = vectors.read(GOLDEN)
    other = dataclasses.replace(loaded, case="macro_child_search_asis")
    with self.assertRaisesRegex(types.InputError, "ignores which operation"):
      checker.check(other)

  def test_round_trip(self):
    config = tiny.child_config("macro", "released", num_layers=6, num_filters=8)
    variables = vectors.read(GOLDEN).main.take_all("var/")
    graph = macro.SEARCH
    omega = tables.read(variables, graph, config)
    fresh = network.init_statistics(config)
    statistics = tables.read(variables, graph, config, fresh)
    self.assertEqual(statistics["steps"], 0)
    named = tables.write(omega, graph, config)
    named |= tables.write(statistics, graph, config)
    chex.assert_trees_all_equal(named, variables)
    stored = {f"var/{name}": array for name, array in variables.items()}
    chex.assert_trees_all_equal(tables.read(stored, graph, config), omega)

  def test_errors(self):
    variables = vectors.read(GOLDEN).main.take_all("var/")
    name = "child/layer_3/branch_1/out_conv_3/w_depth"
    bare = {n: a for n, a in variables.items() if n != name}
    for changed, changes, pattern in (
      (bare, {}, f"lack the variable '{name}'"),
      (variables, {"num_filters": 4}, r"must have the shape \[3, 3, 3, 4\]"),
      (variables, {"num_layers": 5}, "layer_5.*num_layers=5 has not"),
      (variables, {"num_layers": 7}, "lack the variable 'child/layer_"),
      (variables, {"main_input": "selected"}, "main_input must be previous"),
      ({**variables, name: np.ones(3, int)}, {}, "must have the shape"),
    ):
      options = {"num_layers": 6, "num_filters": 8} | changes
      config = tiny.child_config("macro", "released", **options)
      with self.assertRaisesRegex(types.InputError, pattern):
        tables.read(changed, macro.SEARCH, config)


if __name__ == "__main__":
  absltest.main()
