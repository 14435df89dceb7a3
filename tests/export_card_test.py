"""The card of an exported model, its preprocessing, and what is refused."""

import dataclasses
import json
import pathlib
import sys
import tempfile
from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import export, types
from enas_jax.export import card as card_lib
from enas_jax.export import description
from tests import exported

# What `preprocessing.json` holds.
WORDS = {"how": "", "vocabulary": ["a", "b"], "end": "a", "unknown": None}
PIXELS = {
  "how": "",
  "image_shape": [8, 8, 3],
  "mean": [0.5, 0.5, 0.5],
  "std": [1, 0.5, 0.5],
  "class_names": ["a", "b"],
}


class CardTest(absltest.TestCase):
  def test_batch_norm_of_a_cell_is_told(self):
    for batch_norm in (False, True):
      model = exported.make_model("recurrent", batch_norm=batch_norm)
      card = card_lib.text(model, exported.module_of(model))
      self.assertEqual("statistics of the batch" in card, batch_norm)

  def test_numbers(self):
    model = exported.make_model("recurrent")
    self.assertIn(
      """## Numbers

| | |
|---|---|
| dataset | made up |
| seed | 3 |
| metrics test accuracy | 0.5 |

The command:

```console
$ python -m train
```
""",
      card_lib.text(model, exported.module_of(model)),
    )
    bare = dataclasses.replace(model, card={})
    self.assertIn(
      "None were given.", card_lib.text(bare, exported.module_of(bare))
    )

  def test_what_becomes_of_unknown_words_is_told(self):
    model = exported.make_model("recurrent")
    for unknown, told in (
      (
        "<unk>",
        "5 words; others become `<unk>`; the end of a line is `<eos>`.",
      ),
      (None, "5 words, and there is none for unknown ones; the end"),
    ):
      preprocessing = dataclasses.replace(model.preprocessing, unknown=unknown)
      changed = dataclasses.replace(model, preprocessing=preprocessing)
      card = card_lib.text(changed, exported.module_of(changed))
      self.assertIn(told, " ".join(card.split()))

  def test_size(self):
    # 5 words, 8 units: embedding, w_x and w_h, two edges.
    card = card_lib.text(
      model := exported.make_model("recurrent"), exported.module_of(model)
    )
    self.assertIn(f"{5 * 8 + 4 * 8 * 16} parameters", " ".join(card.split()))

  def test_parameters_that_depend_on_the_classes(self):
    model = exported.make_model("macro")
    card = card_lib.text(model, exported.module_of(model))
    self.assertIn('all but "classifier".', " ".join(card.split()))
    wider = exported.module_of(model).clone(num_classes=7).shapes()["params"]
    self.assertEqual(wider["classifier"]["w"].shape, (4, 7))


class PreprocessingTest(absltest.TestCase):
  def test_text(self):
    found = export.TextPreprocessing(("<eos>", "<unk>", "cat", "the"))
    tokens = found.preprocess("the cat\nthe dog")
    np.testing.assert_array_equal(tokens, [[3], [2], [0], [3], [1]])
    self.assertEqual(tokens.dtype, jnp.int32)

  def test_text_without_a_word_for_unknown_ones(self):
    found = export.TextPreprocessing(("cat", "the"))
    self.assertIsNone(found.end)
    np.testing.assert_array_equal(found.preprocess("the\ncat"), [[1], [0]])
    with self.assertRaisesRegex(types.InputError, "not in it: dog"):
      found.preprocess("the dog")
    with self.assertRaisesRegex(types.InputError, "at least one word"):
      found.preprocess(" ")

  def test_images(self):
    found = export.ImagePreprocessing(
      (1, 1, 2), exported.MEAN, exported.STD, "ab"
    )
    images = np.array([[[[255, 0]]]], np.uint8)
    np.testing.assert_allclose(
      found.preprocess(images), [[[[2.8, -2.0]]]], rtol=1e-6
    )
    wrongs = (images.astype(np.float32), images[0], images[..., :1], [[]])
    for wrong in wrongs:
      with self.assertRaisesRegex(
        types.InputError, r"uint8 array \[b, 1, 1, 2\]"
      ):
        found.preprocess(wrong)

  def test_values(self):
    for options, message in (
      (((8, 8), exported.MEAN, exported.STD, "ab"), "image_shape"),
      (((8, 8, 3), exported.MEAN, exported.STD, "ab"), "mean must be 3"),
      (((8, 8, 2), exported.MEAN, (0.0, 1.0), "ab"), "std must be positive"),
      (
        ((8, 8, 2), exported.MEAN, (float("nan"), 1.0), "ab"),
        "std must be 2 numbers",
      ),
      (((8, 8, 2), exported.MEAN, exported.STD, "a"), "class_names"),
    ):
      with self.assertRaisesRegex(types.InputError, message):
        export.ImagePreprocessing(*options)
    with self.assertRaisesRegex(types.InputError, "distinct"):
      export.TextPreprocessing(("a", "a"))


class RefusalTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def assert_refused(self, message, function, *args):
    with self.assertRaisesRegex(types.InputError, message) as caught:
      function(*args)
    self.assertNotIn("\n", str(caught.exception))

  def test_without_moving_statistics(self):
    model = exported.make_model("macro")
    for wrong in (
      dataclasses.replace(model, statistics={}),
      dataclasses.replace(
        model,
        config=dataclasses.replace(model.config, moving_statistics=False),
      ),
    ):
      self.assert_refused(
        "moving statistics", export.save, self.root / "x", wrong
      )
    self.assertEmpty(list(self.root.iterdir()))

  def test_folder_in_use_is_left_alone(self):
    (self.root / "mine.txt").write_text("mine")
    model = exported.make_model("recurrent")
    self.assert_refused("already holds", export.save, self.root, model)
    self.assert_refused(
      "already holds", export.save, self.root / "mine.txt", model
    )
    self.assertEqual((self.root / "mine.txt").read_text(), "mine")
    self.assertLen(list(self.root.iterdir()), 1)

  def test_a_failure_leaves_nothing(self):
    model = exported.make_model("recurrent")
    wrong = dataclasses.replace(model, card={"metrics": object()})
    with self.assertRaises(TypeError):
      export.save(self.root / "x", wrong)
    self.assertEmpty(list(self.root.iterdir()))

  def test_numbers_that_are_not_finite(self):
    model = exported.make_model("recurrent")
    child = {**model.child, "w_h": model.child["w_h"].at[0, 0].set(np.nan)}
    card = {"metrics": {"test_perplexity": float("inf")}}
    for changes, message in (
      ({"child": child}, "params/w_h has numbers that are not finite"),
      ({"card": card}, "the card has a number that is not finite"),
    ):
      wrong = dataclasses.replace(model, **changes)
      self.assert_refused(message, export.save, self.root / "x", wrong)
    self.assertEmpty(list(self.root.iterdir()))

  def test_weights_of_another_architecture(self):
    model = exported.make_model("recurrent")
    child = {**model.child, "w_h": model.child["w_h"][:-1]}
    self.assert_refused(
      r"params/w_h must be float32 \[8, 16\], got float32 \[7, 16\]",
      export.save,
      self.root / "x",
      dataclasses.replace(model, child=child),
    )
    del child["w_h"]
    self.assert_refused(
      "they lack params/w_h",
      export.save,
      self.root / "x",
      dataclasses.replace(model, child=child),
    )

  def test_description_that_does_not_fit(self):
    model = exported.make_model("recurrent")
    for changes, message in (
      ({"space": "nano"}, "one of recurrent, macro, micro"),
      ({"space": "macro"}, "config must be a MacroConfig"),
      (
        {"preprocessing": exported.make_model("macro").preprocessing},
        "must be a TextPreprocessing",
      ),
      ({"arc": model.arc._replace(ops=(9, 0, 0))}, "arc.ops"),
    ):
      self.assert_refused(
        message, lambda c=changes: dataclasses.replace(model, **c)
      )

  def test_a_hub_that_is_not_reached(self):
    hub = mock.Mock()
    hub.snapshot_download.side_effect = Exception("Connection refused")
    with mock.patch.dict(sys.modules, {"huggingface_hub": hub}):
      self.assert_refused(
        "hub:me/cell: Connection refused", export.load, "hub:me/cell"
      )

  def test_folders_that_are_damaged(self):
    folder = self.root / "x"
    folder.mkdir()  # an empty one will do
    export.save(folder, exported.make_model("recurrent"))
    self.assert_refused("there is no", export.load, self.root)
    self.assert_refused("there is no", export.load_serving, self.root)
    self.assert_refused("there is no xxx", export.load, "x" * 5000)
    architecture = json.loads((folder / "architecture.json").read_text())
    child = architecture["child"]
    for name, content, message in (
      ("architecture.json", "{", "is damaged: it is not valid JSON"),
      ("architecture.json", "[]", "JSON object"),
      ("architecture.json", {}, '"format" must be'),
      ("architecture.json", {**architecture, "version": 2}, '"version" must'),
      ("architecture.json", {**architecture, "space": []}, '"space" must'),
      ("architecture.json", {**architecture, "arc": None}, '"arc" must'),
      (
        "architecture.json",
        {**architecture, "child": {**child, "hidden_size": "8"}},
        "child.hidden_size must be of type int",
      ),
      (
        "architecture.json",
        {**architecture, "child": {**child, "batch_norm": 1}},
        "child.batch_norm must be of type bool",
      ),
      (
        "architecture.json",
        {**architecture, "child": {**child, "hidden_size": 9}},
        "do not fit the architecture",
      ),
      (
        "architecture.json",
        {**architecture, "child": {**child, "more": 9}},
        "missing or unknown: more",
      ),
      ("preprocessing.json", {"vocabulary": 3}, "end, unknown"),
      *(
        ("preprocessing.json", {**WORDS, **changes}, f"preprocessing.{message}")
        for changes, message in (
          ({"vocabulary": 3}, "vocabulary must be a list of str, got 3"),
          ({"vocabulary": "ab"}, "vocabulary must be a list of str, got ab"),
          ({"vocabulary": ["a", 1]}, "vocabulary must be a list of str"),
          ({"end": 3}, "end must be of type str or null, got 3"),
          ({"unknown": ["a"]}, "unknown must be of type str or null"),
        )
      ),
      ("weights.safetensors", "nothing", "cannot be read"),
      ("card.json", "\\", "is damaged: it is not valid JSON"),
    ):
      path = folder / name
      before = path.read_bytes()
      path.write_text(
        content if isinstance(content, str) else json.dumps(content)
      )
      with self.subTest(f"{name}: {message}"):
        self.assert_refused(message, export.load, folder)
      path.write_bytes(before)
    export.load(folder)
    read = description.read_preprocessing  # of a network for images
    for changes, message in (
      ({"image_shape": ["8", "8", "3"]}, "image_shape must be a list of int"),
      ({"image_shape": [8.5, 8, 3]}, "image_shape must be a list of int"),
      ({"image_shape": [True, 8, 3]}, "image_shape must be a list of int"),
      ({"mean": "123"}, "mean must be a list of float, got 123"),
      ({"std": [1, "1", 1]}, "std must be a list of float"),
      ({"class_names": {"a": 0, "b": 1}}, "class_names must be a list of str"),
      ({"class_names": ["a", None]}, "class_names must be a list of str"),
    ):
      record = {**PIXELS, **changes}
      with self.subTest(message):
        self.assert_refused(message, read, "macro", record)
    # JSON need not tell 1 from 1.0.
    self.assertEqual(read("macro", PIXELS).std, (1.0, 0.5, 0.5))
    (folder / "model.jaxexport").write_bytes(b"nothing")
    self.assert_refused("cannot|can read", export.load_serving, folder)
    (folder / "weights.safetensors").unlink()
    self.assert_refused("there is no", export.load, folder)


if __name__ == "__main__":
  absltest.main()
