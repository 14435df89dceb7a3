"""CIFAR-10 as people have it: binary files, pickles, archives."""

import os
import pathlib
import pickle
import struct
from typing import Any

import numpy as np
import pytest

from enas_jax import files
from enas_jax.data import cifar, images
from tests import image_files


@pytest.fixture
def two_images(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(cifar, "_BATCH_IMAGES", 2)


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
  for name, record in zip(
    image_files.BATCHES, image_files.records(), strict=True
  ):
    content = changed.get(name, python2_pickle(*record))
    (folder / name).write_bytes(content)
  return folder


class TestCifarFiles:
  @pytest.mark.usefixtures("two_images")
  @pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin", "cifar10"])
  def test_binary(self, tmp_path: pathlib.Path, inner: str) -> None:
    image_files.write_binary(tmp_path / inner)
    data = images.load("cifar10", str(tmp_path), num_valid=3)
    image_files.check_ten_images(data)
    assert data.name == "cifar10" and data.num_classes == 10
    assert data.class_names[0] == "airplane" and data.class_names[9] == "truck"
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == np.int32

  @pytest.mark.usefixtures("two_images")
  @pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
  def test_python(self, tmp_path: pathlib.Path, inner: str) -> None:
    write_python(tmp_path / inner)
    image_files.check_ten_images(
      images.load("cifar10", str(tmp_path), num_valid=3)
    )

  def test_python2_pickle_is_one(self) -> None:
    labels, planes = image_files.records()[0]
    content = pickle.loads(python2_pickle(labels, planes), encoding="bytes")
    assert content[b"labels"] == labels
    np.testing.assert_array_equal(content[b"data"], planes)

  @pytest.mark.usefixtures("two_images")
  def test_pickle_of_a_newer_python(self, tmp_path: pathlib.Path) -> None:
    labels, planes = image_files.records()[0]
    content = pickle.dumps({b"data": planes, b"labels": labels}, protocol=4)
    write_python(tmp_path, data_batch_1=content)
    image_files.check_ten_images(
      images.load("cifar10", str(tmp_path), num_valid=3)
    )

  @pytest.mark.usefixtures("two_images")
  def test_binary_comes_before_python(self, tmp_path: pathlib.Path) -> None:
    image_files.write_binary(tmp_path / "cifar-10-batches-bin")
    write_python(tmp_path / "cifar-10-batches-py", data_batch_1=b"")
    image_files.check_ten_images(
      images.load("cifar10", str(tmp_path), num_valid=3)
    )

  def test_missing(self, tmp_path: pathlib.Path) -> None:
    message = image_files.fails("^CIFAR-10 is missing", "cifar10", tmp_path)
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
    message = image_files.fails("^CIFAR-10 is missing", "cifar10")
    assert f"looked in {pathlib.Path.cwd() / 'data'}," in message
    assert f"{tmp_path}/home/tensorflow_datasets/cifar10," in message

  @pytest.mark.usefixtures("two_images")
  def test_incomplete(self, tmp_path: pathlib.Path) -> None:
    (image_files.write_binary(tmp_path) / "data_batch_3.bin").unlink()
    pattern = rf"{tmp_path} \(which lacks data_batch_3\.bin\)"
    image_files.fails(pattern, "cifar10", tmp_path)

  @pytest.mark.usefixtures("two_images")
  def test_damaged_binary(self, tmp_path: pathlib.Path) -> None:
    path = image_files.write_binary(tmp_path) / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    image_files.fails(
      r"data_batch_2\.bin is damaged: expected 6,146 bytes, found 6,145;",
      "cifar10",
      tmp_path,
    )
    path.write_bytes(bytes([10]) * 6146)
    image_files.fails(
      r"the train split has the label 10; .* must be in \[0, 10\)",
      "cifar10",
      tmp_path,
    )

  @pytest.mark.usefixtures("two_images")
  def test_unreadable(
    self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
  ) -> None:
    image_files.write_binary(tmp_path)

    def refuse(path: pathlib.Path, mode: str) -> bytes:
      raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "open", refuse, raising=False)
    pattern = r"data_batch_1\.bin cannot be read: Permission denied"
    image_files.fails(pattern, "cifar10", tmp_path)

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
    message = image_files.fails(
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
    image_files.fails(f"refers to {module}.{name}, which", "cifar10", tmp_path)

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
        python2_pickle([1], np.zeros((1, image_files.PIXELS), np.uint8)),
        r"expected data of shape \(2, 3072\) in 6,144 bytes, found \(1, 3072\)"
        " in 3,072",
      ),
      (
        python2_pickle([1], np.zeros((2, image_files.PIXELS), np.uint8)),
        "its labels are not a list of 2",
      ),
      (
        python2_pickle([1, 10], np.zeros((2, image_files.PIXELS), np.uint8)),
        r"a label is 10; it must be in \[0, 10\)",
      ),
      (
        pickle.dumps(
          {
            b"data": np.zeros((2, image_files.PIXELS), np.uint8),
            b"labels": [1, "x"],
          },
          4,
        ),
        "a label is 'x'; it must be",
      ),
      (
        pickle.dumps(
          {b"data": np.zeros((2, image_files.PIXELS)), b"labels": [1, 2]}, 4
        ),
        "its array is not one of uint8",
      ),
      (
        pickle.dumps({b"data": np.array([[], None], object)}, 4),
        "its array is not one of uint8",
      ),
      (
        pickle.dumps(
          {
            b"data": np.asfortranarray(
              np.zeros((2, image_files.PIXELS), np.uint8)
            )
          },
          4,
        ),
        "its array is not a row of bytes",
      ),
    ],
  )
  def test_damaged(
    self, tmp_path: pathlib.Path, content: bytes, pattern: str
  ) -> None:
    write_python(tmp_path, data_batch_1=content)
    image_files.fails(pattern, "cifar10", tmp_path)
