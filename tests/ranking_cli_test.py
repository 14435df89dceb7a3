"""Ranking on text, with a truth of architectures that were trained alone."""

import json
import math
import pathlib
import tempfile

from absl.testing import absltest

from enas_jax import config as config_lib
from enas_jax.search import devices, evaluate, search, tune
from enas_jax.search import state as states
from enas_jax.strategies import registry
from tests import command_line, tiny


def _search_text(folder):
  """A finished search in folder/run."""
  dataset = tiny.write_corpus(folder)
  config = tiny.make_config(
    policy="random", run={"num_epochs": 1}, omega={"steps": 2}
  )
  task, splits = tiny.make_task(config, dataset)
  workdir = folder / "run"
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
  return done, task, splits, workdir


class TruthOfTrainingTest(absltest.TestCase):
  def test_a_search_on_text(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    done, task, splits, workdir = _search_text(folder)
    tokens = ("0 0 1 1 2", "1 0 2 0 3", "3 0 0 1 1")
    names = ("perplexity", "perplexity", "valid_perplexity")
    rows = [
      {"arc": task.space.to_dict(task.space.from_tokens(text)), name: 50.0 + i}
      for i, (text, name) in enumerate(zip(tokens, names, strict=True))
    ]
    lines = [json.dumps(row) + "\n" for row in rows[:2]]
    (folder / "truth.jsonl").write_text("".join(lines))
    (folder / "alone").mkdir()
    (folder / "alone" / "result.json").write_text(json.dumps(rows[2]))
    found = command_line.run(
      "ranking",
      f"--run={workdir}",
      f"--truth={folder / 'truth.jsonl'},{folder / 'alone'}",
      *("--num_images=0", "--bootstrap=0", "--json"),
    )
    self.assertEqual(found.returncode, 0, found.stderr)
    answer = json.loads(found.stdout)
    self.assertEqual(answer["num_arcs"], 3)
    self.assertEqual(answer["kendall_tau_interval"], [None, None])
    # Of the three cells one has a sigmoid, the third and worst.
    self.assertAlmostEqual(
      answer["op_preferences"]["sigmoid"]["truth"], -math.sqrt(0.75)
    )
    written = (workdir / "ranking_arcs.jsonl").read_text().splitlines()
    scores = [json.loads(line) for line in written]
    self.assertEqual([row["tokens"] for row in scores], list(tokens))
    # A smaller perplexity is better.
    self.assertEqual([row["truth"] for row in scores], [-50.0, -51.0, -52.0])
    measure = evaluate.make_evaluate(task)
    for text, row in zip(tokens, scores, strict=True):
      arc = task.space.from_tokens(text)
      perplexity = measure(done.state, arc, splits.valid)
      self.assertAlmostEqual(row["score"], -math.log(perplexity), places=4)


class TrainedHereTest(absltest.TestCase):
  def test_each_is_trained_alone_from_fresh_weights(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    done, task, splits, workdir = _search_text(folder)
    path = workdir / "trained_alone.jsonl"

    def rank(*more):
      given = ("--num_images=0", "--bootstrap=0", *more)
      return command_line.run("ranking", f"--run={workdir}", *given)

    found = rank("--tune_steps=3", "--num_arcs=2", "--tune_rate=1e30")
    self.assertEqual(found.returncode, 1)
    self.assertRegex(found.stderr, "^error: architecture 1 .*--tune_rate.$")
    self.assertFalse(path.exists())

    found = rank("--tune_steps=3", "--num_arcs=2", "--json")
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertEqual(json.loads(found.stdout)["num_arcs"], 2)
    two = path.read_text()
    rows = [json.loads(line) for line in two.splitlines()]
    arcs = [task.space.from_dict(row["arc"]) for row in rows]
    config = config_lib.override(
      done.config, "run", tune_from="scratch", tune_steps=3
    )
    strategy = registry.create(config, task.space)
    fresh = states.init_state(
      config, task, strategy, task.steps_per_epoch(splits.train)
    )
    train = tune.make_tune_all(
      config, task, splits.train, lambda: None, 3, devices.ONE
    )
    measure = evaluate.make_evaluate(task)
    for arc, after, row in zip(arcs, train(fresh, arcs), rows, strict=True):
      perplexity = measure(after, arc, splits.valid)
      self.assertAlmostEqual(row["valid_perplexity"], perplexity, places=4)
      self.assertAlmostEqual(row["nats"], math.log(perplexity), places=5)
    ranked = (workdir / "ranking_arcs.jsonl").read_text().splitlines()
    self.assertEqual(
      [json.loads(line)["truth"] for line in ranked],
      [-row["valid_perplexity"] for row in rows],
    )

    # More of them leave the first as they are.
    found = rank("--tune_steps=3", "--num_arcs=3")
    self.assertEqual(found.returncode, 0, found.stderr)
    three = path.read_text()
    self.assertEqual(three[: len(two)], two)
    self.assertLen(three.splitlines(), 3)
    self.assertEqual(found.stdout.count("trained alone"), 1)
    other = rank("--tune_steps=4", "--num_arcs=3")
    self.assertEqual(other.returncode, 2)
    self.assertRegex(other.stderr, "^error: .*another training.*move it away")
    self.assertEqual(path.read_text(), three)
    rows = [json.loads(line) for line in three.splitlines()]
    self._check_places(task, workdir, rows, train, measure, fresh, splits)

  def _check_places(self, task, workdir, rows, train, measure, fresh, splits):
    """`experiments.place` trains what the searches kept in the same way."""
    kept = task.space.from_tokens("3 0 0 1 1")
    drawn = task.space.from_dict(rows[1]["arc"])
    self.assertNotIn(kept, [task.space.from_dict(row["arc"]) for row in rows])
    folders = []
    for policy, arc in (("controller", kept), ("random", drawn)):
      folders.append(workdir.with_name(policy))
      folders[-1].mkdir()
      (folders[-1] / "config.json").write_text(
        (workdir / "config.json").read_text()
      )
      record = {"arc": task.space.to_dict(arc), "policy": policy, "seed": 4}
      (folders[-1] / "result.json").write_text(json.dumps(record))

    def place():
      runs = [f"--run={folder}" for folder in folders]
      return command_line.run("place", f"--table={workdir}", *runs, "--json")

    placed = place()
    self.assertEqual(placed.returncode, 0, placed.stderr)
    answer = json.loads(placed.stdout)
    controller, random, mean, best = answer["rows"]
    # All cells have the same multiply-adds: none has the most.
    self.assertEndsWith(best["method"], "by the truth")
    truth = [row["valid_perplexity"] for row in rows]
    (after,) = train(fresh, [kept])
    perplexity = measure(after, kept, splits.valid)
    self.assertAlmostEqual(controller["valid_perplexity"], perplexity, places=4)
    better = sum(value < perplexity for value in truth)
    self.assertEqual(controller["place"], 1 + better)
    self.assertAlmostEqual(
      controller["regret"], perplexity - min(truth), places=4
    )
    # What was drawn for the table is not trained again.
    self.assertEqual(random["valid_perplexity"], truth[1])
    written = (workdir / "placed.jsonl").read_text()
    self.assertLen(written.splitlines(), 1)
    self.assertAlmostEqual(mean["valid_perplexity"], sum(truth) / 3, places=6)
    self.assertEqual(place().stdout, placed.stdout)
    self.assertEqual((workdir / "placed.jsonl").read_text(), written)
    (workdir / "trained_alone.jsonl").unlink()
    refused = place()
    self.assertEqual(refused.returncode, 2)
    self.assertRegex(refused.stderr, "^error: .*trained_alone.jsonl: make one")

  def test_refusals(self):
    for given, message in (
      (["--truth=a", "--tune_steps=3"], "one of --benchmark_table, --tune_ste"),
      (["--truth=a", "--tune_rate=1"], "--tune_rate does nothing without"),
      (["--tune_steps=3", "--num_arcs=0"], "--num_arcs must be at least 2"),
    ):
      found = command_line.run("ranking", "--run=none", *given)
      self.assertEqual(found.returncode, 2)
      self.assertIn(message, found.stderr)


if __name__ == "__main__":
  absltest.main()
