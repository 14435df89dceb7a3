"""A run's folder: its name, whole files, and what damaged ones say."""

import json
import math
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import folder, hosts


class FolderTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.root = pathlib.Path(scratch.name)

  def test_runs_of_the_same_second_have_their_folders(self):
    path = self.root / "runs" / "search-1"
    made = [folder.make_new(path) for _ in range(3)]
    self.assertEqual(
      [one.name for one in made], ["search-1", "search-1-2", "search-1-3"]
    )
    for one in made:
      self.assertTrue(one.is_dir())
    (self.root / "file").write_text("")
    with self.assertRaises(OSError):
      folder.make_new(self.root / "file" / "run")

  def test_numbers_that_json_lacks_are_null(self):
    path = self.root / "rows.jsonl"
    rows = [{"a": math.nan, "b": [1.5, math.inf]}, {"c": {"d": -math.inf}}]
    folder.write_rows(path, rows)
    expected = [{"a": None, "b": [1.5, None]}, {"c": {"d": None}}]
    self.assertEqual(folder.read_rows(path, ""), expected)
    self.assertEqual(list(self.root.iterdir()), [path])
    folder.write_json(path, rows[0])
    self.assertEqual(json.loads(path.read_text()), expected[0])

  def test_files_by_the_byte(self):
    path = self.root / "file"
    folder.write_json(path, {"a": [1], "b": math.nan})
    self.assertEqual(
      path.read_text(), '{\n  "a": [\n    1\n  ],\n  "b": null\n}\n'
    )
    folder.write_csv(path, [{"a": 1, "b": None}, {"b": 2.5, "a": "x,y"}])
    self.assertEqual(path.read_text(), 'a,b\n1,\n"x,y",2.5\n')
    folder.write(path, b"\x00\xff")
    self.assertEqual(path.read_bytes(), b"\x00\xff")
    folder.remove(path)
    folder.remove(path)  # which is gone
    self.assertEqual(list(self.root.iterdir()), [])

  def test_another_process_than_the_first_writes_nothing(self):
    path = self.root / "file"
    with mock.patch.dict(hosts._here, index=1, count=2):
      folder.write(path, "text")
      self.assertFalse(path.exists())
      path.write_text("kept")
      folder.remove(path)
    self.assertEqual(path.read_text(), "kept")

  @parameterized.parameters(
    ({"n": 1, "s": "x"}, None),
    ({"n": 1}, "lacks 's'; ask"),
    ({"n": "1", "s": "x"}, "is damaged: 'n' must be .*, got '1'; ask"),
  )
  def test_fields_of_a_record(self, record, message):
    check = lambda: folder.check_fields(
      record, {"n": int, "s": str}, self.root, "ask"
    )
    if message is None:
      check()
    else:
      with self.assertRaisesRegex(types.InputError, message):
        check()

  def test_numbers_of_a_record(self):
    record = {"a": 1, "b": 2.5, "c": None, "d": True, "e": "1"}
    folder.check_numbers(record, "abc", self.root, "ask")
    for name in "def":  # the last is not there
      with self.assertRaisesRegex(
        types.InputError, f"is damaged: {name} must be a number; ask"
      ):
        folder.check_numbers(record, ("a", name), self.root, "ask")

  @parameterized.parameters(
    (None, "cannot be read: No such file or directory; do this."),
    ('{"a": ', "is damaged: it is not valid JSON: .*; do this."),
    ("[1]", "must hold one JSON object; do this."),
  )
  def test_a_file_that_is_none_is_named(self, text, message):
    path = self.root / "result.json"
    if text is not None:
      path.write_text(text)
    with self.assertRaisesRegex(types.InputError, f"result.json {message}"):
      folder.read_json(path, "do this")


if __name__ == "__main__":
  absltest.main()
