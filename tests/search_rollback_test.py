"""What a run remembers of its rollbacks, by hand."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from enas_jax import types
from enas_jax.search import rollback


class RollbacksTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.workdir = pathlib.Path(folder)
    self.path = self.workdir / "rollbacks.json"

  def _read(self):
    return rollback.Rollbacks.read(self.workdir)

  def test_each_halves_the_rates_until_the_run_has_ended(self):
    known = self._read()
    self.assertEqual((known.places, known.counted, known.factor), ([], 0, 1.0))
    known.add(12)
    known.add(-1)  # back to the start
    self.assertEqual((known.counted, known.factor), (2, 0.25))
    known.forgive()  # it has not ended
    self.assertEqual(known.counted, 2)
    known.end()
    self.assertEqual(
      json.loads(self.path.read_text()),
      {"places": [12, -1], "forgiven": 0, "ended": True},
    )
    self.assertTrue(rollback.has_ended(self.workdir))
    again = self._read()
    self.assertTrue(again.ended)
    again.forgive()
    self.assertEqual((again.counted, again.factor), (0, 1.0))
    again.add(24)
    self.assertEqual((again.counted, again.factor), (1, 0.5))
    self.assertEqual(
      json.loads(self.path.read_text()),
      {"places": [12, -1, 24], "forgiven": 2, "ended": False},
    )
    self.assertFalse(rollback.has_ended(self.workdir))

  def test_checkpoints_that_were_left_are_not_gone_on_from(self):
    known = rollback.Rollbacks(self.path, [5, 12])
    # Saved before any rollback: no later than the first one's place.
    for number, allowed in ((5, True), (6, False), (12, False)):
      self.assertEqual(known.allow(number, {}), allowed)
    # Saved after the first: the second one's place alone counts.
    for number, allowed in ((12, True), (13, False)):
      self.assertEqual(known.allow(number, {"rollbacks": 1}), allowed)
    self.assertTrue(known.allow(99, {"rollbacks": 2}))
    self.assertEqual([known.known({}), known.known({"rollbacks": 2})], [0, 2])

  def test_one_of_several_trainings_may_have_ended(self):
    (self.workdir / "arc_2").mkdir()
    self.assertFalse(rollback.has_ended(self.workdir))
    rollback.Rollbacks.read(self.workdir / "arc_2").end()
    self.assertTrue(rollback.has_ended(self.workdir))

  def test_a_damaged_file_is_named(self):
    for text in ('{"places": [1]}', '{"places": 3, "forgiven": 0, "ended": 0}'):
      self.path.write_text(text)
      with self.assertRaisesRegex(
        types.InputError, "rollbacks.json is damaged"
      ):
        self._read()


if __name__ == "__main__":
  absltest.main()
