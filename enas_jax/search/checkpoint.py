"""Checkpoints of a run, written and read by orbax, with checksums.

A checkpoint is a folder named by a number. The last file that is written into
it is a manifest: the size and the SHA-256 of every other one. A reader goes by
it, so that damage is named and not loaded.
"""

import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from enas_jax import types
from enas_jax.search import folder as folder_lib
from enas_jax.search import hosts
from enas_jax.search import state as state_lib

_MANIFEST = "manifest.json"
_NUM_KEPT = 2  # the newest ones: if one is damaged, there is the other
_ERROR_CODE = re.compile(r"os_error_code='(\d+)'")

Tell = Callable[[str], None]
# (number, what was pending) -> whether a run may go on from there.
Fits = Callable[[int, dict[str, Any]], bool]


class NotSavedError(OSError):
  """A checkpoint could not be written; those before it are as they were."""


class _Read(NamedTuple):
  """A checkpoint that was read.

  Attributes:
    number: its number.
    state: the state, its key as words; nested dicts where no shapes were given.
    pending: what `Checkpoints.save` was given besides the state.
  """

  number: int
  state: Any
  pending: dict[str, Any]


class Checkpoints:
  """The `checkpoints/` of the run that this process goes on with.

  The newest two are kept, and the newest milestone. Of several processes the
  first one alone writes and reads; the others hear from it what was read.

  Attributes:
    folder: the folder that they lie in; made if need be.
  """

  def __init__(
    self, folder: pathlib.Path, tell: Tell = lambda line: None
  ) -> None:
    """Opens the folder and removes what a killed process has half written.

    Args:
      folder: the folder that they lie in.
      tell: a function called with what the user should know of one.
    """
    self.folder = folder.resolve()
    self._tell = tell
    self._manager: ocp.CheckpointManager | None = None
    if hosts.is_first():
      self.folder.mkdir(parents=True, exist_ok=True)
      options = ocp.CheckpointManagerOptions(
        create=False,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
        multiprocessing_options=_alone(),
      )
      self._manager = ocp.CheckpointManager(self.folder, options=options)
    # Not orbax's own thread: the manifest must come after its last file, and
    # an older checkpoint may only go after that.
    self._writer = futures.ThreadPoolExecutor(1)
    self._writing: futures.Future[None] | None = None

  def save(
    self,
    number: int,
    state: state_lib.State,
    pending: dict[str, Any],
    milestone: bool = False,
  ) -> None:
    """Begins to write one checkpoint, whole or not at all.

    It waits for the one before, and returns while this one is being written.

    Args:
      number: the checkpoint's name; larger than those of all before, unless
        nothing has happened since.
      state: the state, a search's or a training's. It is copied: its buffers
        may be donated at once.
      pending: JSON-ready, things that the loop holds besides the state.
      milestone: whether it is kept longer than others, until the next one.

    Raises:
      NotSavedError: if the one before could not be written.
    """
    self.wait()
    # A signal after a checkpoint finds nothing more to save.
    if self._manager is None or number in self._manager.all_steps():
      return
    # Orbax stores arrays; a typed key is stored as its words.
    raw = state.replace(key=jax.random.key_data(state.key))
    raw = jax.tree.map(_copy, raw)
    self._writing = self._writer.submit(
      self._write, number, raw, pending, milestone
    )

  def wait(self) -> None:
    """Returns when everything is on the disk.

    Raises:
      NotSavedError: if it cannot be.
    """
    writing, self._writing = self._writing, None
    if writing is not None:
      writing.result()

  def _write(
    self, number: int, raw: Any, pending: dict[str, Any], milestone: bool
  ) -> None:
    assert self._manager is not None  # `save` asks
    try:
      self._manager.save(
        number,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(raw),
          pending=ocp.args.JsonSave(pending),
        ),
      )
      _write_manifest(self.folder / str(number), milestone)
    # Orbax raises errors of many kinds where a file cannot be written.
    except Exception as error:
      for path in self.folder.glob(f"{number}*"):
        if path.name.partition(".")[0] == str(number):
          shutil.rmtree(path, ignore_errors=True)  # it takes room for nothing
      raise _not_saved(self.folder / str(number), error) from error
    self._prune()

  def newest_milestone(self) -> int:
    """Its number; -1 if there is none."""
    return hosts.from_first(self._newest_milestone)

  def _newest_milestone(self) -> int:
    return max(filter(self._is_milestone, self._numbers()), default=-1)

  def _numbers(self) -> list[int]:
    return list(self._manager.all_steps()) if self._manager else []

  def _is_milestone(self, number: int) -> bool:
    path = self.folder / str(number) / _MANIFEST
    try:
      return bool(json.loads(path.read_text())["milestone"])
    except FileNotFoundError:
      # Of an earlier version, which saved little else; behind one that has a
      # manifest it is of a process that was killed before it wrote this one's.
      return not any(
        before < number and (self.folder / str(before) / _MANIFEST).exists()
        for before in self._numbers()
      )
    except (ValueError, KeyError, TypeError):
      return False

  def _prune(self) -> None:
    """Deletes the checkpoints that are not kept."""
    numbers = sorted(self._numbers())
    kept = {*numbers[-_NUM_KEPT:], self._newest_milestone()}
    self._delete(number for number in numbers if number not in kept)

  def _delete(self, numbers: Iterable[int]) -> None:
    assert self._manager is not None  # of the first process
    for number in numbers:
      self._manager.delete(number)

  def restore(
    self, like: state_lib.State, fits: Fits = lambda number, pending: True
  ) -> tuple[state_lib.State, dict[str, Any]] | None:
    """Reads the newest checkpoint that is whole and fits, if there is one.

    Newer ones are deleted, as the run will need their place again.

    Args:
      like: a state of the same shapes, e.g. a fresh one.
      fits: a function that says whether the run may go on from a checkpoint.

    Raises:
      InputError: if there are checkpoints and none can be read.
    """
    self.wait()
    raw = like.replace(key=jax.random.key_data(like.key))
    state: Any = None

    def read_first() -> dict[str, Any] | None:
      nonlocal state
      read = _read_newest(self.folder, _template(raw), self._tell, fits)
      numbers = self._numbers()
      self._delete(n for n in numbers if read is None or n > read.number)
      if read is None:
        return None
      state = read.state
      return read.pending

    pending = hosts.from_first(read_first)
    if pending is None:
      return None
    if hosts.count() > 1:
      if state is None:
        state = jax.tree.map(np.asarray, raw)  # of the same shapes
      state = hosts.arrays_from_first(state)
    key = jax.random.wrap_key_data(jnp.asarray(state.key))
    return state.replace(key=key), pending


def read_newest(
  folder: pathlib.Path,
  like: state_lib.State | None = None,
  tell: Tell = logging.warning,
) -> Any:
  """The state in a run's newest checkpoint that is whole.

  It changes nothing in the folder.

  Args:
    folder: the folder that checkpoints lie in.
    like: a state of the same shapes; None: there is none.
    tell: a function called with what the user should know of a checkpoint.

  Returns:
    A state like that; without one nested dicts, its key as words.

  Raises:
    InputError: if there is none.
  """
  template = None
  if like is not None:
    raw = like.replace(key=jax.random.key_data(like.key))
    template = _template(raw)
  read = _read_newest(folder.resolve(), template, tell)
  if read is None:
    raise types.InputError(f"{folder} holds no checkpoint that can be read.")
  if like is None:
    return read.state
  key = jax.random.wrap_key_data(jnp.asarray(read.state.key))
  return read.state.replace(key=key)


def _read_newest(
  folder: pathlib.Path,
  template: Any,
  tell: Tell,
  fits: Fits = lambda number, pending: True,
) -> _Read | None:
  """The newest checkpoint that is whole and fits, if there is one.

  Raises:
    InputError: if none of those that there are can be read.
  """
  names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
  numbers = sorted(map(int, filter(str.isdigit, names)), reverse=True)
  faults = []
  for number in numbers:
    place = folder / str(number)
    try:
      fault = _check(place)
      read = None if fault else _read(number, place, template)
    except PermissionError as error:
      raise types.InputError(
        f"{place} cannot be read: {error.strerror}; make it readable."
      ) from None
    # Orbax raises errors of many kinds for a damaged file; an older whole
    # checkpoint is what the user wants in every case.
    except Exception as error:  # noqa: BLE001
      fault = str(error).splitlines()[0] if str(error) else repr(error)
    if fault or read is None:
      faults.append(f"checkpoint {number} is damaged ({fault})")
      continue
    if not fits(number, read.pending):
      continue
    for line in faults:
      tell(f"{line}; checkpoint {number}, before it, is used")
    if not (place / _MANIFEST).exists():
      tell(f"checkpoint {number} has no checksums: it is used unchecked")
    return read
  if faults and len(faults) == len(numbers):
    raise types.InputError(
      f"no checkpoint in {folder} can be read: {'; '.join(faults)}; give"
      " another --workdir to start again."
    )
  return None


def _read(number: int, place: pathlib.Path, template: Any) -> _Read:
  with ocp.Checkpointer(
    ocp.CompositeCheckpointHandler(), multiprocessing_options=_alone()
  ) as reader:
    read = reader.restore(
      place,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(template),
        pending=ocp.args.JsonRestore(),
      ),
    )
  return _Read(number, read["state"], read["pending"])


def _alone() -> ocp.options.MultiprocessingOptions:
  """What keeps orbax from waiting for other processes."""
  if hosts.count() == 1:
    return ocp.options.MultiprocessingOptions()
  here = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=here, active_processes={here}
  )


def _copy(array: Any) -> Any:
  # With several processes orbax takes arrays of JAX only if they are spread
  # over all of them, and these are what one of them holds.
  return jnp.copy(array) if hosts.count() == 1 else np.array(array)


def _template(raw: Any) -> Any:
  """The shapes of a state, its key as words, as orbax wants to know them."""
  if hosts.count() == 1:
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, raw)
  return jax.tree.map(np.asarray, raw)


def _write_manifest(place: pathlib.Path, milestone: bool) -> None:
  paths = sorted(path for path in place.rglob("*") if path.is_file())
  record = {
    "milestone": milestone,
    "files": {
      str(path.relative_to(place)): {
        "bytes": path.stat().st_size,
        "sha256": _digest(path, to_disk=True),
      }
      for path in paths
    },
  }
  folder_lib.write_json(place / _MANIFEST, record)


def _digest(path: pathlib.Path, to_disk: bool = False) -> str:
  """The SHA-256 of a file, which is on the disk if that is asked for."""
  with path.open("rb") as file:
    if to_disk:
      os.fsync(file.fileno())
    return hashlib.file_digest(file, "sha256").hexdigest()


def _check(place: pathlib.Path) -> str:
  """What is wrong with a checkpoint by its manifest; empty if nothing is."""
  path = place / _MANIFEST
  if not path.exists():
    return ""  # of an earlier version, or killed before it was written
  try:
    files = json.loads(path.read_text())["files"]
    expected = {
      name: (int(kept["bytes"]), str(kept["sha256"]))
      for name, kept in files.items()
    }
  except (ValueError, KeyError, TypeError, AttributeError):
    return f"{_MANIFEST} cannot be read"
  for name, (size, digest) in expected.items():
    part = place / name
    if not part.is_file():
      return f"{name} is missing"
    found = part.stat().st_size
    if found != size:
      return f"{name} has {found} bytes, not {size}"
    if _digest(part) != digest:
      return f"{name} has other bytes than were written"
  return ""


def _not_saved(place: pathlib.Path, error: Exception) -> NotSavedError:
  """The error in one line, with its number where the system gave one."""
  number = error.errno if isinstance(error, OSError) else None
  if code := _ERROR_CODE.search(str(error)):
    number = int(code[1])
  words = str(error) or type(error).__name__
  reason = os.strerror(number) if number else words.splitlines()[0]
  return NotSavedError(
    number or errno.EIO,
    f"the checkpoint cannot be written: {reason}",
    str(place),
  )
