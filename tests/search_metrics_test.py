"""Metrics of a run that is resumed."""

import json
import pathlib
import tempfile
from unittest import mock

import tensorboardX
from absl.testing import absltest

from enas_jax.search import folder, metrics


def row(step, theta_step=0):
  return {"phase": "omega", "epoch": 1, "step": step, "theta_step": theta_step}


class ResumeTest(absltest.TestCase):
  def test_both_files_keep_what_stands_at_the_position(self):
    """JSON lines and TensorBoard agree on what a killed run wrote in vain."""
    workdir = pathlib.Path(tempfile.mkdtemp())
    purged = []

    class Events:
      def __init__(self, folder, purge_step):
        purged.append(purge_step)

      def close(self):
        pass

    rows = [row(1), row(2), row(2, 1), row(2, 2)]
    folder.write_rows(workdir / folder.METRICS, rows)
    with mock.patch.object(tensorboardX, "SummaryWriter", Events):
      metrics.MetricWriter(workdir, 3, 0).close()
      kept = (workdir / folder.METRICS).read_text().splitlines()
      self.assertEqual([json.loads(line) for line in kept], rows[:3])
      # TensorBoard drops what is at this step and later.
      self.assertEqual(purged, [4])
      metrics.MetricWriter(workdir).close()
      self.assertEqual(purged, [4, None])


if __name__ == "__main__":
  absltest.main()
