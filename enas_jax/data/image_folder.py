"""Images of one's own as files: a folder for each class."""

import io
import pathlib

import numpy as np
from PIL import Image

from enas_jax import files, types
from enas_jax.data import prepared

PREFIX = "images:"
_SPLITS = ("train", "valid", "test")
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
_MOST_BYTES = 100_000_000  # of one file
_WIDEST = 4096  # pixels
_FIFTH = 5  # one image in so many is for the test
_GREY = ("1", "L")
_LAYOUT = (
  "images:DIR takes images, .png, .jpg or .bmp, in a folder for each class:"
  " DIR/train/CLASS and DIR/test/CLASS, or DIR/CLASS alone"
)


def load(dataset: str) -> prepared.RawImages:
  """Reads the images of `images:DIR`.

  Args:
    dataset: the name. DIR holds folders "train", "test" and perhaps "valid" of
      folders of classes; or such folders alone, of whose images a random fifth
      is the test split, the same each time.

  Returns:
    The images, grey if all of them are, else in RGB; classes in the order of
    their names.

  Raises:
    InputError: if there are none, or one cannot be read or is of another size.
  """
  place = files.expand(dataset.removeprefix(PREFIX))
  found = _find(dataset, place)
  names = tuple(sorted({path.parent.name for path in found["train"]}))
  opened = {path: _open(path) for paths in found.values() for path in paths}
  # Before pixels are read: all images get the channels that one of them needs.
  grey = all(image.mode in _GREY for image in opened.values())
  splits = {}
  for split, paths in found.items():
    labels = [_label(path, names, place) for path in paths]
    pixels = [_pixels(path, opened[path], grey) for path in paths]
    _check_sizes(paths, pixels, (found["train"][0], opened))
    splits[split] = (np.stack(pixels), np.asarray(labels, np.int64))
  return prepared.RawImages(splits, names)


def shape(dataset: str) -> tuple[tuple[int, ...], int]:
  """What can be told without reading all.

  Returns:
    Number, height and width of the training images, or () where `load` would
    refuse them; the number of validation images.
  """
  try:
    found = _find(dataset, files.expand(dataset.removeprefix(PREFIX)))
    width, height = _open(found["train"][0]).size
  except types.InputError:
    return (), 0
  count = len(found["train"])
  return (count, height, width), len(found.get("valid", ()))


def _find(dataset: str, place: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """The files of each split, in the order of their names."""
  try:
    folders = sorted(path.name for path in place.iterdir() if path.is_dir())
    if "train" in folders and "test" in folders:
      found = {
        split: _images(place / split) for split in _SPLITS if split in folders
      }
    else:
      found = _with_test(_images(place))
  except OSError as error:
    raise types.InputError(
      f"--dataset={dataset}: {place} cannot be read: {error.strerror};"
      f" {_LAYOUT}; {prepared.NO_DOWNLOAD}"
    ) from None
  for split, paths in found.items():
    if not paths:
      raise types.InputError(
        f"--dataset={dataset}: there are no {split} images; {_LAYOUT}"
      )
  return found


def _images(place: pathlib.Path) -> list[pathlib.Path]:
  # Hidden ones are no images of the user's: archives bring `._1.png`, notebooks
  # copies in a folder `.ipynb_checkpoints`, which would become a class.
  return sorted(
    path
    for path in place.glob("*/*")
    if path.suffix.lower() in _FORMATS
    and not path.name.startswith(".")
    and not path.parent.name.startswith(".")
  )


def _with_test(paths: list[pathlib.Path]) -> dict[str, list[pathlib.Path]]:
  # Of NumPy's generators only this one never changes its stream.
  order = np.random.RandomState(0).permutation(len(paths)).tolist()
  test = set(order[: len(paths) // _FIFTH])
  return {
    "train": [path for i, path in enumerate(paths) if i not in test],
    "test": [path for i, path in enumerate(paths) if i in test],
  }


def _open(path: pathlib.Path) -> Image.Image:
  """An image whose pixels are not read yet."""
  content = files.read_bytes(path, _MOST_BYTES)
  kind = _FORMATS[path.suffix.lower()]
  try:
    image = Image.open(io.BytesIO(content), formats=[kind])
  # Of a damaged file PIL raises what its parts do.
  except Exception:
    raise files.unreadable(path, f"it is no {kind} image") from None
  if max(image.size) > _WIDEST:
    raise files.unreadable(path, f"it is wider than {_WIDEST:,} pixels")
  # PIL would make white of all that is above the 256 darkest of 65,536 levels.
  if image.mode.startswith("I"):
    raise files.unreadable(path, "its greys have 16 bits; save them with 8")
  return image


def _pixels(path: pathlib.Path, image: Image.Image, grey: bool) -> np.ndarray:
  """[H, W, C] uint8."""
  try:
    array = np.asarray(image.convert("L" if grey else "RGB"))
  except Exception:
    raise files.unreadable(path, "its image is damaged") from None
  return array[..., None] if grey else array


def _label(
  path: pathlib.Path, names: tuple[str, ...], place: pathlib.Path
) -> int:
  try:
    return names.index(path.parent.name)
  except ValueError:
    raise types.InputError(
      f"{path.parent} is a class without training images in {place / 'train'}"
    ) from None


def _check_sizes(
  paths: list[pathlib.Path],
  pixels: list[np.ndarray],
  like: tuple[pathlib.Path, dict[pathlib.Path, Image.Image]],
) -> None:
  first, opened = like
  width, height = opened[first].size
  for path, array in zip(paths, pixels, strict=True):
    if array.shape[:2] != (height, width):
      raise types.InputError(
        f"{path} is of {array.shape[0]} x {array.shape[1]} pixels and {first}"
        f" of {height} x {width}; scale all images to one size"
      )
