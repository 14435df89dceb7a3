"""What is read with bounds, and what is refused, besides whole scripts."""

import json
import pathlib
import tempfile
import time

import numpy as np
import safetensors.numpy
from absl.testing import absltest, parameterized

from enas_jax import files, types
from enas_jax.analysis import benchmark_table
from enas_jax.config import fields
from enas_jax.export import folder as export_folder
from enas_jax.report import html
from enas_jax.search import folder as folder_lib
from enas_jax.spaces import registry


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(folder) / "file"

  @parameterized.parameters(
    ("9_0", None),
    ("\u0663", None),
    ("nan", None),
    ("1e999", None),
    (".", None),
    ("", None),
    (" 90 ", 90.0),
    ("-.5e1", -5.0),
    ("3.", 3.0),
  )
  def test_numbers(self, text, value):
    self.assertEqual(fields.number(text), value)

  def test_a_byte_order_mark_hides_no_column(self):
    path = self.path.with_suffix(".csv")
    path.write_text("ops,cifar10_test_200\n000001,12.5\n", "utf-8-sig")
    table = benchmark_table.BenchmarkTable.load(path)
    self.assertEqual(table.accuracies.tolist(), [12.5])

  def test_json_that_is_read(self):
    nested = "[" * 63 + "]" * 63
    brackets = '"' + "[" * 99 + '\\""'
    face = '"\\ud83d\\ude00"'
    text = f'{{"a": -12, "b": {brackets}, "c": {nested}, "d": {face}}}'
    self.assertEqual(files.parse_json(text), json.loads(text))

  @parameterized.parameters(
    ("[" * 65 + "]" * 65, "nested deeper than 64"),
    ('{"a": 1, "a": 2}', "has the field 'a' twice"),
    ('"\\ud800"', "has text that is not Unicode"),
    ("1" * 20, "more than 19 digits"),
    ("-Infinity", "has -Infinity, which is no number"),
  )
  def test_json_that_is_refused(self, text, message):
    with self.assertRaisesRegex(types.InputError, message):
      files.parse_json(text)

  def test_a_text_without_an_end_is_refused_at_once(self):
    begin = time.process_time()
    with self.assertRaisesRegex(types.InputError, "Unterminated string"):
      files.parse_json('"' + '\\"' * 5000)
    # Tried anew from each quote it took seconds, and four times as many for
    # twice the text.
    self.assertLess(time.process_time() - begin, 2.0)

  def test_more_than_a_bound(self):
    self.path.write_bytes(b"12345")
    self.assertEqual(files.read_bytes(self.path, 5), b"12345")
    with self.assertRaisesRegex(types.InputError, "more than 4 bytes; do th"):
      files.read_bytes(self.path, 4, "do this")

  def test_weights_must_be_finite(self):
    arrays = {"a": np.array([1, np.nan], np.float32)}
    safetensors.numpy.save_file(arrays, self.path)
    with self.assertRaisesRegex(types.InputError, "a has numbers that are not"):
      export_folder._read_weights(self.path)

  def test_weights_of_eight_bits_are_refused(self):
    head = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(head).encode()
    content = len(text).to_bytes(8, "little") + text + b"\0\0"
    self.path.write_bytes(content)
    with self.assertRaisesRegex(types.InputError, "file cannot be read"):
      export_folder._read_weights(self.path)

  def test_a_drawing_of_entities_is_left_out(self):
    self.path.write_text(
      '<!DOCTYPE svg [<!ENTITY a "ha">]>'
      '<svg xmlns="http://www.w3.org/2000/svg"><title>&a;</title></svg>'
    )
    part = html._picture_part(self.path)
    self.assertEqual(part, {"problem": "file is not a drawing of enas_jax."})

  @parameterized.parameters(
    ({"a": "1"}, "a must be a number; do this"),
    ({"a": True}, "a must be a number"),
    ({}, "a must be a number"),
  )
  def test_numbers_of_a_record(self, record, message):
    with self.assertRaisesRegex(types.InputError, message):
      folder_lib.check_numbers(record, ["a"], self.path, "do this")
    folder_lib.check_numbers({"a": None}, ["a"], self.path, "do this")

  @parameterized.parameters(*registry.names())
  def test_presets_are_within_the_bounds(self, space):
    for preset in ("paper", "released", "small", "smoke"):
      config = registry.preset(preset, space)
      self.assertLessEqual(config.data.batch_size, fields.WIDEST)


if __name__ == "__main__":
  absltest.main()
