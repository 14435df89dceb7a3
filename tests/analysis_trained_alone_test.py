"""What is kept of architectures that were trained alone, when it is damaged.

`ranking_cli_test` trains some.
"""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import trained_alone

_ROW = {"arc": {}, "nats": 1.0, "valid_accuracy": 1, "training": {}}


class DamagedTest(parameterized.TestCase):
  @parameterized.parameters(
    ('{"arc"', "is damaged: it is not valid JSON: .*; move it away"),
    ('{"arc": {}, "training": {}}\n', "is damaged: move it away"),
    ("[]\n", "must hold JSON objects; move it away"),
    *(
      (json.dumps(_ROW | change) + "\n", "is damaged: move it away")
      for change in (
        {"arc": 5},
        {"nats": None},
        {"valid_accuracy": "1"},
        {"training": 5},
        {"training": {"tune_step": 1}},
      )
    ),
  )
  def test_a_damaged_file_stays(self, content, message):
    path = pathlib.Path(tempfile.mkdtemp()) / "trained_alone.jsonl"
    path.write_text(content)
    with self.assertRaisesRegex(types.InputError, message):
      trained_alone._read(path, {}, "valid_accuracy")
    self.assertEqual(path.read_text(), content)

  def test_one_that_is_whole(self):
    path = pathlib.Path(tempfile.mkdtemp()) / "trained_alone.jsonl"
    path.write_text(json.dumps(_ROW) + "\n")
    self.assertEqual(trained_alone._read(path, {}, "valid_accuracy"), [_ROW])


if __name__ == "__main__":
  absltest.main()
