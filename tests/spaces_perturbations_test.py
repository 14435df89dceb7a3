"""Changes of architectures: which entries, how many, and what they become."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.spaces import arcs, base, decisions, perturbations, registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.recurrent import arc as recurrent

WITH_CHANGES = [name for name in registry.names() if registry.get(name).named]


def reference(name):
  """The paper's own architecture of a space."""
  return arcs.load_arc(next(iter(registry.get(name).named)), name)


def changed(name, perturbation, seed=0):
  """The choices of the reference before and after, and the changed arc."""
  loaded = reference(name)
  rng = np.random.default_rng(seed)
  arc = perturbations.perturb(loaded.space, loaded.arc, perturbation, rng)
  before, after = (
    np.asarray(loaded.space.to_choices(a)) for a in (loaded.arc, arc)
  )
  return before, after, arc


class ChangeTest(parameterized.TestCase):
  def test_operations_everywhere(self):
    """tanh 0, ReLU 1, identity 2; node 3 reads node 0, the others the last."""
    space = recurrent.RecurrentSpace(4)
    arc = space.validate(recurrent.RecurrentArc((0, 0, 1, 0), (0, 1, 2, 1)))
    swap = base.Perturbation(
      perturbations.change_ops({1: [0], 0: [1]}), "swapped", drawn=False
    )
    after = perturbations.perturb(space, arc, swap, np.random.default_rng(0))
    self.assertEqual(after, recurrent.RecurrentArc((0, 0, 1, 0), (1, 0, 2, 0)))
    # Nothing to change leaves the architecture as it is.
    none = swap._replace(change=perturbations.change_ops({3: [0]}))
    self.assertEqual(
      perturbations.perturb(space, arc, none, np.random.default_rng(0)), arc
    )

  @parameterized.parameters((0.1, 1), (0.4, 1), (0.5, 2), (1.0, 3))
  def test_a_share_of_the_operations(self, share, count):
    """Three of four nodes are able to; round(0.4 x 3) is 1."""
    space = recurrent.RecurrentSpace(4)
    choices = np.asarray(
      space.to_choices(recurrent.RecurrentArc((0, 0, 1, 0), (0, 1, 2, 1)))
    )
    change = perturbations.change_ops({0: [2, 3], 1: [2, 3]}, share)
    seen = set()
    for seed in range(20):
      after = change(space, choices, np.random.default_rng(seed))
      where = np.flatnonzero(after != choices)
      self.assertLen(where, count)
      # op 0, then (index, op) of each other node; node 2 is identity already.
      self.assertContainsSubset(where.tolist(), [0, 2, 6])
      self.assertContainsSubset(after[where].tolist(), [2, 3])
      seen.update(after[where].tolist())
    self.assertEqual(seen, {2, 3})

  def test_connections(self):
    """An index leads elsewhere, a skip is flipped; nothing else changes."""
    space = micro.MicroSpace(5)
    choices = np.asarray(
      space.to_choices(space.sample_uniform(jax.random.key(0), 1))[0]
    )
    sizes = decisions.num_alternatives(space.decisions())
    kinds = perturbations.kinds(space)
    change = perturbations.change_connections("index", 0.25)
    for seed in range(10):
      after = change(space, choices, np.random.default_rng(seed))
      where = np.flatnonzero(after != choices)
      # A quarter of the twelve inputs of two cells.
      self.assertLen(where, 3)
      self.assertEqual(set(kinds[where]), {"index"})
      self.assertTrue((after[where] < sizes[where]).all())
    network = macro.MacroSpace(4)
    choices = np.zeros(10, np.int32)
    flip = perturbations.change_connections("skips", 1.0)
    after = flip(network, choices, np.random.default_rng(0))
    # An operation, then the skips: 0, 1, 2 and 3 of them.
    self.assertEqual(after.tolist(), [0, 0, 1, 0, 1, 1, 0, 1, 1, 1])

  def test_an_only_choice_stays(self):
    """Node 1 of a cell can read node 0 alone."""
    space = recurrent.RecurrentSpace(3)
    change = perturbations.change_connections("index", 1.0)
    choices = np.asarray([0, 0, 0, 1, 0])
    after = change(space, choices, np.random.default_rng(0))
    self.assertEqual(after.tolist(), [0, 0, 0, 0, 0])


class OfSpacesTest(parameterized.TestCase):
  @parameterized.parameters(*WITH_CHANGES)
  def test_every_change_of_a_space(self, name):
    """It changes something, at least one entry, and what it is drawn for."""
    listed = registry.get(name).perturbations
    self.assertNotEmpty(listed)
    for key, perturbation in listed.items():
      before, after, arc = changed(name, perturbation)
      self.assertGreater(np.sum(before != after), 0, key)
      # Valid, and of Python ints.
      self.assertEqual(reference(name).space.validate(arc), arc)
      again = changed(name, perturbation)[1]
      np.testing.assert_array_equal(after, again)
      others = [changed(name, perturbation, seed)[1] for seed in (1, 2, 3)]
      differs = any((after != other).any() for other in others)
      self.assertEqual(differs, perturbation.drawn, key)
      # What the paper prints, it also says.
      self.assertEqual(perturbation.published is None, not perturbation.says)

  def test_the_recurrent_cell(self):
    """ENAS's cell has 12 tanh or ReLU nodes: a quarter is three."""
    listed = registry.get("recurrent").perturbations
    before, after, arc = changed("recurrent", listed["identity_or_sigmoid"])
    self.assertEqual(np.sum(before != after), 3)
    names = [recurrent.OPS[op] for op in arc.ops]
    count = names.count("identity") + names.count("sigmoid")
    self.assertEqual(count, 3)
    _, _, arc = changed("recurrent", listed["relu_or_tanh"])
    old = reference("recurrent").arc
    pairs = zip(arc.ops, old.ops, strict=True)
    self.assertEqual(sum(new != before for new, before in pairs), 3)
    self.assertEqual(arc.prev, old.prev)
    for key, op in (("all_tanh", "tanh"), ("all_relu", "relu")):
      _, _, arc = changed("recurrent", listed[key])
      self.assertEqual({recurrent.OPS[i] for i in arc.ops}, {op})

  def test_normal_convolutions(self):
    perturbation = registry.get("macro").perturbations["normal_convolutions"]
    old = reference("macro").arc
    _, _, arc = changed("macro", perturbation)
    self.assertEqual(arc.skips, old.skips)
    for before, after in zip(old.ops, arc.ops, strict=True):
      name = macro.OPS[before].removeprefix("sep_")
      self.assertEqual(macro.OPS[after], name)
    self.assertEqual(perturbation.same_params, "num_filters")

  def test_connections_of_the_paper_s_networks(self):
    """A tenth of 276 skips is 28; a fifth of the 20 inputs is four."""
    for name, count in (("macro", 28), ("micro", 4)):
      perturbation = registry.get(name).perturbations["connections"]
      before, after, _ = changed(name, perturbation)
      self.assertEqual(np.sum(before != after), count)

  def test_published_figures(self):
    """As Sections 3.1 to 3.3 and the tables print them."""
    errors = {
      name: {
        key: value.error for key, value in registry.get(name).published.items()
      }
      for name in WITH_CHANGES
    }
    self.assertEqual(
      errors,
      {
        "recurrent": {"reference": 55.8, "random": 81.2, "no_sharing": 62.4},
        "macro": {
          "reference": 4.23,
          "random": 5.86,
          "sampled": 8.92,
          "ensemble": 5.49,
          "no_sharing": 4.47,
        },
        "micro": {"reference": 3.54, "random": 6.77, "no_sharing": 3.41},
      },
    )


class CutTest(parameterized.TestCase):
  def test_the_first_nodes_and_layers(self):
    cell = reference("recurrent")
    part = arcs.cut(cell, recurrent.RecurrentSpace(4))
    self.assertEqual(part.arc.prev, cell.arc.prev[:4])
    self.assertEqual(part.arc.ops, cell.arc.ops[:4])
    self.assertEqual(part.space, recurrent.RecurrentSpace(4))
    network = reference("macro")
    part = arcs.cut(network, macro.MacroSpace(3))
    self.assertEqual(part.arc.ops, network.arc.ops[:3])
    self.assertEqual(
      part.arc.skips, tuple(row[:3] for row in network.arc.skips[:3])
    )
    # What comes with the architecture stays.
    self.assertEqual(part.options, {"main_input": "previous"})
    cells = reference("micro")
    part = arcs.cut(cells, micro.MicroSpace(4))
    for name in ("normal", "reduction"):
      whole, first = (getattr(a, name) for a in (cells.arc, part.arc))
      self.assertEqual(first.inputs, whole.inputs[:2])
      self.assertEqual(first.ops, whole.ops[:2])

  def test_what_is_no_part_stays_whole(self):
    cell = reference("recurrent")
    for space in (
      recurrent.RecurrentSpace(13),
      recurrent.RecurrentSpace(12),
      macro.MacroSpace(3),
    ):
      self.assertEqual(arcs.cut(cell, space).arc, cell.arc)


if __name__ == "__main__":
  absltest.main()
