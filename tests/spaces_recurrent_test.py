import collections
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import decisions, records
from enas_jax.spaces.recurrent import arc as recurrent

FIGURE_1 = recurrent.RecurrentArc((0, 0, 1, 0), (0, 1, 1, 0))
PAPER_TOKENS = "0 0 0 1 1 2 1 2 0 2 0 5 1 1 0 6 1 8 1 8 1 8 1"
ENAS_LM_TOKENS = "0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2"


class RecurrentSpaceTest(parameterized.TestCase):
  def test_figure_1(self):
    space = recurrent.RecurrentSpace(4)
    # Figure 1 (right): tanh; 1, ReLU; 2, ReLU; 1, tanh.
    self.assertEqual(space.to_tokens(FIGURE_1), "0 0 1 1 1 0 0")
    self.assertEqual(space.from_tokens("0 0 1 1 1 0 0"), FIGURE_1)
    self.assertEqual(space.output_nodes(FIGURE_1), (2, 3))  # nodes 3 and 4

  def test_decisions_of_figure_1(self):
    found = recurrent.RecurrentSpace(4).decisions()
    self.assertEqual(
      [(d.kind, d.node, d.num_choices) for d in found],
      [
        ("op", 0, 4),
        ("index", 1, 1),
        ("op", 1, 4),
        ("index", 2, 2),
        ("op", 2, 4),
        ("index", 3, 3),
        ("op", 3, 4),
      ],
    )

  def test_sizes(self):
    space = recurrent.RecurrentSpace(12)
    self.assertEqual(space.printed_size(), 4**12 * math.factorial(12))
    self.assertEqual(space.size(), 4**12 * math.factorial(11))
    self.assertEqual(recurrent.RecurrentSpace(2, "tanh").size(), 4**2 * 2)

  def test_released_search_tokens(self):
    space = recurrent.RecurrentSpace(12)
    arc = space.from_tokens(PAPER_TOKENS)
    self.assertEqual(arc.prev, (0, 0, 1, 2, 2, 2, 5, 1, 6, 8, 8, 8))
    self.assertEqual(arc.ops, (0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1))
    # Section 3.1: the output is an average of 6 nodes.
    self.assertLen(space.output_nodes(arc), 6)
    self.assertEqual(space.to_tokens(arc), PAPER_TOKENS)

  def test_enas_lm_tokens_swap_sigmoid_and_identity(self):
    space = recurrent.RecurrentSpace(8, "tanh")
    arc = space.from_tokens(ENAS_LM_TOKENS)
    self.assertEqual(arc.prev, (0, 0, 1, 2, 2, 4, 5, 3, 6))
    names = [recurrent.OPS[op] for op in arc.ops]
    self.assertEqual(names[:4], ["tanh", "sigmoid", "tanh", "relu"])
    self.assertEqual(space.to_tokens(arc), ENAS_LM_TOKENS)

  def test_uniform_sampling_is_uniform(self):
    space = recurrent.RecurrentSpace(3)
    arcs = space.sample_uniform(jax.random.key(0), 4000)
    prev = collections.Counter(np.asarray(arcs.prev)[:, 2].tolist())
    self.assertEqual(set(prev), {0, 1})
    # Standard deviation of a count of 4000 fair coins: 32.
    self.assertAlmostEqual(prev[0], 2000, delta=130)
    ops = np.bincount(np.asarray(arcs.ops)[:, 0], minlength=4)
    # Standard deviation sqrt(4000 * 3/16): 27.
    np.testing.assert_allclose(ops, 1000, atol=110)
    pairs = {
      tuple(row)
      for row in np.concatenate([arcs.prev, arcs.ops], axis=1).tolist()
    }
    self.assertLen(pairs, space.size())  # 128 arcs, every one seen

  def test_as_arrays_keeps_the_type(self):
    arc = decisions.as_arrays(FIGURE_1)
    self.assertIsInstance(arc, recurrent.RecurrentArc)
    self.assertEqual(arc.prev.dtype, jnp.int32)

  @parameterized.parameters(
    (
      ((0, 0, 2, 0), (0, 1, 1, 0)),
      r"arc\.prev\[2\] must be in \[0, 2\), got 2 "
      r"\(RecurrentSpace, num_nodes=4\)\.",
    ),
    (
      ((0, 0, -1, 0), (0, 1, 1, 0)),
      r"arc\.prev\[2\] must be in \[0, 2\), got -1",
    ),
    (((1, 0, 1, 0), (0, 1, 1, 0)), r"arc\.prev\[0\] must be 0"),
    (((0, 0, 1, 0), (0, 1, 4, 0)), r"arc\.ops\[2\] must be in \[0, 4\), got 4"),
    (((0, 0, 1), (0, 1, 1)), r"arc\.prev must have 4 entries, got 3"),
    (((0, 0, 1, 0.5), (0, 1, 1, 0)), r"arc\.prev must be a list of integers"),
    (((0, [0], 1, 0), (0, 1, 1, 0)), r"arc\.prev must be a list of integers"),
  )
  def test_validate_names_the_fault(self, arc, message):
    with self.assertRaisesRegex(types.InputError, message):
      recurrent.RecurrentSpace(4).validate(recurrent.RecurrentArc(*arc))

  def test_first_node_must_be_tanh_where_it_is_fixed(self):
    with self.assertRaisesRegex(
      types.InputError, r"arc\.ops\[0\] must be tanh"
    ):
      recurrent.RecurrentSpace(3, "tanh").validate(
        FIGURE_1._replace(ops=(1,) * 4)
      )

  @parameterized.parameters(
    ("0 0 1", "has 7 tokens, got 3"),
    ("0 0 1 1 x 0 0", "must be integers"),
    ("0 0 1 5 1 0 0", r"arc\.prev\[2\] must be in"),
  )
  def test_bad_tokens(self, tokens, message):
    with self.assertRaisesRegex(types.InputError, message):
      recurrent.RecurrentSpace(4).from_tokens(tokens)

  @parameterized.parameters(
    ("{", "not valid JSON"),
    ("[1]", "must be a JSON object, got list"),
    ('{"space": "macro"}', "got 'macro'"),
    ('{"space": "recurrent", "num_nodes": 4}', "lacks the field 'prev'"),
    (
      json.dumps(
        {
          "space": "recurrent",
          "num_nodes": 2,
          "prev": [0, 0],
          "ops": ["tanh", "gelu"],
        }
      ),
      "unknown operation 'gelu'; known are tanh, relu",
    ),
    (
      '{"space": "recurrent", "num_nodes": "2", "prev": [0], "ops": []}',
      "num_nodes must be an integer",
    ),
  )
  def test_bad_json(self, text, message):
    with self.assertRaisesRegex(types.InputError, message):
      recurrent.from_dict(records.loads(text))

  def test_choices_of_another_space(self):
    """Indexing would clamp them, and make another arc without a word."""
    space, larger = recurrent.RecurrentSpace(4), recurrent.RecurrentSpace(5)
    arcs = larger.sample_uniform(jax.random.key(0), 2)
    with self.assertRaises(AssertionError):
      space.to_choices(arcs)
    with self.assertRaises(AssertionError):
      space.from_choices(larger.to_choices(arcs))

  def test_an_arc_of_another_space(self):
    record = recurrent.RecurrentSpace(4).to_dict(FIGURE_1)
    with self.assertRaisesRegex(types.InputError, "expected one of .*nodes=5"):
      recurrent.RecurrentSpace(5).from_dict(record)

  def test_bad_space(self):
    with self.assertRaisesRegex(types.InputError, "num_nodes must be at least"):
      recurrent.RecurrentSpace(0)
    with self.assertRaisesRegex(types.InputError, "first_node must be one of"):
      recurrent.RecurrentSpace(3, "relu")


if __name__ == "__main__":
  absltest.main()
