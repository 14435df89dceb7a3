"""The main job on the real Penn Treebank, where it is there."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest

ROOT = pathlib.Path(__file__).resolve().parent.parent


class PennTreebankTest(absltest.TestCase):
  def test_a_short_search_learns(self):
    folder = os.environ.get("ENAS_DATA_DIR")
    if not folder or not (pathlib.Path(folder) / "ptb").is_dir():
      self.skipTest("ENAS_DATA_DIR names no folder with ptb/ptb.train.txt")
    with tempfile.TemporaryDirectory() as scratch:
      workdir = pathlib.Path(scratch) / "run"
      found = subprocess.run(
        [
          *(sys.executable, "-m", "experiments.ptb_search", "--preset=smoke"),
          *(f"--data_dir={folder}", f"--workdir={workdir}"),
          *("--num_epochs=1", "--omega_steps=100", "--theta_steps=20"),
          *("--eval_arcs=1", "--derive_arcs=5"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        # Here programs run for long: they are optimised, as a user's are.
        env={**os.environ, "XLA_FLAGS": ""},
      )
      self.assertEqual(found.returncode, 0, found.stderr)
      self.assertIn("929,589 / 73,760 / 82,430 tokens", found.stdout)
      self.assertIn("vocabulary 10,000", found.stdout)
      record = json.loads((workdir / "result.json").read_text())
    # The frequencies of single words alone have a perplexity of about 700;
    # a uniform guess has 10,000.
    self.assertLess(record["valid_perplexity"], 1500)


if __name__ == "__main__":
  absltest.main()
