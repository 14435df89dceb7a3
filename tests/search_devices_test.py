"""Several devices against one; see `many_devices`, which runs elsewhere."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from absl.testing import absltest

from enas_jax import types
from enas_jax.search import devices

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Compiling takes most of a minute a space. The others, and other numbers, are
# compared by hand: `python -m tests.many_devices recurrent:2,8 nasbench201:2`,
# and with `candidates` before them.
_RUN = ("recurrent:4", "macro:4", "candidates", "recurrent:2")


def rows():
  done = subprocess.run(
    [sys.executable, "-m", "tests.many_devices", *_RUN],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  lines = map(json.loads, done.stdout.splitlines())
  return {(row["space"], row["devices"]): row for row in lines}


class ManyDevicesTest(absltest.TestCase):
  def test_devices_compute_what_one_does(self):
    """In one test, so that one process compiles it all."""
    compared = rows()
    self._check_candidates(compared.pop(("recurrent", 2)))
    self.assertLen(compared, 2)
    for (space, count), row in compared.items():
      with self.subTest(space=space, devices=count):
        self.assertGreater(row["size"], 0.01)  # of the gradient's largest part
        self.assertLess(row["loss"], 1e-5)
        self.assertLess(row["batch_gap"], 1e-5)
        self.assertLess(row["carry_gap"], 1e-5)
        self.assertLess(row["arcs_gap"], 1e-5)
        for kind in ("of_batch", "of_arcs"):
          self.assertEqual(row[kind]["steps"], 2)
          self.assertGreater(row[kind]["conditionals"], 2)
          self.assertGreater(row[kind]["sums"], 0)
    # Batch norm may see a device's part of a batch alone.
    row = compared["macro", 4]
    self.assertLess(row["part_gap"], 1e-5)
    self.assertGreater(row["part_matters"], 1e-3)

  def _check_candidates(self, row):
    """Each device took some, on whole batches: no sum is rounded otherwise."""
    self.assertGreater(row["spread"], 0.01)  # of the scores
    for name in ("scores", "rewards", "tuned", "weights", "reached"):
      self.assertLess(row[f"{name}_gap"], 1e-5, name)
    self.assertEqual(row["order"], row["expected_order"])
    self.assertEqual(
      sorted(steps for _, steps in row["order"]), [3, 3, 9, 9, 9]
    )
    # Of 5 candidates 3 groups took 3 steps; of 3 then 2 took 6 more. A signal
    # is also looked for after each part of an evaluation.
    one, several = row["polls"]
    self.assertGreater(several, 3 * 3 + 2 * 6)
    self.assertLess(several, one / 2)

  def test_one_device_is_no_mesh(self):
    self.assertIs(devices.of(1), devices.ONE)
    batch = np.arange(3)
    self.assertIs(devices.ONE.split(batch, 0), batch)
    self.assertIs(devices.ONE.whole(batch), batch)

  def test_what_cannot_be_split_is_refused(self):
    two = devices.Devices(mesh=absltest.mock.Mock(size=2))
    two.check(8)
    with self.assertRaisesRegex(types.InputError, "batch_size=9 .* 2 devices"):
      two.check(9)
    for count in (-1, 1000):
      with self.assertRaisesRegex(types.InputError, "num_devices must be in"):
        devices.of(count)


if __name__ == "__main__":
  absltest.main()
