"""One call for a whole search, and what it leaves behind."""

import json
import pathlib
import shlex
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

import enas_jax as enas
from enas_jax.data import images, own
from enas_jax.running import searches
from enas_jax.search import loop
from tests import command_line, tiny


class _Lines(loop.Progress):
  def __init__(self):
    self.all = []

  def line(self, text):
    self.all.append(text)


def texts(folder):
  tiny.write_corpus(folder)
  return {
    split: (folder / f"{split}.txt").read_text()
    for split in ("train", "valid", "test")
  }


def options(**more):
  words = [flag[2:].partition("=") for flag in tiny.command_flags()]
  given = {n: json.loads(value or "[]") for n, _, value in words[1:]}
  return {"preset": "smoke", "num_devices": 1, **given, **more}


class OneCallTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    cls.texts = texts(cls.folder)
    cls.workdir = cls.folder / "mine"
    cls.first = cls.search()

  @classmethod
  def search(cls, data=None, **more):
    data = cls.texts if data is None else data
    cls.lines = _Lines()
    given = {"workdir": cls.workdir, "progress": cls.lines} | more
    return enas.search("recurrent", data, **options(**given))

  def test_a_run_is_one_like_any_other(self):
    saved = json.loads((self.workdir / "config.json").read_text())
    self.assertEqual(saved["experiment"], "search")
    self.assertEqual(saved["dataset"], f"text:{self.workdir}/data")
    self.assertEqual(saved["config"]["omega"]["steps"], 6)
    record = json.loads((self.workdir / "result.json").read_text())
    self.assertEqual(self.first.record, record)
    self.assertEqual(self.first.candidates[0]["arc"], record["arc"])
    self.assertLen(self.first.candidates, 4)
    svg = (self.workdir / "arc.svg").read_text()
    self.assertEqual(self.first._repr_html_(), svg)
    self.assertIn("<svg", (self.workdir / "report.html").read_text())
    # The command that it names goes on with it, which is at its end.
    words = shlex.split(saved["command"])
    self.assertEqual(words[:3], ["python", "-m", "experiments.search"])
    again = command_line.run("search", *words[3:], "--resume")
    self.assertEqual(again.returncode, 0, again.stderr)
    self.assertIn("the run is finished", again.stdout)

  def test_scripts_take_data_and_preset_from_the_run(self):
    run = f"--run={self.workdir}"
    found = command_line.run("describe", run, "--json", "--network=searched")
    self.assertEqual(found.returncode, 0, found.stderr)
    told = json.loads(found.stdout)
    self.assertEqual(told["arc"], self.first.record["arc"])
    # 30 words, <eos>; 8 hidden units, as the search had.
    self.assertEqual(told["vocabulary_size"], 31)
    self.assertEqual(told["params_by_part"]["embedding"], 31 * 8)
    found = command_line.run("ptb_train", run, "--print_config", "--seed=3")
    self.assertEqual(found.returncode, 0, found.stderr)
    told = json.loads(found.stdout)
    self.assertEqual(told["dataset"], f"text:{self.workdir}/data")
    self.assertEqual(told["preset"], "smoke")
    self.assertEqual(told["arcs"], [self.first.record["arc"]])
    self.assertEqual(told["config"]["child"]["num_nodes"], 3)
    for script, flags, message in (
      ("describe", ("--arc=enas_rnn",), "give --run or --arc, not both"),
      ("train", ("--run=nosuch",), "nosuch/config.json"),
      ("cifar_train", (), "cifar_train trains architectures of"),
    ):
      found = command_line.run(script, run, *flags)
      self.assertEqual(found.returncode, 2, found.stderr)
      self.assertRegex(found.stderr, message)

  def test_a_second_call_gives_the_same(self):
    again = self.search()
    self.assertIn("the run is finished; this is what it found", self.lines.all)
    self.assertEqual(again.arc, self.first.arc)
    self.assertEqual(again.record, self.first.record)

  def test_more_epochs_stay_with_the_run(self):
    place = self.folder / "longer"
    place.mkdir()
    text = (self.workdir / "config.json").read_text()
    (place / "config.json").write_text(text)
    with (
      mock.patch.object(searches, "prepare"),
      mock.patch.object(searches, "run"),
    ):
      given = options(workdir=place, progress=False)
      enas.search("recurrent", **given)
      self.assertEqual((place / "config.json").read_text(), text)
      enas.search("recurrent", **(given | {"num_epochs": 7}))
    saved = json.loads((place / "config.json").read_text())
    self.assertEqual(saved["config"]["run"]["num_epochs"], 7)
    saved["config"]["run"]["num_epochs"] = given["num_epochs"]
    self.assertEqual(saved, json.loads(text))

  def test_what_differs_from_the_run_is_refused(self):
    other = self.texts | {"train": self.texts["train"] + " more words"}
    for message, change in {
      "has other data": {"data": other},
      "omega_steps is 7, but the run in .* has 6": {"omega_steps": 7},
      "preset is 'small', but .* 'smoke'": {"preset": "small"},
      "no option omega_step here; do you mean omega_steps": {"omega_step": 1},
      "data is 'ptb', but the run": {"data": "ptb"},
      "holds no run": {"workdir": self.folder},
      "warmup_epochs must be of type float": {"theta_warmup_epochs": "0.5"},
    }.items():
      with self.assertRaisesRegex(enas.InputError, message):
        self.search(**change)
    with self.assertRaisesRegex(enas.InputError, "space is 'macro', but"):
      enas.search("macro", workdir=self.workdir, progress=False)

  def test_what_is_refused_leaves_no_folder(self):
    place = self.folder / "refused"
    with self.assertRaisesRegex(enas.InputError, "lower the batch size"):
      self.search(workdir=place, batch_size=9999)
    with self.assertRaisesRegex(enas.InputError, "texts by split"):
      self.search({"train": "a b"}, workdir=place)
    self.assertFalse(place.exists())

  def test_the_architecture_is_trained_and_exported(self):
    place = self.folder / "trained"
    given = {"num_epochs": 1, "omega_steps": 3, "hidden_size": 8}
    given |= {"batch_size": 4, "bptt_length": 5, "workdir": place}
    given |= {"num_devices": 1, "progress": False}
    trained = enas.train(self.first, **given)
    saved = json.loads((place / "config.json").read_text())
    self.assertEqual(saved["preset"], "smoke")
    self.assertEqual(saved["dataset"], f"text:{self.workdir}/data")
    self.assertEqual(saved["config"]["child"]["num_nodes"], 3)
    self.assertEqual(trained.record["arc"], self.first.record["arc"])
    self.assertEqual(trained.record["steps"], 3)
    self.assertEqual(enas.train(self.workdir, **given).record, trained.record)
    words = shlex.split(saved["command"])[3:]
    again = command_line.run("train", *words, "--resume")
    self.assertEqual(again.returncode, 0, again.stderr)
    self.assertIn("the run is finished", again.stdout)
    trained.export(self.folder / "model")
    model = enas.load_exported(self.folder / "model")
    self.assertEqual(model.arc, self.first.arc)
    self.assertEqual(model.card["command"], saved["command"])


class OwnImagesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.labels = np.arange(50) % 3
    self.images = np.zeros((50, 9, 9), np.uint8) + np.arange(50)[:, None, None]
    self.images = self.images.astype(np.uint8)

  def test_a_pair_is_split(self):
    name = own.keep_images((self.images, self.labels), self.folder)
    data = images.load(name, None, num_valid=8)
    shown = (data.train_images, data.valid_images, data.test_images)
    self.assertEqual([len(split) for split in shown], [32, 8, 10])
    # The pixels of an image are its number.
    numbers = np.concatenate([split[:, 0, 0, 0] for split in shown])
    self.assertEqual(sorted(numbers), list(range(50)))
    self.assertNotEqual(list(numbers[-10:]), list(range(40, 50)))
    told = np.concatenate(
      [data.train_labels, data.valid_labels, data.test_labels]
    )
    np.testing.assert_array_equal(told, numbers % 3)

  def test_splits_stay_as_they_are(self):
    cut = {"train": slice(0, 30), "valid": slice(30, 40), "test": slice(40, 50)}
    pairs = {k: (self.images[v], self.labels[v]) for k, v in cut.items()}
    data = images.load(own.keep_images(pairs, self.folder), None, num_valid=1)
    np.testing.assert_array_equal(
      data.valid_images[:, 0, 0, 0], np.arange(30, 40)
    )

  @parameterized.parameters(
    (5, "must be"),
    ({"train": 3}, "must be"),
    ({"train": ([1], [0])}, "must be"),
    (([[[None]]] * 9, [0] * 9), "must be"),
    (([[[1]]] * 9, [0] * 8), "9 images and 8 labels"),
  )
  def test_other_things_are_refused(self, data, message):
    with self.assertRaisesRegex(enas.InputError, message):
      own.keep_images(data, self.folder)

  def test_a_fifth_is_for_validation_at_most(self):
    name = own.keep_images((self.images, self.labels), self.folder)
    # 40 images are left for training.
    suited = {"num_valid": 8, "image_size": 3}
    batches = {"batch_size": 32, "reward_batch_size": 8}  # all that there are
    self.assertEqual(own.suited(name, 5000, 3, 99, 99), suited | batches)
    # 9 pixels are no multiple of 4.
    suited = {"num_valid": 7, "image_size": 0}
    batches = {"batch_size": 30, "reward_batch_size": 5}
    self.assertEqual(own.suited(name, 7, 4, 30, 5), suited | batches)
    self.assertEqual(own.suited("cifar10", 7, 4, 99, 99), {})
    none = f"npz:{self.folder}/none"
    self.assertEqual(own.suited(none, 7, 4, 99, 99), {})


if __name__ == "__main__":
  absltest.main()
