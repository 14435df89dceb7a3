"""Images of the user's own: one NumPy archive."""

import pathlib
from typing import Any

import numpy as np
import pytest

from enas_jax.data import images
from tests import image_files


class TestNpz:
  def test_by_hand(self, tmp_path: pathlib.Path) -> None:
    given = image_files.arrays()
    data = images.load(image_files.write_npz(tmp_path), None, num_valid=2)
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
    name = image_files.write_npz(tmp_path, x_valid=x, y_valid=y)
    data = images.load(name, None, num_valid=99)
    np.testing.assert_array_equal(
      data.train_images, image_files.arrays()["x_train"]
    )
    assert data.valid_labels.tolist() == [1, 1, 2]

  def test_no_validation(self, tmp_path: pathlib.Path) -> None:
    data = images.load(image_files.write_npz(tmp_path), None, num_valid=0)
    assert len(data.train_images) == 6
    assert data.valid_images.shape == (0, 8, 10, 3)
    assert data.valid_labels.shape == (0,)

  def test_grey_floats(self, tmp_path: pathlib.Path) -> None:
    x = np.linspace(0, 1, 6 * 64, dtype=np.float32).reshape(6, 8, 8)
    name = image_files.write_npz(tmp_path, x_train=x, x_test=x[:2] / 2)
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
    image_files.fails(pattern, image_files.write_npz(tmp_path, **changed))

  def test_missing(self, tmp_path: pathlib.Path) -> None:
    message = image_files.fails(
      "'.*nowhere', which is missing", f"npz:{tmp_path}/nowhere"
    )
    assert "numpy.savez(FILE, x_train=..." in message
    image_files.fails("--dataset=npz:: .*npz:FILE takes", "npz:")

  def test_other_files(self, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "other"
    for content in (b"", b"PK\x03\x04 damaged", b"text"):
      path.write_bytes(content)
      image_files.fails(f"{path} cannot be read: ", f"npz:{path}")
    np.save(tmp_path / "one.npy", np.ones(3))
    image_files.fails("is one array, not an archive", f"npz:{tmp_path}/one.npy")

  def test_damaged_member(self, tmp_path: pathlib.Path) -> None:
    name = image_files.write_npz(tmp_path)
    path = pathlib.Path(name.removeprefix("npz:"))
    content = bytearray(path.read_bytes())
    content[200:210] = bytes(255 - x for x in content[200:210])
    path.write_bytes(content)
    image_files.fails("cannot be read: Bad CRC", name)

  @pytest.mark.parametrize("num_valid", [-1, 6, 7])
  def test_num_valid(self, tmp_path: pathlib.Path, num_valid: int) -> None:
    pattern = rf"num_valid is {num_valid}, but .* has 6 .* in \[0, 6\)"
    image_files.fails(
      pattern, image_files.write_npz(tmp_path), num_valid=num_valid
    )

  def test_unknown_dataset(self) -> None:
    image_files.fails(
      "unknown dataset 'imagenet': .*cifar10, digits, .*npz:FILE", "imagenet"
    )
