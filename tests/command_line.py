"""Experiment scripts as a user starts them, without the seconds of importing.

Each runs in a process of its own, forked from one that has imported what they
share and has run nothing. What they print and their exit status are a user's.
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Scripts that compile nothing for long, or time what they compile.
_WITHOUT_CACHE = (
  *("benchmark", "compile", "depthwise", "describe", "export", "report"),
  *("results", "scale"),
)

_CONTEXT = multiprocessing.get_context("forkserver")
# The scripts themselves are not imported: each is run as `__main__`.
_CONTEXT.set_forkserver_preload(
  [f"experiments._{name}" for name in ("search", "table", "training")]
  + ["tests.warm"]
)


class Started:
  """A script that runs.

  Attributes:
    process: its process.
  """

  def __init__(self, argv, cwd, pythonpath, until):
    self._argv = argv
    self._folder = tempfile.TemporaryDirectory()
    self._paths = [
      pathlib.Path(self._folder.name, n) for n in ("out", "errors")
    ]
    self.process = _CONTEXT.Process(
      target=_main, args=(argv, cwd, pythonpath, until, *self._paths)
    )
    self.process.start()

  def finish(self):
    """Waits; a `subprocess.CompletedProcess` with text."""
    self.process.join()
    with self._folder:
      texts = [path.read_text() for path in self._paths]
    return subprocess.CompletedProcess(
      self._argv, self.process.exitcode, *texts
    )


def start(script, *flags, cwd=ROOT, pythonpath=(), until=None):
  """Starts `python -m experiments.SCRIPT FLAGS` with the tests' own cache.

  Args:
    script: name of the script.
    *flags: its flags.
    cwd: folder that it is run in.
    pythonpath: folders that Python looks for packages in before all others.
    until: where it ends with status 0 before its time: "defined", once it has
      printed the flags that it knows, unread; "parsed", once it has read them;
      "work", once all that it refuses at the start would have been refused.
      None: at its end.
  """
  argv = [f"experiments.{script}", *map(str, flags)]
  if script not in _WITHOUT_CACHE:
    cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
    argv.append(f"--compilation_cache_dir={cache}")
  return Started(argv, cwd, pythonpath, until)


def run(script, *flags, **how):
  """Runs a script to its end; arguments and what it returns: `start`."""
  return start(script, *flags, **how).finish()


def _main(argv, cwd, pythonpath, until, out, errors):
  for path, descriptor in ((out, 1), (errors, 2)):
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, descriptor)
  os.chdir(cwd)
  sys.argv = list(argv)
  # The fork is of a Python that runs already and reads no environment.
  sys.path[:0] = map(str, pythonpath)
  if until is not None:
    _stop_at(until)
  runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def _stop_at(point):
  """Lets the script end at a point of its way; see `run`."""
  from absl import flags

  from enas_jax.analysis import strategy_timing, timing
  from enas_jax.search import checkpoint
  from experiments import _cli

  def stop(*args, **kwargs):
    del args, kwargs
    sys.exit(0)

  parse_and_run = _cli.run
  if point == "defined":
    _cli.run = lambda main, **_: print("\n".join(flags.FLAGS))
  elif point == "parsed":
    _cli.run = lambda main, **_: parse_and_run(stop)
  else:
    assert point == "work", point
    # What takes time comes after these, and what needs the weights of a run.
    checkpoint.read_newest = lambda folder: {}
    _cli.enable_compilation_cache = stop
    timing.SearchTimer = timing.time_training = stop
    strategy_timing.compare = stop
