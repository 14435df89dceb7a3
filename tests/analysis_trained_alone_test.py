"""What is kept of architectures that were trained alone, when it is damaged.

`ranking_cli_test` trains some.
"""

import pathlib
import tempfile

from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import trained_alone


class DamagedTest(parameterized.TestCase):
  @parameterized.parameters(
    ('{"arc"', "is damaged: it is not valid JSON: .*; move it away"),
    ('{"arc": {}, "training": {}}\n', "is damaged: move it away"),
    ("[]\n", "must hold JSON objects; move it away"),
  )
  def test_a_damaged_file_stays(self, content, message):
    path = pathlib.Path(tempfile.mkdtemp()) / "trained_alone.jsonl"
    path.write_text(content)
    with self.assertRaisesRegex(types.InputError, message):
      trained_alone._read(path, {}, "valid_accuracy")
    self.assertEqual(path.read_text(), content)


if __name__ == "__main__":
  absltest.main()
