"""Checkpoints: every kind of damage, older versions, what is kept."""

import errno
import json
import pathlib
import tempfile
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import checkpoint
from enas_jax.search import state as state_lib


def make_state(number):
  """A state whose numbers tell from which checkpoint they are."""
  at = jnp.int32(number)
  return state_lib.TrainState(
    epoch=at, omega_step=at, total_steps=at,
    omega={"w": jnp.full((40, 5), number, jnp.float32)},
    omega_opt=(), average={}, num_averaged=at, carry=(),
    key=jax.random.key(number),
  )  # fmt: skip


class CheckpointTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.lines = []

  def _open(self):
    return checkpoint.Checkpoints(self.folder, self.lines.append)

  def _save(self, *numbers, milestones=()):
    kept = self._open()
    for number in numbers:
      pending = {"seconds": number / 2}
      kept.save(number, make_state(number), pending, number in milestones)
    kept.wait()

  def _numbers(self):
    return sorted(int(path.name) for path in self.folder.iterdir())

  def test_every_damage_is_named_and_the_one_before_it_used(self):
    self._save(1, 2)
    files = [path for path in (self.folder / "2").rglob("*") if path.is_file()]
    names = {str(path.relative_to(self.folder / "2")) for path in files}
    self.assertContainsSubset({"pending/metadata", "manifest.json"}, names)
    self.assertGreater(len(names), 8)
    rng = np.random.default_rng(0)
    for path in files:
      whole = path.read_bytes()
      damaged = [whole[:-1], whole[: len(whole) // 2], b"", None]
      for _ in range(3):
        flipped = bytearray(whole or b"\0")
        place = int(rng.integers(len(flipped)))
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
      name = str(path.relative_to(self.folder / "2"))
      for content in damaged:
        if content == whole or (name == "manifest.json" and content is None):
          continue
        path.unlink(missing_ok=True)
        if content is not None:
          path.write_bytes(content)
        lines = []
        # Two readers: of a search that goes on, and of nested dicts.
        fault = checkpoint._check(self.folder / "2")
        if name == "manifest.json":
          # A flipped bit in it is another file's digest, size or name.
          sound = json.loads(whole)["files"]
          try:
            same = json.loads(content)["files"] == sound
          except (ValueError, KeyError):
            same = False
          self.assertEqual(fault == "", same, content)
          continue
        self.assertIn(name, fault, content)
        if content is None or content == damaged[-1]:
          state = checkpoint.read_newest(self.folder, tell=lines.append)
          np.testing.assert_array_equal(state["omega"]["w"], np.ones((40, 5)))
          self.assertEqual(
            lines,
            [
              f"checkpoint 2 is damaged ({fault}); checkpoint 1, before it, is"
              " used"
            ],
          )
      path.write_bytes(whole)
    self.assertEqual(checkpoint._check(self.folder / "2"), "")

  def test_a_run_goes_on_before_the_damage(self):
    self._save(1, 2)
    path = self.folder / "2/pending/metadata"
    path.write_bytes(path.read_bytes().replace(b"1.0", b"9.0"))
    state, pending = self._open().restore(make_state(0))
    chex.assert_trees_all_equal(state.omega, make_state(1).omega)
    np.testing.assert_array_equal(
      jax.random.key_data(state.key), jax.random.key_data(jax.random.key(1))
    )
    self.assertEqual(pending, {"seconds": 0.5})
    self.assertRegex(
      self.lines[0], r"checkpoint 2 .*pending/metadata has other bytes"
    )
    # Its place is free for when the run comes there again.
    self.assertEqual(self._numbers(), [1])
    self._save(2)
    self.assertEqual(int(self._open().restore(make_state(0))[0].epoch), 2)

  def test_nothing_whole_is_said(self):
    self._save(1, 2)
    for number in (1, 2):
      next((self.folder / str(number) / "state/d").iterdir()).write_bytes(b"")
    for read in (
      lambda: self._open().restore(make_state(0)),
      lambda: checkpoint.read_newest(self.folder),
    ):
      with self.assertRaisesRegex(
        types.InputError,
        "no checkpoint in .* can be read: checkpoint 2 is damaged .state/d/.*"
        " has 0 bytes, not .*; checkpoint 1 is damaged",
      ):
        read()
    self.assertEqual(self._numbers(), [1, 2])
    empty = self.folder / "none"
    with self.assertRaisesRegex(types.InputError, "holds no checkpoint"):
      checkpoint.read_newest(empty)

  def test_one_of_an_earlier_version_is_used_unchecked(self):
    self._save(1)
    (self.folder / "1/manifest.json").unlink()
    state, _ = self._open().restore(make_state(0))
    self.assertEqual(int(state.epoch), 1)
    self.assertEqual(
      self.lines, ["checkpoint 1 has no checksums: it is used unchecked"]
    )

  def test_the_newest_two_are_kept_and_the_newest_milestone(self):
    self._save(1, 2, 3, 4, 5, milestones=(1, 2))
    self.assertEqual(self._numbers(), [2, 4, 5])
    self._save(6, milestones=(6,))
    self.assertEqual(self._numbers(), [5, 6])
    kept = self._open()
    state, _ = kept.restore(make_state(0), lambda number, pending: number < 6)
    self.assertEqual(int(state.epoch), 5)
    self.assertEqual(self._numbers(), [5])
    # What was given may change as soon as `save` has returned.
    state = make_state(7)
    kept.save(7, state, {})
    state.omega["w"].delete()
    kept.wait()
    back = checkpoint.read_newest(self.folder, make_state(0))
    chex.assert_trees_all_equal(back.omega, make_state(7).omega)
    self.assertIsNone(
      kept.restore(make_state(0), lambda number, pending: False)
    )
    self.assertEqual(self._numbers(), [])

  def test_one_killed_before_its_manifest_displaces_no_milestone(self):
    self._save(1, 2, 3, milestones=(1,))
    (self.folder / "3/manifest.json").unlink()
    self.assertEqual(self._open().newest_milestone(), 1)
    self._save(4, 5)
    self.assertEqual(self._numbers(), [1, 4, 5])

  def test_those_of_an_earlier_version_are_milestones(self):
    self._save(1, 2)
    for number in (1, 2):
      (self.folder / f"{number}/manifest.json").unlink()
    self.assertEqual(self._open().newest_milestone(), 2)
    self._save(3, 4, 5)
    self.assertEqual(self._numbers(), [2, 4, 5])

  @parameterized.parameters(
    (
      "save",
      ValueError("X: Failed to write [os_error_code='28']\nmore"),
      errno.ENOSPC,
      "No space left on device",
    ),
    ("save", PermissionError(errno.EACCES, "no"), errno.EACCES, "denied"),
    ("save", ValueError("strange\nmore"), errno.EIO, "strange"),
    ("save", MemoryError(), errno.EIO, "MemoryError"),
    ("manifest", OSError(errno.ENOSPC, "full"), errno.ENOSPC, "No space.*"),
  )
  def test_a_full_disk_is_one_line_and_costs_no_other(
    self, where, failure, number, reason
  ):
    self._save(1)
    kept = self._open()
    at = (kept._manager, "save")
    if where == "manifest":
      at = (checkpoint, "_write_manifest")
    half = self.folder / "2.orbax-checkpoint-tmp"
    half.mkdir()
    with mock.patch.object(*at, side_effect=failure):
      kept.save(2, make_state(2), {})
      with self.assertRaises(checkpoint.NotSavedError) as caught:
        kept.wait()
    self.assertEqual(caught.exception.errno, number)
    self.assertRegex(
      caught.exception.strerror,
      f"^the checkpoint cannot be written: .*{reason}$",
    )
    # What was written of it takes no room, and the one before is whole.
    self.assertEqual(self._numbers(), [1])
    self.assertEqual(int(self._open().restore(make_state(0))[0].epoch), 1)

  def test_a_half_written_one_is_removed(self):
    self._save(1)
    half = self.folder / "2.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "part").write_text("x")
    # Whoever only reads leaves it to the process that may be writing it.
    checkpoint.read_newest(self.folder)
    self.assertTrue(half.exists())
    self._save(2)
    self.assertEqual(self._numbers(), [1, 2])


if __name__ == "__main__":
  absltest.main()
