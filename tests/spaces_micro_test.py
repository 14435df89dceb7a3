import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import decisions, records
from enas_jax.spaces.micro import arc as micro

# Figure 5: node 3 is sep 5x5 of node 2 plus node 2 itself; node 4 is the
# average pool of node 3 plus sep 3x3 of node 1.
FIGURE_5 = micro.CellArc(inputs=((1, 1), (2, 0)), ops=((1, 4), (2, 0)))
FIGURE_5_TOKENS = "1 1 1 4 2 2 0 0"
# Another cell, with two loose ends: both nodes take the two inputs.
FLAT_CELL = micro.CellArc(inputs=((0, 1), (0, 1)), ops=((3, 3), (0, 1)))
PAIR = micro.MicroArc(FIGURE_5, FLAT_CELL)
PAIR_TOKENS = "1 1 1 4 2 2 0 0 0 3 1 3 0 0 1 1"

# The cells of the released script cifar10_micro_final.sh.
RELEASED_NORMAL = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1"
RELEASED_REDUCTION = "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"


def changed(cell, field, row, side, value):
  table = [list(r) for r in getattr(cell, field)]
  table[row][side] = value
  return cell._replace(**{field: table})


class MicroSpaceTest(parameterized.TestCase):
  def test_figure_5(self):
    space = micro.MicroSpace(4)
    self.assertEqual(space.validate(PAIR), PAIR)
    self.assertEqual(space.to_tokens(PAIR), PAIR_TOKENS)
    self.assertEqual(PAIR_TOKENS[: len(FIGURE_5_TOKENS)], FIGURE_5_TOKENS)
    # The controller: both inputs of a node, then both operations.
    np.testing.assert_array_equal(
      space.to_choices(PAIR)[:8], [1, 1, 1, 4, 2, 0, 2, 0]
    )

  def test_loose_ends(self):
    space = micro.MicroSpace(4)
    # "The only loose end, h_4."
    self.assertEqual(space.loose_ends(FIGURE_5), (3,))
    self.assertEqual(space.loose_ends(FIGURE_5, include_inputs=True), (3,))
    self.assertEqual(space.loose_ends(FLAT_CELL), (2, 3))
    unused = FIGURE_5._replace(inputs=((1, 1), (1, 1)))
    self.assertEqual(space.loose_ends(unused), (2, 3))
    self.assertEqual(space.loose_ends(unused, include_inputs=True), (0, 2, 3))
    arrays = decisions.as_arrays(unused)
    self.assertEqual(space.loose_ends(arrays), (2, 3))

  def test_decisions_of_figure_5(self):
    found = micro.MicroSpace(4).decisions()
    node_3 = [("index", 2, 2)] * 2 + [("op", 2, 5)] * 2
    node_4 = [("index", 3, 3)] * 2 + [("op", 3, 5)] * 2
    self.assertEqual(
      [tuple(d)[:4] for d in found],
      [(*d, cell) for cell in (0, 1) for d in node_3 + node_4],
    )
    self.assertEqual({d.width for d in found}, {1})

  def test_sizes(self):
    space = micro.MicroSpace(7)
    self.assertEqual(space.printed_size(), 600**4)
    self.assertEqual(f"{space.printed_size():.1e}", "1.3e+11")  # as printed
    # Nodes with 2 to 6 before them: (10 * 15 * 20 * 25 * 30)^2 cells.
    self.assertEqual(space.size(), 2_250_000**4)
    self.assertEqual(f"{space.size():.1e}", "2.6e+25")
    self.assertEqual(micro.MicroSpace(3).size(), 10**4)

  @parameterized.parameters(
    f"{RELEASED_NORMAL} {RELEASED_REDUCTION}",
    f"{RELEASED_NORMAL}\n{RELEASED_REDUCTION}\n",
    f"{RELEASED_NORMAL} / {RELEASED_REDUCTION}",
    f"{RELEASED_NORMAL}/{RELEASED_REDUCTION}".replace(" ", ","),
  )
  def test_released_tokens(self, text):
    space = micro.MicroSpace(7)
    arc = space.from_tokens(text)
    self.assertEqual(
      arc.normal.inputs, ((0, 0), (0, 0), (0, 1), (1, 0), (0, 1))
    )
    self.assertEqual(arc.normal.ops, ((2, 0), (4, 1), (4, 1), (0, 1), (2, 1)))
    self.assertEqual(
      arc.reduction.inputs, ((1, 1), (0, 0), (1, 3), (1, 0), (0, 1))
    )
    self.assertEqual(
      arc.reduction.ops, ((0, 0), (3, 2), (1, 1), (0, 4), (3, 1))
    )
    self.assertEqual(space.loose_ends(arc.normal), (2, 3, 4, 5, 6))
    self.assertEqual(space.loose_ends(arc.reduction), (2, 4, 5, 6))
    self.assertEqual(
      space.to_tokens(arc), f"{RELEASED_NORMAL} {RELEASED_REDUCTION}"
    )

  def test_json_keeps_a_row_on_one_line(self):
    text = records.dumps(micro.MicroSpace(4).to_dict(PAIR))
    self.assertIn('\n      ["sep_conv_5x5", "identity"],\n', text)

  def test_uniform_sampling_is_uniform(self):
    space = micro.MicroSpace(3)
    arcs = space.sample_uniform(jax.random.key(0), 4000)
    choices = np.asarray(space.to_choices(arcs))
    for cell in (choices[:, :4], choices[:, 4:]):
      _, counts = np.unique(cell, axis=0, return_counts=True)
      self.assertLen(counts, 100)  # (2 * 5)^2 cells, every one seen
      # Standard deviation of a count: sqrt(4000/100) = 6.3.
      np.testing.assert_allclose(counts, 40, atol=30)
    # The two cells are independent: 16 pairs of inputs, deviation 15.
    both = choices[:, [0, 1, 4, 5]] @ (8, 4, 2, 1)
    np.testing.assert_allclose(np.bincount(both, minlength=16), 250, atol=75)

  def test_as_arrays_of_nested_arcs_and_back(self):
    arc = decisions.as_arrays(PAIR)
    self.assertIsInstance(arc, micro.MicroArc)
    self.assertIsInstance(arc.reduction, micro.CellArc)
    self.assertLen(jax.tree.leaves(arc), 4)
    self.assertEqual(arc.normal.ops.shape, (2, 2))
    self.assertEqual(arc.normal.ops.dtype, jnp.int32)
    back = micro.MicroSpace(4).validate(arc)
    self.assertEqual(back, PAIR)
    self.assertEqual(hash(back), hash(PAIR))
    self.assertIs(type(back.normal.ops[0][0]), int)

  @parameterized.parameters(
    (
      PAIR._replace(normal=changed(FIGURE_5, "inputs", 0, 1, 2)),
      r"^arc\.normal\.inputs\[0\]\[1\] must be in \[0, 2\), got 2"
      r" \(MicroSpace, num_nodes=4\)\.$",
    ),
    (
      PAIR._replace(reduction=changed(FLAT_CELL, "inputs", 1, 0, -1)),
      r"arc\.reduction\.inputs\[1\]\[0\] must be in \[0, 3\), got -1 \(Micro",
    ),
    (
      PAIR._replace(reduction=changed(FLAT_CELL, "ops", 1, 0, 5)),
      r"arc\.reduction\.ops\[1\]\[0\] must be in \[0, 5\), got 5 \(Micro",
    ),
    (
      PAIR._replace(normal=FIGURE_5._replace(ops=((0, 1),))),
      r"^arc\.normal\.ops must be a table of 2 x 2 integers, got 1 x 2"
      r" \(MicroSpace, num_nodes=4\)\.$",
    ),
    (
      PAIR._replace(normal=changed(FIGURE_5, "ops", 0, 0, 0.5)),
      r"arc\.normal\.ops must be a table of 2 x 2 integers, got \[\[0\.5, 4\],",
    ),
  )
  def test_validate_names_the_fault(self, arc, message):
    with self.assertRaisesRegex(types.InputError, message):
      micro.MicroSpace(4).validate(arc)

  @parameterized.parameters(
    (
      FIGURE_5_TOKENS,
      r"num_nodes=4 has 8 tokens for each of its two cells, got 8: '1 1 1 4",
    ),
    ("1 1 1 / 2 2 0 0", "got 3 / 4: '1 1 1 / 2 2 0 0'"),
    (f"{PAIR_TOKENS[:15]}/{PAIR_TOKENS[16:]}/", "got 8 / 8 / 0: "),
    (f"{PAIR_TOKENS} 1", "got 17: "),
    (PAIR_TOKENS.replace("4", "x"), "tokens must be integers, got '1 1 1 x"),
    (
      PAIR_TOKENS.replace("4", "5"),
      r"arc\.normal\.ops\[0\]\[1\] must be in \[0, 5\), got 5",
    ),
  )
  def test_bad_tokens(self, tokens, message):
    with self.assertRaisesRegex(types.InputError, message):
      micro.MicroSpace(4).from_tokens(tokens)

  @parameterized.parameters(
    ("{", "^the architecture is not valid JSON: .*"),
    ("[1]", "must be a JSON object, got list"),
    ('{"space": "macro"}', 'must have "space": "micro", got \'macro\''),
  )
  def test_bad_json(self, text, message):
    with self.assertRaisesRegex(types.InputError, message):
      micro.from_dict(records.loads(text))

  @parameterized.parameters(
    ("num_nodes", "4", "num_nodes must be an integer, got '4'"),
    ("num_nodes", 5, r"arc\.normal\.inputs must be a table of 3 x 2 integers"),
    (
      "normal",
      [1],
      r"arc\.normal must be an object with inputs and ops, got \[1\]\.",
    ),
    ("reduction", {"ops": []}, r"arc\.reduction must be an object with inputs"),
    (
      "normal",
      {"inputs": [], "ops": "identity"},
      r"arc\.normal\.ops must be a list of pairs of names, got identity\.",
    ),
    (
      "normal",
      {"inputs": [], "ops": ["identity"]},
      r"arc\.normal\.ops\[0\] must be a list of names, got identity\.",
    ),
    (
      "normal",
      {"inputs": [], "ops": [["identity", "conv_3x3"]]},
      "unknown operation 'conv_3x3'; known are sep_conv_3x3, sep_conv_5x5",
    ),
  )
  def test_bad_fields(self, field, value, message):
    record = micro.MicroSpace(4).to_dict(PAIR)
    record[field] = value
    with self.assertRaisesRegex(types.InputError, message):
      micro.from_dict(record)

  def test_missing_field(self):
    record = micro.MicroSpace(4).to_dict(PAIR)
    del record["reduction"]
    with self.assertRaisesRegex(
      types.InputError,
      "lacks the field 'reduction'; needed are num_nodes, normal and reduction",
    ):
      micro.from_dict(record)

  def test_choices_of_another_space(self):
    """Indexing would clamp them, and make another arc without a word."""
    space, larger = micro.MicroSpace(4), micro.MicroSpace(5)
    arcs = larger.sample_uniform(jax.random.key(0), 2)
    with self.assertRaises(AssertionError):
      space.to_choices(arcs)
    with self.assertRaises(AssertionError):
      space.from_choices(larger.to_choices(arcs))

  def test_an_arc_of_another_space(self):
    record = micro.MicroSpace(4).to_dict(PAIR)
    with self.assertRaisesRegex(types.InputError, "expected one of .*nodes=5"):
      micro.MicroSpace(5).from_dict(record)

  def test_bad_space(self):
    with self.assertRaisesRegex(
      types.InputError, "num_nodes must be at least 3 .*, got 2"
    ):
      micro.MicroSpace(2)


if __name__ == "__main__":
  absltest.main()
