import builtins
import io
import json
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from enas_jax import types
from enas_jax.data import cifar, images, prepared
from tests import image_files


@pytest.fixture
def two_images(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(cifar, "_BATCH_IMAGES", 2)


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A builder of any name; image i is filled with i and labelled i."""

  VERSION = tfds.core.Version("1.9.0")

  def __init__(
    self,
    name: str,
    data_dir: pathlib.Path,
    counts: dict[str, int],
    version: str = "1.9.0",
    config: str = "",
    label: Any = None,
    sizes: tuple[int, ...] = (32,),
  ):
    self.name = name
    self.VERSION = tfds.core.Version(version)
    self.counts, self.sizes = counts, sizes
    self.label = label or tfds.features.ClassLabel(num_classes=10)
    super().__init__(
      data_dir=data_dir,
      file_format="array_record",
      config=tfds.core.BuilderConfig(name=config, version=version)
      if config
      else None,
    )
    self.download_and_prepare()

  def _info(self) -> tfds.core.DatasetInfo:
    shape = (None, None, 3)
    features = {
      "id": tfds.features.Text(),
      "image": tfds.features.Image(shape=shape, encoding_format="png"),
      "label": self.label,
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    return {k: self._generate_examples(n) for k, n in self.counts.items()}

  def _generate_examples(self, count: int) -> Any:
    for i in range(count):
      size = self.sizes[i % len(self.sizes)]
      png = io.BytesIO()
      Image.fromarray(np.full((size, size, 3), i, np.uint8)).save(png, "png")
      png.seek(0)
      yield i, {"id": f"train_{i:05d}", "image": png, "label": i % 10}


COUNTS = {"train": 10, "test": 2}


@pytest.mark.usefixtures("two_images")
class TestPrepared:
  @pytest.mark.parametrize("inner", ["", "cifar10", "cifar10/1.9.0"])
  def test_cifar_in_the_official_order(
    self, tmp_path: pathlib.Path, inner: str
  ) -> None:
    Tiny("cifar10", tmp_path, COUNTS)
    found = prepared.find("cifar10", str(tmp_path))
    assert found is not None
    on_disk = prepared.read(found.folder).splits["train"][1]
    assert on_disk.tolist() != list(range(10))  # or this test shows nothing
    data = images.load("cifar10", str(tmp_path / inner), num_valid=3)
    assert data.train_labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert data.valid_labels.tolist() == [7, 8, 9]
    assert (data.valid_images[1] == 8).all()
    assert data.test_images.shape == (2, 32, 32, 3)
    assert "tensorflow" not in sys.modules

  def test_cifar_of_a_wrong_count(self, tmp_path: pathlib.Path) -> None:
    Tiny("cifar10", tmp_path, {"train": 9, "test": 2})
    image_files.fails(
      r"is not CIFAR-10: expected train images of shape \(10, 32, 32, 3\),"
      r" found \(9, 32, 32, 3\)",
      "cifar10",
      tmp_path,
    )

  def test_tfrecord_gives_way_to_binary(self, tmp_path: pathlib.Path) -> None:
    Tiny("cifar10", tmp_path, COUNTS)
    path = tmp_path / "cifar10" / "1.9.0" / "dataset_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    image_files.fails(
      r"cifar10/1\.9\.0 \(which is not in the format array_record\)",
      "cifar10",
      tmp_path,
    )
    image_files.fails(
      r"^.*/cifar10/1\.9\.0 is not in the format array_record, .*tfds build",
      "tfds:cifar10",
      tmp_path,
    )
    image_files.write_binary(tmp_path)
    image_files.check_ten_images(
      images.load("cifar10", str(tmp_path), num_valid=3)
    )

  def test_validation_split_and_names(self, tmp_path: pathlib.Path) -> None:
    label = tfds.features.ClassLabel(names=[f"shoe {i}" for i in range(10)])
    counts = {**COUNTS, "validation": 4}
    Tiny("fashion_mnist", tmp_path, counts, label=label)
    data = images.load("fashion_mnist", str(tmp_path), num_valid=7)
    lengths = [len(x) for x in (data.train_images, data.valid_images)]
    assert lengths == [10, 4]
    assert data.class_names[3] == "shoe 3"

  def test_newest_version_and_given_version(
    self, tmp_path: pathlib.Path
  ) -> None:
    for version, count in (("1.9.0", 5), ("1.10.0", 6)):
      Tiny("toy", tmp_path, {"train": count, "test": 1}, version=version)
    load = lambda name: images.load(name, str(tmp_path), num_valid=1)
    assert len(load("tfds:toy").train_images) == 5
    assert len(load("tfds:toy:1.9.0").train_images) == 4
    image_files.fails(r"'toy:2\.0\.0' is missing", "tfds:toy:2.0.0", tmp_path)

  def test_configs(self, tmp_path: pathlib.Path) -> None:
    for config, count in (("big", 6), ("small", 5)):
      Tiny("toy", tmp_path, {"train": count, "test": 1}, config=config)
    image_files.fails(
      r"toy is prepared in several configs \(big, small\): pass"
      " --dataset=tfds:toy/big",
      "tfds:toy",
      tmp_path,
    )
    data = images.load("tfds:toy/small", str(tmp_path), num_valid=1)
    assert len(data.train_images) == 4

  @pytest.mark.parametrize(
    "dataset", ["fashion_mnist", "tfds:mnist", "tfds:", "tfds:a/b/c:d:e"]
  )
  def test_missing(self, tmp_path: pathlib.Path, dataset: str) -> None:
    name = dataset.removeprefix("tfds:")
    message = image_files.fails("^the prepared data set", dataset, tmp_path)
    assert f"{name!r} is missing: looked for its dataset_info.json" in message
    assert f"tfds build {name} --file_format=array_record" in message
    assert f"{tmp_path} and below" in message
    assert "--dataset=digits needs no download" in message

  def test_missing_or_damaged_file(self, tmp_path: pathlib.Path) -> None:
    Tiny("toy", tmp_path, COUNTS)
    folder = tmp_path / "toy" / "1.9.0"
    path = next(folder.glob("toy-train*"))
    path.write_bytes(b"x" * 100)
    image_files.fails(f"cannot read {folder}: ", "tfds:toy", tmp_path)
    path.unlink()
    image_files.fails(
      f"cannot read {folder}: .*No such file", "tfds:toy", tmp_path
    )
    (folder / "features.json").unlink()
    image_files.fails(f"cannot read {folder}: ", "tfds:toy", tmp_path)

  @pytest.mark.parametrize("content", ["{", "[]"])
  def test_damaged_info(self, tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "toy" / "dataset_info.json"
    path.parent.mkdir()
    path.write_text(content)
    image_files.fails(
      f"{path} (is damaged|cannot be read): ", "tfds:toy", tmp_path
    )

  @pytest.mark.parametrize(
    "options, pattern",
    [
      ({"counts": {"train": 2}}, "lacks the split 'test'; it has train"),
      ({"sizes": (8, 9)}, r"shapes, such as \(8, 8, 3\) and \(9, 9, 3\)"),
      ({"label": tfds.features.Tensor(shape=(), dtype=np.int64)}, "ClassLabel"),
    ],
  )
  def test_unsuitable(
    self, tmp_path: pathlib.Path, options: dict[str, Any], pattern: str
  ) -> None:
    Tiny("toy", tmp_path, **{"counts": COUNTS, **options})
    image_files.fails(pattern, "tfds:toy", tmp_path)

  def test_other_features(self) -> None:
    pattern = "needs the features image and label, and has text"
    with pytest.raises(types.InputError, match=pattern):
      prepared._check_features(pathlib.Path("toy"), {"text": None})


class TestDigits:
  def test_sizes(self) -> None:
    data = images.load("digits", None, num_valid=237)
    assert data.train_images.shape == (1200, 8, 8, 1)
    assert data.valid_images.shape == (237, 8, 8, 1)
    assert data.test_images.shape == (360, 8, 8, 1)
    assert data.class_names == tuple("0123456789")
    assert data.train_images.max() == 255 and data.train_images.min() == 0
    for labels in (data.valid_labels, data.test_labels):
      assert set(labels.tolist()) == set(range(10))

  def test_every_image_once(self) -> None:
    from sklearn import datasets

    data = images.load("digits", None, num_valid=200)
    parts = (data.train_images, data.valid_images, data.test_images)
    every = np.concatenate(parts).reshape(-1, 64)
    original = np.rint(datasets.load_digits().data * 255 / 16)
    assert sorted(map(tuple, every)) == sorted(map(tuple, original))

  def test_labels_follow_their_images(self) -> None:
    from sklearn import datasets

    data = images.load("digits", None, num_valid=200)
    bunch = datasets.load_digits()
    label_of = {
      tuple(image): label
      for image, label in zip(
        np.rint(bunch.data * 255 / 16), bunch.target, strict=True
      )
    }
    for x, y in (
      (data.train_images, data.train_labels),
      (data.valid_images, data.valid_labels),
      (data.test_images, data.test_labels),
    ):
      assert [label_of[tuple(i)] for i in x.reshape(-1, 64)] == y.tolist()

  def test_the_same_in_every_run(self) -> None:
    data = images.load("digits", None, num_valid=200)
    again = images.load("digits", None, num_valid=200)
    np.testing.assert_array_equal(data.valid_images, again.valid_images)
    # Of RandomState(0), whose stream NumPy promises never to change.
    train, test = images._shuffled_split(6, 2)
    assert [*train, *test] == [5, 2, 1, 3, 0, 4]

  def test_without_scikit_learn(self, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [x for x in sys.modules if x.split(".")[0] == "sklearn"]:
      monkeypatch.delitem(sys.modules, name)
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
      if name.startswith("sklearn"):
        raise ImportError(name)
      return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    image_files.fails("not installed: pip install scikit-learn", "digits")


class TestShrink:
  def test_by_hand(self) -> None:
    image = np.zeros((1, 16, 16, 1), np.uint8)
    image[0, :2, :4, 0] = [[10, 20, 255, 255], [30, 41, 255, 255]]
    image[0, 14:, 14:, 0] = [[0, 0], [0, 2]]
    small = images.shrink("toy", image, 8)
    assert small.shape == (1, 8, 8, 1) and small.dtype == np.uint8
    # (10 + 20 + 30 + 41) / 4 = 25.25; 2 / 4 = 0.5 is rounded up.
    assert small[0, 0, :3, 0].tolist() == [25, 255, 0]
    assert small[0, 7, 7, 0] == 1 and small.sum() == 25 + 255 + 1

  def test_against_numpy(self) -> None:
    x = np.random.RandomState(3).randint(0, 256, (2, 24, 24, 3), np.uint8)
    small = images.shrink("toy", x, 8)
    for n, i, j, c in np.ndindex(2, 8, 8, 3):
      square = x[n, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3, c]
      assert small[n, i, j, c] == round(square.mean())

  @pytest.mark.usefixtures("two_images")
  def test_load(self, tmp_path: pathlib.Path) -> None:
    image_files.write_binary(tmp_path)
    load = lambda size: images.load(
      "cifar10", str(tmp_path), num_valid=3, image_size=size
    )
    small, large = load(16), load(32)
    image_files.check_ten_images(large)
    for x in (small.train_images, small.valid_images, small.test_images):
      assert x.shape[1:] == (16, 16, 3)
    # Averaging keeps the mean and lessens the deviation of noise by half.
    np.testing.assert_allclose(small.mean, large.mean, atol=3e-3)
    np.testing.assert_allclose(small.std, large.std / 2, rtol=0.1)
    for size in (12, 20, 64):
      pattern = rf"image_size is {size}, but cifar10 has images of height 32"
      image_files.fails(pattern, "cifar10", tmp_path, image_size=size)
    for size in (4, 0, -8):
      pattern = f"image_size is {size}; it must be at least 8"
      image_files.fails(pattern, "cifar10", tmp_path, image_size=size)

  def test_not_square(self, tmp_path: pathlib.Path) -> None:
    pattern = "height 8 and width 10: both must be one multiple of image_size"
    image_files.fails(pattern, image_files.write_npz(tmp_path), image_size=8)


class TestMoments:
  def test_against_numpy(self, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_CHUNK", 2)
    x = np.random.RandomState(4).randint(0, 200, (5, 8, 9, 3), np.uint8)
    mean, std = images.channel_moments(x)
    np.testing.assert_allclose(mean, (x / 255).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, (x / 255).std((0, 1, 2)), rtol=1e-6)
    assert mean.dtype == std.dtype == np.float32

  def test_constant_channel(self) -> None:
    x = np.full((3, 8, 8, 2), 51, np.uint8)
    x[0, ..., 1] = 0
    mean, std = images.channel_moments(x)
    # 0 once and 0.2 twice: mean 2/15, variance 0.04 * 2/9.
    np.testing.assert_allclose(mean, [0.2, 2 / 15], rtol=1e-6)
    np.testing.assert_allclose(std, [1, 0.2 * np.sqrt(2) / 3], rtol=1e-6)

  def test_only_the_training_images_count(self, tmp_path: pathlib.Path) -> None:
    data = images.load(image_files.write_npz(tmp_path), None, num_valid=2)
    x = data.train_images / 255
    assert len(x) == 4
    np.testing.assert_allclose(data.mean, x.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.std, x.std((0, 1, 2)), rtol=1e-6)
