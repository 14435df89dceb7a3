"""`config.json`: what was run, on what."""

from typing import Any

from enas_jax import config as config_lib
from enas_jax.running import provenance


def make(
  experiment: str,
  space: str,
  config: config_lib.AnyConfig,
  *,
  preset: str | None,
  dataset: str,
  data_dir: str | None,
  command: str,
) -> dict[str, Any]:
  """What the file holds of every run, JSON-ready.

  Args:
    experiment: the name of the script that can go on with the run.
    space: the name of the search space.
    config: the configuration of the run.
    preset: the preset that its numbers come from, if any.
    dataset: the name of the data set.
    data_dir: the folder where data sets lie, if one was named.
    command: the command that does the same.
  """
  return {
    "experiment": experiment,
    "space": space,
    "preset": preset,
    "dataset": dataset,
    "data_dir": data_dir,
    "config": config.to_dict(),
    "seed": config.run.seed,
    "command": command,
    **provenance.provenance(),
    # So all processes make a record, though the first one alone writes it.
    **provenance.machine(),
  }
