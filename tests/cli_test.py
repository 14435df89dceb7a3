"""The command line as a user meets it: output, folders, exit status."""

import fcntl
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

from absl.testing import absltest, parameterized

from tests import command_line, tiny


def run(*flags):
  return command_line.run("ptb_search", *flags)


class CommandLineTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    cls.data = f"--dataset={tiny.write_corpus(cls.folder)}"
    cls.workdir = cls.folder / "run"
    cls.flags = [
      *tiny.command_flags(),
      cls.data,
      f"--workdir={cls.workdir}",
      "--loggers=tensorboard",
    ]
    cls.first = run(*cls.flags)

  def assert_refused(self, found, message):
    self.assertEqual(found.returncode, 2, found.stderr)
    self.assertRegex(found.stderr, message)
    lines = found.stderr.strip().splitlines()
    self.assertLen(lines, 1, found.stderr)
    self.assertStartsWith(lines[0], "error: ")

  def test_a_run_prints_and_draws_the_cell(self):
    self.assertEqual(self.first.returncode, 0, self.first.stderr)
    self.assertEqual(self.first.stderr, "")
    self.assertIn("1,334 / 334 / 334 tokens", self.first.stdout)
    arc = json.loads((self.workdir / "arc.json").read_text())
    self.assertIn(f"tokens: {arc['tokens']}", self.first.stdout)
    self.assertIn(f"h1 = {arc['ops'][0]}(x_t, h_(t-1))", self.first.stdout)
    ElementTree.parse(self.workdir / "arc.svg")
    self.assertIn("<svg", (self.workdir / "report.html").read_text())
    saved = json.loads((self.workdir / "config.json").read_text())
    self.assertEqual(saved["config"]["child"]["num_nodes"], 3)
    self.assertEqual(saved["config"]["omega"]["steps"], 6)
    self.assertEqual(saved["seed"], 0)
    command = shlex.split(saved["command"])
    start = ["python", "-m", "experiments.ptb_search", *self.flags]
    self.assertEqual(command[: len(start)], start)
    events = (self.workdir / "tensorboard").iterdir()
    self.assertEqual(
      {path.name for path in events}, {"omega", "theta", "epochs"}
    )
    shown = (self.workdir / "tensorboard" / "epochs").iterdir()
    content = b"".join(path.read_bytes() for path in shown)
    for name in (b"architecture", b"\x89PNG", b"policy/op 1", b"valid/perplex"):
      self.assertIn(name, content)

  def test_a_used_folder_is_refused_and_untouched(self):
    before = (self.workdir / "metrics.jsonl").read_text()
    self.assert_refused(run(*self.flags), "is not empty; give --resume")
    self.assertEqual((self.workdir / "metrics.jsonl").read_text(), before)

  def test_resume_of_a_finished_run_says_so(self):
    found = run(f"--workdir={self.workdir}", "--resume")
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertIn("the run is finished", found.stdout)
    arc = json.loads((self.workdir / "arc.json").read_text())
    self.assertIn(f"tokens: {arc['tokens']}", found.stdout)
    saved = json.loads((self.workdir / "config.json").read_text())
    self.assertEqual(saved["preset"], "smoke")
    self.assertNotIn("--resume", saved["command"])

  def test_a_folder_that_another_process_writes_to_is_refused(self):
    rows = (self.workdir / "metrics.jsonl").read_text()
    with (self.workdir / ".lock").open() as file:
      self.assertRegex(file.read(), r"^process \d+ on .")
      fcntl.flock(file, fcntl.LOCK_EX)
      # Also for a script that adds to a run's folder.
      for found in (
        run(f"--workdir={self.workdir}", "--resume", "--num_epochs=9"),
        command_line.run(
          "ranking", f"--run={self.workdir}", "--truth=/nowhere"
        ),
      ):
        self.assert_refused(found, r"is in use by process \d+ on")
    self.assertEqual((self.workdir / "metrics.jsonl").read_text(), rows)

  def test_resume_refuses_other_numbers(self):
    found = run(
      *(f"--workdir={self.workdir}", "--resume", "--num_nodes=5"),
      *("--omega_learning_rate=0.1", "--checkpoint_every_minutes=3"),
    )
    self.assert_refused(
      found,
      "--num_nodes is 5, but the run in --workdir has 3; --omega_learning_rate"
      " is 0.1, but the run in --workdir has 1.0; leave the flags out",
    )
    found = run(
      f"--workdir={self.workdir}", "--resume", "--dataset=python_docs"
    )
    self.assert_refused(found, "--dataset is python_docs, but the run")

  @parameterized.parameters(
    (["--num_nods=3"], "Unknown command line flag 'num_nods'"),
    (["--controller_skip_target=0.3"], "Unknown command line flag"),
    (["--average_after=3"], "Unknown command line flag"),
    (
      ["--theta_population_size=3"],
      "an option of --policy=evolution and does nothing with"
      " --policy=controller",
    ),
    (
      ["--theta_learning_rate=3", "--policy=random"],
      "an option of --policy=controller and does nothing with --policy=random",
    ),
    (["--policy=annealing"], "policy must be one of controller, superv"),
    (["--theta_warmup_epochs=2"], "theta_warmup_epochs must be below num_epo"),
    (["--num_nodes=three"], "num_nodes.*three"),
    (["--preset=huge"], "preset.*huge"),
    (["--drop_x=1.5"], r"drop_x must be in \[0, 1\), got 1\.5"),
    (["stray"], "unexpected argument 'stray'"),
    (["--resume"], "--resume needs --workdir"),
    (["--resume=maybe"], "--resume=maybe: expected true, false or auto"),
    (["--dataset=imdb"], "imdb"),
    (["--dataset=text:/no/such/folder"], "/no/such/folder"),
    (["--batch_size=400"], "batch"),
    (["--workdir=/dev/null"], "/dev/null cannot be used: Not a directory"),
    (["--workdir=/dev/null/run"], "/dev/null/run cannot be used"),
  )
  def test_bad_input_is_one_line_and_status_2(self, flags, message):
    data = [] if any("--dataset" in f for f in flags) else [self.data]
    with tempfile.TemporaryDirectory() as folder:
      workdir = pathlib.Path(folder) / "new"
      found = run(
        *tiny.command_flags(),
        *data,
        *([] if "--resume" in flags else [f"--workdir={workdir}"]),
        *flags,
      )
      self.assert_refused(found, message)
      # A refused run leaves no folder that would be in the next one's way.
      self.assertFalse(workdir.exists())

  def test_missing_corpus_says_where_and_what_else(self):
    with tempfile.TemporaryDirectory() as folder:
      found = run(f"--data_dir={folder}")
      self.assert_refused(found, "python_docs")
      self.assertIn(folder, found.stderr)

  def test_a_folder_that_holds_no_run(self):
    with tempfile.TemporaryDirectory() as folder:
      (pathlib.Path(folder) / "thesis.tex").write_text("x")
      found = run(*tiny.command_flags(), self.data, f"--workdir={folder}")
      self.assert_refused(found, "is not empty")
      for resume in ("--resume", "--resume=auto"):
        found = run(self.data, f"--workdir={folder}", resume)
        self.assert_refused(found, "is not empty and holds no run")

  @parameterized.parameters(
    ("{", "cannot be read"),
    ("[1]", "must hold one JSON object"),
    ('{"experiment": "ptb_search"}', "was not written by ptb_search"),
    (
      '{"experiment": "cifar_micro", "space": "micro", "preset": "",'
      ' "dataset": "", "config": 1}',
      "holds a run of cifar_micro, not of ptb_search",
    ),
    (
      '{"experiment": "ptb_search", "space": "recurrent", "preset": "",'
      ' "dataset": "", "config": {}}',
      "not one of this version of enas_jax",
    ),
  )
  def test_a_strange_config_of_a_run(self, text, message):
    with tempfile.TemporaryDirectory() as folder:
      (pathlib.Path(folder) / "config.json").write_text(text)
      found = run(self.data, f"--workdir={folder}", "--resume")
      self.assert_refused(found, message)

  def test_a_run_that_diverged_takes_the_rate_that_it_asks_for(self):
    workdir = self.folder / "hot"
    flags = [*self.flags, f"--workdir={workdir}", "--nobatch_norm"]
    hot = ("--omega_learning_rate=1e30", "--omega_clip_norm=1e30")
    found = run(*flags, *hot, "--max_rollbacks=1")
    self.assertEqual(found.returncode, 1, found.stderr)
    self.assertRegex(
      found.stderr,
      r"^error: .*go on with --resume and a lower one of --omega_learning_rate"
      r" \(now 1e\+30\), --omega_clip_norm",
    )
    self.assertEqual(found.stderr.count("\n"), 1, found.stderr)
    found = run(
      *(f"--workdir={workdir}", "--resume"),
      *("--omega_learning_rate=1", "--omega_clip_norm=0.25"),
    )
    self.assertEqual(found.returncode, 0, found.stderr)
    saved = json.loads((workdir / "config.json").read_text())
    self.assertEqual(saved["config"]["omega"]["learning_rate"], 1.0)
    # It is no longer a run that has ended so.
    found = run(f"--workdir={workdir}", "--resume", "--omega_learning_rate=2")
    self.assert_refused(found, "--omega_learning_rate is 2.0, but the run")

  def test_signals_save_and_the_run_goes_on(self):
    workdir = self.folder / "stopped"
    flags = [*self.flags, f"--workdir={workdir}"]
    for signum, status, after in (
      (signal.SIGTERM, 143, 2),
      (signal.SIGINT, 130, 3),
    ):
      with self.subTest(status):
        flags_now = [*flags, "--num_epochs=40"]
        found, errors = self._stop(
          signum, f"epoch {after}", "--resume=auto", *flags_now
        )
        self.assertEqual(found, status, errors)
        saving, hint = errors.splitlines()
        self.assertIn("a second signal ends at once, without", saving)
        start = f"stopped by signal {signum}; go on with: "
        self.assertStartsWith(hint, start)
        self.assertEqual(
          shlex.split(hint.removeprefix(start)),
          [
            *("python", "-m", "experiments.ptb_search", *flags_now),
            *(self._cache(), "--resume"),
          ],
        )
    found = run(*flags, "--resume", "--num_epochs=4")
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertIn("resuming after", found.stdout)
    self.assertIn("tokens:", found.stdout)

  def _stop(self, signum, line, *flags):
    """The status and the errors of a run that gets a signal at a line."""
    command = [sys.executable, "-m", "experiments.ptb_search", *flags]
    with subprocess.Popen(
      [*command, self._cache()],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      cwd=command_line.ROOT,
    ) as process:
      for printed in process.stdout:
        if printed.startswith(line):
          break
      process.send_signal(signum)
      _, errors = process.communicate(timeout=120)
    return process.returncode, errors

  def _cache(self):
    folder = os.environ["JAX_COMPILATION_CACHE_DIR"]
    return f"--compilation_cache_dir={folder}"


if __name__ == "__main__":
  absltest.main()
