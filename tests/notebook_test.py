"""The tour runs from its first cell to its last, twice."""

import contextlib
import json
import pathlib
import tempfile
from unittest import mock

import matplotlib
from absl.testing import absltest

from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from tests import command_line

TOUR = command_line.ROOT / "experiments" / "tour.ipynb"
# What stands in the cell of parameters here.
SMALLEST = """
PRESET, FOLDER = "smoke", "tour"
OPTIONS = dict(
  num_epochs=1, omega_steps=2, theta_steps=1, theta_warmup_epochs=0,
  eval_arcs=1, derive_arcs=2, num_devices=1,
  batch_size=8,
)
NETWORK = dict(num_nodes=2, hidden_size=8, bptt_length=5)
"""


def cells(kind):
  for cell in json.loads(TOUR.read_text())["cells"]:
    if cell["cell_type"] == kind:
      yield cell, "".join(cell["source"])


class TourTest(absltest.TestCase):
  def test_it_was_saved_without_what_it_showed(self):
    found = [cell for cell, _ in cells("code")]
    self.assertGreater(len(found), 10)
    for cell in found:
      self.assertEmpty(cell["outputs"])
      self.assertIsNone(cell["execution_count"])
    self.assertNotIn("/home", TOUR.read_text())

  def test_every_cell_runs(self):
    matplotlib.use("agg")
    told = {"__name__": "__main__"}
    # Registered names must not reach other tests of this process.
    with (
      contextlib.chdir(tempfile.mkdtemp()),
      mock.patch.dict(spaces._REGISTRY._definitions),
      mock.patch.dict(strategies._REGISTRY._definitions),
    ):
      for cell, source in cells("code"):
        if "parameters" in cell["metadata"].get("tags", ()):
          source = SMALLEST
        exec(compile(source, cell["id"], "exec"), told)
      folder = pathlib.Path("tour")
      for name in ("search", "trained", "own", "bandit"):
        self.assertTrue((folder / name / "report.html").exists(), name)
      saved = json.loads((folder / "bandit" / "config.json").read_text())
      self.assertEqual(saved["config"]["run"]["policy"], "bandit")
      # The first search again: the same, at once.
      again = next(text for _, text in cells("code") if "enas.search" in text)
      kept = told["run"].arc
      exec(again, told)
      self.assertEqual(told["run"].arc, kept)
    self.assertEqual(told["model"].arc, kept)
    self.assertLen(told["bandit"].arc.ops, 3)


if __name__ == "__main__":
  absltest.main()
