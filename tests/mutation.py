"""Do the tests notice? Changes one place of the package and runs its tests.

  python -m tests.mutation nn search strategies --count=40

A change that no test notices is printed as a diff: a test is missing, or the
change is none (say so in BUILD.md). The changes are cosmic-ray's (`pip install
'.[mutation]'`): another operator, another comparison, a number one more or one
less, `not` before a condition, a loop that never runs. They are made in a copy.

The files of tests that know a file are tried one after the other. Each runs
once under a tracer, before the first change that comes to it; what the tracer
saw is kept in the system's temporary folder for as long as the code stays the
same. Of a file of tests those run that have executed what is changed, the
quickest first, and then the others of their classes; all of them, if none has:
tests start processes, too, into which the tracer does not see. The first
failure ends the run.
"""

import argparse
import ast
import compileall
import contextlib
import difflib
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

# Which tests know a file, the quickest first.
ROOMS = {
  "nn": {
    "batch_norm.py": ("nn_batch_norm_test.py",),
    "cpu_kernels.py": ("nn_cpu_kernels_test.py", "nn_image_ops_test.py"),
    "cpu_windows.py": ("nn_cpu_kernels_test.py", "nn_image_ops_test.py"),
    "image_ops.py": ("nn_image_ops_test.py",),
    "losses.py": ("nn_losses_test.py",),
    "ops.py": ("nn_ops_test.py",),
    "programs.py": ("nn_programs_test.py", "analysis_program_costs_test.py"),
    "weights.py": ("nn_weights_test.py",),
  },
  "search": {
    "asking.py": ("strategies_tuned_controller_test.py",),
    "checkpoint.py": ("search_checkpoint_test.py",),
    "compiling.py": ("search_compiling_test.py",),
    "costs.py": ("search_costs_test.py",),
    "derive.py": (
      *("search_derive_test.py", "search_costs_test.py", "search_test.py"),
    ),
    "devices.py": ("search_devices_test.py",),
    "evaluate.py": ("search_evaluate_test.py", "search_steps_test.py"),
    "folder.py": ("search_folder_test.py", "search_metrics_test.py"),
    "groups.py": ("search_devices_test.py",),
    "heartbeat.py": ("search_heartbeat_test.py",),
    "hosts.py": ("search_hosts_test.py",),
    "judge.py": (
      *("search_judge_test.py", "search_steps_test.py"),
      "strategies_relaxed_test.py",
    ),
    "lock.py": ("search_lock_test.py",),
    "loop.py": ("search_loop_test.py", "search_divergence_test.py"),
    "metrics.py": ("search_metrics_test.py",),
    "optimizers.py": ("search_optimizers_test.py",),
    "patience.py": ("search_patience_test.py",),
    "precise.py": ("spaces_precision_test.py",),
    "rollback.py": ("search_rollback_test.py",),
    "runs.py": ("saved_config_test.py", "ranking_cli_test.py"),
    "search.py": ("search_describe_test.py", "search_test.py"),
    "state.py": (
      *("random_keys_test.py", "search_steps_test.py"),
      "search_divergence_test.py",
    ),
    "steps.py": (
      *("search_steps_test.py", "search_train_test.py"),
      *("search_divergence_test.py", "search_devices_test.py"),
    ),
    "theta_steps.py": ("search_steps_test.py", "search_costs_test.py"),
    "train.py": ("search_train_test.py",),
    "tune.py": (
      *("search_tune_test.py", "search_test.py", "search_devices_test.py"),
    ),
    "tuned_file.py": ("search_tuned_file_test.py",),
    "zero_cost.py": ("search_zero_cost_test.py",),
  },
  "strategies": {
    "base.py": ("strategies_uniform_test.py", "strategies_conformance_test.py"),
    "controller.py": ("strategies_controller_test.py",),
    "darts.py": ("strategies_relaxed_test.py",),
    "drnas.py": ("strategies_relaxed_test.py",),
    "edits.py": ("strategies_local_search_test.py",),
    "evolution.py": ("strategies_evolution_test.py",),
    "gdas.py": ("strategies_relaxed_test.py",),
    "local_search.py": ("strategies_local_search_test.py",),
    "policy.py": ("strategies_controller_test.py",),
    "policy_steps.py": ("strategies_policy_test.py",),
    "registry.py": ("config_test.py", "strategies_conformance_test.py"),
    "reinforce.py": ("strategies_reinforce_test.py",),
    "relaxed.py": ("strategies_relaxed_test.py",),
    "snas.py": ("strategies_relaxed_test.py",),
    "supervised.py": ("strategies_supervised_test.py",),
    "tuned_controller.py": ("strategies_tuned_controller_test.py",),
    "uniform.py": (
      *("strategies_uniform_test.py", "strategies_conformance_test.py"),
    ),
  },
}
# How much longer than all tests of a file a change may take: it may loop.
_PATIENCE = 5
_LEAST_SECONDS = 60
# Changes that end in an error wherever they are made say nothing of the tests:
# bits of floats; `X | None` in annotations; identity of arrays.
_SKIPPED = (
  *("_Bit", "_LShift", "_RShift", "_Invert", "_Is", "Variable"),
  *("RemoveDecorator", "ExceptionReplacer"),
)


def sites(path):
  """Every place of a file with the changes that it has: (operator, number)."""
  import cosmic_ray.ast
  import cosmic_ray.plugins

  tree = cosmic_ray.ast.get_ast_from_path(path)
  nodes = list(cosmic_ray.ast.ast_nodes(tree))
  places = {}
  for name in sorted(cosmic_ray.plugins.operator_names()):
    if any(part in name for part in _SKIPPED):
      continue
    operator = cosmic_ray.plugins.get_operator(name)()
    positions = [p for node in nodes for p in operator.mutation_positions(node)]
    for number, place in enumerate(positions):
      places.setdefault(tuple(place), []).append((name, number))
  return places


def mutate(path, change):
  """The file's text with a change; None if that is no Python."""
  import cosmic_ray.mutating
  import cosmic_ray.plugins

  name, number = change
  operator = cosmic_ray.plugins.get_operator(name)()
  text = cosmic_ray.mutating.mutate_code(path.read_text(), operator, number)
  try:
    compile(text, path.name, "exec")
  except SyntaxError:  # the two stars of `{**record}` are no power
    return None
  return text


def draw(room, name, count, seed):
  """`count` changes of a file, at as many places, or at all that it has."""
  rng = random.Random(seed)
  path = pathlib.Path("enas_jax", room, name)
  places = list(sites(path).values())
  drawn = []
  for changes in rng.sample(places, min(count, len(places))):
    change = rng.choice(changes)
    if (text := mutate(path, change)) is not None:
      drawn.append((path, change[0], text))
  return drawn


class Tracer:
  """A pytest plugin that notes which lines of the package a test executes.

  Attributes:
    seen: by test, (seconds, lines by file); files as "ROOM/FILE".
  """

  def __init__(self, answer):
    self.seen, self._answer = {}, answer
    self._root = f"{pathlib.Path('enas_jax').resolve()}{os.sep}"

  def _enter(self, frame, event, argument):
    inside = frame.f_code.co_filename.startswith(self._root)
    return self._note if inside else None

  def _note(self, frame, event, argument):
    name = frame.f_code.co_filename.removeprefix(self._root)
    self._lines.setdefault(name, set()).add(frame.f_lineno)
    return self._note

  def pytest_runtest_setup(self, item):
    self._began, self._lines = time.monotonic(), {}
    threading.settrace(self._enter)
    sys.settrace(self._enter)

  def pytest_runtest_logfinish(self, nodeid):
    sys.settrace(None)
    threading.settrace(None)
    lines = {name: sorted(lines) for name, lines in self._lines.items()}
    self.seen[nodeid] = (time.monotonic() - self._began, lines)

  def pytest_sessionfinish(self, exitstatus):
    if exitstatus == 0:
      self._answer.write_text(json.dumps(self.seen))


class Choice:
  """A pytest plugin that runs some tests alone, in a given order."""

  def __init__(self, order):
    self._order = {test: place for place, test in enumerate(order)}

  def pytest_collection_modifyitems(self, items):
    items[:] = [item for item in items if item.nodeid in self._order]
    items.sort(key=lambda item: self._order[item.nodeid])


def ordered(seen, name, lines):
  """Those tests of a file of tests that a change is given to, best first.

  Args:
    seen: as `trace` returns it.
    name: the changed file, "ROOM/FILE".
    lines: its lines that change, or none: they lie outside functions, and any
      test may notice.
  """
  seconds = {test: took for test, (took, _) in seen.items()}
  if not lines:
    return sorted(seen, key=seconds.get)
  hit = [
    test
    for test, (_, executed) in seen.items()
    if not lines.isdisjoint(executed.get(name, ()))
  ]
  # Tests of a class share what the first of them has set up or traced.
  class_of = lambda test: test.rpartition("::")[0]
  first = {}
  for test in hit:
    first.setdefault(class_of(test), []).append(seconds[test])
  return sorted(
    (test for test in seen if class_of(test) in first),
    key=lambda test: (
      *(min(first[class_of(test)]), class_of(test)),
      *(test not in hit, seconds[test]),
    ),
  )


def run_tests(files, plugin):
  """Ends the process with pytest's status; its output is not shown."""
  import pytest

  os.setpgrp()
  # This file came from the original tree; the tests are those of the copy.
  for name in [n for n in sys.modules if n.partition(".")[0] == "tests"]:
    del sys.modules[name]
  with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    status = pytest.main(
      ["-x", "-q", "-p", "no:cacheprovider", *files], plugins=[plugin]
    )
  os._exit(int(status))


def passes(files, plugin, seconds=None):
  """Whether tests pass; None if they take too many seconds."""
  # Forked from a process that has imported JAX, but not started it.
  context = multiprocessing.get_context("fork")
  process = context.Process(target=run_tests, args=(files, plugin))
  process.start()
  process.join(seconds)
  late = process.is_alive()
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)  # and what the tests have started
  process.join()
  return None if late else process.exitcode == 0


def trace(file):
  """By test of a file of tests: its seconds, and the lines that it executes."""
  sources = sorted(
    [*pathlib.Path("enas_jax").rglob("*.py"), pathlib.Path(file)]
  )
  content = b"".join(path.read_bytes() for path in sources)
  kept = pathlib.Path(tempfile.gettempdir(), f"enas_jax_traces_{os.getuid()}")
  answer = kept / f"{hashlib.sha256(content).hexdigest()}.json"
  if not answer.exists():
    kept.mkdir(exist_ok=True)
    if not passes([file], Tracer(answer)):
      sys.exit(f"{file} fails before anything changes")
  return json.loads(answer.read_text())


def changed_lines(before, after):
  """The numbers of the lines inside functions that differ, from 1."""
  inside = set()
  for node in ast.walk(ast.parse(before)):
    if isinstance(node, ast.FunctionDef | ast.Lambda):
      body = node.body if isinstance(node.body, list) else [node.body]
      inside |= set(range(body[0].lineno, body[-1].end_lineno + 1))
  old, new = before.splitlines(), after.splitlines()
  matched = difflib.SequenceMatcher(None, old, new, autojunk=False)
  blocks = [block for block in matched.get_opcodes() if block[0] != "equal"]
  return inside & {
    line for _, start, stop, *_ in blocks for line in range(start + 1, stop + 1)
  }


def survives(path, change, after):
  """Whether the tests of a file pass with one change, which is then printed."""
  room, name = path.parts[-2:]
  before = path.read_text()
  lines = changed_lines(before, after)
  passed = True
  seen_by = {file: trace(f"tests/{file}") for file in ROOMS[room][name]}
  given = {
    file: ordered(seen, f"{room}/{name}", lines)
    for file, seen in seen_by.items()
  }
  for file, seen in seen_by.items():
    # If no test executes the change in its own process, one that it starts may.
    tests = given[file] if any(given.values()) else ordered(seen, "", set())
    if not tests:
      continue
    whole = sum(seen[test][0] for test in tests)
    path.write_text(after)
    try:
      passed = passes(
        [f"tests/{file}"], Choice(tests), max(_LEAST_SECONDS, _PATIENCE * whole)
      )
    finally:
      path.write_text(before)
    if not passed:
      break
  if passed or passed is None:
    verdict = "" if passed else " (noticed: it took too long)"
    both = before.splitlines(), after.splitlines()
    diff = list(difflib.unified_diff(*both, n=0, lineterm=""))[2:]
    print(f"\n{path}: {change}{verdict}", *diff, sep="\n", flush=True)
  return bool(passed)


def main():
  """Prints the survivors and the score of each room."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("rooms", nargs="+", metavar="ROOM[/FILE]")
  parser.add_argument("--count", type=int, default=40)
  parser.add_argument("--seed", type=int, default=0)
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder, "copy")
    skipped = shutil.ignore_patterns(".*", "__pycache__", "dist", "build")
    shutil.copytree(pathlib.Path(__file__).parent.parent, copy, ignore=skipped)
    import tests.conftest  # noqa: F401  sets the flags of XLA

    os.environ["PYTEST_XDIST_WORKER"] = "mutation"
    # What all tests import, so that each change need not.
    import flax  # noqa: F401
    import jax  # noqa: F401
    import optax  # noqa: F401
    import orbax.checkpoint  # noqa: F401
    from scipy import stats  # noqa: F401

    os.chdir(copy)
    sys.path.insert(0, str(copy))
    # Same size and second: Python would take the bytecode of the last change.
    compileall.compile_dir("enas_jax", quiet=2)
    sys.dont_write_bytecode = True
    for room, slash, only in (r.partition("/") for r in arguments.rooms):
      # As many in each file of a room: a small one is as likely to be wrong.
      names = [f"{only.removesuffix('.py')}.py"] if slash else list(ROOMS[room])
      for name in names:
        count = arguments.count // len(names)
        changes = draw(room, name, count, arguments.seed)
        left = sum(survives(*change) for change in changes)
        total = len(changes)
        print(f"{room}/{name}: {total - left} of {total} noticed", flush=True)


if __name__ == "__main__":
  main()
