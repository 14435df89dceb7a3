"""Times one search step, traced and compiled for one architecture alone.

  python -m experiments.benchmark --space=recurrent --json
  python -m experiments.benchmark --arc=enas_micro --preset=paper --steps=1
  python -m experiments.benchmark --space=all --against=torch --json

With `--arc` it is a step of the training of that architecture alone.

Times are medians of repetitions that take turns over several architectures,
after compilation, with random data. `traced_over_static` compares the step
that serves every architecture with the same step compiled for one alone, which
holds only that child's weights. Without `--preset` the numbers are those of
`--preset=paper`, but for 200 hidden units in text and batches of 32 images. The
compilation cache is off.

`--against=torch` also times a plain eager PyTorch child of the same
architectures, in turn with ours. `--space=all` measures the spaces one after
another, in a process for each.

`--policies=controller,gdas,darts` times both steps of these strategies instead,
in turn, and compares them with the first.
"""

import json
import subprocess
import sys
from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import (
  against_torch,
  stopwatch,
  strategy_timing,
  timing,
)
from enas_jax.running import provenance
from enas_jax.spaces import registry
from enas_jax.strategies import registry as strategies
from experiments import _arcs, _cli, _flags

_ALL = "all"  # the spaces, one after another


def main() -> None:
  """Runs the benchmark that the flags ask for and prints it."""
  values = flags.FLAGS
  if values.arc is not None and values.against:
    raise types.InputError(
      "--against compares the steps of a search, so it takes no --arc."
    )
  if values.space == _ALL:
    _measure_all()
    return
  if values.policies:
    record = _strategies_record()
  else:
    record = _search_record() if values.arc is None else _training_record()
  record |= {
    "peak_rss_mb": stopwatch.peak_rss_mb(),
    "device": provenance.device_name(),
  }
  if values.json:
    print(json.dumps(record))
    return
  # Nested: it is for machines.
  record.pop("config")
  for name, value in record.items():
    text = f"{value:.4g}" if isinstance(value, float) else value
    print(f"{name:26} {text}")


def _measure_all() -> None:
  """Runs this script for every space.

  Raises:
    InputError: if it is asked for one architecture.
  """
  values = flags.FLAGS
  if values.arc is not None:
    raise types.InputError("--space=all takes no --arc, which is of one space.")
  records = []
  for space in registry.names():
    # A process each: peak memory never falls again.
    command = [sys.executable, "-m", "experiments.benchmark", *sys.argv[1:]]
    # Of a flag that is given twice the last value counts.
    run = subprocess.run(
      [*command, f"--space={space}"], stdout=subprocess.PIPE, text=True
    )
    if run.returncode:
      sys.exit(run.returncode)  # it has said why
    if values.json:
      records.append(json.loads(run.stdout))
    else:
      print(run.stdout, flush=True)
  if values.json:
    print(json.dumps({"spaces": records}))


def _search_record() -> dict[str, Any]:
  """Seconds and compilations of the steps of a search."""
  values = flags.FLAGS
  config = _flags.resolve_config(values.space, preset=_preset)
  if values.against:
    against_torch.check(config, values.space)
  timer = timing.SearchTimer(config, values.space, values.vocabulary_size)
  compare = (
    against_torch.compare if values.against else timing.SearchTimer.omega
  )
  return {
    "space": values.space,
    "preset": values.preset,
    "config": config.to_dict(),
    # First, while nothing is compiled yet.
    **timer.compilations(values.compilation_arcs),
    **compare(timer, values.num_arcs, values.steps, static=values.static),
    **timer.theta(values.steps),
  }


def _strategies_record() -> dict[str, Any]:
  """Seconds of the steps of several strategies.

  Raises:
    InputError: if they are not strategies that learn, all different.
  """
  values = flags.FLAGS
  policies = values.policies
  if values.arc is not None or values.against:
    raise types.InputError(
      "--policies compares steps of searches; leave out --arc and --against."
    )
  learning = [
    name for name in strategies.names() if strategies.get(name).options.learns
  ]
  unknown = set(policies) - set(learning)
  if unknown or len(set(policies)) < len(policies):
    raise types.InputError(
      f"--policies must be different ones of {', '.join(learning)}, got"
      f" {','.join(policies)!r}."
    )
  configs = {
    policy: _flags.resolve_config(
      values.space, preset=_preset, policy=policy, beside=policies
    )
    for policy in policies
  }
  return {
    "space": values.space,
    "preset": values.preset,
    "config": configs[policies[0]].to_dict(),
    **strategy_timing.compare(
      configs, values.space, values.vocabulary_size, values.steps
    ),
  }


def _preset(name: str, space: str) -> config_lib.SearchConfig:
  """A preset of a search; of smaller sizes where none is asked for."""
  config = registry.preset(name, space)
  if not flags.FLAGS["preset"].present:
    config = config_lib.override_parts(config, registry.get(space).benchmark)
  return config


def _training_record() -> dict[str, Any]:
  """Seconds of a training step of `--arc`."""
  values = flags.FLAGS
  # The default of --space is no wish: the architecture may be of another.
  loaded, config = _arcs.resolve(
    values.space if values["space"].present else None, registry.train_preset
  )
  return {
    "space": loaded.name,
    "preset": values.preset,
    "arc": values.arc,
    "config": config.to_dict(),
    **timing.time_training(
      config, loaded.name, loaded.arc, values.vocabulary_size, values.steps
    ),
  }


if __name__ == "__main__":
  _cli.import_plugins()
  _flags.define_preset_flag()
  flags.DEFINE_enum(
    "space", "recurrent", [*registry.names(), _ALL], "the search space"
  )
  flags.DEFINE_enum(
    "against", None, ["torch"], "the library to compare the omega step with"
  )
  flags.DEFINE_list(
    "policies", [], "strategies whose steps to compare with the first's"
  )
  flags.DEFINE_integer("num_arcs", 5, "architectures that take turns", 1)
  flags.DEFINE_integer("steps", 5, "timed repetitions of each", 1)
  flags.DEFINE_integer(
    "compilation_arcs", 50, "architectures to count compilations over", 1
  )
  flags.DEFINE_boolean(
    "static", True, "also compile the step for each architecture alone"
  )
  flags.DEFINE_integer("vocabulary_size", 10000, "words, V", 2)
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _arcs.define_arc_flag()
  _flags.define_config_flags(*registry.names(), preset=_preset)
  _flags.define_config_flags(
    *registry.trainable(), preset=registry.train_preset
  )
  _cli.run(main)
