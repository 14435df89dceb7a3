"""The processes of a run: their flags, and how they start and end together."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.running import progress
from enas_jax.search import hosts

_PLACE = ("coordinator_address", "num_processes", "process_id")


def define_flags() -> None:
  """`--multihost`, and what says where the other processes are."""
  flags.DEFINE_boolean(
    "multihost",
    False,
    "the run has several processes, one for each machine or card, each started"
    " with the same flags; they use all devices of all",
  )
  flags.DEFINE_string(
    "coordinator_address",
    None,
    "HOST:PORT of the first process, where the machines are neither a TPU pod"
    " nor run by SLURM or Open MPI",
  )
  flags.DEFINE_integer("num_processes", None, "how many processes, there", 1)
  flags.DEFINE_integer("process_id", None, "which of them, from 0, there", 0)


def join() -> None:
  """Meets the other processes of the run, if the flags say that it has any.

  Raises:
    InputError: if they do not come, or the flags do not go together.
  """
  values = flags.FLAGS
  if "multihost" not in values:
    return
  place = [values[name].value for name in _PLACE]
  given = [name for name in _PLACE if values[name].value is not None]
  if not values.multihost:
    if given:
      raise types.InputError(f"--{given[0]} needs --multihost.")
    return
  if given and len(given) < len(_PLACE):
    raise types.InputError(
      f"--{given[0]} needs the others of "
      + ", ".join(f"--{name}" for name in _PLACE)
      + "; on a TPU pod and under SLURM give none of them."
    )
  if given and values.process_id >= values.num_processes:
    raise types.InputError(
      f"--process_id must be below --num_processes={values.num_processes}, got"
      f" {values.process_id}."
    )
  hosts.join(*place)
  if not hosts.is_first():
    # One process tells how the run is.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def catch_signals() -> Callable[[], int]:
  """Begins to catch signals; returns what says which one is to be obeyed."""
  if hosts.count() > 1:
    # All processes must stop at the same poll, whichever got the signal.
    return hosts.Stop().stop
  return progress.SignalCatcher().stop


def check_same(config: config_lib.AnyConfig, *given: Any) -> None:
  """Refuses a run whose processes were given different things.

  Args:
    config: the configuration.
    *given: text, and pytrees of arrays: the data.

  Raises:
    InputError: in every process, if anything differs.
  """
  if hosts.count() == 1:
    return
  text = json.dumps(config.to_dict(), sort_keys=True)
  # Digests: what is gathered must be of one length in every process.
  hosts.check_same(hashlib.sha256(text.encode()).digest(), "configuration")
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(given):
    is_text = isinstance(leaf, str)
    digest.update(leaf.encode() if is_text else np.asarray(leaf).tobytes())
  hosts.check_same(digest.digest(), "data set")


def end(error: BaseException, status: int) -> int:
  """The exit status after an error; a process that fails alone ends here."""
  if hosts.count() > 1 and not isinstance(error, hosts.AgreedError):
    hosts.leave(status)
  return status
