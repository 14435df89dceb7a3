"""One process at a time in a run's folder.

The lock is the kernel's: it ends with the process, however that ends, so none
is left behind for anyone to delete.
"""

import errno
import os
import pathlib
import platform

from enas_jax import types
from enas_jax.search import folder as folder_lib

try:
  import fcntl
except ImportError:  # there is none outside POSIX
  fcntl = None  # type: ignore[assignment]

# Of a file system that has no locks, such as some network mounts.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
# Descriptors stay open, and folders locked, until the process ends or releases
# them.
_held: dict[pathlib.Path, int] = {}


def hold(folder: pathlib.Path) -> bool:
  """Locks a folder for as long as this process lives, or until `release`.

  Args:
    folder: the run's folder, which exists. It may be locked by this process
      already.

  Returns:
    Whether it is locked; False where its file system has no locks.

  Raises:
    InputError: if another process has locked it.
    OSError: if the folder cannot be written to.
  """
  place = folder.resolve()
  if place in _held:
    return True
  if fcntl is None:
    return False
  path = place / folder_lib.LOCK
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    holder = os.read(descriptor, 200).decode(errors="replace").strip()
    os.close(descriptor)
    raise types.InputError(
      f"{folder} is in use by {holder or 'another process'}; wait until that"
      " has ended, or give another folder."
    ) from None
  except OSError as error:
    os.close(descriptor)
    if error.errno not in _NO_LOCKS:
      raise
    return False
  # Not before it is locked: until then the name in it is the holder's.
  os.ftruncate(descriptor, 0)
  os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
  _held[place] = descriptor
  return True


def release(folder: pathlib.Path) -> None:
  """Lets others write to a folder again, if this process has locked it."""
  descriptor = _held.pop(folder.resolve(), None)
  if descriptor is not None:
    os.close(descriptor)
