"""The space of NAS-Bench-201."""

import itertools
import json

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import arcs, decisions, records
from enas_jax.spaces.nasbench201 import arc as nasbench201

SPACE = nasbench201.NasBench201Space()
# One of each operation and a second 3x3 convolution.
CELL = nasbench201.NasBench201Arc((4, 2, 1, 3, 0, 3))
ARC_STR = (
  "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
  "+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|"
)


class NasBench201SpaceTest(parameterized.TestCase):
  def test_edges(self):
    self.assertEqual(
      nasbench201.EDGES, ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    )

  def test_notations(self):
    self.assertEqual(SPACE.to_arc_str(CELL), ARC_STR)
    self.assertEqual(SPACE.from_arc_str(ARC_STR), CELL)
    self.assertEqual(SPACE.from_arc_str(ARC_STR.replace("+", " +\n")), CELL)
    self.assertEqual(SPACE.to_tokens(CELL), "4 2 1 3 0 3")
    self.assertEqual(SPACE.from_tokens("4, 2 1 3\n0 3"), CELL)
    self.assertEqual(SPACE.to_digits(CELL), "421303")
    self.assertEqual(SPACE.from_digits("421303"), CELL)

  def test_every_cell_has_its_own_arc_string(self):
    every = itertools.product(range(5), repeat=6)
    cells = [nasbench201.NasBench201Arc(ops) for ops in every]
    texts = [SPACE.to_arc_str(cell) for cell in cells]
    self.assertLen(set(texts), 15625)
    self.assertEqual(SPACE.size(), 15625)
    for cell, text in list(zip(cells, texts, strict=True))[::97]:
      self.assertEqual(SPACE.from_arc_str(text), SPACE.validate(cell))

  def test_json(self):
    record = json.loads(records.dumps(SPACE.to_dict(CELL)))
    self.assertEqual(record["ops"][0], "avg_pool_3x3")
    self.assertEqual(record["arc_str"], ARC_STR)
    self.assertEqual(record["tokens"], "4 2 1 3 0 3")
    self.assertEqual(nasbench201.from_dict(record), (SPACE, CELL))
    self.assertEqual(SPACE.from_dict(record), CELL)

  def test_decisions_and_choices(self):
    self.assertEqual(
      [(d.kind, d.node, d.num_choices) for d in SPACE.decisions()],
      [("op", edge, 5) for edge in range(6)],
    )
    choices = SPACE.to_choices(decisions.as_arrays(CELL))
    np.testing.assert_array_equal(choices, CELL.ops)
    self.assertEqual(SPACE.validate(SPACE.from_choices(choices)), CELL)

  def test_choices_of_another_space(self):
    with self.assertRaises(AssertionError):
      SPACE.from_choices(np.zeros((2, 7), np.int32))
    with self.assertRaises(AssertionError):
      SPACE.to_choices(nasbench201.NasBench201Arc((0, 1, 2)))

  def test_uniform_samples(self):
    ops = np.asarray(SPACE.sample_uniform(jax.random.key(0), 4000).ops)
    self.assertEqual((ops.shape, ops.dtype), ((4000, 6), np.int32))
    shares = [(ops == op).mean(axis=0) for op in range(5)]
    # Five standard deviations of a share of 0.2 among 4000.
    np.testing.assert_allclose(shares, np.full((5, 6), 0.2), atol=0.032)

  @parameterized.parameters(
    ([0] * 5, "must have 6 entries, got 5"),
    ([0, 0, 5, 0, 0, 0], r"arc\.ops\[2\] must be in \[0, 5\), got 5"),
    ([0, 0, 0, 0, 0, -1], r"arc\.ops\[5\] must be in \[0, 5\), got -1"),
    ([0.5] * 6, "must be a list of integers"),
  )
  def test_invalid_arcs(self, ops, message):
    with self.assertRaisesRegex(types.InputError, message):
      SPACE.validate(nasbench201.NasBench201Arc(ops))

  @parameterized.parameters(
    ("|none~0|", "has 3 nodes joined by '\\+', got 1"),
    (ARC_STR.replace("~1", "~2", 1), "node 2 of an arc string must be"),
    (ARC_STR.replace("|none~1", ""), "node 3 of an arc string must be"),
    (ARC_STR.replace("none", "conv"), "unknown operation 'conv'"),
    (ARC_STR[1:], "node 1 of an arc string must be"),
  )
  def test_invalid_arc_strings(self, text, message):
    with self.assertRaisesRegex(types.InputError, message):
      SPACE.from_arc_str(text)

  @parameterized.parameters("12345", "1234567", "12 456", "-12345", "123459")
  def test_invalid_digits(self, text):
    with self.assertRaises(types.InputError):
      SPACE.from_digits(text)

  def test_invalid_tokens(self):
    with self.assertRaisesRegex(types.InputError, "has 6 tokens, got 5"):
      SPACE.from_tokens("0 0 0 0 0")

  @parameterized.parameters(ARC_STR, "421303", " 421303\n")
  def test_load_arc(self, text):
    self.assertEqual(arcs.load_arc(text)[:3], ("nasbench201", SPACE, CELL))

  def test_load_arc_of_tokens_and_random(self):
    found = arcs.load_arc("4 2 1 3 0 3", "nasbench201")
    self.assertEqual(found.arc, CELL)
    drawn = arcs.load_arc("random:3", "nasbench201", SPACE)
    self.assertEqual(drawn.arc, SPACE.validate(drawn.arc))
    with self.assertRaisesRegex(types.InputError, "not of the macro space"):
      arcs.load_arc(ARC_STR, "macro")


if __name__ == "__main__":
  absltest.main()
