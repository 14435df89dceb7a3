"""Whole searches of networks and cells, and their command line."""

import json
import pathlib
import tempfile
from xml.etree import ElementTree

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.search import loop, search
from enas_jax.spaces.macro import arc as macro
from tests import command_line, tiny
from tests.search_test import final_files, stop_after
from tests.tasks_image_classifier_test import PlainTestCase


class ImageSearchTest(PlainTestCase):
  def _search(self, folder, stop=lambda: 0):
    child = {**tiny.IMAGE_FLAGS["macro"], "moving_statistics": True}
    config = tiny.make_image_config("macro", child=child)
    task, splits = tiny.make_image_task(config, "macro")
    return search.Search(config, task, splits, folder, stop=stop)

  def test_stopped_and_resumed_is_uninterrupted(self):
    """The order of images and the statistics are part of the state."""
    folder, cut = (pathlib.Path(tempfile.mkdtemp()) for _ in range(2))
    whole = self._search(folder)
    result = whole.run()
    rows, record, _ = final_files(folder)
    _, arc = macro.from_dict(json.loads((folder / "arc.json").read_text()))
    self.assertEqual(arc, result.arc)
    self.assertEqual(record["omega_steps"], 12)
    self.assertEqual(record["theta_steps"], 10)
    self.assertBetween(rows[-1]["valid/accuracy"], 0.0, 1.0)
    # The mean of two arcs on 24 images.
    self.assertAlmostEqual(rows[-1]["valid/accuracy"] * 48 % 1, 0.0, places=6)
    self.assertIn("omega/accuracy", rows[0])
    # In the omega phase of the second epoch.
    stopped = self._search(cut, stop_after(14))
    with self.assertRaises(loop.Interrupted):
      stopped.run()
    self.assertEqual(int(stopped.state.omega_step), 3)
    resumed = self._search(cut)
    resumed.run()
    self.assertEqual(final_files(cut), final_files(folder))
    for a, b in zip(
      jax.tree.leaves((whole.state.omega, whole.state.carry)),
      jax.tree.leaves((resumed.state.omega, resumed.state.carry)),
      strict=True,
    ):
      np.testing.assert_array_equal(a, b)


class CommandLineTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    data = tiny.make_images()
    cls.dataset = f"--dataset=npz:{cls.folder / 'own.npz'}"
    np.savez(
      cls.folder / "own.npz",
      x_train=data.train_images,
      y_train=data.train_labels,
      x_test=data.test_images,
      y_test=data.test_labels,
    )

  @parameterized.parameters(
    ("macro", ["--num_layers=2"], "softmax"),
    ("micro", ["--num_nodes=3", "--policy=random"], "Reduction cell"),
  )
  def test_own_images_end_with_a_network(self, space, flags, drawn):
    workdir = self.folder / space
    found = command_line.run(
      f"cifar_{space}",
      "--preset=smoke",
      self.dataset,
      f"--workdir={workdir}",
      *("--image_size=0", "--batch_size=8", "--reward_batch_size=10"),
      *("--num_valid=12", "--num_filters=4", "--num_epochs=1"),
      *("--omega_steps=3", "--theta_steps=2", "--derive_arcs=3"),
      *flags,
    )
    self.assertEqual(found.returncode, 0, found.stderr)
    self.assertEqual(found.stderr, "")
    self.assertIn("38 / 12 / 24 images", found.stdout)
    self.assertIn("8 x 8 pixels, 2 channels, 3 classes", found.stdout)
    self.assertIn(drawn, found.stdout)
    arc = json.loads((workdir / "arc.json").read_text())
    self.assertIn(f"tokens: {arc['tokens']}", found.stdout)
    ElementTree.parse(workdir / "arc.svg")
    self.assertIn("<svg", (workdir / "report.html").read_text())
    record = json.loads((workdir / "result.json").read_text())
    self.assertBetween(record["test_accuracy"], 0.0, 1.0)

  @parameterized.parameters(
    (["--dataset=cats"], "unknown dataset 'cats'"),
    (["--batch_size=64"], "train split has 38 images, too few"),
    (["--reward_batch_size=64"], "valid split has 12 images, too few"),
    (["--num_valid=50"], "num_valid is 50"),
    (["--image_size=3"], "image_size is 3"),
    (["--num_filters=5"], "num_filters must be even and positive, got 5"),
    (["--skip_combination=max"], "skip_combination must be one of concat, sum"),
    (["--omega_slowness_weight=1"], "Unknown command line flag"),
  )
  def test_bad_input_is_one_line(self, flags, message):
    workdir = self.folder / "refused"
    own = [] if any("dataset" in flag for flag in flags) else [self.dataset]
    found = command_line.run(
      "cifar_macro",
      "--preset=smoke",
      *("--image_size=0", "--num_valid=12", "--batch_size=8"),
      "--reward_batch_size=10",
      f"--workdir={workdir}",
      *own,
      *flags,
    )
    self.assertEqual(found.returncode, 2, found.stderr)
    self.assertRegex(found.stderr, f"^error: .*{message}")
    self.assertLen(found.stderr.strip().splitlines(), 1, found.stderr)
    self.assertFalse(workdir.exists())


if __name__ == "__main__":
  absltest.main()
