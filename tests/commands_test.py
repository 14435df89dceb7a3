"""The command `enas`: what it runs, and what it answers itself."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib
from unittest import mock

from absl.testing import absltest

import enas_jax
from experiments import _commands
from tests import command_line

ROOT = command_line.ROOT


def call(*words, cwd=ROOT):
  """The command as it is installed, in a process of its own."""
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  module, _, name = project["project"]["scripts"]["enas"].partition(":")
  code = f"import sys; from {module} import {name}; sys.exit({name}())"
  return subprocess.run(
    [sys.executable, "-P", "-c", code, *words],
    capture_output=True,
    text=True,
    cwd=cwd,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )


class CommandsTest(absltest.TestCase):
  def test_it_lists_every_script_with_a_line(self):
    for words in ((), ("--help",), ("-h",)):
      answer = call(*words)
      self.assertEqual(answer.returncode, 0, answer.stderr)
      scripts = {path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")}
      known = list(map(_commands.find, _commands.COMMANDS))
      self.assertCountEqual(known, scripts)
      for name, summary in _commands.COMMANDS.items():
        self.assertRegex(answer.stdout, rf"(?m)^  {name} +{summary}$")
      self.assertLess(max(map(len, answer.stdout.splitlines())), 81)

  def test_a_shell_is_told_what_may_follow(self):
    commands = call("--complete", "ptb", "ptb").stdout.split()
    self.assertEqual(commands, ["ptb_search", "ptb_train"])
    for begun, found in (
      ("--preset=s", ["--preset=small", "--preset=smoke"]),
      ("--theta_ste", ["--theta_steps="]),
      ("--print_", ["--print_config"]),
    ):
      answer = call("--complete", begun, "cifar_macro")
      self.assertEqual(answer.returncode, 0, answer.stderr)
      self.assertEqual(answer.stdout.split(), found)
    self.assertEqual(call("--completion", "csh").returncode, 2)

  def test_bash_takes_the_answer(self):
    script = call("--completion", "bash").stdout
    # In place of the command, which takes seconds.
    script += """
    enas() { printf '%s\n' "$2" "$3" >&2; echo --preset=small; }
    COMP_LINE="enas derive --preset=s" COMP_POINT=22 COMP_CWORD=4
    COMP_WORDS=(enas derive --preset = s)
    _enas 2>&1
    echo "${COMPREPLY[*]}"
    """
    found = subprocess.run(
      ["bash", "-c", script], capture_output=True, text=True
    )
    self.assertEqual(found.stdout, "small\n", found.stderr)

  def test_version(self):
    answer = call("--version")
    self.assertEqual(answer.stdout, f"enas_jax {enas_jax.__version__}\n")
    self.assertEqual(answer.returncode, 0)

  def test_logs_of_xla_are_off_unless_asked_for(self):
    code = "import os, experiments; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    for given, expected in (({}, "3"), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, "0")):
      environ = {k: v for k, v in os.environ.items() if "TF_CPP" not in k}
      process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ | given,
        capture_output=True, text=True,
      )  # fmt: skip
      self.assertEqual(process.stdout.strip(), expected, process.stderr)

  def test_an_unknown_command_names_the_nearest(self):
    for name, message in (
      ("serch", "'serch'; do you mean search? enas --help"),
      ("xyz", "'xyz'; enas --help lists them all"),
    ):
      answer = call(name, "--seed=1")
      self.assertEqual(answer.returncode, 2)
      self.assertRegex(answer.stderr, r"\Aerror: there is no command .*\n\Z")
      self.assertIn(message, answer.stderr)
      self.assertEqual(answer.stdout, "")

  def test_it_runs_the_script_with_the_flags(self):
    with tempfile.TemporaryDirectory() as folder:
      # A folder of that name is not what is meant; a plugin is found.
      other = pathlib.Path(folder) / "experiments"
      other.mkdir()
      (other / "__init__.py").touch()
      (pathlib.Path(folder) / "my_space.py").touch()
      answer = call(
        "search", "--space=macro", "--preset=smoke", "--num_layers=3",
        "--plugin=my_space", "--print_config", cwd=folder,
      )  # fmt: skip
    self.assertEqual(answer.returncode, 0, answer.stderr)
    record = json.loads(answer.stdout)
    self.assertEqual(record["experiment"], "search")
    self.assertEqual(record["config"]["child"]["num_layers"], 3)

  def test_help_of_a_command_shows_how_it_was_called(self):
    answer = call("analyze", "--help")
    self.assertEqual(answer.returncode, 0, answer.stderr)
    self.assertIn("\n  enas analyze --run=RUN --run=RUN2", answer.stdout)
    self.assertNotIn("python -m experiments.analyze", answer.stdout)
    self.assertEqual(_commands.find("analyze_controller"), "analyze_controller")

  def test_the_command_to_resume_is_as_it_was_typed(self):
    run = "python -m experiments.ptb_search"
    for words, wanted in (
      (["--seed=1"], f"{run} --seed=1 --workdir=runs/a --resume"),
      (["--workdir=b c"], f"{run} '--workdir=b c' --resume"),
      (["-workdir", "b", "--noresume"], f"{run} -workdir b --resume"),
      (["--resume=auto", "--workdir=b"], f"{run} --workdir=b --resume"),
    ):
      with mock.patch.object(sys, "argv", ["x/ptb_search.py", *words]):
        self.assertEqual(_commands.to_resume("runs/a"), wanted)
    with (
      mock.patch.object(sys, "argv", ["x/analyze_controller.py"]),
      mock.patch.object(_commands, "_called", ["enas", "analyze"]),
    ):
      wanted = "enas analyze --workdir=a --resume"
      self.assertEqual(_commands.to_resume("a"), wanted)

  def test_an_answer_need_not_be_read_to_its_end(self):
    code = (
      "from experiments import _terminal; _terminal.answer('word ' * 100_000)"
    )
    with subprocess.Popen(
      [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
      process.stdout.close()
      self.assertEqual(process.stderr.read(), b"")
    self.assertEqual(process.returncode, 0)

  def test_a_bad_flag_has_the_status_of_the_script(self):
    answer = call("depthwise", "--roundz=3")
    self.assertEqual(answer.returncode, 2)
    self.assertStartsWith(answer.stderr, "error: Unknown command line flag")


if __name__ == "__main__":
  absltest.main()
