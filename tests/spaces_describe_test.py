"""Counts of architectures, against the authors' code and counts by hand.

Everything is traced only: nothing is compiled.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import tempfile
from xml.etree import ElementTree

import numpy as np
from absl import flags
from absl.testing import absltest, flagsaver, parameterized
from PIL import Image

from enas_jax import types
from enas_jax.report import drawing
from enas_jax.spaces import arcs, base, describe, registry
from experiments import describe as script
from tests import tiny


def shape_of(space, options, arc):
  return registry.get(space).shape(options, arc)


TINY = base.DataShape(vocabulary_size=30, image_shape=(8, 8, 2), num_classes=3)


def child(loaded, preset, **changes):
  """A preset's options for an architecture."""
  size = {
    field.name: getattr(loaded.space, field.name)
    for field in dataclasses.fields(loaded.space)
    if field.compare
  }
  return tiny.child_config(loaded.name, preset, **size, **changes)


class SupergraphTest(parameterized.TestCase):
  @parameterized.parameters(
    # Measured in the authors' graphs; see supergraph/.
    ("macro", {}, 697_860, 0),
    ("micro", {}, 5_373_140, 412_928),
    ("recurrent", {"num_nodes": 9}, 16_560_000, 0),
    ("recurrent", {"num_nodes": 12}, 27_120_000, 0),
  )
  def test_released(self, space, changes, params, aux):
    config = tiny.child_config(space, "released", **changes)
    found = describe.describe(space, config)
    self.assertEqual(found["params"], params)
    self.assertEqual(found["params_aux_head"], aux)
    self.assertEqual(sum(found["params_by_part"].values()), params)
    self.assertIsNone(found["multiply_adds"])
    self.assertIsNone(found["depth"])

  def test_parts_are_in_order(self):
    config = tiny.child_config("macro", num_layers=11)
    parts = describe.describe("macro", config)["params_by_part"]
    layers = [name for name in parts if name.startswith("layer_")]
    self.assertEqual(layers, [f"layer_{at}" for at in range(11)])

  def test_without_batch_norm(self):
    config = tiny.child_config("macro", "released")
    found = describe.describe("macro", config)
    # Pairs of 36: the stem's, ten in each layer, a join's in all layers but
    # the first, and those of 5 and 9 reduced nodes.
    norms = 2 * 36 * (1 + 10 * 12 + 11 + 5 + 9)
    self.assertEqual(found["params_without_batch_norm"], 697_860 - norms)
    config = tiny.child_config("recurrent", "paper")
    found = describe.describe("recurrent", config)
    norms = found["params"] - found["params_without_batch_norm"]
    self.assertEqual(norms, 2 * 720)


class ChildTest(parameterized.TestCase):
  def test_released_recurrent_child(self):
    arc = arcs.load_arc("random:0", "recurrent", tiny.child_config(
      "recurrent", "released", num_nodes=12
    ).space())  # fmt: skip
    found = describe.describe("recurrent", child(arc, "released"), arc.arc)
    self.assertEqual(found["params"], 3_120_000)
    # Each weight meets a token once; the embedding does in the softmax.
    self.assertEqual(found["multiply_adds"], 3_120_000)

  def test_recurrent_by_hand(self):
    arc = arcs.load_arc("0 0 1 0 2", "recurrent")
    config = child(arc, "paper", hidden_size=8)
    found = describe.describe("recurrent", config, arc.arc, TINY)
    matrix = 8 * 16  # node 1 has two
    self.assertEqual(found["params"], 30 * 8 + 4 * matrix + 2 * 8)
    self.assertEqual(found["params_without_batch_norm"], 30 * 8 + 4 * matrix)
    self.assertEqual(found["multiply_adds"], 30 * 8 + 4 * matrix)
    self.assertEqual(found["activation_bytes"], 4 * (4 * 16 + 30))
    self.assertEqual((found["depth"], found["loose_ends"]), (2, 2))
    self.assertEqual(found["shape"]["loose_ends"], [2, 3])

  def test_macro_by_hand(self):
    # 3x3 convolution; separable 5x5 on layer 1; max pooling on both.
    arc = arcs.load_arc("0 3 1 5 1 1", "macro")
    config = child(arc, "paper", num_filters=4)
    found = describe.describe("macro", config, arc.arc, TINY)
    square = 4 * 4  # of a 1x1 convolution, and of a factorized reduction
    self.assertEqual(
      found["multiply_adds"],
      sum((
        64 * 9 * 2 * 4,  # stem, 8 x 8 pixels
        64 * (square + 9 * square),  # layer 1
        16 * square * 2,  # the stem and layer 1, halved
        16 * (square + square + 25 * 4 + square),  # layer 2: join, 1x1, 5x5
        4 * square * 3,  # three nodes, halved
        4 * (2 * square + square),  # layer 3: join of two, 1x1
        4 * 3,  # classifier
      )),
    )  # fmt: skip
    numbers = 256 * 3 + 64 * 2 + 64 * 4 + 16 * 3 + 16 * 3 + 3
    self.assertEqual(found["activation_bytes"], 4 * numbers)
    self.assertEqual((found["depth"], found["loose_ends"]), (3, 0))

  def test_micro_by_hand(self):
    # Normal: separable 3x3 of input 1, and input 2. Reduction: two poolings.
    arc = arcs.load_arc("0 0 1 4 / 0 3 0 2", "micro")
    config = child(arc, "paper", num_layers=3, num_filters=4)
    found = describe.describe("micro", config, arc.arc, TINY)
    separable = lambda f: 2 * (9 * f + f * f)
    self.assertEqual(
      found["multiply_adds"],
      sum((
        64 * 9 * 2 * 12,  # stem, three times as wide as the first stage
        64 * 2 * 12 * 4,  # both inputs fitted
        64 * (separable(4) + 4 * 4),  # the cell, and its output
        16 * 4 * 8,  # input 1 of the next cell, halved
        64 * (12 * 8 + 4 * 8),  # the reduction cell's inputs fitted
        16 * 8 * 8,  # its output
        16 * (separable(8) + 8 * 8),
        4 * 8 * 16,
        16 * (8 * 16 + 8 * 16),
        4 * 16 * 16,
        4 * (separable(16) + 16 * 16),
        16 * 3,  # classifier
      )),
    )  # fmt: skip
    self.assertEqual((found["depth"], found["loose_ends"]), (1, 2))
    self.assertEqual(found["shape"]["normal"], {"depth": 1, "loose_ends": [3]})

  @parameterized.parameters(
    # Section 3.1: the average of six nodes.
    ("enas_rnn", "paper", 7, 6),
    ("enas_macro", "paper", 10, 3),
    # There every layer reads the one before.
    ("enas_macro", "released", 24, 0),
    ("enas_micro", "paper", 2, 9),
  )
  def test_form(self, name, preset, depth, loose_ends):
    loaded = arcs.load_arc(name)
    shape = shape_of(loaded.name, child(loaded, preset), loaded.arc)
    self.assertEqual((shape.depth, shape.loose_ends), (depth, loose_ends))

  def test_unread_input_is_a_loose_end_as_released(self):
    loaded = arcs.load_arc("0 0 0 4 / 0 3 0 2", "micro")
    for preset, ends in (("paper", [3]), ("released", [2, 3])):
      shape = shape_of("micro", child(loaded, preset), loaded.arc)
      self.assertEqual(shape.detail["normal"]["loose_ends"], ends)


class ScriptTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    if "arc" not in flags.FLAGS:
      script.define_flags()

  def setUp(self):
    super().setUp()
    self.enter_context(flagsaver.flagsaver())

  def run_script(self, *arguments):
    flags.FLAGS(["describe", *arguments])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
      script.main()
    return printed.getvalue()

  def test_json(self):
    text = self.run_script("--space=micro", "--preset=released", "--json")
    found = json.loads(text)
    self.assertEqual(text.count("\n"), 1)
    keys = "space params params_without_batch_norm params_aux_head"
    keys += " multiply_adds depth loose_ends"
    self.assertContainsSubset(keys.split(), found)
    self.assertEqual(found["params"], 5_373_140)

  def test_the_space_follows_from_the_architecture(self):
    text = self.run_script(
      *("--arc=enas_rnn_lm", "--preset=released", "--network=searched"),
      "--json",
    )
    found = json.loads(text)
    self.assertEqual(found["space"], "recurrent")
    self.assertEqual(found["arc"]["num_nodes"], 8)
    self.assertEqual(found["arc"]["first_node"], "tanh")
    self.assertEqual(found["params"], 2_800_000)

  @parameterized.parameters(
    # As the authors' scripts report them: `fixed.py` of enas_lm, and
    # `cifar10_micro_final.sh` without and with its auxiliary head.
    (("--arc=enas_rnn_lm",), 20_800_000, 0),
    (("--arc=enas_rnn_lm", "--hidden_size=850"), 22_950_000, 0),
    (("--arc=enas_micro",), 3_894_372, 4_389_220 - 3_894_372),
  )
  def test_released_networks_that_are_trained(self, flags, params, aux):
    text = self.run_script(*flags, "--preset=released", "--json")
    found = json.loads(text)
    self.assertEqual(found["params"], params)
    self.assertEqual(found["params_aux_head"], aux)

  def test_a_cell_of_the_benchmark_has_no_training_of_its_own(self):
    found = json.loads(self.run_script("--arc=333333", "--json"))
    self.assertEqual(found["space"], "nasbench201")
    self.assertEqual(found["arc"]["ops"], ["nor_conv_3x3"] * 6)

  def test_a_found_cell_with_inputs_left_over(self):
    """Released: an input that no node takes is a loose end of its cell."""
    text = self.run_script("--arc=enas_micro", "--preset=released", "--json")
    ends = json.loads(text)["shape"]["reduction"]["loose_ends"]
    arc = arcs.load_arc("enas_micro").arc.reduction
    taken = {node for row in arc.inputs for node in row}
    self.assertEqual(ends, [n + 1 for n in range(7) if n not in taken])

  def test_table(self):
    text = self.run_script("--arc=0 0 1 0 2", "--hidden_size=8")
    self.assertIn("h1 = tanh(x_t, h_(t-1))", text)
    self.assertRegex(text, r"\nparams +80,512\n")
    self.assertRegex(text, r"\n  embedding +80,000\n")

  def test_random_takes_its_size_from_the_flags(self):
    text = self.run_script(
      "--arc=random:7", "--space=recurrent", "--num_nodes=5", "--json"
    )
    self.assertLen(json.loads(text)["arc"]["ops"], 5)

  def check_png(self, path, drawing):
    """Of 192 pixels for the drawing's 72 points, white at a corner."""
    with Image.open(path) as found:
      pixels = np.asarray(found.convert("RGB"))
    points = [
      float(drawing.get(n).removesuffix("pt")) for n in ("height", "width")
    ]
    for got, expected in zip(pixels.shape[:2], points, strict=True):
      self.assertAlmostEqual(got, expected * 192 / 72, delta=1)
    self.assertEqual(pixels[0, 0].tolist(), [255, 255, 255])
    # The title alone has hundreds of dark pixels: a font was found.
    title = pixels[: 2 * 40].max(axis=-1)
    self.assertGreater(np.sum(title < 100), 300)

  def test_draw(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    for suffix in ("svg", "png", "dot"):
      self.run_script("--arc=enas_rnn", f"--draw={folder}/cell.{suffix}")
    found = ElementTree.parse(folder / "cell.svg").getroot()
    self.assertIn("The cell of Figure 6, 12 nodes", "".join(found.itertext()))
    self.check_png(folder / "cell.png", found)
    source = (folder / "cell.dot").read_text()
    self.assertStartsWith(source, "digraph")
    self.assertIn("  h3 -> h4;\n", source)
    self.assertEqual(source.count("-> avg;"), 6)

  @parameterized.parameters(*registry.named())
  def test_every_space_is_drawn(self, name):
    loaded = arcs.load_arc(name)
    config = child(loaded, "paper")
    drawn = drawing.draw_arc(loaded.name, config, loaded.arc, "Title")
    self.assertIn("Title", "".join(ElementTree.XML(drawn.svg).itertext()))
    self.assertStartsWith(drawn.dot, "digraph")
    self.assertNotEmpty(drawn.text)

  @parameterized.parameters(
    ([], "give --run, a run, --arc, an architecture, or"),
    (["--arc=enas_rnn", "--space=micro"], "of the recurrent space, not of the"),
    (["--arc=enas_rnn", "--num_nodes=8"], "--num_nodes is 8, but .* has 12"),
    (["--arc=enas_rnn", "--first_node=tanh"], "--first_node is tanh, but"),
    (["--arc=enas_macro", "--num_layers=12"], "--num_layers is 12, but"),
    (["--arc=enas_micro", "--hidden_size=9"], "--hidden_size is an option of"),
    (["--arc=random:1"], "random:SEED needs a space"),
    (["--arc=enas_rnn", "--draw=cell.pdf"], r"must end in \.svg, \.png or"),
    (["--space=macro", "--draw=cell.svg"], "--draw needs --run or --arc"),
    (["--arc=enas_rnn", "--draw=/no/such/cell.svg"], "cannot be written: No"),
    (
      ["--space=micro", "--preset=released", "--image_size=16"],
      "image_size must be at least 17",
    ),
  )
  def test_errors(self, arguments, message):
    with self.assertRaisesRegex(types.InputError, message):
      self.run_script(*arguments)

  def test_an_agreeing_flag_is_no_contradiction(self):
    self.run_script("--arc=enas_rnn", "--num_nodes=12", "--first_node=sampled")


if __name__ == "__main__":
  absltest.main()
