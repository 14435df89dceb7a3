"""Metrics of a run that is resumed."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from enas_jax.loggers import base
from enas_jax.search import folder, metrics
from tests import tiny


def row(step, theta_step=0):
  return {"phase": "omega", "epoch": 1, "step": step, "theta_step": theta_step}


class ResumeTest(absltest.TestCase):
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
