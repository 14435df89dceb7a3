"""The comparison of searches, on a made-up table."""

import itertools
import json
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import ranking
from enas_jax.report import results
from enas_jax.search import loop
from enas_jax.spaces.nasbench201 import arc as nasbench201
from experiments import _baseline_table, _flags, baselines
from tests import analysis_comparison_test as comparison_test
from tests import command_line, tiny


def write_images(path):
  data = tiny.make_images()
  np.savez(
    path,
    x_train=data.train_images,
    y_train=data.train_labels,
    x_test=data.test_images,
    y_test=data.test_labels,
  )


def write_table(path):
  """A table in which every 3x3 convolution is worth 10%."""
  lines = ["index,ops,cifar10_test_200,cifar10_valid_12,iso_class"]
  for index, ops in enumerate(itertools.product(range(5), repeat=6)):
    accuracy = 30.0 + 10.0 * ops.count(3) + 0.001 * (index % 7)
    digits = "".join(map(str, ops))
    lines.append(f"{index},{digits},{accuracy:.3f},{accuracy:.3f},{index}")
  path.write_text("\n".join(lines) + "\n")


class TableTest(absltest.TestCase):
  def test_rows(self):
    origin = {
      "command": ["c"],
      "commit": "d",
      "device": "e",
      "versions": {"jax": "1"},
    }
    table = _baseline_table.make_table(comparison_test.make_record(), origin)
    header, _, *lines = results.to_markdown(table).splitlines()
    self.assertIn("controller minus it", header)
    self.assertIn("beats table_random", header)
    self.assertLen(lines, 4)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    columns = [cell.strip() for cell in header.split("|")[1:-1]]
    first, second, one, best = (
      dict(zip(columns, row, strict=True)) for row in cells
    )
    self.assertEqual(first["accuracy"], "93.00 +- 1.00")
    self.assertEqual(first["of the seeds"], "92.00 to 94.00")
    self.assertEqual(first["tau"], "0.50")
    self.assertEqual(first["omega steps"], "100")
    self.assertEqual(first["seconds"], "20")
    self.assertEqual(first["beats table_random"], "2 of 2")
    self.assertEqual(first["published"], "53.89 +- 0.58")
    self.assertEqual(first["controller minus it"], "")
    self.assertEqual(second["controller minus it"], "+2.00 +- 1.00")
    self.assertEqual((second["tau"], second["published"]), ("", ""))
    self.assertEqual((one["method"], one["accuracy"]), ("chance, one", "88.00"))
    self.assertEqual(best["regret"], "2.50")


class TauTest(absltest.TestCase):
  def test_one_that_is_not_defined_is_none_and_stays_so(self):
    runner = object.__new__(baselines._Runner)
    runner._table = mock.Mock(accuracies=np.array([1.0, 2.0]))
    folder = pathlib.Path(tempfile.mkdtemp())
    order = ranking.rank_correlation([1.0, 1.0], [1.0, 2.0], bootstrap=0)
    row = {"omega_steps": 1, "theta_steps": 1}
    found = mock.Mock(workdir=folder)
    with (
      mock.patch.object(baselines._table, "rank", return_value=order) as rank,
      mock.patch.object(baselines.flags, "FLAGS", mock.Mock(ranking_arcs=2)),
    ):
      self.assertIsNone(runner._kendall_tau(found, row))
      self.assertIsNone(runner._kendall_tau(found, row))
    rank.assert_called_once()


class SameTest(absltest.TestCase):
  def test_what_alters_no_step_may_differ(self):
    kept = tiny.make_image_config(
      "nasbench201", policy="random", run={"num_epochs": 2}
    )
    check = lambda **changes: _flags.check_same(
      *("nasbench201", kept, config_lib.override(kept, "run", **changes)),
      pathlib.Path("runs"),
    )
    check(heartbeat_every_minutes=1.0, loggers=(), num_epochs=3)
    with self.assertRaisesRegex(types.InputError, "num_epochs=2, not 1"):
      check(num_epochs=1)
    with self.assertRaisesRegex(types.InputError, "has --seed="):
      check(seed=kept.run.seed + 1)


class EqualiseTest(absltest.TestCase):
  def _equalise(self, seconds):
    """With steps that were timed before: 0.5 s an omega step, 50 at most."""
    config = tiny.make_image_config(
      "nasbench201", policy="random", run={"num_epochs": 4}, omega={"steps": 40}
    )
    runner = object.__new__(baselines._Runner)
    runner._configs, runner._progress = {"random": config}, loop.Progress()
    runner._prepare = lambda config: (
      mock.Mock(steps_per_epoch=lambda train: min(config.omega.steps, 50)),
      mock.Mock(),
    )
    known = {"omega": 0.5, "theta": 0.0}
    with mock.patch.object(baselines.equal_seconds, "measure") as measure:
      costs = runner.equalise("random", seconds, known)
    measure.assert_not_called()
    self.assertEqual(costs, known)
    return runner._configs["random"].omega.steps

  def test_a_resumed_comparison_has_the_steps_that_it_had(self):
    self.assertEqual(self._equalise(40.0), 20)  # 4 * 20 * 0.5
    with self.assertRaisesRegex(types.InputError, "more than the data have"):
      self._equalise(400.0)


class CommandLineTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    write_images(cls.folder / "own.npz")
    write_table(cls.folder / "table.csv")
    cls.flags = [
      "--preset=smoke",
      *("--theta_warmup_epochs=0", "--omega_op_weights="),
      f"--dataset=npz:{cls.folder / 'own.npz'}",
      f"--benchmark_table={cls.folder / 'table.csv'}",
      *("--image_size=0", "--batch_size=8", "--reward_batch_size=10"),
      *("--num_valid=12", "--num_filters=4", "--num_epochs=1"),
      *("--omega_steps=2", "--theta_steps=3", "--derive_arcs=3"),
      *("--eval_arcs=1", "--controller_hidden_size=8"),
      *("--theta_population_size=2", "--num_queries=6", "--ranking_arcs=9"),
      "--tune_arcs=0",
    ]

  def test_searches_and_the_ranking_of_one(self):
    """That of the controller is `nasbench201_cli_test`'s."""
    workdir = self.folder / "runs"
    flags = [*self.flags, f"--workdir={workdir}", "--seeds=0"]
    found = command_line.run(
      "baselines", *flags, "--policies=evolution,table_random"
    )
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertIn("| chance, best of 3 |", found.stdout)
    before = (workdir / "evolution-0" / "result.json").stat().st_mtime_ns
    # Searches are run alike: two stand for all, which take long to compile.
    # `strategies_*_test` run one by every strategy.
    policies = ["random", "evolution", "table_reinforce", "table_random"]
    found = command_line.run(
      *("baselines", *flags, f"--policies={','.join(policies)}"),
      *("--json", "--resume"),
    )
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertEqual(found.stderr, "")
    kept = json.loads((workdir / "evolution-0/kendall_tau.json").read_text())
    record = json.loads(found.stdout)
    self.assertEqual(
      kept["kendall_tau"], record["runs"]["evolution"][0]["kendall_tau"]
    )
    self.assertEqual(record, json.loads((workdir / "result.json").read_text()))
    # The first search was not repeated.
    after = (workdir / "evolution-0" / "result.json").stat().st_mtime_ns
    self.assertEqual(before, after)
    self.assertEqual(list(record["runs"]), policies)
    space = nasbench201.NasBench201Space()
    for policy, (one,) in record["runs"].items():
      self.assertAlmostEqual(
        one["true_accuracy"],
        30.0 + 10.0 * one["ops"].count("3"),
        delta=0.01,
        msg=policy,
      )
      self.assertEqual(
        space.from_arc_str(one["arc_str"]), space.from_digits(one["ops"])
      )
      self.assertAlmostEqual(
        one["regret"], record["optimum"] - one["true_accuracy"], places=3
      )
    for policy in ("random", "evolution"):
      result = json.loads((workdir / f"{policy}-0" / "result.json").read_text())
      self.assertEqual(result["policy"], policy)
      self.assertEqual(result["theta_steps"], 0 if policy == "random" else 3)
      tau = record["runs"][policy][0]["kendall_tau"]
      self.assertBetween(tau, -1.0, 1.0)
      self.assertNotEqual(tau, 0.0)
    self.assertIsNone(record["runs"]["table_random"][0]["kendall_tau"])
    self._rank(workdir / "evolution-0")
    self._refuse_another_search(workdir, flags)

  def _refuse_another_search(self, workdir, flags):
    """A folder that was put there is kept as it is."""
    path = workdir / "evolution-0" / "config.json"
    record = path.read_text()
    for change, message in (
      (("theta", "steps", 4), "has --theta_steps=4, not 3 "),
      # More epochs than are asked for: a larger budget than the others'.
      (("run", "num_epochs", 2), "has --num_epochs=2, not 1 "),
      (None, "is of nasbench201 on digits, not of"),
    ):
      saved = json.loads(record)
      if change:
        part, name, value = change
        saved["config"][part][name] = value
      else:
        saved["dataset"] = "digits"
      path.write_text(json.dumps(saved))
      found = command_line.run(
        "baselines", *flags, "--policies=evolution", "--resume"
      )
      self.assertEqual(found.returncode, 2, found.stderr)
      self.assertRegex(
        found.stderr,
        f"^error: the search in .*evolution-0 {message}.*move that folder away",
      )
      self.assertEqual(json.loads(path.read_text()), saved)

  def _rank(self, run):
    flags = [
      f"--run={run}",
      f"--benchmark_table={self.folder / 'table.csv'}",
      *("--num_arcs=12", "--num_images=12", "--bootstrap=20", "--json"),
    ]
    found = command_line.run("ranking", *flags)
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertEqual(found.stderr, "")
    record = json.loads(found.stdout)
    self.assertEqual(record, json.loads((run / "ranking.json").read_text()))
    self.assertEqual((record["num_arcs"], record["num_top"]), (12, 2))
    self.assertEqual(record["policy"], "evolution")
    low, high = record["kendall_tau_interval"]
    self.assertBetween(low, -1.0, record["kendall_tau"])
    self.assertBetween(high, record["kendall_tau"], 1.0)
    rows = [
      json.loads(line)
      for line in (run / "ranking_arcs.jsonl").read_text().splitlines()
    ]
    self.assertLen({one["tokens"] for one in rows}, 12)
    for one in rows:
      convs = one["tokens"].split().count("3")
      self.assertAlmostEqual(one["truth"], 30.0 + 10.0 * convs, delta=0.01)
      self.assertLess(one["score"], 0.0)
    refused = command_line.run("ranking", *flags, "--statistics=moving")
    self.assertEqual(refused.returncode, 2)
    self.assertIn("needs a search with --moving_statistics", refused.stderr)

  def test_refusals(self):
    for flags, message in (
      (["--policies=controller,luck"], "--policies must be different ones of"),
      (["--seeds=1,1"], "--seeds must be different integers"),
      (["--seed=1"], "--seed does nothing here; give --seeds"),
      (["--num_queries=3", "--theta_num_arcs=2"], "multiple of theta_num_arcs"),
    ):
      found = command_line.run("baselines", *self.flags, *flags)
      self.assertEqual(found.returncode, 2, found.stderr)
      self.assertRegex(found.stderr, f"^error: .*{message}")


if __name__ == "__main__":
  absltest.main()
