"""The controller of a tiny search on text under the microscope."""

import csv
import json
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from enas_jax import types
from enas_jax.analysis import controller_study, ranking
from enas_jax.report import results
from enas_jax.search import evaluate, search
from enas_jax.spaces import decisions
from enas_jax.strategies import registry
from experiments import analyze_controller
from tests import command_line, tiny

FIGURES = ("certainty", "performance", "hidden", "paths", "entropy")


def finished(folder, name, policy, dataset, **changes):
  """A finished search in folder/name, with its task and data."""
  config = tiny.make_config(policy=policy, **changes)
  task, splits = tiny.make_task(config, dataset)
  workdir = folder / name
  workdir.mkdir()
  done = search.Search(config, task, splits, workdir)
  done.run()
  record = {
    "experiment": "ptb_search",
    "space": "recurrent",
    "preset": "smoke",
    "dataset": dataset,
    "config": config.to_dict(),
  }
  (workdir / "config.json").write_text(json.dumps(record))
  return done, task, splits


def read(path):
  with path.open() as file:
    return list(csv.DictReader(file))


class AnalyzeTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    dataset = tiny.write_corpus(cls.folder)
    cls.done, cls.task, cls.splits = finished(
      cls.folder, "learnt", "controller", dataset
    )
    finished(cls.folder, "chance", "random", dataset)
    cls.base = ("--num_arcs=6", "--num_pairs_of=4", "--num_examples=5")

  def _run(self, *flags):
    return command_line.run("analyze_controller", *self.base, *flags)

  def test_everything_is_written_and_agrees(self):
    out = self.folder / "out"
    found = self._run(
      f"--run={self.folder / 'learnt'}", f"--beside={self.folder / 'chance'}",
      f"--workdir={out}", "--bootstrap=20", "--json", "--note=tiny",
    )  # fmt: skip
    self.assertEqual(found.returncode, 0, found.stderr)
    record = json.loads(found.stdout)
    self.assertEqual(record, json.loads((out / "result.json").read_text()))
    for name in FIGURES:
      for suffix in ("png", "svg", "csv"):
        self.assertGreater((out / f"{name}.{suffix}").stat().st_size, 100)
    table = record["table1"]
    self.assertEqual(
      [row["controller"] for row in table], ["controller", "untrained"]
    )
    self.assertEqual(table[0]["common_operations_published"], -0.315)
    self.assertEqual(table[1]["edit_distance_published"], -0.064)
    for row in table:
      for name in controller_study.COLUMNS:
        if row[name] is not None:
          self.assertBetween(row[name], -1.0, 1.0)
    measures = {row["controller"]: row for row in record["measures"]}
    self.assertLess(measures["untrained"]["mutual_information_nats"], 1e-4)
    # The first of three decisions about an operation is near a quarter each.
    certainty = read(out / "certainty.csv")
    self.assertLen(certainty, 10)
    fresh = [row for row in certainty if row["controller"] == "untrained"]
    self.assertAlmostEqual(float(fresh[0]["mean"]), 0.25, places=2)
    self.assertEqual(fresh[1]["choice"], "index 2")
    self.assertLen(read(out / "paths.csv"), 2 * 4 * 5)
    self.assertLen(read(out / "hidden.csv"), 2 * 4 * 8)
    self.assertLen(read(out / "entropy.csv"), 2 * 5)
    table = results.load(out / "controller_recurrent_table1.json")
    self.assertEqual((table.seeds, table.note), ([0], "tiny"))
    self.assertIn("analyze_controller --num_arcs=6", table.command[0])
    shown = results.to_markdown(
      results.load(out / "controller_recurrent_measures.json")
    )
    self.assertIn("6 of 6", shown)
    # Of one search, the numbers of its figure.
    rows = results.load(out / "controller_recurrent_certainty.json").rows
    self.assertEqual(
      [(row["controller"], row["label"]) for row in rows],
      [(row["controller"], row["choice"]) for row in certainty],
    )
    for name, column in (
      *(("probability", "mean"), ("low_5", "low_5")),
      ("high_95", "high_95"),
    ):
      np.testing.assert_allclose(
        [row[name] for row in rows],
        [float(row[column]) for row in certainty],
        rtol=1e-5,
      )
    for name in ("signs", "performance"):
      results.load(out / f"controller_recurrent_{name}.json")
    self._check_performance(record, read(out / "performance.csv"))

  def _check_performance(self, record, rows):
    self.assertLen(rows, 4 * 6)
    means = [row["mean"] for row in record["performance_summary"]]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    self.assertEqual(
      groups,
      ["controller, own weights", "uniform, own weights",
       "controller, beside weights", "uniform, beside weights"],
    )  # fmt: skip
    for group, mean in zip(groups, means, strict=True):
      values = [float(r["perplexity"]) for r in rows if r["group"] == group]
      self.assertAlmostEqual(np.mean(values), mean, places=3)
    # The first of the policy's samples, scored here.
    strategy = registry.create(self.done.config, self.task.space)
    key, _, _ = jax.random.split(jax.random.key(0), 3)
    propose = evaluate.make_propose(strategy)
    arcs = propose(self.done.state.strategy, key, 6)
    valid = ranking.take(self.splits.valid, 5)
    measure = evaluate.make_evaluate(self.task)
    expected = measure(self.done.state, decisions.nth(arcs, 0), valid)
    self.assertAlmostEqual(float(rows[0]["perplexity"]), expected, places=2)

  def test_what_does_not_go_together_is_said(self):
    learnt, chance = self.folder / "learnt", self.folder / "chance"
    out = self.folder / "refused"
    for flags, words in (
      ((), "--run must be given"),
      ((f"--run={chance}",), "a search by random, which has no controller"),
      ((f"--run={learnt}", f"--beside={learnt}"), "adapts its weights"),
      ((f"--run={learnt}", f"--run={learnt}"), "names the same folder twice"),
      ((f"--run={learnt}", "--num_pairs_of=7"), "at most --num_arcs, 6, got 7"),
      ((f"--run={learnt}", "--num_examples=-1"), "num_examples"),
      ((f"--run={learnt}",) + (f"--beside={chance}",) * 2, "got 2 times"),
    ):
      found = self._run(*flags, f"--workdir={out}")
      self.assertEqual(found.returncode, 2, found.stderr)
      self.assertIn(words, found.stderr.splitlines()[-1])
      self.assertFalse(out.exists())

  def test_a_search_of_another_network_is_no_judge(self):
    for part, changes, words in (
      ("omega", {"steps": 7}, "another training of omega"),
      ("child", {"hidden_size": 4}, "another network"),
    ):
      record = json.loads((self.folder / "chance/config.json").read_text())
      record["config"][part] |= changes
      folder = self.folder / f"other-{part}"
      folder.mkdir()
      (folder / "config.json").write_text(json.dumps(record))
      (folder / "checkpoints").symlink_to(self.folder / "chance/checkpoints")
      found = self._run(
        f"--run={self.folder / 'learnt'}", f"--beside={folder}",
        f"--workdir={self.folder / 'nothing'}",
      )  # fmt: skip
      self.assertEqual(found.returncode, 2, found.stderr)
      self.assertIn(words, found.stderr)


class SignsTest(absltest.TestCase):
  def test_runs_are_counted_that_agree_with_the_paper(self):
    def row(value):
      nothing = dict.fromkeys(controller_study.COLUMNS)
      row = {"controller": "supervised"} | nothing
      row["common_operations"] = value
      for name, published in zip(
        controller_study.COLUMNS,
        controller_study.PUBLISHED["supervised"],
        strict=True,
      ):
        row[f"{name}_published"] = published
      return row

    first, second, *_ = controller_study.signs([row(-0.2), row(0.1), row(None)])
    self.assertAlmostEqual(first["mean"], -0.05)
    self.assertAlmostEqual(first["sd"], 0.3 / 2**0.5)
    self.assertEqual((first["runs"], first["same_sign"]), (2, 1))
    self.assertEqual(first["published"], -0.404)
    self.assertEqual((second["mean"], second["same_sign"]), (None, 0))


class EntropiesTest(absltest.TestCase):
  def test_of_frequencies_by_epoch(self):
    rows = [
      {"epoch": 1, "frequencies": [[0.5, 0.5], [1.0]]},
      {"epoch": 2, "frequencies": [[0.0, 1.0], [1.0]]},
    ]
    epochs, table = controller_study.entropies(rows)
    self.assertEqual(epochs.tolist(), [1, 2])
    np.testing.assert_allclose(table, [[np.log(2), 0], [0, 0]])


class RefusedTest(absltest.TestCase):
  def test_runs_of_two_sizes(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    opened = {}
    for name, nodes in (("small", 3), ("large", 4)):
      config = tiny.make_config(child={"num_nodes": nodes})
      opened[name] = mock.Mock(
        space="recurrent", config=config, folder=folder / name
      )
    values = mock.Mock(run=list(opened), beside=[])
    with (
      mock.patch.object(analyze_controller.flags, "FLAGS", values),
      mock.patch.object(analyze_controller.runs, "open_run", opened.get),
      self.assertRaisesRegex(types.InputError, "large has a space of another"),
    ):
      analyze_controller._open_runs()


if __name__ == "__main__":
  absltest.main()
