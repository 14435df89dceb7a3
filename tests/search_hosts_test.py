"""Several processes of one search; see `many_hosts`, which does more of it."""

import json
import pathlib
import shutil
import socket
import tempfile
import time
import types as types_lib
from unittest import mock

from absl.testing import absltest

from enas_jax import types
from enas_jax.search import devices, hosts
from tests import command_line, kill_and_resume, tiny

_SHORT = (
  *("--preset=smoke", "--policy=random", "--num_epochs=3", "--log_every=2"),
  *("--omega_steps=40", "--eval_arcs=1", "--derive_arcs=2", "--num_nodes=3"),
  *("--hidden_size=8", "--batch_size=4", "--bptt_length=5"),
  "--omega_learning_rate=0.5",
)
_ROWS = 63  # one every two steps, and one for each epoch


class HostsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.dataset = tiny.write_corpus(self.folder)

  def _start(self, count, workdir):
    """The processes of a search, which is begun or gone on with."""
    flags = [*_SHORT, f"--dataset={self.dataset}", f"--workdir={workdir}"]
    flags += ["--resume=auto", "--checkpoint_every_minutes=0.001"]
    if count > 1:
      with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
      flags += ["--multihost", f"--num_processes={count}"]
      flags.append(f"--coordinator_address={place}")
    return [
      command_line.start(
        "ptb_search",
        *flags,
        *([f"--process_id={index}"] if count > 1 else []),
      )
      for index in range(count)
    ]

  def test_one_is_killed_and_any_number_goes_on(self):
    """In one test, so that what is compiled serves all of it."""
    cut = self.folder / "cut"
    first, second = self._start(2, cut)
    rows = cut / "metrics.jsonl"
    while first.process.is_alive():
      if rows.exists() and rows.read_text().count("\n") > 5:
        break
      time.sleep(0.01)
    second.process.kill()
    begin = time.monotonic()
    answer = first.finish()
    self.assertLess(time.monotonic() - begin, 60.0)
    self.assertEqual(answer.returncode, 1, answer.stderr)
    (line,) = answer.stderr.splitlines()
    self.assertStartsWith(line, "error: another process of this run has ended")
    self.assertEqual(second.finish().returncode, -9)
    known = json.loads((cut / "config.json").read_text())
    self.assertLen(known["hosts"], 2)
    self.assertEqual([d["host"] for d in known["devices"]], [0, 1])

    alone = shutil.copytree(cut, self.folder / "alone")
    losses = []
    for count, workdir in ((2, cut), (1, alone)):
      done = [one.finish() for one in self._start(count, workdir)]
      for answer in done:
        self.assertEqual(answer.returncode, 0, answer.stderr)
      self.assertIn("resuming after", done[0].stdout)
      rows = kill_and_resume.without_times(workdir / "metrics.jsonl")
      self.assertLen(rows, _ROWS)
      losses.append(rows[-2]["omega/loss_nats"])
    # Dropout and batches are the same ones; sums are rounded otherwise.
    self.assertAlmostEqual(*losses, places=2)

  def test_one_process_hears_itself(self):
    self.assertEqual((hosts.count(), hosts.is_first()), (1, True))
    self.assertEqual(hosts.from_first(lambda: (1, "a")), (1, "a"))
    self.assertEqual(hosts.of_all("moon"), ["moon"])
    hosts.check_same(b"anything", "data set")
    self.assertFalse(hosts.is_lost(RuntimeError("Gloo")))

  def test_what_is_long_is_spread_in_parts(self):
    sent = []

    def broadcast(array):
      sent.append(array.copy())
      return array

    fake = types_lib.SimpleNamespace(broadcast_one_to_all=broadcast)
    with (
      mock.patch.object(hosts, "multihost_utils", fake),
      mock.patch.object(hosts, "_PART", 4),
    ):
      self.assertEqual(hosts._spread(b"0123456789"), b"0123456789")
      self.assertEqual(
        [a.tobytes() for a in sent[1:]], [b"0123", b"4567", b"89"]
      )
      self.assertEqual(hosts._spread(b""), b"")
    self.assertEqual((sent[0].dtype.name, sent[0].tolist()), ("int32", [0, 10]))

  def test_flags_that_do_not_go_together(self):
    for flags, message in (
      (("--process_id=0",), "--process_id needs --multihost"),
      (("--multihost", "--process_id=0"), "--process_id needs the others of"),
      (
        ("--multihost", "--coordinator_address=127.0.0.1:1", "--process_id=2",
         "--num_processes=2"),
        "--process_id must be below --num_processes=2, got 2",
      ),
    ):  # fmt: skip
      answer = command_line.run("ptb_search", *flags)
      self.assertEqual(answer.returncode, 2)
      (line,) = answer.stderr.splitlines()
      self.assertStartsWith(line, f"error: {message}")

  def test_devices_are_all_or_none(self):
    with absltest.mock.patch.dict(hosts._here, count=2):
      with self.assertRaisesRegex(types.InputError, "--num_devices cannot"):
        devices.of(1)


if __name__ == "__main__":
  absltest.main()
