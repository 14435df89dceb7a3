"""Metrics of a run that is resumed."""

import json
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest

from enas_jax.loggers import base
from enas_jax.search import folder, metrics
from tests import tiny


def row(step, theta_step=0):
  return {"phase": "omega", "epoch": 1, "step": step, "theta_step": theta_step}


class ResumeTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )
    self.lines = []

  def _open(self, place):
    config = tiny.make_config(run={"loggers": ()})
    return metrics.MetricWriter(
      self.workdir, place, config, "perplexity", self.lines.append
    )

  def test_rows_between_epochs_are_kept_up_to_the_last_that_has_ended(self):
    path = self.workdir / folder.METRICS
    ends = [row(2, 1) | {"phase": "epoch", "epoch": epoch} for epoch in (1, 2)]
    asked = row(2, 1) | {"phase": "asked", "epoch": 2}
    for epoch, kept in ((0, 1), (1, 2), (2, 4)):
      folder.write_rows(path, [row(2), ends[0], asked, ends[1]])
      with path.open("a") as file:
        file.write('[1]\n{"step": 3, "theta_st')  # cut off
      self._open(base.Place(2, 1, epoch)).close()
      self.assertLen(path.read_text().splitlines(), kept)

  def test_loggers_are_told_until_they_fail(self):
    writer = self._open(base.Place(0, 0, 0))
    sound, broken = mock.Mock(), mock.Mock()
    broken.scalars.side_effect = OSError("away")
    writer._loggers = {"sound": sound, "broken": broken}
    told = row(3, 4) | {"a/b": 1.5, "a/c": float("nan"), "a": 2.0}
    for _ in range(2):
      writer.write(told)
    rows = [json.loads(line) for line in writer.path.read_text().splitlines()]
    self.assertEqual(rows, [told | {"a/c": None}] * 2)
    call = mock.call(base.Place(3, 4, 1), {"a/b": 1.5})
    self.assertEqual(sound.scalars.mock_calls, [call, call])
    broken.scalars.assert_called_once()
    (line,) = self.lines
    self.assertIn("broken has failed and is told no more of this run", line)
    self.assertIn("away", line)
    record = {"valid_x": 2.5, "bad": float("inf"), "count": 3, "name": "x"}
    writer.finish(base.Place(5, 6, 2), record)
    self.assertEqual(
      sound.scalars.mock_calls[2:],
      [mock.call(base.Place(5, 6, 2), {"result/valid_x": 2.5})],
    )
    painted = []
    writer.picture(base.Place(5, 6, 2), "arc", lambda: painted.append(1) or b"")
    self.assertEqual(painted, [1])
    writer.close()
    sound.close.assert_called_once_with(True)
    again = self._open(base.Place(3, 4, 1))
    again._loggers = {"other": (other := mock.Mock())}
    again.close()
    other.close.assert_called_once_with(False)
    again._loggers = {}
    again.picture(base.Place(3, 4, 1), "arc", lambda: self.fail("painted"))

  def test_what_a_killed_run_wrote_in_vain_is_dropped(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    rows = [row(1), row(2), row(2, 1), row(2, 2)]
    folder.write_rows(workdir / folder.METRICS, rows)
    config = tiny.make_config(run={"loggers": ()})
    metrics.MetricWriter(
      workdir, base.Place(2, 1, 0), config, "perplexity", self.fail
    ).close()
    kept = (workdir / folder.METRICS).read_text().splitlines()
    self.assertEqual([json.loads(line) for line in kept], rows[:3])


if __name__ == "__main__":
  absltest.main()
