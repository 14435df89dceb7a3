import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import decisions, records
from enas_jax.spaces.macro import arc as macro

# Layer 4 takes layers 1 and 3, as the text of Section 2.3 says of Figure 3.
# The rest of the figure is not in the text; operations: one of each kind.
FIGURE_3 = macro.MacroArc(
  ops=(0, 3, 4, 1),  # conv 3x3, sep 5x5, max pool, conv 5x5
  skips=((0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0)),
)
FIGURE_3_TOKENS = "0 3 1 5 0 1 2 1 0 1"

# The network of the released script cifar10_macro_final.sh.
RELEASED_TOKENS = """
0
3 0
0 1 0
2 0 0 1
2 0 0 0 0
3 1 1 0 1 0
2 0 0 0 0 0 1
2 0 1 1 0 1 1 1
1 0 1 1 1 0 1 0 1
0 0 0 0 0 0 0 0 0 0
2 0 0 0 0 0 1 0 0 0 0
0 1 0 0 1 1 0 0 0 0 1 1
2 0 1 0 0 0 0 0 1 0 1 1 0
1 0 0 1 0 0 0 1 1 1 0 1 0 1
0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0
"""


def flat(arcs):
  return np.concatenate(
    [np.asarray(arcs.ops), np.asarray(arcs.skips).reshape(len(arcs.ops), -1)],
    axis=1,
  )


class MacroSpaceTest(parameterized.TestCase):
  def test_figure_3(self):
    space = macro.MacroSpace(4)
    self.assertEqual(space.validate(FIGURE_3), FIGURE_3)
    # The released numbering: 0 conv 3x3, 3 sep 5x5, 5 max pool, 2 conv 5x5.
    self.assertEqual(space.to_tokens(FIGURE_3), FIGURE_3_TOKENS)
    self.assertEqual(space.from_tokens(FIGURE_3_TOKENS), FIGURE_3)
    self.assertEqual(space.from_tokens("0\n3, 1\n5 0 1\n\n2 1 0 1\n"), FIGURE_3)
    # In choices operations are numbered as in OPS.
    np.testing.assert_array_equal(
      space.to_choices(FIGURE_3), [0, 3, 1, 4, 0, 1, 1, 1, 0, 1]
    )

  def test_decisions_of_figure_3(self):
    found = macro.MacroSpace(4).decisions()
    self.assertEqual(
      [(d.kind, d.node, d.num_choices, d.width) for d in found],
      [
        ("op", 0, 6, 1),
        ("op", 1, 6, 1),
        ("skips", 1, 1, 1),
        ("op", 2, 6, 1),
        ("skips", 2, 2, 2),
        ("op", 3, 6, 1),
        ("skips", 3, 3, 3),
      ],
    )

  def test_choices_lie_as_the_decisions_say(self):
    space = macro.MacroSpace(5)
    choices = space.to_choices(
      space.sample_uniform(jax.random.key(1), 1)
    )  # [1, 15]
    arc = jax.tree.map(lambda a: a[0], space.from_choices(choices))
    at = 0
    for decision in space.decisions():
      entries = choices[0, at : at + decision.width]
      at += decision.width
      if decision.kind == "op":
        self.assertEqual(entries[0], arc.ops[decision.node])
      else:
        row = arc.skips[decision.node, : decision.num_choices]
        np.testing.assert_array_equal(entries, row)
    self.assertEqual(at, choices.shape[1])

  def test_sizes(self):
    self.assertEqual(macro.MacroSpace(1).size(), 6)
    self.assertEqual(macro.MacroSpace(3).size(), 216 * 8)
    size = macro.MacroSpace(12).size()
    self.assertEqual(size, 6**12 * 2**66)
    self.assertEqual(f"{size:.1e}", "1.6e+29")  # as Section 2.3 prints it
    self.assertEqual(macro.MacroSpace(12).printed_size(), size)

  def test_every_operation_has_one_released_number(self):
    self.assertCountEqual(macro.OPS, macro.RELEASED_OPS)
    space = macro.MacroSpace(1)
    names = [macro.OPS[space.from_tokens(str(t)).ops[0]] for t in range(6)]
    self.assertEqual(
      names,
      [
        *("conv_3x3", "sep_conv_3x3", "conv_5x5", "sep_conv_5x5"),
        *("avg_pool_3x3", "max_pool_3x3"),
      ],
    )

  def test_released_tokens(self):
    space = macro.MacroSpace(24)
    arc = space.from_tokens(RELEASED_TOKENS)
    names = [macro.OPS[op] for op in arc.ops]
    self.assertEqual(
      names[:4], ["conv_3x3", "sep_conv_5x5", "conv_3x3", "conv_5x5"]
    )
    self.assertEqual(names[8], "sep_conv_3x3")
    taken = [[i for i, bit in enumerate(row) if bit] for row in arc.skips]
    self.assertEqual(taken[:4], [[], [], [0], [2]])
    self.assertEqual(taken[5], [0, 1, 3])
    self.assertEqual(taken[23], [0, 1, 5, 6, 7, 9, 13, 15, 18, 19])
    self.assertEqual(space.to_tokens(arc), " ".join(RELEASED_TOKENS.split()))

  def test_json_keeps_a_row_on_one_line(self):
    text = records.dumps(macro.MacroSpace(4).to_dict(FIGURE_3))
    self.assertIn("\n    [1, 0, 1, 0]\n", text)

  def test_uniform_sampling_is_uniform(self):
    space = macro.MacroSpace(2)
    arcs = space.sample_uniform(jax.random.key(0), 3600)
    self.assertEqual(arcs.skips.dtype, jnp.int32)
    _, counts = np.unique(flat(arcs), axis=0, return_counts=True)
    self.assertLen(counts, space.size())  # 72 arcs, every one seen
    # Standard deviation of a count: sqrt(3600/72) = 7.
    np.testing.assert_allclose(counts, 50, atol=33)

  def test_skip_prob(self):
    arcs = macro.MacroSpace(5, 0.4).sample_uniform(jax.random.key(0), 1000)
    lower = np.asarray(arcs.skips)[:, *np.tril_indices(5, -1)]
    # Standard deviation of the mean of 10,000: 0.005.
    self.assertAlmostEqual(lower.mean(), 0.4, delta=0.02)
    self.assertEqual(np.sum(arcs.skips), lower.sum())
    with self.assertRaisesRegex(types.InputError, r"skip_prob .*, got 1\.5\."):
      macro.MacroSpace(5, 1.5)

  def test_a_validated_arc_is_hashable_and_has_array_form(self):
    arrays = decisions.as_arrays(FIGURE_3)
    self.assertIsInstance(arrays, macro.MacroArc)
    self.assertEqual(arrays.skips.shape, (4, 4))
    self.assertEqual(arrays.skips.dtype, jnp.int32)
    back = macro.MacroSpace(4).validate(arrays)
    self.assertEqual(hash(back), hash(FIGURE_3))
    self.assertIs(type(back.skips[3][0]), int)

  @parameterized.parameters(
    (
      dict(ops=(0, 3, 6, 1)),
      r"^arc\.ops\[2\] must be in \[0, 6\), got 6 \(MacroSpace,"
      r" num_layers=4\)\.$",
    ),
    (dict(ops=(0, -1, 0, 1)), r"arc\.ops\[1\] must be in \[0, 6\), got -1"),
    (dict(ops=(0, 3, 4)), r"arc\.ops must have 4 entries, got 3 \(Macro"),
    (dict(ops=(0, 3, 4, True)), r"arc\.ops must be a list of integers"),
    (dict(ops=(0, 3, 4, 0.5)), r"arc\.ops must be a list of integers, got \(0"),
    (dict(ops=((0, 3), (4,))), r"arc\.ops must be a list of integers"),
    (
      dict(skips=np.zeros((3, 4), int)),
      r"^arc\.skips must be a table of 4 x 4 integers, got 3 x 4 \(MacroSpace,"
      r" num_layers=4\)\.$",
    ),
    (
      dict(skips=((), (1,), (0, 1), (1, 0, 1))),
      r"arc\.skips must be a table of 4 x 4 integers, got \(\(\), \(1,\),",
    ),
    (
      dict(skips=((0,) * 4, (2, 0, 0, 0), (0,) * 4, (0,) * 4)),
      r"^arc\.skips\[1\]\[0\] must be 0 or 1, got 2 \(MacroSpace,"
      r" num_layers=4\)\.$",
    ),
    (
      dict(skips=((0,) * 4, (0,) * 4, (0, 0, 1, 0), (0,) * 4)),
      r"^arc\.skips\[2\]\[2\] must be 0 \(a layer takes only nodes before it\),"
      r" got 1 \(MacroSpace, num_layers=4\)\.$",
    ),
  )
  def test_validate_names_the_fault(self, change, message):
    with self.assertRaisesRegex(types.InputError, message):
      macro.MacroSpace(4).validate(FIGURE_3._replace(**change))

  @parameterized.parameters(
    ("0 0 1", r"of 4 layers has 10 tokens, got 3: '0 0 1'\.$"),
    ("0 3 1 5 0 x 2 1 0 1", "tokens must be integers, got '0 3 1"),
    ("0 3 1 6 0 1 2 1 0 1", r"arc\.ops\[2\] must be in \[0, 6\), got 6"),
    ("0 3 1 5 0 1 2 1 0 3", r"arc\.skips\[3\]\[2\] must be 0 or 1, got 3"),
  )
  def test_bad_tokens(self, tokens, message):
    with self.assertRaisesRegex(types.InputError, message):
      macro.MacroSpace(4).from_tokens(tokens)

  @parameterized.parameters(
    ("{", "^the architecture is not valid JSON: .*"),
    ("[1]", "must be a JSON object, got list"),
    ('{"space": "micro"}', 'must have "space": "macro", got \'micro\''),
    (
      '{"space": "macro", "num_layers": 4, "ops": []}',
      "lacks the field 'skips'; needed are num_layers, ops and skips",
    ),
    (
      '{"space": "macro", "num_layers": true, "ops": [], "skips": []}',
      "num_layers must be an integer, got True",
    ),
    (
      '{"space": "macro", "num_layers": 1, "ops": "conv", "skips": []}',
      r"arc\.ops must be a list of names, got conv",
    ),
    (
      '{"space": "macro", "num_layers": 1, "ops": ["conv"], "skips": [[0]]}',
      "unknown operation 'conv'; known are conv_3x3, conv_5x5",
    ),
    (
      '{"space": "macro", "num_layers": 1, "ops": ["conv_3x3"], "skips": 0}',
      r"arc\.skips must be a table of 1 x 1 integers, got",
    ),
  )
  def test_bad_json(self, text, message):
    with self.assertRaisesRegex(types.InputError, message):
      macro.from_dict(records.loads(text))

  def test_choices_of_another_space(self):
    """Indexing would clamp them, and make another arc without a word."""
    space, larger = macro.MacroSpace(4), macro.MacroSpace(5)
    arcs = larger.sample_uniform(jax.random.key(0), 2)
    with self.assertRaises(AssertionError):
      space.to_choices(arcs)
    with self.assertRaises(AssertionError):
      space.from_choices(larger.to_choices(arcs))

  def test_an_arc_of_another_space(self):
    record = macro.MacroSpace(4).to_dict(FIGURE_3)
    with self.assertRaisesRegex(types.InputError, "expected one of .*layers=5"):
      macro.MacroSpace(5).from_dict(record)

  def test_bad_space(self):
    with self.assertRaisesRegex(
      types.InputError, "num_layers must be at least 1, got 0"
    ):
      macro.MacroSpace(0)


if __name__ == "__main__":
  absltest.main()
