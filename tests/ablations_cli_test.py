"""All ablations of one space, by the command line."""

import json
import pathlib
import shutil
import tempfile

from absl.testing import absltest

from enas_jax.report import results
from enas_jax.search import checkpoint
from enas_jax.spaces import registry
from tests import command_line, tiny

FLAGS = (
  *("--preset=smoke", "--num_nodes=3", "--hidden_size=8", "--init_range=0.1"),
  *("--batch_size=4", "--bptt_length=5", "--omega_steps=3"),
  *("--omega_learning_rate=1.0", "--num_epochs=1"),
)
SEARCH_FLAGS = (
  *("--controller_hidden_size=8", "--eval_arcs=1", "--derive_arcs=2"),
  *("--tune_steps=2", "--ensemble=2", "--num_samples=2"),
)


def without_seconds(record):
  if isinstance(record, dict):
    return {k: without_seconds(v) for k, v in record.items() if k != "seconds"}
  if isinstance(record, list):
    return [without_seconds(value) for value in record]
  return record


class CommandLineTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    cls.dataset = f"--dataset={tiny.write_corpus(cls.folder)}"
    cls.workdir = cls.folder / "runs"
    cls.flags = (
      *("--space=recurrent", cls.dataset, f"--workdir={cls.workdir}"),
      *(*FLAGS, *SEARCH_FLAGS),
    )
    done = command_line.run("ablations", *cls.flags)
    assert done.returncode == 0, done.stderr
    cls.printed = done.stdout
    cls.table = results.load(cls.workdir / "table.json")

  def _result(self):
    return json.loads((self.workdir / "result.json").read_text())

  def test_every_study_is_there(self):
    record = self._result()
    variants = {
      study: [row["variant"] for row in of_study["variants"]]
      for study, of_study in record["studies"].items()
    }
    changes = list(registry.get("recurrent").perturbations)
    self.assertEqual(
      variants,
      {
        "guided_random": ["reference", "random"],
        "search_disabled": [
          *("reference", "sampled", "best_sampled", "ensemble"),
        ],
        "local_optimum": ["reference", *changes],
        "no_sharing": ["reference", "no_sharing", "random_search"],
      },
    )
    # The first three nodes of the paper's cell.
    self.assertEqual(record["reference"]["trained"]["tokens"], "0 0 0 1 1")
    self.assertEqual((record["seeds"], record["error"]), ([0], "perplexity"))
    for of_study in record["studies"].values():
      for row in of_study["variants"]:
        self.assertEqual((row["num_trials"], row["diverged"]), (1, 0))
        # A uniform guess among 30 words and an end of line has 31.
        self.assertBetween(row["test_error"], 5.0, 60.0)
        self.assertGreater(row["params"], 100)
        self.assertGreater(row["seconds"], 0.0)
    shared = record["studies"]["search_disabled"]["trials"]
    # More weights than the network of one cell has.
    self.assertGreater(shared[1]["params"], shared[0]["params"])
    sampled, best, ensemble = (trial["valid"] for trial in shared[1:])
    self.assertLessEqual(best, sampled)
    # Of averaged probabilities the cross-entropy is no worse than on average.
    self.assertLess(ensemble, sampled + 1e-3)

  def test_the_controller_never_learns(self):
    rows = (
      (self.workdir / "search_disabled-0" / "metrics.jsonl")
      .read_text()
      .splitlines()
    )
    phases = [json.loads(row) for row in rows]
    self.assertEqual({row["phase"] for row in phases}, {"omega", "epoch"})
    self.assertEqual({row["theta_step"] for row in phases}, {0})
    state = checkpoint.read_newest(
      self.workdir / "search_disabled-0" / "checkpoints"
    )
    learnt = state["strategy"]
    self.assertEqual(int(learnt["baseline"]["num_rewards"]), 0)
    self.assertEqual(int(learnt["opt"][0]["count"]), 0)

  def test_the_table_is_data(self):
    self.assertIn(results.to_markdown(self.table), self.printed)
    self.assertLen(self.table.rows, 14)
    self.assertEqual(self.table.seeds, [0])
    self.assertIn("--workdir=RUN", self.table.command[0])
    self.assertIn("55.80 (Table 1)", self.printed)

  def test_resume_gives_the_same(self):
    """A training, a vote and a sample are lost, and done again."""
    before = without_seconds(self._result())
    kept = self.workdir / "reference-0" / "result.json"
    modified = kept.stat().st_mtime_ns
    shutil.rmtree(self.workdir / "random-0-0")
    (self.workdir / "search_disabled-0" / "ensemble.json").unlink()
    samples = self.workdir / "no_sharing-0" / "no_sharing.jsonl"
    first = samples.read_text().splitlines(keepends=True)[0]
    samples.write_text(first)
    (self.workdir / "result.json").unlink()
    resume = (f"--workdir={self.workdir}", "--resume", "--json")
    done = command_line.run("ablations", *resume)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(done.stderr, "")
    self.assertEqual(json.loads(done.stdout), self._result())
    self.assertEqual(without_seconds(self._result()), before)
    self.assertEqual(kept.stat().st_mtime_ns, modified)
    for flags, message in (
      (
        ("--num_epochs=2",),
        "--num_epochs is 2, but the run in",
      ),
      (("--ensemble=3",), "--ensemble is 3, but the run"),
      (("--space=macro",), "--space is macro, but the run"),
      (("--arc=0 0 1 0 2",), "has its reference already"),
    ):
      self._refuse(message, *resume, *flags)

  def _refuse(self, message, *flags):
    done = command_line.run("ablations", *flags)
    self.assertEqual(done.returncode, 2, done.stderr)
    self.assertRegex(done.stderr, r"\Aerror: .*\n\Z")
    self.assertIn(message, done.stderr)

  def test_bad_input(self):
    new = self.folder / "new"
    common = (self.dataset, f"--workdir={new}", "--preset=smoke")
    recurrent = ("--space=recurrent", *common)
    for flags, message in (
      (common, "--space must be given, one of recurrent, macro"),
      (
        (*recurrent, "--study=luck"),
        "--study must be different ones of",
      ),
      ((*recurrent, "--seeds=1,1"), "--seeds must be different integers"),
      ((*recurrent, "--seed=1"), "--seed does nothing here; give --seeds"),
      ((*recurrent, "--theta_steps=5"), "--theta_steps does nothing here"),
      ((*recurrent, "--policy=random"), "--policy does nothing here"),
      (
        (*recurrent, "--study=guided_random", "--ensemble=2"),
        "--ensemble does nothing with --study=guided_random",
      ),
      (
        (*recurrent, "--study=guided_random", "--tune_steps=2"),
        "--tune_steps does nothing with --study=guided_random",
      ),
      (
        (*recurrent, "--study=search_disabled", "--average_after=2"),
        "--average_after does nothing with --study=search_disabled",
      ),
      ((*recurrent, "--num_filters=2"), "--num_filters is an option of the"),
      (
        (*recurrent, "--num_samples=3", "--theta_num_arcs=2"),
        "--num_samples must be a multiple of theta_num_arcs, 2, got 3",
      ),
      ((*recurrent, "--arc=enas_rnn", "--run=x"), "give --arc or --run, not"),
      ((*recurrent, "--arc=enas_macro"), "is of the macro space, not of"),
      ((*recurrent, f"--run={new}"), "no architecture"),
      (
        ("--space=nasbench201", *common, "--study=local_optimum"),
        "--study=local_optimum is not for the nasbench201 space",
      ),
    ):
      self._refuse(message, *flags)
    self.assertFalse(new.exists())


if __name__ == "__main__":
  absltest.main()
