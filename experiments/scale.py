"""Times the omega step as one size of a space grows.

  python -m experiments.scale --space=macro --vary=num_layers --sizes=6,12,24
  python -m experiments.scale --space=recurrent --sizes=4,8,12,24

Each size is an `experiments.benchmark` in a process of its own, with its
presets and its defaults; `--vary` is one of its flags. The last line says with
which power of the size seconds grow, from the first value to the last.
"""

import json
import math
import subprocess
import sys
from typing import Any

from absl import flags

from enas_jax import types
from enas_jax.spaces import registry
from experiments import _cli

_COLUMNS = {
  "traced_seconds": "traced, s",
  "static_seconds": "static, s",
  "traced_over_static": "traced/static",
  "compile_seconds": "compile, s",
  "peak_rss_mb": "peak memory, MB",
}


def main() -> None:
  """Measures the sizes that the flags ask for and prints a table."""
  values = flags.FLAGS
  sizes = _sizes(values.sizes)
  rows = []
  for size in sizes:
    row = _measure(size)
    rows.append(row)
    if not values.json:
      if len(rows) == 1:
        print(_line([values.vary, *_COLUMNS.values()]), flush=True)
      print(_line([size, *(row[name] for name in _COLUMNS)]), flush=True)
  growth = {name: _power(sizes, rows, name) for name in _COLUMNS}
  if values.json:
    record = {"space": values.space, "vary": values.vary, "sizes": rows}
    print(json.dumps({**record, "growth": growth}))
  else:
    print(_line(["power", *growth.values()]))


def _sizes(texts: list[str]) -> list[float]:
  """The numbers of `--sizes`.

  Raises:
    InputError: unless they are positive numbers, the first and the last of
      which differ.
  """
  try:
    sizes = [float(text) for text in texts]
  except ValueError:
    sizes = []
  positive = all(0 < size < math.inf for size in sizes)
  # Between equal ends there is no power.
  if len(sizes) < 2 or not positive or sizes[0] == sizes[-1]:
    raise types.InputError(
      "--sizes must be positive numbers, separated by commas, the first and the"
      f" last of which differ, got {','.join(texts)!r}."
    )
  return sizes


def _measure(size: float) -> dict[str, Any]:
  """One benchmark's record, with the size under its name."""
  values = flags.FLAGS
  command = [sys.executable, "-m", "experiments.benchmark", "--json"]
  for name in ("space", "num_arcs", "steps"):
    command.append(f"--{name}={values[name].value}")
  # Else `benchmark` takes its own smaller sizes.
  if values["preset"].present:
    command.append(f"--preset={values.preset}")
  # How often it compiles is not asked here.
  command += ["--compilation_arcs=1", f"--{values.vary}={size:g}"]
  run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
  if run.returncode:
    sys.exit(run.returncode)  # it has said why
  record = json.loads(run.stdout)
  return {values.vary: size, **{name: record[name] for name in _COLUMNS}}


def _power(sizes: list[float], rows: list[dict[str, Any]], name: str) -> float:
  """p, where a column grows as size^p from the first row to the last."""
  ratio = rows[-1][name] / rows[0][name]
  return math.log(ratio) / math.log(sizes[-1] / sizes[0])


def _line(cells: list[Any]) -> str:
  texts = [f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells]
  return "".join(f"{text:>17}" for text in texts)


if __name__ == "__main__":
  _cli.import_plugins()
  flags.DEFINE_enum("space", "recurrent", registry.names(), "the search space")
  flags.DEFINE_string("preset", None, "a preset of experiments.benchmark")
  flags.DEFINE_string(
    "vary", "num_nodes", "the flag of experiments.benchmark that grows"
  )
  flags.DEFINE_list("sizes", ["4", "8", "12"], "its values, in order")
  flags.DEFINE_integer("num_arcs", 5, "architectures that take turns", 1)
  flags.DEFINE_integer("steps", 5, "timed repetitions of each", 1)
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _cli.run(main)
