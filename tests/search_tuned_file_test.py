"""Candidates trained alone, as a run that was stopped finds them again."""

import json
import math
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import tuned_file
from enas_jax.spaces.nasbench201 import arc as nasbench201

SPACE = nasbench201.NasBench201Space()
ONE, OTHER = map(SPACE.from_digits, ("012340", "333333"))


class TunedFileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(folder) / "tuned.json"

  def _write(self):
    done = {(ONE, 3): (1.5, 0.25), (ONE, 9): (1.25, 0.5)}
    done[OTHER, 3] = (math.nan, 0.1)
    tuned_file.write(self.path, SPACE, [12, 10], 61.5, done)
    return done

  def test_what_was_written_is_read(self):
    done = self._write()
    seconds, read = tuned_file.read(self.path, SPACE, [12, 10])
    self.assertEqual(seconds, 61.5)
    self.assertEqual(list(read), list(done))
    self.assertEqual(read[ONE, 3], (1.5, 0.25))
    self.assertEqual(read[ONE, 9], (1.25, 0.5))
    nats, valid = read[OTHER, 3]
    self.assertTrue(math.isnan(nats))  # null in the file
    self.assertEqual(valid, 0.1)

  @parameterized.parameters(([12, 11],), ([12, 9],), ([18, 10],))
  def test_of_another_state_nothing_counts(self, position):
    self._write()
    self.assertEqual(tuned_file.read(self.path, SPACE, position), (0.0, {}))

  def test_without_a_file(self):
    self.assertEqual(tuned_file.read(self.path, SPACE, [0, 0]), (0.0, {}))

  @parameterized.parameters("position", "seconds", "done")
  def test_a_file_that_lacks_something_is_named(self, name):
    self._write()
    record = json.loads(self.path.read_text())
    del record[name]
    self.path.write_text(json.dumps(record))
    with self.assertRaisesRegex(types.InputError, "tuned.json is damaged"):
      tuned_file.read(self.path, SPACE, [12, 10])


if __name__ == "__main__":
  absltest.main()
