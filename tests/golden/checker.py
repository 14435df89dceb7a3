"""Compares our code with vectors that the released code computed.

`python -m tests.golden FILE.npz [FILE.npz ...]` prints a line for each output:
the case, the output, its error, the tolerance, and OK or FAIL. It exits with 0
if all are within tolerance, 1 if one is not, and 2 if a file cannot be used.
Companion files are found beside the one that is named (see `vectors`); a
`.grads.npz` or `.f64.npz` that is named means its main file.

Outputs are held to an absolute error of 1e-4, or three times the release's own
float32 error where the case states that; moving statistics to 5e-5 of an
array's largest value, where that is more; gradients and training steps to an
error of 1e-3 of each tensor's norm, but for steps of ReLUs (see `steps`).
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import jax

from enas_jax import types
from tests.golden import controllers, macro, micro, recurrent, vectors

# By how the name of a case starts.
CASES: dict[str, Callable[[vectors.Checks], None]] = {
  "macro_child_search": macro.check_search,
  "micro_child_search": micro.check_search,
  "micro_child_fixed": micro.check_fixed,
  "macro_controller": controllers.check_macro_controller,
  "micro_controller": controllers.check_micro_controller,
  "ptb_controller_": recurrent.check_controller,
  "ptb_child_search_": recurrent.check_search,
  "ptb_child_fixed_": recurrent.check_fixed,
}


def main(argv: Sequence[str]) -> int:
  """Checks the files named, and returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tests.golden",
    description="Compares our code with vectors of the released code.",
  )
  parser.add_argument(
    "files", nargs="*", metavar="FILE.npz", help="main file of a case"
  )
  try:
    names = parser.parse_args(list(argv)).files
    if not names:
      raise types.InputError("name at least one vector file, FILE.npz.")
    # A name may come twice, by its companions.
    paths = dict.fromkeys(vectors.main_file(name) for name in names)
    # Everything is read first: a wrong name is told before minutes of work.
    loaded = [vectors.read(path) for path in paths]
    for each in loaded:
      _case(each)
    # A list, since `all` of a generator would stop at the first FAIL.
    return 0 if all([_report(check(each)) for each in loaded]) else 1
  except types.InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2


def check(loaded: vectors.Vectors) -> vectors.Checks:
  """Runs our code on one case and compares.

  Raises:
    InputError: if the case is unknown or its files do not fit together.
  """
  checks = vectors.Checks(loaded)
  # Some accelerators round float32 products to fewer bits unless told.
  with jax.default_matmul_precision("float32"):
    _case(loaded)(checks)
  if not checks.done:
    raise types.InputError(f"{loaded.main.file} holds nothing to compare.")
  return checks


def _case(loaded: vectors.Vectors) -> Callable[[vectors.Checks], None]:
  for prefix, run in CASES.items():
    if loaded.case.startswith(prefix):
      return run
  raise types.InputError(
    f"{loaded.stem}.json: the case {loaded.case!r} is unknown; known are"
    f" {', '.join(prefix + '*' for prefix in CASES)}."
  )


def _report(checks: vectors.Checks) -> bool:
  """Prints a case; returns whether all of it is within tolerance."""
  loaded = checks.vectors
  for comparison in checks.done:
    print(f"{loaded.stem}  {comparison}", flush=True)
  for line in notes(checks):
    print(f"{loaded.stem}  {line}", flush=True)
  return all(comparison.ok for comparison in checks.done)


def notes(checks: vectors.Checks) -> list[str]:
  """What was not compared."""
  loaded, lines = checks.vectors, []
  if loaded.grads is None:
    lines.append(f"no {loaded.stem}.grads.npz: nothing of it is compared")
  if loaded.f64 is None:
    lines.append(f"no {loaded.stem}.f64.npz: nothing of it is compared")
  if checks.absent:
    lines.append(f"not in the files: {', '.join(checks.absent)}")
  for group in (loaded.main, loaded.grads, loaded.f64):
    if group is not None and group.left():
      lines.append(f"not compared, of {group.file}: {', '.join(group.left())}")
  return lines
