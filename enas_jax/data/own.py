"""Data that a user has as Python values, in files as `load` reads them.

A run keeps them in its folder, so that it can go on, and be asked again, by
whoever has the folder.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from enas_jax import files, types
from enas_jax.data import image_folder

_FIFTH = 5  # one image in so many
_ARRAYS = (
  "data must be (images, labels), or pairs of them by split, 'train', 'test'"
  " and perhaps 'valid': arrays of numbers; or the name of a data set."
)
_TEXTS = ("train", "valid", "test")


def suited(
  dataset: str,
  num_valid: int,
  image_size: int,
  batch_size: int,
  reward_batch_size: int,
) -> dict[str, int]:
  """What suits images of one's own better than what a preset says.

  Args:
    dataset: the name of a data set.
    num_valid: how many training images are to be set aside for validation.
    image_size: height and width that they are to be scaled to; 0: as they are.
    batch_size: images of a training step.
    reward_batch_size: validation images of a reward.

  Returns:
    Of `npz:FILE` and `images:DIR` "num_valid", at most a fifth of the training
    images; "image_size", 0 where they cannot be scaled so; and both sizes of
    batches, at most the images that there are. {} of another data set, or of
    one that cannot be read.
  """
  shape, count_valid = _shape(dataset)
  if len(shape) < 3:
    return {}
  count, height, width = shape[:3]
  scales = image_size and height == width and height % image_size == 0
  num_valid = min(num_valid, max(count // _FIFTH, 1))
  train = count if count_valid else count - num_valid
  # Of no validation images there are no rewards.
  valid = count_valid or num_valid or reward_batch_size
  return {
    "num_valid": num_valid,
    "image_size": image_size if scales else 0,
    "batch_size": min(batch_size, max(train, 1)),
    "reward_batch_size": min(reward_batch_size, valid),
  }


def _shape(dataset: str) -> tuple[tuple[int, ...], int]:
  """[n, H, W, ...] of training images, () if untold; n of the validation's."""
  kind, _, path = dataset.partition(":")
  if kind == "images":
    return image_folder.shape(dataset)
  if kind != "npz" or not path:
    return (), 0
  place = files.expand(path)
  own_valid = files.read_shape(place, "x_valid")
  # The length of the first axis; 0 of an array that is not there.
  return files.read_shape(place, "x_train"), (*own_valid, 0)[0]


def keep_images(data: Any, folder: pathlib.Path) -> str:
  """Writes arrays as `load` reads them.

  Args:
    data: images [n, H, W] or [n, H, W, C], uint8 or floating point in [0, 1],
      and labels [n], integers: a pair (images, labels), of which a random fifth
      becomes the test split; or pairs by split, "train", "test" and perhaps
      "valid"; or the path of an archive or of a folder of images, which stays
      where it is.
    folder: the folder to write to.

  Returns:
    The name of the data set.

  Raises:
    InputError: if they are none of these.
  """
  if isinstance(data, pathlib.Path):
    place = files.expand(data).absolute()
    return f"{'images' if place.is_dir() else 'npz'}:{place}"
  try:
    splits = dict(data) if isinstance(data, Mapping) else _with_test(*data)
    arrays: dict[str, Any] = {
      f"{axis}_{split}": np.asarray(values)
      for split, pair in splits.items()
      for axis, values in zip("xy", pair, strict=True)
    }
  except types.InputError:
    raise
  except (TypeError, ValueError, IndexError):
    raise types.InputError(_ARRAYS) from None
  if not {"train", "test"} <= splits.keys() <= {"train", "valid", "test"}:
    raise types.InputError(_ARRAYS)
  if any(array.dtype.hasobject for array in arrays.values()):
    raise types.InputError(_ARRAYS)
  path = folder / "data.npz"
  np.savez(path, **arrays)
  return f"npz:{path}"


def _with_test(images: Any, labels: Any) -> dict[str, Any]:
  """Splits a random fifth off, the same each time."""
  pixels, classes = np.asarray(images), np.asarray(labels)
  if len(classes) != len(pixels):
    raise types.InputError(
      f"data has {len(pixels)} images and {len(classes)} labels."
    )
  # Of NumPy's generators only this one never changes its stream.
  order = np.random.RandomState(0).permutation(len(pixels))
  test, train = np.split(order, [len(order) // _FIFTH])
  return {
    "train": (pixels[train], classes[train]),
    "test": (pixels[test], classes[test]),
  }


def keep_texts(data: Any, folder: pathlib.Path) -> str:
  """Writes texts as `text.load` reads them.

  Args:
    data: texts by split, "train", "valid" and "test"; or the path of a folder
      with such files, which stays where it is.
    folder: the folder to write to.

  Returns:
    The name of the data set.

  Raises:
    InputError: if they are none of these.
  """
  if isinstance(data, pathlib.Path):
    return f"text:{files.expand(data).absolute()}"
  known = isinstance(data, Mapping) and set(data) == set(_TEXTS)
  if not known or not all(isinstance(text, str) for text in data.values()):
    raise types.InputError(
      f"data must be texts by split, {', '.join(_TEXTS)}; the path of a folder"
      " with such files; or the name of a data set."
    )
  place = folder / "data"
  place.mkdir(exist_ok=True)
  for split, text in data.items():
    # Newlines are words: they are not to become another system's.
    with open(
      place / f"{split}.txt", "w", encoding="utf-8", newline=""
    ) as file:
      file.write(text)
  return f"text:{place}"
