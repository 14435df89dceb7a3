"""The command `enas`: every script by its name."""

import difflib
import pathlib
import runpy
import shlex
import sys
from collections.abc import Sequence

import enas_jax
from experiments import _completion

# By name; each is the script of that name but for those below.
COMMANDS = {
  "search": "search in any space, one of your own among them",
  "ptb_search": "search a recurrent cell",
  "cifar_macro": "search a whole convolutional network",
  "cifar_micro": "search convolutional cells",
  "nasbench201": "search a cell of NAS-Bench-201",
  "derive": "take more candidates from a search",
  "describe": "size, form and drawing of an architecture",
  "train": "train an architecture of any space from scratch",
  "ptb_train": "train a recurrent cell from scratch",
  "cifar_train": "train a convolutional network from scratch",
  "export": "write a trained model that needs no search",
  "ranking": "compare the order by shared weights with the truth",
  "place": "place what searches kept among architectures trained alone",
  "baselines": "compare ENAS with other searches",
  "ablations": "the paper's ablations",
  "analyze": "look into the controller of searches",
  "benchmark": "time the steps of a search or a training",
  "scale": "time the steps of a search as a size grows",
  "compile": "compile a preset for a TPU or GPU that is not there",
  "selfcheck": "check that a device computes what it should",
  "depthwise": "time depthwise convolutions",
  "report": "write a run's report again, or compare runs",
  "results": "write the tables of the documents",
}
_SCRIPTS = {"analyze": "analyze_controller"}
_HELP = ("--help", "-h", "help")
_called: list[str] = []  # by which words a script runs, if by `enas`
_begun: list[str] = []  # the word that a shell wants completed, if one does


def main() -> int:
  """Runs the script that the first word names; returns the exit status."""
  name, *words = sys.argv[1:] or ["--help"]
  if name in _HELP:
    print(_usage())
    return 0
  if name == "--version":
    print(f"enas_jax {enas_jax.__version__}")
    return 0
  if name == "--completion":
    return _print_completion(words)
  if name == "--complete":
    # The word begun, and the one after `enas`, where either may be missing.
    begun, name, *_ = [*words, "", ""]
    if name == begun or name not in COMMANDS:
      _completion.show(begun, COMMANDS)
      return 0
    _begun.append(begun)
    words = []  # the script shall parse none
  try:
    script = find(name)
  except LookupError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  _called[:] = ["enas", name]
  sys.argv[1:] = words
  # A module of --plugin may lie here; it shall hide none that is installed.
  sys.path.append(str(pathlib.Path.cwd()))
  # `alter_sys`: the script is then sys.argv[0], whose name `to_resume` and the
  # help read, and sys.modules["__main__"], whose docstring the help shows.
  runpy.run_module(f"experiments.{script}", run_name="__main__", alter_sys=True)
  return 0


def _print_completion(words: Sequence[str]) -> int:
  """Prints what a shell reads; returns the exit status."""
  shell = " ".join(words)
  if shell not in _completion.SHELLS:
    known = ", ".join(_completion.SHELLS)
    print(
      f"error: --completion must be of {known}, got {shell!r}.", file=sys.stderr
    )
    return 2
  print(_completion.SHELLS[shell])
  return 0


def begun() -> str | None:
  """The word that a shell wants completed; None where the script shall run."""
  return _begun[0] if _begun else None


def find(name: str) -> str:
  """The script that a command runs.

  Args:
    name: the name of the command, or of the script.

  Raises:
    LookupError: if there is none; the message names the nearest.
  """
  if name in COMMANDS:
    return _SCRIPTS.get(name, name)
  if name in _SCRIPTS.values():
    return name
  near = difflib.get_close_matches(name, COMMANDS, n=1)
  asked = f" do you mean {near[0]}?" if near else ""
  raise LookupError(
    f"there is no command {name!r};{asked} enas --help lists them all."
  )


def called(script: str) -> list[str]:
  """The words by which the script that runs was called, without its flags."""
  return _called or ["python", "-m", f"experiments.{script}"]


def to_resume(workdir: str) -> str:
  """The command line that runs now, as it was typed, but to go on.

  Args:
    workdir: the run's folder, which it may not name.
  """
  words = []
  named = False
  for word in sys.argv[1:]:
    flag = word.lstrip("-").partition("=")[0] if word.startswith("-") else ""
    named = named or flag == "workdir"
    # It is added once, at the end.
    if flag not in ("resume", "noresume"):
      words.append(word)
  if not named:
    words.append(f"--workdir={workdir}")
  script = pathlib.Path(sys.argv[0]).stem
  return shlex.join([*called(script), *words, "--resume"])


def _usage() -> str:
  wide = max(map(len, COMMANDS)) + 2
  return "\n".join(
    [
      "Efficient Neural Architecture Search.",
      "",
      "  enas ptb_search --preset=smoke --dataset=python_docs",
      "",
      "enas COMMAND --help lists a command's flags; enas --version; enas",
      "--completion bash (zsh, fish) prints what completes words. Commands:",
      "",
      *(f"  {name:{wide}}{text}" for name, text in COMMANDS.items()),
    ]
  )
