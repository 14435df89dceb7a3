"""From a search to an exported model, by the command line."""

import json
import pathlib
import shutil
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

import enas_jax
from enas_jax.search import checkpoint
from tests import command_line, tiny

_TRAIN = (
  *("--preset=smoke", "--batch_size=4", "--bptt_length=5", "--num_epochs=1"),
  *("--hidden_size=8", "--init_range=0.3", "--omega_steps=6"),
)


def call(name, *flags, fails=False):
  """What a script prints; of one that fails, its errors."""
  done = command_line.run(name, *flags)
  if fails:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr
  assert done.returncode == 0, done.stderr
  return done.stdout


class PathTest(parameterized.TestCase):
  """One search, and what follows from it."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    cls.dataset = f"--dataset={tiny.write_corpus(cls.folder)}"
    cls.run_folder = cls.folder / "search"
    call(
      "ptb_search", *tiny.command_flags(), cls.dataset, "--num_epochs=1",
      f"--workdir={cls.run_folder}",
    )  # fmt: skip

  def _result(self, name):
    return json.loads((self.folder / name / "result.json").read_text())

  def test_derives_again_and_leaves_the_run_alone(self):
    before = (self.run_folder / "arcs.jsonl").read_text()
    flags = (
      *(f"--run={self.run_folder}", "--derive_arcs=6", "--derive_batches=2"),
      "--tune_arcs=1",
    )
    for name, seed in (
      ("same", ()),
      ("other", ("--seed=5",)),
      ("uniform", ("--policy=random",)),
    ):
      workdir = f"--workdir={self.folder / name}"
      call("derive", *flags, workdir, *seed)
    self.assertEqual((self.run_folder / "arcs.jsonl").read_text(), before)
    rows = [
      (self.folder / name / "arcs.jsonl").read_text().splitlines()
      for name in ("same", "other")
    ]
    self.assertEqual(list(map(len, rows)), [6, 6])
    self.assertNotEqual(*rows)
    self.assertEqual(self._result("same")["candidates"], 6)
    self.assertEqual(self._result("same")["tuned"], 1)
    self.assertIn("tuned_nats", json.loads(rows[0][0]))
    uniform = self._result("uniform")
    self.assertEqual(uniform["policy"], "random")
    self.assertNotEqual(
      uniform["mean_reward_policy"], self._result("same")["mean_reward_policy"]
    )
    self.assertEqual(
      uniform["mean_reward_uniform"],
      self._result("same")["mean_reward_uniform"],
    )

  def test_scripts_look_for_data_where_the_run_had_them(self):
    run, data = self.folder / "moved", self.folder / "data"
    data.mkdir()
    shutil.copytree(self.run_folder, run)
    path = run / "config.json"
    saved = json.loads(path.read_text())
    self.assertIsNone(saved["data_dir"])
    path.write_text(
      json.dumps({**saved, "dataset": "ptb", "data_dir": str(data)})
    )
    for script, *flags in (
      ("derive", f"--workdir={self.folder / 'none'}"),
      ("ranking", "--tune_steps=2"),
      ("analyze_controller", f"--workdir={self.folder / 'none'}"),
    ):
      text = call(script, f"--run={run}", *flags, fails=True)
      self.assertIn(str(data), text)

  def test_a_table_of_another_space_ends_it_before_it_starts(self):
    workdir = self.folder / "looked_up"
    found = command_line.run(
      "derive", f"--run={self.run_folder}", "--benchmark_table=none.csv",
      f"--workdir={workdir}",
    )  # fmt: skip
    self.assertEqual(found.returncode, 2, found.stderr)
    self.assertRegex(
      found.stderr, "^error: .* is a search of the recurrent .*\n$"
    )
    self.assertFalse(workdir.exists())

  def test_trains_the_best_candidates_and_exports_the_best_of_them(self):
    call(
      "ptb_train", *_TRAIN, self.dataset, "--retrain_top=2",
      f"--arc={self.run_folder / 'arcs.jsonl'}",
      f"--workdir={self.folder / 'top'}",
    )  # fmt: skip
    found = self._result("top")
    each = [row["valid_perplexity"] for row in found["retrained"]]
    self.assertLen(each, 2)
    self.assertEqual(found["valid_perplexity"], min(each))
    self.assertEqual(each[found["best_rank"] - 1], min(each))
    target = self.folder / "exported"
    call("export", f"--run={self.folder / 'top'}", f"--to={target}")
    model = enas_jax.load_exported(target)
    self.assertEqual(model.config.space().to_dict(model.arc), found["arc"])
    tokens = model.preprocess("w1 w4 w6")
    state = np.zeros((1, 8), np.float32)
    logits, _ = model.module.apply(model.variables, tokens, state)
    words = len(model.preprocessing.vocabulary)
    self.assertEqual(logits.shape, (3, 1, words))
    self.assertTrue(np.isfinite(logits).all())

  def test_starts_from_the_shared_weights(self):
    """A learning rate of nothing leaves what the search had."""
    call(
      "ptb_train", *_TRAIN[:5], "--omega_steps=1", self.dataset,
      "--omega_learning_rate=1e-30", f"--init=omega:{self.run_folder}",
      f"--arc={self.run_folder / 'arc.json'}",
      f"--workdir={self.folder / 'init'}",
    )  # fmt: skip
    searched = checkpoint.read_newest(self.run_folder / "checkpoints")
    trained = checkpoint.read_newest(self.folder / "init/checkpoints")
    for name in ("embedding", "w_x", "w_h", "bn_scale"):
      np.testing.assert_array_equal(
        trained["omega"][name], searched["omega"][name]
      )
    result = json.loads((self.run_folder / "result.json").read_text())
    self.assertAlmostEqual(
      self._result("init")["test_perplexity"],
      result["test_perplexity"],
      places=2,
    )

  def test_a_finished_training_says_so(self):
    flags = ("--resume=auto", f"--workdir={self.folder / 'once'}")
    arc = "--arc=0 0 1 0 2"
    text = call("ptb_train", "--resume", *flags[1:], arc, fails=True)
    self.assertIn("holds no run to go on with; leave --resume out", text)
    self.assertFalse((self.folder / "once").exists())
    call("ptb_train", *_TRAIN, self.dataset, arc, *flags)
    text = call("ptb_train", *flags)
    self.assertIn("the run is finished", text)
    text = call("ptb_train", *flags, "--arc=0 0 1 0 1", fails=True)
    self.assertIn("--arc is 0 0 1 0 1, but the run in --workdir has", text)

  @parameterized.parameters(
    (("--arc=enas_micro",), "--arc is of the micro space"),
    (("--arc=enas_rnn", "--num_nodes=3"), "--num_nodes is 3, but the"),
    (("--arc=enas_rnn", "--init=omega"), "--init must be 'scratch' or"),
    (("--arc=enas_rnn", "--init=omega:NO"), "NO is not the folder of a search"),
    (
      ("--arc=enas_rnn", "--retrain_top=2"),
      "--retrain_top needs --run=RUN,",
    ),
    (("--retrain_top=2", "--arc=NO.jsonl"), "--arc=NO.jsonl cannot be read"),
    ((), "--arc must be given"),
  )
  def test_bad_input(self, flags, message):
    text = call("ptb_train", self.dataset, *flags, fails=True)
    self.assertRegex(text, r"\Aerror: .*\n\Z")
    self.assertIn(message, text)

  def test_bad_export(self):
    text = call("export", f"--run={self.run_folder}", "--to=x", fails=True)
    self.assertIn("is not the folder of a training", text)
    text = call("export", "--to=x", fails=True)
    self.assertIn("must be given", text)


if __name__ == "__main__":
  absltest.main()
