"""The search on NAS-Bench-201 as a user meets it, with a made-up table."""

import itertools
import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from tests import command_line

FLAGS = (
  *("--preset=smoke", "--dataset=digits", "--num_filters=2"),
  *("--num_epochs=2", "--omega_steps=4", "--theta_steps=3", "--log_every=2"),
  *("--theta_warmup_epochs=1", "--theta_reward=likelihood"),
  *("--eval_arcs=1", "--derive_arcs=8", "--controller_hidden_size=8"),
  "--tune_arcs=0",
)


def run(*flags):
  return command_line.run("nasbench201", *FLAGS, "--ranking_arcs=12", *flags)


def truth(ops):
  """Made up, and another for each cell: base five, in [50, 65.625)."""
  return 50 + int(ops, 5) / 1000


class CommandLineTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.table = self.folder / "table.csv"
    cells = ["".join(ops) for ops in itertools.product("01234", repeat=6)]
    lines = [f"{ops},{truth(ops)}" for ops in cells]
    self.table.write_text("\n".join(["ops,cifar10_test_200", *lines]) + "\n")

  def test_a_run_looks_up_the_truth(self):
    workdir = self.folder / "run"
    flags = [f"--workdir={workdir}", f"--benchmark_table={self.table}"]
    found = run(*flags)
    self.assertEqual(found.returncode, 0, found.stderr)
    result = json.loads((workdir / "result.json").read_text())
    ops = result["ops"]
    self.assertEqual("".join(result["arc"]["tokens"].split()), ops)
    self.assertEqual(result["arc_str"], result["arc"]["arc_str"])
    self.assertAlmostEqual(result["true_accuracy"], truth(ops))
    self.assertEqual(result["rank"], 15625 - int(ops, 5))
    self.assertAlmostEqual(result["regret"], truth("444444") - truth(ops))
    self.assertEqual(result["seed"], 0)
    config = json.loads((workdir / "config.json").read_text())["config"]
    self.assertEqual(config["omega"]["op_weights"], [1, 1, 3, 3, 1])
    self.assertGreater(result["search_seconds"], 0)
    self.assertIn(f"true accuracy {truth(ops):.2f}%, rank", found.stdout)
    # The mean of 50, 50.001 and so on.
    self.assertIn("by chance: 57.81% (best of 1)", found.stdout)
    shown = f'true accuracy</th><td class="number">{truth(ops):.2f}%<'
    self.assertTrue(shown in (workdir / "report.html").read_text())
    rows = [
      json.loads(line)
      for line in (workdir / "arcs.jsonl").read_text().splitlines()
    ]
    self.assertAlmostEqual(
      result["mean_true_accuracy"],
      np.mean([truth("".join(row["arc"]["tokens"].split())) for row in rows]),
    )
    self.assertEqual(rows[0]["reward"], result["reward"])
    self.check_kendall_tau(result, workdir)
    self.check_free_scores(workdir)
    again = run(f"--workdir={workdir}", "--resume", "--policy=controller")
    self.assertEqual(again.returncode, 0, again.stderr)
    self.assertIn("the run is finished", again.stdout)
    self.assertIn("is not looked up", again.stdout)
    self.check_derived_again(result, workdir)

  def check_derived_again(self, result, workdir):
    """The first of the same candidates is the run's."""
    again = self.folder / "again"
    flags = (f"--run={workdir}", f"--workdir={again}", "--tune_arcs=0")
    table = f"--benchmark_table={self.table}"
    found = command_line.run("derive", *flags, table, "--derive_arcs=8")
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertIn(f"true accuracy {result['true_accuracy']:.2f}%", found.stdout)
    record = json.loads((again / "result.json").read_text())
    for name in ("ops", "true_accuracy", "rank", "mean_true_accuracy"):
      self.assertEqual(record[name], result[name])

  def check_free_scores(self, workdir):
    """Ranks of several are added, over cells without a dead edge."""
    text = self.table.read_text()
    table = self.folder / "other.csv"
    table.write_text(text.replace("cifar10_test_200", "accuracy", 1))
    flags = (
      *(f"--run={workdir}", f"--benchmark_table={table}", "--live", "--json"),
      *("--num_arcs=30", "--truth_column=accuracy"),
      *("--num_top=5", "--bootstrap=0"),
    )
    scores = {}
    for names in ("params", "naswot", "params,naswot"):
      found = command_line.run("ranking", *flags, f"--score={names}")
      self.assertEqual(found.returncode, 0, found.stderr)
      record = json.loads(found.stdout)
      self.assertEqual((record["score"], record["num_top"]), (names, 5))
      self.assertBetween(record["num_arcs"], 5, 29)
      rows = (workdir / "ranking_arcs.jsonl").read_text().splitlines()
      rows = [json.loads(row) for row in rows]
      scores[names] = [row["score"] for row in rows]
    for row in rows:
      # The last edge leads to the output: without it node 2 is dead, or all.
      ops = row["tokens"].split()
      self.assertAlmostEqual(row["truth"], truth("".join(ops)))
      self.assertFalse(ops[5] == "0" and ops[1] != "0")
    self.assertGreater(len(set(scores["naswot"])), 3)
    ranks = [stats.rankdata(scores[name]) for name in ("params", "naswot")]
    np.testing.assert_allclose(scores["params,naswot"], np.sum(ranks, axis=0))
    refused = command_line.run("ranking", *flags, "--score=params,luck")
    self.assertEqual(refused.returncode, 2)
    self.assertIn("different ones of nll, accuracy, params", refused.stderr)
    drawn = ("--score=params,jacob_cov", "--num_draws=2")
    found = command_line.run("ranking", *flags, *drawn)
    self.assertEqual(json.loads(found.stdout)["num_draws"], 2)
    refused = command_line.run(
      "ranking", *flags, "--score=params", "--num_draws=2"
    )
    self.assertEqual(refused.returncode, 2)
    self.assertIn("--num_draws does nothing without", refused.stderr)

  def check_kendall_tau(self, result, workdir):
    """As `experiments.ranking` finds on the same cells."""
    found = command_line.run(
      "ranking",
      *(f"--run={workdir}", f"--benchmark_table={self.table}", "--json"),
      *("--num_arcs=12", "--num_images=0", "--score=nll"),
    )
    self.assertEqual(found.returncode, 0, found.stderr)
    record = json.loads(found.stdout)
    self.assertNotEqual(result["kendall_tau"], 0)
    for name in ("kendall_tau", "spearman"):
      self.assertEqual(result[name], record[name])

  @parameterized.parameters(
    ("ops,cifar10_test_200\n000000,1\n", "has 1 of the 15,625 cells"),
    ("ops,accuracy\n000000,1\n", "lacks the column 'cifar10_test_200'"),
    ("ops,cifar10_test_200\n00,1\n", "line 2: a cell must be 6 digits"),
    (None, "cannot be read: No such file"),
  )
  def test_a_bad_table_ends_the_run_before_it_starts(self, text, message):
    self.table.unlink()
    if text is not None:
      self.table.write_text(text)
    workdir = self.folder / "run"
    found = run(f"--workdir={workdir}", f"--benchmark_table={self.table}")
    self.assertEqual(found.returncode, 2, found.stderr)
    self.assertRegex(found.stderr, f"^error: .*{message}.*\n$")
    self.assertFalse(workdir.exists())

  @parameterized.parameters(
    ("depth=5", "tune_changes must be options of the network"),
    ("image_size=5", "image_size is 5; it must be at least 8"),
    ("num_valid=7", "num_valid cannot change"),
  )
  def test_what_cannot_change_ends_the_run_before_it_starts(self, changes, of):
    workdir = self.folder / "run"
    flags = ("--tune_arcs=1", f"--tune_changes={changes}")
    found = run(f"--workdir={workdir}", *flags)
    self.assertEqual(found.returncode, 2, found.stderr)
    self.assertRegex(found.stderr, f"^error: {of}.*\n$")
    self.assertFalse(workdir.exists())


if __name__ == "__main__":
  absltest.main()
