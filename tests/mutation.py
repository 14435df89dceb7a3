"""Do the tests notice? Changes one place of the package and runs its tests.

  python -m tests.mutation nn search strategies --count=40

A change that no test notices is printed as a diff: a test is missing, or the
change is none (say so in BUILD.md). The changes are cosmic-ray's (`pip install
'.[mutation]'`): another operator, another comparison, a number one more or one
less, `not` before a condition, a loop that never runs. They are made in a copy.
"""

import argparse
import contextlib
import difflib
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile

# Which tests know a file. They must be quick: a change costs one run of them.
ROOMS = {
  "nn": {
    "batch_norm.py": ("nn_batch_norm_test.py",),
    "cpu_kernels.py": ("nn_cpu_kernels_test.py", "nn_image_ops_test.py"),
    "cpu_windows.py": ("nn_cpu_kernels_test.py", "nn_image_ops_test.py"),
    "image_ops.py": ("nn_image_ops_test.py",),
    "losses.py": ("nn_losses_test.py",),
    "ops.py": ("nn_ops_test.py",),
    "weights.py": ("nn_weights_test.py",),
  },
  "search": {
    "derive.py": ("search_test.py",),
    "optimizers.py": ("search_optimizers_test.py",),
    "state.py": ("search_steps_test.py",),
    "steps.py": ("search_steps_test.py",),
    "theta_steps.py": ("search_steps_test.py",),
    "tune.py": ("search_test.py", "search_tune_test.py"),
  },
  "strategies": {
    "controller.py": ("strategies_controller_test.py",),
    "edits.py": ("strategies_local_search_test.py",),
    "evolution.py": ("strategies_evolution_test.py",),
    "local_search.py": ("strategies_local_search_test.py",),
    "policy.py": ("strategies_controller_test.py",),
    "policy_steps.py": ("strategies_policy_test.py",),
    "reinforce.py": ("strategies_reinforce_test.py",),
    "tuned_controller.py": ("strategies_tuned_controller_test.py",),
  },
}
_TIMEOUT_SECONDS = 600
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


def draw(room, name, count, seed):
  """`count` changes of a file, at as many places, or at all that it has."""
  rng = random.Random(seed)
  path = pathlib.Path("enas_jax", room, name)
  places = list(sites(path).values())
  chosen = rng.sample(places, min(count, len(places)))
  return [(path, rng.choice(changes)) for changes in chosen]


def run_tests(files):
  """Ends the process with pytest's status; its output is not shown."""
  import pytest

  # This file came from the original tree; the tests are those of the copy.
  for name in [n for n in sys.modules if n.partition(".")[0] == "tests"]:
    del sys.modules[name]
  with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *files])
  os._exit(int(status))


def passes(room, name):
  """Whether the tests of a file pass, as it now lies in the copy."""
  # Forked from a process that has imported JAX, but not started it.
  files = [f"tests/{file}" for file in ROOMS[room][name]]
  context = multiprocessing.get_context("fork")
  process = context.Process(target=run_tests, args=(files,))
  process.start()
  process.join(_TIMEOUT_SECONDS)
  process.kill()
  process.join()
  return process.exitcode == 0


def survives(path, change):
  """Whether the tests of a file pass with one change, which is then printed."""
  import cosmic_ray.mutating
  import cosmic_ray.plugins

  name, number = change
  operator = cosmic_ray.plugins.get_operator(name)()
  before = path.read_text()
  after = cosmic_ray.mutating.mutate_code(before, operator, number)
  path.write_text(after)
  try:
    survived = passes(path.parts[1], path.name)
  finally:
    path.write_text(before)
  if survived:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    print(f"\n{path}: {name}", *list(lines)[2:], sep="\n", flush=True)
  return survived


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
    import jax  # noqa: F401

    os.chdir(copy)
    sys.path.insert(0, str(copy))
    # Same size and second: Python would take the bytecode of the last change.
    sys.dont_write_bytecode = True
    for room, slash, only in (r.partition("/") for r in arguments.rooms):
      # As many in each file of a room: a small one is as likely to be wrong.
      names = [f"{only.removesuffix('.py')}.py"] if slash else list(ROOMS[room])
      for name in names:
        if not passes(room, name):
          sys.exit(f"the tests of {room}/{name} fail before anything changes")
        count = arguments.count // len(names)
        changes = draw(room, name, count, arguments.seed)
        left = sum(survives(path, change) for path, change in changes)
        total = len(changes)
        print(f"{room}/{name}: {total - left} of {total} noticed", flush=True)


if __name__ == "__main__":
  main()
