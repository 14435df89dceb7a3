"""A run's folder: its name, whole files, and what damaged ones say."""

import json
import math
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import folder


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
