import builtins
import io
import json
import os
import pathlib
import pickle
import struct
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from enas_jax import files, types
from enas_jax.data import cifar, images, prepared

BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
PIXELS = 3 * 32 * 32


def fails(
  pattern: str,
  dataset: str,
  data_dir: str | pathlib.Path | None = None,
  **options: Any,
) -> str:
  data_dir = None if data_dir is None else str(data_dir)
  with pytest.raises(types.InputError, match=pattern) as caught:
    images.load(dataset, data_dir, **{"num_valid": 1, **options})
  message = str(caught.value)
  assert "\n" not in message
  return message


@pytest.fixture
def two_images(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(cifar, "_BATCH_IMAGES", 2)


def records() -> list[tuple[list[int], np.ndarray]]:
  """Six batches of two images; image 2b + i holds noise of its own."""
  noise = np.random.RandomState(1).randint(0, 256, (6, 2, PIXELS), np.uint8)
  return [([b, 9 - b], noise[b]) for b in range(6)]


def write_binary(folder: pathlib.Path) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  for name, (labels, planes) in zip(BATCHES, records(), strict=True):
    content = b"".join(
      bytes([label]) + row.tobytes()
      for label, row in zip(labels, planes, strict=True)
    )
    (folder / f"{name}.bin").write_bytes(content)
  return folder


def python2_pickle(labels: list[int], planes: np.ndarray) -> bytes:
  """Writes what Python 2 wrote for {"data": planes, "labels": labels}."""
  text = lambda s: b"U" + bytes([len(s)]) + s  # SHORT_BINSTRING
  number = lambda n: b"J" + struct.pack("<i", n)  # BININT
  raw = planes.tobytes()
  shape = number(planes.shape[0]) + number(planes.shape[1]) + b"\x86"
  dtype = (
    *(b"cnumpy\ndtype\n", text(b"u1"), b"K\x00K\x01\x87R"),
    *(b"(K\x03", text(b"|"), b"NNN", number(-1), number(-1), b"K\x00tb"),
  )
  array = (
    *(b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n"),
    *(b"K\x00\x85", text(b"b"), b"\x87R"),
    *(b"(K\x01", shape, *dtype, b"\x89"),
    *(b"T" + struct.pack("<i", len(raw)) + raw, b"tb"),
  )
  items = b"".join(b"K" + bytes([label]) for label in labels)
  return b"".join(
    (
      *(b"\x80\x02}(", text(b"data"), *array),
      *(text(b"labels"), b"](", items, b"e", b"u."),
    )
  )


def write_python(folder: pathlib.Path, **changed: bytes) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  for name, record in zip(BATCHES, records(), strict=True):
    content = changed.get(name, python2_pickle(*record))
    (folder / name).write_bytes(content)
  return folder


def check_ten_images(data: images.ImageData) -> None:
  """Compares with `records`, pixel by pixel and with loops."""
  labels = [label for pair, _ in records() for label in pair]
  assert data.train_labels.tolist() == labels[:7]
  assert data.valid_labels.tolist() == labels[7:10]
  assert data.test_labels.tolist() == labels[10:]
  planes = np.concatenate([rows for _, rows in records()])
  # A record has all of red, then green, then blue, each row by row.
  every = np.concatenate([data.train_images, data.valid_images])
  every = np.concatenate([every, data.test_images])
  for number, y, x, c in np.ndindex(12, 32, 32, 3):
    assert every[number, y, x, c] == planes[number, 1024 * c + 32 * y + x]


class TestCifarFiles:
  @pytest.mark.usefixtures("two_images")
  @pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin", "cifar10"])
  def test_binary(self, tmp_path: pathlib.Path, inner: str) -> None:
    write_binary(tmp_path / inner)
    data = images.load("cifar10", str(tmp_path), num_valid=3)
    check_ten_images(data)
    assert data.name == "cifar10" and data.num_classes == 10
    assert data.class_names[0] == "airplane" and data.class_names[9] == "truck"
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == np.int32

  @pytest.mark.usefixtures("two_images")
  @pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
  def test_python(self, tmp_path: pathlib.Path, inner: str) -> None:
    write_python(tmp_path / inner)
    check_ten_images(images.load("cifar10", str(tmp_path), num_valid=3))

  def test_python2_pickle_is_one(self) -> None:
    labels, planes = records()[0]
    content = pickle.loads(python2_pickle(labels, planes), encoding="bytes")
    assert content[b"labels"] == labels
    np.testing.assert_array_equal(content[b"data"], planes)

  @pytest.mark.usefixtures("two_images")
  def test_pickle_of_a_newer_python(self, tmp_path: pathlib.Path) -> None:
    labels, planes = records()[0]
    content = pickle.dumps({b"data": planes, b"labels": labels}, protocol=4)
    write_python(tmp_path, data_batch_1=content)
    check_ten_images(images.load("cifar10", str(tmp_path), num_valid=3))

  @pytest.mark.usefixtures("two_images")
  def test_binary_comes_before_python(self, tmp_path: pathlib.Path) -> None:
    write_binary(tmp_path / "cifar-10-batches-bin")
    write_python(tmp_path / "cifar-10-batches-py", data_batch_1=b"")
    check_ten_images(images.load("cifar10", str(tmp_path), num_valid=3))

  def test_missing(self, tmp_path: pathlib.Path) -> None:
    message = fails("^CIFAR-10 is missing", "cifar10", tmp_path)
    for part in (
      *(f"looked in {tmp_path},", f"{tmp_path}/cifar-10-batches-bin,"),
      *(f"{tmp_path}/cifar-10-batches-py,", "cifar-10-binary.tar.gz"),
      *("--data_dir", "tfds build cifar10 --file_format=array_record"),
      "--dataset=digits needs no download",
    ):
      assert part in message

  def test_missing_without_data_dir(
    self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
  ) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    message = fails("^CIFAR-10 is missing", "cifar10")
    assert f"looked in {pathlib.Path.cwd() / 'data'}," in message
    assert f"{tmp_path}/home/tensorflow_datasets/cifar10," in message

  @pytest.mark.usefixtures("two_images")
  def test_incomplete(self, tmp_path: pathlib.Path) -> None:
    (write_binary(tmp_path) / "data_batch_3.bin").unlink()
    pattern = rf"{tmp_path} \(which lacks data_batch_3\.bin\)"
    fails(pattern, "cifar10", tmp_path)

  @pytest.mark.usefixtures("two_images")
  def test_damaged_binary(self, tmp_path: pathlib.Path) -> None:
    path = write_binary(tmp_path) / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    fails(
      r"data_batch_2\.bin is damaged: expected 6,146 bytes, found 6,145;",
      "cifar10",
      tmp_path,
    )
    path.write_bytes(bytes([10]) * 6146)
    fails(
      r"the train split has the label 10; .* must be in \[0, 10\)",
      "cifar10",
      tmp_path,
    )

  @pytest.mark.usefixtures("two_images")
  def test_unreadable(
    self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
  ) -> None:
    write_binary(tmp_path)

    def refuse(path: pathlib.Path, mode: str) -> bytes:
      raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "open", refuse, raising=False)
    pattern = r"data_batch_1\.bin cannot be read: Permission denied"
    fails(pattern, "cifar10", tmp_path)

  def test_real(self) -> None:
    data_dir = os.environ.get("ENAS_DATA_DIR")
    if not data_dir:
      pytest.skip("ENAS_DATA_DIR does not say where CIFAR-10 is")
    if not (pathlib.Path(data_dir) / "cifar-10-batches-bin").is_dir():
      pytest.skip("the folder of ENAS_DATA_DIR has no cifar-10-batches-bin")
    data = images.load("cifar10", data_dir, num_valid=5000)
    assert data.train_images.shape == (45_000, 32, 32, 3)
    assert data.valid_images.shape == (5_000, 32, 32, 3)
    assert data.test_images.shape == (10_000, 32, 32, 3)
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    both = np.concatenate([data.train_labels, data.valid_labels])
    assert np.bincount(both).tolist() == [5000] * 10
    # The usual figures, of all 50,000; copies kept as JPEG differ a little.
    np.testing.assert_allclose(data.mean, [0.4914, 0.4822, 0.4465], atol=2e-3)
    np.testing.assert_allclose(data.std, [0.247, 0.2435, 0.2616], atol=4e-3)


class Attack:
  """Its pickle asks whoever reads it to make a folder."""

  def __init__(self, target: pathlib.Path):
    self.target = str(target)

  def __reduce__(self) -> tuple[Any, ...]:
    return os.mkdir, (self.target,)


@pytest.mark.usefixtures("two_images")
class TestPickles:
  @pytest.mark.parametrize("protocol", [0, 2, 4, 5])
  def test_code_is_not_run(self, tmp_path: pathlib.Path, protocol: int) -> None:
    target = tmp_path / "made"
    content = pickle.dumps({"data": Attack(target)}, protocol)
    write_python(tmp_path, data_batch_4=content)
    message = fails(
      r"data_batch_4 is refused: it refers to", "cifar10", tmp_path
    )
    assert "mkdir, which no CIFAR-10 file needs" in message
    assert not target.exists()
    pickle.loads(content)
    assert target.exists()  # so the attack is one

  @pytest.mark.parametrize(
    "module, name",
    [
      ("builtins", "eval"),
      ("builtins", "getattr"),
      ("numpy", "load"),
      ("numpy", "ndarray.tofile"),
      ("numpy.core.multiarray", "fromfile"),
      ("_codecs", "encode"),
    ],
  )
  def test_names_are_refused(
    self, tmp_path: pathlib.Path, module: str, name: str
  ) -> None:
    content = f"c{module}\n{name}\n.".encode()
    write_python(tmp_path, data_batch_1=content)
    fails(f"refers to {module}.{name}, which", "cifar10", tmp_path)

  @pytest.mark.parametrize(
    "content, pattern",
    [
      (b"", r"data_batch_1 is refused: it is no pickle: .*; unpack"),
      (b"\x80\x02}", "data_batch_1 is refused: .*cifar-10-python.tar.gz"),
      (b"garbage", "data_batch_1 is refused: "),
      (pickle.dumps([1], 2), "is no dictionary with data and labels"),
      (
        pickle.dumps({b"data": b"", b"fine_labels": []}, 4),
        "is no dictionary with data and labels",
      ),
      (
        pickle.dumps({b"data": b"", b"labels": []}, 4),
        "is damaged: its data are not an array",
      ),
      (
        python2_pickle([1], np.zeros((1, PIXELS), np.uint8)),
        r"expected data of shape \(2, 3072\) in 6,144 bytes, found \(1, 3072\)"
        " in 3,072",
      ),
      (
        python2_pickle([1], np.zeros((2, PIXELS), np.uint8)),
        "its labels are not a list of 2",
      ),
      (
        python2_pickle([1, 10], np.zeros((2, PIXELS), np.uint8)),
        r"a label is 10; it must be in \[0, 10\)",
      ),
      (
        pickle.dumps(
          {b"data": np.zeros((2, PIXELS), np.uint8), b"labels": [1, "x"]}, 4
        ),
        "a label is 'x'; it must be",
      ),
      (
        pickle.dumps({b"data": np.zeros((2, PIXELS)), b"labels": [1, 2]}, 4),
        "its array is not one of uint8",
      ),
      (
        pickle.dumps({b"data": np.array([[], None], object)}, 4),
        "its array is not one of uint8",
      ),
      (
        pickle.dumps(
          {b"data": np.asfortranarray(np.zeros((2, PIXELS), np.uint8))}, 4
        ),
        "its array is not a row of bytes",
      ),
    ],
  )
  def test_damaged(
    self, tmp_path: pathlib.Path, content: bytes, pattern: str
  ) -> None:
    write_python(tmp_path, data_batch_1=content)
    fails(pattern, "cifar10", tmp_path)


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
    fails(
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
    fails(
      r"cifar10/1\.9\.0 \(which is not in the format array_record\)",
      "cifar10",
      tmp_path,
    )
    fails(
      r"^.*/cifar10/1\.9\.0 is not in the format array_record, .*tfds build",
      "tfds:cifar10",
      tmp_path,
    )
    write_binary(tmp_path)
    check_ten_images(images.load("cifar10", str(tmp_path), num_valid=3))

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
    fails(r"'toy:2\.0\.0' is missing", "tfds:toy:2.0.0", tmp_path)

  def test_configs(self, tmp_path: pathlib.Path) -> None:
    for config, count in (("big", 6), ("small", 5)):
      Tiny("toy", tmp_path, {"train": count, "test": 1}, config=config)
    fails(
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
    message = fails("^the prepared data set", dataset, tmp_path)
    assert f"{name!r} is missing: looked for its dataset_info.json" in message
    assert f"tfds build {name} --file_format=array_record" in message
    assert f"{tmp_path} and below" in message
    assert "--dataset=digits needs no download" in message

  def test_missing_or_damaged_file(self, tmp_path: pathlib.Path) -> None:
    Tiny("toy", tmp_path, COUNTS)
    folder = tmp_path / "toy" / "1.9.0"
    path = next(folder.glob("toy-train*"))
    path.write_bytes(b"x" * 100)
    fails(f"cannot read {folder}: ", "tfds:toy", tmp_path)
    path.unlink()
    fails(f"cannot read {folder}: .*No such file", "tfds:toy", tmp_path)
    (folder / "features.json").unlink()
    fails(f"cannot read {folder}: ", "tfds:toy", tmp_path)

  @pytest.mark.parametrize("content", ["{", "[]"])
  def test_damaged_info(self, tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "toy" / "dataset_info.json"
    path.parent.mkdir()
    path.write_text(content)
    fails(f"{path} (is damaged|cannot be read): ", "tfds:toy", tmp_path)

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
    fails(pattern, "tfds:toy", tmp_path)

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
    fails("not installed: pip install scikit-learn", "digits")


def arrays(**changed: Any) -> dict[str, Any]:
  """Arrays for an archive; None leaves one out."""
  rng = np.random.RandomState(2)
  every = {
    "x_train": rng.randint(0, 256, (6, 8, 10, 3), np.uint8),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": rng.randint(0, 256, (2, 8, 10, 3), np.uint8),
    "y_test": np.array([2, 0], np.uint8),
  }
  return {k: v for k, v in {**every, **changed}.items() if v is not None}


def write_npz(folder: pathlib.Path, **changed: Any) -> str:
  path = folder / "mine.npz"
  np.savez(path, **arrays(**changed))
  return f"npz:{path}"


class TestNpz:
  def test_by_hand(self, tmp_path: pathlib.Path) -> None:
    given = arrays()
    data = images.load(write_npz(tmp_path), None, num_valid=2)
    # 5, 2, 1, 3 | 0, 4 is the fixed order of six.
    order = [5, 2, 1, 3]
    np.testing.assert_array_equal(data.train_images, given["x_train"][order])
    np.testing.assert_array_equal(data.valid_images, given["x_train"][[0, 4]])
    assert data.train_labels.tolist() == [2, 2, 1, 0]
    assert data.valid_labels.tolist() == [0, 1]
    np.testing.assert_array_equal(data.test_images, given["x_test"])
    assert data.test_labels.tolist() == [2, 0]
    assert data.class_names == ("0", "1", "2")

  def test_own_validation(self, tmp_path: pathlib.Path) -> None:
    x, y = np.ones((3, 8, 10, 3), np.uint8), np.array([1, 1, 2])
    name = write_npz(tmp_path, x_valid=x, y_valid=y)
    data = images.load(name, None, num_valid=99)
    np.testing.assert_array_equal(data.train_images, arrays()["x_train"])
    assert data.valid_labels.tolist() == [1, 1, 2]

  def test_no_validation(self, tmp_path: pathlib.Path) -> None:
    data = images.load(write_npz(tmp_path), None, num_valid=0)
    assert len(data.train_images) == 6
    assert data.valid_images.shape == (0, 8, 10, 3)
    assert data.valid_labels.shape == (0,)

  def test_grey_floats(self, tmp_path: pathlib.Path) -> None:
    x = np.linspace(0, 1, 6 * 64, dtype=np.float32).reshape(6, 8, 8)
    name = write_npz(tmp_path, x_train=x, x_test=x[:2] / 2)
    data = images.load(name, None, num_valid=0)
    assert data.test_images.shape == (2, 8, 8, 1)
    assert data.test_images[0, 0, :4, 0].tolist() == [0, 0, 1, 1]
    assert data.train_images.min() == 0 and data.train_images.max() == 255

  @pytest.mark.parametrize(
    "changed, pattern",
    [
      ({"x_test": None}, r"mine\.npz lacks x_test; it has x_train, y_train,"),
      ({"x_valid": np.ones(1)}, "lacks y_valid; it has"),
      ({"x_train": np.ones((6, 8))}, r"x_train has shape \(6, 8\); it must be"),
      (
        {"x_train": np.ones((6, 8, 8), int)},
        "x_train is of type int64; .*uint8",
      ),
      (
        {"x_train": np.full((6, 8, 8), 255.0)},
        r"x_train has values in \[255, 255\]; .* in \[0, 1\]",
      ),
      ({"x_test": np.full((2, 8, 8), np.nan)}, r"x_test has values in \[nan"),
      (
        {"y_test": np.zeros((2, 1), int)},
        r"y_test has shape \(2, 1\); .*\[n\]",
      ),
      ({"y_test": np.zeros(2)}, "y_test is of type float64; .* be integers"),
      (
        {"y_train": np.zeros(6, object)},
        "y_train.npy has Python objects",
      ),
      ({"y_train": np.arange(6) % 3 - 1}, "y_train has the label -1; .* at 0"),
      (
        {"y_train": np.arange(6) % 3 * 2},
        r"y_train goes up to 4 but lacks 1; .* without a gap",
      ),
      ({"y_train": np.arange(6) // 5 * 10**12}, "lacks 1; .* without a gap"),
      ({"y_train": np.zeros(6, int)}, "has 1 class; at least 2 are needed"),
      (
        {"y_test": np.array([0, 3])},
        r"the test split has the label 3; with 3 classes, .* in \[0, 3\)",
      ),
      ({"y_test": np.array([0, -1])}, "the test split has the label -1"),
      ({"y_train": np.arange(5) % 3}, "train split has 6 images and 5 labels"),
      (
        {"x_test": np.ones((0, 8, 8)), "y_test": np.ones(0, int)},
        "the test split is empty",
      ),
      (
        {"x_train": np.ones((0, 8, 8)), "y_train": np.ones(0, int)},
        "the train split is empty",
      ),
      (
        {"x_train": np.ones((6, 9, 7, 3))},
        r"height 9, width 7 and 3 channels, .* at least 8, .* halve them twice",
      ),
      ({"x_train": np.ones((6, 3, 32, 32))}, "height 3, .* must come last"),
      ({"x_train": np.ones((6, 8, 8, 0))}, "images without channels"),
      (
        {"x_test": np.ones((2, 8, 8))},
        r"test images have the shape \(8, 8, 1\) and the train images"
        r" \(8, 10, 3\)",
      ),
    ],
  )
  def test_inconsistent(
    self, tmp_path: pathlib.Path, changed: dict[str, Any], pattern: str
  ) -> None:
    fails(pattern, write_npz(tmp_path, **changed))

  def test_missing(self, tmp_path: pathlib.Path) -> None:
    message = fails("'.*nowhere', which is missing", f"npz:{tmp_path}/nowhere")
    assert "numpy.savez(FILE, x_train=..." in message
    fails("--dataset=npz:: .*npz:FILE takes", "npz:")

  def test_other_files(self, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "other"
    for content in (b"", b"PK\x03\x04 damaged", b"text"):
      path.write_bytes(content)
      fails(f"{path} cannot be read: ", f"npz:{path}")
    np.save(tmp_path / "one.npy", np.ones(3))
    fails("is one array, not an archive", f"npz:{tmp_path}/one.npy")

  def test_damaged_member(self, tmp_path: pathlib.Path) -> None:
    name = write_npz(tmp_path)
    path = pathlib.Path(name.removeprefix("npz:"))
    content = bytearray(path.read_bytes())
    content[200:210] = bytes(255 - x for x in content[200:210])
    path.write_bytes(content)
    fails("cannot be read: Bad CRC", name)

  @pytest.mark.parametrize("num_valid", [-1, 6, 7])
  def test_num_valid(self, tmp_path: pathlib.Path, num_valid: int) -> None:
    pattern = rf"num_valid is {num_valid}, but .* has 6 .* in \[0, 6\)"
    fails(pattern, write_npz(tmp_path), num_valid=num_valid)

  def test_unknown_dataset(self) -> None:
    fails(
      "unknown dataset 'imagenet': .*cifar10, digits, .*npz:FILE", "imagenet"
    )


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
    write_binary(tmp_path)
    load = lambda size: images.load(
      "cifar10", str(tmp_path), num_valid=3, image_size=size
    )
    small, large = load(16), load(32)
    check_ten_images(large)
    for x in (small.train_images, small.valid_images, small.test_images):
      assert x.shape[1:] == (16, 16, 3)
    # Averaging keeps the mean and lessens the deviation of noise by half.
    np.testing.assert_allclose(small.mean, large.mean, atol=3e-3)
    np.testing.assert_allclose(small.std, large.std / 2, rtol=0.1)
    for size in (12, 20, 64):
      pattern = rf"image_size is {size}, but cifar10 has images of height 32"
      fails(pattern, "cifar10", tmp_path, image_size=size)
    for size in (4, 0, -8):
      pattern = f"image_size is {size}; it must be at least 8"
      fails(pattern, "cifar10", tmp_path, image_size=size)

  def test_not_square(self, tmp_path: pathlib.Path) -> None:
    pattern = "height 8 and width 10: both must be one multiple of image_size"
    fails(pattern, write_npz(tmp_path), image_size=8)


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
    data = images.load(write_npz(tmp_path), None, num_valid=2)
    x = data.train_images / 255
    assert len(x) == 4
    np.testing.assert_allclose(data.mean, x.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.std, x.std((0, 1, 2)), rtol=1e-6)
