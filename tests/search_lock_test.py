"""The lock of a run's folder."""

import errno
import fcntl
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest

from enas_jax import types
from enas_jax.search import lock

_HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("process 7 on moon", file=file, flush=True)
print("held", flush=True)
time.sleep(60)
"""


class LockTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())

  def test_the_kernel_releases_what_a_killed_process_held(self):
    command = [sys.executable, "-c", _HOLD, str(self.folder / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
      self.assertEqual(other.stdout.readline(), b"held\n")
      with self.assertRaisesRegex(
        types.InputError, "is in use by process 7 on moon; wait"
      ):
        lock.hold(self.folder)
      other.kill()
    self.assertTrue(lock.hold(self.folder))
    # The same process may ask again, also by another name.
    self.assertTrue(lock.hold(self.folder / ".." / self.folder.name))
    with (self.folder / ".lock").open() as file:
      with self.assertRaises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      lock.release(self.folder)
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release(self.folder)  # has none

  def test_a_file_system_without_locks(self):
    for number in (errno.ENOLCK, errno.ENOTSUP):
      with mock.patch.object(fcntl, "flock", side_effect=OSError(number, "")):
        self.assertFalse(lock.hold(self.folder))
    with mock.patch.object(lock, "fcntl", None):
      self.assertFalse(lock.hold(self.folder))
    failure = OSError(errno.EIO, "broken")
    with mock.patch.object(fcntl, "flock", side_effect=failure):
      with self.assertRaisesRegex(OSError, "broken"):
        lock.hold(self.folder)

  def test_other_users_may_lock_it_too(self):
    mask = os.umask(0)
    self.addCleanup(os.umask, mask)
    self.assertTrue(lock.hold(self.folder))
    path = self.folder / ".lock"
    self.assertEqual(path.stat().st_mode & 0o777, 0o666)
    self.assertEqual(
      path.read_text(), f"process {os.getpid()} on {platform.node()}"
    )
    lock.release(self.folder)
    path.write_text("process 1234567890 on a machine of a long name")
    self.assertTrue(lock.hold(self.folder))
    self.assertStartsWith(path.read_text(), f"process {os.getpid()} on ")
    self.assertNotIn("long name", path.read_text())
    lock.release(self.folder)

  def test_a_folder_that_is_not_there(self):
    with self.assertRaises(FileNotFoundError):
      lock.hold(self.folder / "none")


if __name__ == "__main__":
  absltest.main()
