"""Architectures from names, token strings, files and seeds."""

import json
import pathlib
import tempfile

import jax
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces import arcs, registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.recurrent import arc as recurrent

CELL = recurrent.RecurrentSpace(4)
NETWORK = macro.MacroSpace(3)
CELLS = micro.MicroSpace(4)
# One of each space, none of which fits another.
TOKENS = {
  "recurrent": "0 0 1 1 2 0 3",
  "macro": "5 4 1 3 0 1",
  "nasbench201": "4 2 1 3 0 3",
  "micro": "0 4 1 3 2 0 1 4 1 0 0 2 2 1 2 3",
}
OF = {
  "recurrent": CELL,
  "macro": NETWORK,
  "micro": CELLS,
  "nasbench201": nasbench201.NasBench201Space(),
}


class NamedTest(parameterized.TestCase):
  @parameterized.parameters(*registry.named())
  def test_tokens_round_trip(self, name):
    found = arcs.load_arc(name)
    definition, named = registry.named()[name]
    self.assertEqual(found.name, definition.name)
    self.assertEqual(found.space.to_tokens(found.arc), named.tokens)
    for leaf in jax.tree.leaves(found.arc):
      self.assertIs(type(leaf), int)
    self.assertEqual(found.options, named.options)
    self.assertEqual(arcs.load_arc(named.tokens)[:3], found[:3])

  def test_figure_6(self):
    _, space, arc, _ = arcs.load_arc("enas_rnn")
    self.assertEqual(space, recurrent.RecurrentSpace(12))
    # Section 3.1: ReLU and tanh alone, and an average of six nodes.
    self.assertEqual({recurrent.OPS[op] for op in arc.ops}, {"relu", "tanh"})
    self.assertLen(space.output_nodes(arc), 6)

  def test_enas_lm_numbers_operations_its_own_way(self):
    _, space, arc, _ = arcs.load_arc("enas_rnn_lm")
    self.assertEqual(space, recurrent.RecurrentSpace(8, "tanh"))
    self.assertEqual(
      [recurrent.OPS[op] for op in arc.ops],
      "tanh sigmoid tanh relu sigmoid tanh tanh sigmoid sigmoid".split(),
    )

  def test_released_network(self):
    _, space, arc, _ = arcs.load_arc("enas_macro")
    self.assertEqual(space, macro.MacroSpace(24))
    # The authors' 1 is a separable 3x3 and their 2 a 5x5 convolution.
    self.assertEqual(
      [macro.OPS[op] for op in arc.ops[:4]],
      ["conv_3x3", "sep_conv_5x5", "conv_3x3", "conv_5x5"],
    )
    self.assertEqual(arc.skips[3][:3], (0, 0, 1))
    self.assertEqual(sum(map(sum, arc.skips)), 98)

  def test_figure_8(self):
    _, space, arc, _ = arcs.load_arc("enas_micro")
    self.assertEqual(space, micro.MicroSpace(7))
    self.assertEqual(arc.normal.inputs[0], (0, 0))
    self.assertEqual(
      [micro.OPS[op] for op in arc.normal.ops[0]],
      ["avg_pool_3x3", "sep_conv_3x3"],
    )


class LoadArcTest(parameterized.TestCase):
  @parameterized.parameters(*registry.names())
  def test_tokens_say_their_space(self, name):
    found = arcs.load_arc(TOKENS[name])
    self.assertEqual((found.name, found.space), (name, OF[name]))
    self.assertEqual(found.arc, OF[name].from_tokens(TOKENS[name]))
    self.assertEqual(arcs.load_arc(TOKENS[name], name), found)

  @parameterized.parameters(*registry.names())
  def test_file(self, name):
    expected = arcs.load_arc(TOKENS[name])
    path = pathlib.Path(tempfile.mkdtemp()) / "arc.json"
    path.write_text(json.dumps(expected.space.to_dict(expected.arc)))
    self.assertEqual(arcs.load_arc(str(path)), expected)
    self.assertEqual(arcs.load_arc(str(path), name), expected)

  def test_a_network_is_no_huge_cell(self):
    bits = " ".join("0" * 78)
    self.assertEqual(arcs.load_arc(bits).space, macro.MacroSpace(12))
    found = arcs.load_arc(bits, "recurrent")
    self.assertEqual(found.space.num_nodes, 39)

  def test_a_deep_network_is_no_pair_of_huge_cells(self):
    found = arcs.load_arc(" ".join("0" * 2080))
    self.assertEqual(found.space, macro.MacroSpace(64))

  def test_separators(self):
    expected = arcs.load_arc(TOKENS["macro"])
    self.assertEqual(arcs.load_arc("5\n4,1\n3,0,1\n"), expected)
    expected = arcs.load_arc(TOKENS["micro"])
    split = "0 4 1 3 2 0 1 4 / 1 0 0 2 2 1 2 3"
    self.assertEqual(arcs.load_arc(split), expected)

  @parameterized.parameters(*registry.names())
  def test_random(self, name):
    one, other, again = (
      arcs.load_arc(f"random:{seed}", name, OF[name]) for seed in (1, 2, 1)
    )
    self.assertEqual(one, again)
    self.assertNotEqual(one.arc, other.arc)
    self.assertEqual(one.space.validate(one.arc), one.arc)

  @parameterized.parameters(
    ("enas_rmn", None, "no architecture 'enas_rmn'.*enas_rnn_lm"),
    ("/no/such/arc.json", None, "it is no file"),
    ("/" + "a" * 90, None, "no architecture '/aaaa.* it is no file"),
    ("/", None, "cannot be read: Is a directory"),
    ("", None, "cannot be read: Is a directory"),
    ("enas_rnn", "macro", "of the recurrent space, not of the macro space"),
    ("random:", "macro", "seed, got ''"),
    ("random:-1", "macro", "seed, got '-1'"),
    ("random:4294967296", "macro", "seed, got '4294967296'"),
    ("random:3", None, "random:SEED needs a space; give one of recurrent"),
    ("1 2 3 4 5", None, "5 tokens are an architecture of no space"),
    ("0 0 0", None, r"3 tokens are .* several spaces \(recurrent, macro\)"),
    ("0 0 0 9 9", "recurrent", r"arc\.prev\[2\] must be in \[0, 2\), got 9"),
    ("0 0 0 0", "macro", "of 2 layers has 3 tokens, got 4"),
    ("0 2 0 0 0 4", "micro", "has 4 tokens for each of its two cells, got 6"),
    ("0 -1 0", "recurrent", r"arc\.prev\[1\] must be in \[0, 1\), got -1"),
    ("0-1 0", "recurrent", "must be integers"),
    ("0 0", "nasbench", "space must be one of recurrent, macro, micro"),
  )
  def test_errors_are_one_line(self, text, name, message):
    with self.assertRaisesRegex(types.InputError, message) as caught:
      arcs.load_arc(text, name, OF.get(name))
    self.assertNotIn("\n", str(caught.exception))

  @parameterized.parameters(
    ("{", None, r"arc\.json: the architecture is not valid JSON"),
    ("[1]", None, "must be a JSON object"),
    ("\xff", None, "cannot be read"),
    ('{"space": "tree"}', None, '"space" must be one of .* got tree'),
    ('{"space": ["a"]}', None, '"space" must be one of'),
    ('{"space": "macro"}', None, "lacks the field 'num_layers'"),
    (
      '{"space": "recurrent", "num_nodes": 2, "prev": [0, 1], "ops": ["tanh",'
      ' "relu"]}',
      None,
      r"arc\.prev\[1\] must be in \[0, 1\), got 1",
    ),
    (
      '{"space": "nasbench201", "ops": ["' + "x" * 5000 + '"]}',
      None,
      r"unknown operation 'xxx.* \.\.\.; known are",
    ),
    (
      '{"space": "recurrent", "num_nodes": 1, "prev": [0], "ops": ["tanh"]}',
      "micro",
      "is of the recurrent space, not of the micro space",
    ),
  )
  def test_errors_of_a_file(self, content, name, message):
    path = pathlib.Path(tempfile.mkdtemp()) / "arc.json"
    path.write_bytes(content.encode("latin-1"))
    with self.assertRaisesRegex(types.InputError, message) as caught:
      arcs.load_arc(str(path), name)
    self.assertNotIn("\n", str(caught.exception))
    self.assertLess(len(str(caught.exception)), 400)


if __name__ == "__main__":
  absltest.main()
