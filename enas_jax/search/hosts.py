"""The processes of one run on several machines, or on one.

All run the same program on all their devices (`search.devices`), take the same
steps and hold the same state. The first process alone reads and writes the
run's folder; what is decided there the others hear from it.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from enas_jax import types

_HEARTBEAT_SECONDS = 30  # a process that is silent for so long has died
_MEETING_SECONDS = 300  # all must have been started by then
# What errors say that come from another process's end, in lower case.
_LOST = (
  *("gloo", "nccl", "coordination", "heartbeat", "unavailable"),
  *("connection", "deadline_exceeded", "barrier"),
)

_PART = 2**28  # bytes that are spread at once
_Answer = TypeVar("_Answer")
_Tree = TypeVar("_Tree")
_here = {"index": 0, "count": 1}


class AgreedError(types.InputError):
  """Bad input that every process has heard of."""


def join(
  address: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Meets the other processes of the run, before JAX looks for devices.

  On a TPU pod and under SLURM or Open MPI nothing need be said.

  Args:
    address: HOST:PORT of the first process, which listens there.
    num_processes: how many there are.
    process_id: which of them this is, from 0.

  Raises:
    InputError: if it is not known who they are, or they do not all come.
  """
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  try:
    jax.distributed.initialize(
      address,
      num_processes,
      process_id,
      initialization_timeout=_MEETING_SECONDS,
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
    )
  # What is asked of a cluster that is not there is of many kinds.
  except Exception as error:
    words = " ".join(str(error).split())[:300]
    raise types.InputError(
      f"the processes of --multihost have not met ({words}); give"
      " --coordinator_address=HOST:PORT, --num_processes and --process_id."
    ) from None
  _here.update(index=jax.process_index(), count=jax.process_count())


def count() -> int:
  """How many processes the run has."""
  return _here["count"]


def is_first() -> bool:
  """Whether this process has the run's folder."""
  return _here["index"] == 0


def from_first(read: Callable[[], _Answer]) -> _Answer:
  """What a function returns in the first process, which alone calls it.

  Every process must ask the same, in the same order.

  Args:
    read: () -> a JSON-ready value.

  Returns:
    The value, in every process as JSON has it; of one process as it is.

  Raises:
    InputError: in every process, if the function raises it.
  """
  if count() == 1:
    return read()
  answer: dict[str, Any] = {}
  if is_first():
    try:
      answer = {"value": read()}
    except types.InputError as error:
      answer = {"error": str(error)}
  answer = json.loads(_spread(json.dumps(answer).encode()))
  if "error" in answer:
    raise AgreedError(answer["error"])
  return answer["value"]


def arrays_from_first(tree: _Tree) -> _Tree:
  """The NumPy arrays of the first process, bit for bit.

  Args:
    tree: pytree of NumPy arrays, of the same shapes in every process.
  """
  if count() == 1:
    return tree
  leaves, layout = jax.tree.flatten(tree)
  # A sum, as broadcasts are, would lose the sign of zero.
  parts = [np.ascontiguousarray(leaf).tobytes() for leaf in leaves]
  whole, at, read = _spread(b"".join(parts)), 0, []
  for leaf, part in zip(leaves, parts, strict=True):
    array = np.frombuffer(whole[at : at + len(part)], leaf.dtype)
    read.append(array.reshape(leaf.shape))
    at += len(part)
  return jax.tree.unflatten(layout, read)


def _spread(content: bytes) -> bytes:
  """The bytes of the first process."""
  # First how many: all must bring an array of the same shape. JAX has no int64
  # here, and a state may be larger than int32 counts.
  words = np.array(divmod(len(content), 2**31), np.int32)
  high, low = np.asarray(multihost_utils.broadcast_one_to_all(words)).tolist()
  size, parts = high * 2**31 + low, []
  for at in range(0, size, _PART):
    part = np.zeros(min(_PART, size - at), np.uint8)
    if is_first():
      part = np.frombuffer(content, np.uint8, len(part), at)
    parts.append(np.asarray(multihost_utils.broadcast_one_to_all(part)))
  return b"".join(part.tobytes() for part in parts)


def of_all(text: str) -> list[str]:
  """What each process says, in their order: up to 255 bytes."""
  if count() == 1:
    return [text]
  words = np.zeros(256, np.uint8)
  content = text.encode()[:255]
  words[: len(content)] = np.frombuffer(content, np.uint8)
  rows = np.asarray(multihost_utils.process_allgather(words))
  return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in rows]


def check_same(digest: bytes, what: str) -> None:
  """Refuses to run where processes were given different things.

  Args:
    digest: of what this process was given; equally long in all.
    what: its name.

  Raises:
    InputError: in every process, unless all digests are equal.
  """
  if count() == 1:
    return
  words = np.frombuffer(digest, np.uint8)
  everyone = np.asarray(multihost_utils.process_allgather(words))
  others = [i for i, row in enumerate(everyone) if (row != everyone[0]).any()]
  if others:
    raise AgreedError(
      f"process {others[0]} has another {what} than process 0: give the same"
      " flags and the same files to all."
    )


class Stop:
  """Signals that all processes obey at the same place.

  A SIGTERM, or a SIGINT that becomes one, in any of them is told to all by
  JAX's service, which also chooses the poll at which they stop.
  """

  def __init__(self) -> None:
    self._polls, self._signum = 0, int(signal.SIGTERM)
    signal.signal(signal.SIGINT, self._catch)

  def stop(self) -> int:
    """The signal's number, or 0; all processes must ask equally often."""
    self._polls += 1
    agreed = multihost_utils.reached_preemption_sync_point(self._polls)
    return self._signum if agreed else 0

  def _catch(self, signum: int, frame: Any) -> None:
    del frame
    self._signum = signum
    # JAX has the handler of this one.
    os.kill(os.getpid(), signal.SIGTERM)


def is_lost(error: BaseException) -> bool:
  """Whether an error says that another process has ended."""
  text = f"{type(error).__name__}: {error}".lower()
  return count() > 1 and any(word in text for word in _LOST)


def part() -> None:
  """Waits until all processes have come here; then each may end by itself.

  Without it the first one's end would look like its death to the others.
  """
  if count() > 1:
    jax.distributed.shutdown()


def leave(status: int) -> None:
  """Ends this process at once, where the others do not end with it.

  A usual end would wait for them to end, too.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  if is_first() and count() > 1:
    time.sleep(1.0)  # the others end with it, and may have something to say
  os._exit(status)
