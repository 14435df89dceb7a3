"""What architectures have in common, and how many edits lie between them."""

import itertools
import math

import networkx as nx
import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from enas_jax.analysis import similarity
from enas_jax.spaces import decisions, graph, registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.recurrent import arc as recurrent


class CommonTest(absltest.TestCase):
  def test_cells_of_text(self):
    space = recurrent.RecurrentSpace(3)
    arcs = [
      space.from_tokens(t) for t in ("0 0 1 1 2", "0 0 2 0 2", "3 0 0 1 1")
    ]
    choices = np.array([np.asarray(space.to_choices(arc)) for arc in arcs])
    ops, links = similarity.common(space.decisions(), choices)
    # Node 2 can only read node 1: that one connection all have.
    np.testing.assert_array_equal(ops, [[3, 2, 0], [2, 3, 0], [0, 0, 3]])
    np.testing.assert_array_equal(links, [[2, 1, 2], [1, 2, 1], [2, 1, 2]])

  def test_skips_that_both_take(self):
    space = macro.MacroSpace(3)
    # op; op, skip; op, two skips.
    choices = np.array(
      [[0, 1, 1, 2, 1, 0], [0, 1, 1, 2, 1, 1], [5, 1, 0, 2, 0, 0]]
    )
    ops, links = similarity.common(space.decisions(), choices)
    np.testing.assert_array_equal(ops, [[3, 3, 2], [3, 3, 2], [2, 2, 3]])
    np.testing.assert_array_equal(links, [[2, 2, 0], [2, 3, 0], [0, 0, 0]])

  def test_a_space_without_connections(self):
    space = nasbench201.NasBench201Space()
    ops, links = similarity.common(space.decisions(), np.eye(6, dtype=int))
    self.assertIsNone(links)
    self.assertEqual(ops[0, 1], 4)


def graph_of(labels, edges):
  whole = nx.DiGraph()
  for index, label in enumerate(labels):
    whole.add_node(index, label=label)
  whole.add_edges_from(edges)
  return whole


def fewest_edits(first, second):
  """By trying every way of pairing nodes of two graphs of equal size."""
  best = math.inf
  nodes = list(first)
  for order in itertools.permutations(second):
    paired = dict(zip(nodes, order, strict=True))
    labels = sum(
      first.nodes[a]["label"] != second.nodes[b]["label"]
      for a, b in paired.items()
    )
    moved = {(paired[a], paired[b]) for a, b in first.edges}
    best = min(best, labels + len(moved ^ set(second.edges)))
  return best


class EditDistanceTest(parameterized.TestCase):
  def test_of_drawn_cells(self):
    definition = registry.get("recurrent")
    options = registry.preset("smoke").child
    space = options.space()
    tokens = ["0 0 1 1 2 2 0 3 1 0 3", "0 0 1 1 2 2 0 3 1 0 2"]
    graphs = [
      similarity.as_networkx(definition.draw(options, space.from_tokens(t)))
      for t in tokens
    ]
    # Two inputs, six nodes, the average, the output; one activation differs.
    self.assertEqual([len(g) for g in graphs], [10, 10])
    self.assertEqual(
      similarity.edit_distance(*graphs), similarity.EditDistance(1, 1)
    )
    self.assertEqual(similarity.edit_distance(graphs[0], graphs[0]).high, 0)

  def test_what_only_arranges_a_drawing_is_no_edge(self):
    node = lambda name, rank: graph.Node(name, name, rank)
    drawn = graph.Graph(
      (node("a", 0), node("b", 1)), (graph.Edge("a", "b", "order"),)
    )
    self.assertEqual(similarity.as_networkx((drawn,)).number_of_edges(), 0)
    twice = similarity.as_networkx((drawn, drawn))
    self.assertLen(twice, 4)

  @parameterized.parameters(*range(4))
  def test_bounds_hold_and_networkx_finds_the_least(self, seed):
    rng = np.random.default_rng(seed)
    pair = [
      graph_of(
        rng.choice(["tanh", "ReLU"], 4).tolist(),
        [(i, j) for j in range(4) for i in range(j) if rng.random() < 0.5],
      )
      for _ in range(2)
    ]
    least = fewest_edits(*pair)
    low, high = similarity.edit_distance(*pair)
    self.assertLessEqual(low, least)
    self.assertGreaterEqual(high, least)
    exact = similarity.edit_distance(*pair, exact=True)
    self.assertEqual(exact, (least, least))

  def test_names_give_an_upper_bound_alone(self):
    first = graph_of(["tanh", "ReLU"], [(0, 1)])
    second = graph_of(["ReLU", "tanh"], [(1, 0)])
    self.assertEqual(similarity.edit_distance(first, second), (0, 4))
    self.assertEqual(similarity.edit_distance(first, second, True), (0, 0))

  def test_all_pairs(self):
    graphs = [graph_of("ab", [(0, 1)]), graph_of("ba", [(1, 0)])]
    distances, exact = similarity.edit_distances(graphs)
    self.assertTrue(exact)
    np.testing.assert_array_equal(distances, np.zeros((2, 2)))
    large = [graph_of("abcdefg", [(0, 1)]), graph_of("bacdefg", [(1, 0)])]
    distances, exact = similarity.edit_distances(large)
    self.assertFalse(exact)
    np.testing.assert_array_equal(distances, [[0, 4], [4, 0]])
    many = [graphs[0]] * (similarity.EXACT_ARCS + 1)
    distances, _ = similarity.edit_distances(many)
    self.assertTrue(np.isnan(distances[-1]).all())
    self.assertEqual(np.nansum(distances), 0)


class CorrelationsTest(absltest.TestCase):
  def test_it_is_spearmans_over_pairs_with_an_interval(self):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(12, 2, 3))
    distances = similarity.final_distances(hidden)
    self.assertAlmostEqual(
      distances[1, 4], math.dist(hidden[1, -1], hidden[4, -1])
    )
    noisy = distances + rng.normal(size=(12, 12))
    noisy = noisy + noisy.T
    pairs = np.triu_indices(12, 1)
    found = similarity.correlations(
      distances,
      {"same": distances**2, "other way": -distances, "noisy": noisy,
       "constant": np.ones((12, 12))},
      bootstrap=50,
    )  # fmt: skip
    np.testing.assert_allclose(found["same"], [1.0] * 3)
    np.testing.assert_allclose(found["other way"], [-1.0] * 3)
    expected = stats.spearmanr(distances[pairs], noisy[pairs]).statistic
    value, low, high = found["noisy"]
    self.assertAlmostEqual(value, expected)
    self.assertLess(low, value)
    self.assertGreater(high, value)
    self.assertTrue(math.isnan(found["constant"].value))

  def test_pairs_without_a_number_are_left_out(self):
    distances = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])
    measure = np.array([[0, 5, np.nan], [5, 0, 7], [np.nan, 7, 0]])
    found = similarity.correlations(distances, {"m": measure}, bootstrap=0)
    self.assertAlmostEqual(found["m"].value, 1.0)
    self.assertTrue(math.isnan(found["m"].low))


class LabelsTest(absltest.TestCase):
  def test_choices_are_named(self):
    names = decisions.labels(macro.MacroSpace(3).decisions())
    self.assertEqual(
      names, ["op 1", "op 2", "skip 1-2", "op 3", "skip 1-3", "skip 2-3"]
    )
    cells = registry.preset("smoke", "micro").child.space().decisions()
    names = decisions.labels(cells)
    self.assertLen(set(names), len(names))
    # A node of a cell decides about two inputs and two operations.
    self.assertContainsSubset(["index 1.3", "index 1.3 (2)", "op 2.3"], names)


if __name__ == "__main__":
  absltest.main()
