"""Images of one's own as files, in a folder for each class."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from enas_jax.data import image_folder, images, own
from tests import image_files


def write(
  place: pathlib.Path, level: int, mode: str = "RGB", size: int = 8
) -> None:
  """An image of one colour: `level` in its first channel, 0 in the others."""
  place.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.zeros((size, size + 2, 3), np.uint8)
  pixels[..., 0] = level
  if mode == "L":
    pixels[...] = level
  Image.fromarray(pixels).convert(mode).save(place)


class TestSplits:
  def test_by_hand(self, tmp_path: pathlib.Path) -> None:
    for name, level in (("b/2", 20), ("b/1", 10), ("a/3", 30)):
      write(tmp_path / "train" / f"{name}.png", level)
    write(tmp_path / "test" / "b" / "x.PNG", 40)
    write(tmp_path / "valid" / "a" / "y.bmp", 50)
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    name = f"images:{tmp_path}"
    data = images.load(name, None, num_valid=99)
    assert data.class_names == ("a", "b")
    assert data.train_images.shape == (3, 8, 10, 3)
    assert data.train_images[:, 0, 0].tolist() == [
      [30, 0, 0], [10, 0, 0], [20, 0, 0],
    ]  # fmt: skip
    assert data.train_labels.tolist() == [0, 1, 1]
    assert (data.test_images[..., 0] == 40).all()
    assert data.test_labels.tolist() == [1]
    assert data.valid_images[0, 0, 0].tolist() == [50, 0, 0]
    assert image_folder.shape(name) == ((3, 8, 10), 1)
    assert own.keep_images(tmp_path, tmp_path) == name

  def test_a_fifth_is_for_the_test(self, tmp_path: pathlib.Path) -> None:
    for index in range(10):
      write(tmp_path / "ab"[index % 2] / f"{index}.png", index, "L")
    name = f"images:{tmp_path}"
    data = images.load(name, None, num_valid=0)
    assert data.train_images.shape == (8, 8, 10, 1)
    # In the order of their names, a/0, a/2, ..., b/9, the fixed order of ten
    # begins with 2 and 8.
    assert data.test_images[:, 0, 0, 0].tolist() == [4, 7]
    assert data.test_labels.tolist() == [0, 1]
    assert sorted(data.train_images[:, 0, 0, 0].tolist()) == [
      0, 1, 2, 3, 5, 6, 8, 9,
    ]  # fmt: skip
    # One of eight is for validation; both batches fit.
    assert own.suited(name, 5000, 4, 128, 250) == {
      "num_valid": 1, "image_size": 0, "batch_size": 7, "reward_batch_size": 1,
    }  # fmt: skip

  def test_hidden_files_are_left_out(self, tmp_path: pathlib.Path) -> None:
    for split, level in (("train", 10), ("test", 20)):
      for label in "ab":
        write(tmp_path / split / label / "1.png", level)
        write(tmp_path / split / ".ipynb_checkpoints" / "1.png", 0)
        (tmp_path / split / label / "._1.png").write_bytes(b"resource fork")
    data = images.load(f"images:{tmp_path}", None, num_valid=0)
    assert data.class_names == ("a", "b")
    assert len(data.train_images) == 2

  def test_one_in_colour_makes_all_so(self, tmp_path: pathlib.Path) -> None:
    write(tmp_path / "train" / "a" / "1.png", 9, "L")
    write(tmp_path / "train" / "b" / "2.png", 9)
    write(tmp_path / "test" / "b" / "3.png", 9)
    data = images.load(f"images:{tmp_path}", None, num_valid=0)
    colours = data.train_images[:, 0, 0].tolist()
    # Training images are in a random order.
    pairs = sorted(zip(data.train_labels.tolist(), colours, strict=True))
    assert pairs == [(0, [9, 9, 9]), (1, [9, 0, 0])]

  def test_what_cannot_be_read_is_named(self, tmp_path: pathlib.Path) -> None:
    name = f"images:{tmp_path}"
    image_files.fails("there are no train images; images:DIR takes", name)
    image_files.fails("nowhere cannot be read: No such", f"{name}/nowhere")
    write(tmp_path / "train" / "a" / "1.png", 9)
    image_files.fails("there are no train images", name)
    write(tmp_path / "test" / "c" / "1.png", 9)
    image_files.fails("test/c is a class without training images", name)
    (tmp_path / "test" / "c").rename(tmp_path / "test" / "a")
    image_files.fails("has 1 class; at least 2", name)
    write(tmp_path / "train" / "b" / "2.png", 9, size=12)
    image_files.fails(r"2.png is of 12 x 14 pixels and .*1.png of 8 x 10", name)
    path = tmp_path / "train" / "b" / "2.png"
    noise = np.random.RandomState(0).randint(0, 256, (8, 10, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-99])
    image_files.fails("2.png cannot be read: its image is damaged", name)
    path.write_bytes(b"GIF89a")
    image_files.fails("2.png cannot be read: it is no PNG image", name)
    levels = np.linspace(0, 65535, 80).reshape(8, 10).astype(np.uint16)
    Image.fromarray(levels).save(path)
    image_files.fails("2.png cannot be read: its greys have 16 bits", name)


if __name__ == "__main__":
  raise SystemExit(pytest.main([__file__]))
