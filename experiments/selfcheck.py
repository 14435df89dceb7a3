"""Checks in minutes that a device computes what it should.

  python -m experiments.selfcheck
  python -m experiments.selfcheck --space=recurrent --preset=smoke

For the day that an accelerator is there. Of every space one loss and its
gradient are computed in several ways: traced and written out, with the
operations of accelerators and with those of CPUs, on the device and on the
host's CPU, in float32 and in bfloat16. A short search of the first space is
stopped, resumed and compared with one that was not, bit for bit. Then steps are
timed. One line for each comparison goes to stderr, and one JSON object to
stdout. Exit status 1: something is not within its tolerance.
"""

import pathlib
import sys
import tempfile
import time

from absl import flags

from enas_jax import config as config_lib
from enas_jax.analysis import selfcheck
from enas_jax.running import provenance
from enas_jax.search import folder as folder_lib
from enas_jax.spaces import registry
from experiments import _cli


def main() -> None:
  """Makes the comparisons, and prints what came out."""
  values = flags.FLAGS
  begin = time.monotonic()
  _cli.enable_compilation_cache()
  spaces = values.space or registry.names()
  sizes = values.preset, values.batch_size
  checks: list[selfcheck.Check] = []
  for space in spaces:
    checks += map(_tell, selfcheck.check_space(space, *sizes))
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    # The loop that is stopped and resumed is one for all spaces.
    checks += map(_tell, selfcheck.check_search(spaces[0], folder, *sizes))
  seconds = {
    space: selfcheck.traced_over_static(space, values.steps, *sizes)
    for space in spaces
  }
  record = {
    "ok": all(check.ok for check in checks),
    "checks": [check._asdict() | {"ok": check.ok} for check in checks],
    "steps": seconds,
    "preset": values.preset,
    "seconds": time.monotonic() - begin,
    **provenance.provenance(),
    **provenance.machine(),
  }
  print(folder_lib.dumps(record))
  sys.exit(not record["ok"])  # True is status 1


def _tell(check: selfcheck.Check) -> selfcheck.Check:
  """Says in one line how a comparison came out."""
  verdict = "ok  " if check.ok else "FAIL"
  line = f"{verdict} {check.space}: {check.what}: {check.gap:.2g}"
  print(f"{line} (at most {check.tolerance:g})", file=sys.stderr, flush=True)
  return check


def _define_flags() -> None:
  flags.DEFINE_enum(
    "preset", "smoke", config_lib.PRESETS, "the preset that sizes come from"
  )
  flags.DEFINE_multi_enum(
    "space",
    [],
    registry.names(),
    "a space to check; more than once, too; by default all. The first one is"
    " searched",
  )
  flags.DEFINE_integer(
    "batch_size", 0, "examples of a batch; 0: those of the preset", 0
  )
  flags.DEFINE_integer("steps", 3, "timed repetitions of a step", 1)
  _cli.define_cache_flag()


if __name__ == "__main__":
  _cli.import_plugins()
  _define_flags()
  _cli.run(main)
