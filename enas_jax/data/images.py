"""Images with class labels as host arrays, checked, split and standardised.

`load` reads a data set whole. It is kept as uint8, which for CIFAR-10 is
180 MB; `augment` turns batches of it into float32 on the device.
"""

from typing import NamedTuple

import chex
import numpy as np

from enas_jax import files, types
from enas_jax.data import cifar, image_folder, prepared

_MIN_SIZE = 8
_DIGITS_TEST = 360  # of 1,797
_SPLIT_SEED = 0
_CHUNK = 4096  # images whose pixels are widened to 64 bits at a time

# Images [n, H, W, C] and labels [n], by split.
_Splits = dict[str, tuple[np.ndarray, np.ndarray]]


class ImageData(NamedTuple):
  """Images with class labels.

  Attributes:
    name: the data set as the user named it.
    train_images: [n, H, W, C] uint8.
    train_labels: [n] int32, each in [0, num_classes).
    valid_images: [n, H, W, C] uint8; n is 0 if no validation is wanted.
    valid_labels: [n] int32, each in [0, num_classes).
    test_images: [n, H, W, C] uint8.
    test_labels: [n] int32, each in [0, num_classes).
    num_classes: number of classes, at least 2.
    class_names: one name a class.
    mean: [C] float32, means of `train_images` (validation is not in them) in
      units of [0, 1].
    std: [C] float32, their standard deviations in the same units; 1 for a
      channel that is constant.
  """

  name: str
  train_images: np.ndarray
  train_labels: np.ndarray
  valid_images: np.ndarray
  valid_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray
  num_classes: int
  class_names: tuple[str, ...]
  mean: np.ndarray
  std: np.ndarray

  def describe(self) -> str:
    """A line about the data set."""
    parts = (self.train_images, self.valid_images, self.test_images)
    sizes = " / ".join(f"{len(split):,}" for split in parts)
    height, width, channels = self.train_images.shape[1:]
    return (
      f"{self.name}: {sizes} images (train / valid / test) of {height} x"
      f" {width} pixels, {channels} channel{'s' * (channels > 1)},"
      f" {self.num_classes} classes"
    )


def load(
  dataset: str,
  data_dir: str | None,
  *,
  num_valid: int,
  image_size: int | None = None,
) -> ImageData:
  """Reads a data set.

  Args:
    dataset: `cifar10`; `digits`, 1,797 grey images of 8 x 8 pixels that
      scikit-learn carries, 360 of which are the test split; `fashion_mnist` or
      `tfds:NAME`, prepared by TensorFlow Datasets as array_record; or
      `npz:FILE`, a NumPy archive with `x_train`, `y_train`, `x_test`, `y_test`
      and perhaps `x_valid`, `y_valid`: images [n, H, W] or [n, H, W, C], uint8
      or floating point in [0, 1], and integer labels [n]; or `images:DIR`,
      see `image_folder.load`.
    data_dir: folder where `cifar10` and prepared data sets lie; without it they
      are looked for in `data` below the current folder and in
      `~/tensorflow_datasets`.
    num_valid: number of training images to set aside for validation, 0 to train
      on all. `cifar10` gives its last ones; other data sets, whose files are
      often sorted by class, give random ones, the same in every run. Not used
      where the data set comes with a validation split.
    image_size: height and width in pixels to scale the images down to, by
      averaging over squares; theirs must be a multiple of it.

  Returns:
    The data set, on the host.

  Raises:
    InputError: if the data set is unknown, missing, damaged or inconsistent,
      its images are smaller than 8 x 8, or another argument does not suit it.
  """
  raw = _read(dataset, data_dir)
  _check(dataset, raw)
  splits = _with_valid(dataset, raw.splits, num_valid)
  if image_size is not None:
    splits = {
      split: (shrink(dataset, images, image_size), labels)
      for split, (images, labels) in splits.items()
    }
  # After the split, so that nothing of the validation images is seen.
  mean, std = channel_moments(splits["train"][0])
  return ImageData(
    dataset,
    *_as_pair(*splits["train"]),
    *_as_pair(*splits["valid"]),
    *_as_pair(*splits["test"]),
    num_classes=len(raw.class_names),
    class_names=raw.class_names,
    mean=mean,
    std=std,
  )


def _as_pair(
  images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Images [n, H, W, C] and labels [n] int32, as `ImageData` promises them."""
  return np.ascontiguousarray(images), labels.astype(np.int32)


def _read(dataset: str, data_dir: str | None) -> prepared.RawImages:
  """Reads the splits that a data set comes with."""
  if dataset == "cifar10":
    return cifar.load(data_dir)
  if dataset == "digits":
    return _read_digits()
  if dataset == "fashion_mnist":
    return prepared.load(dataset, data_dir)
  if dataset.startswith("tfds:"):
    return prepared.load(dataset.removeprefix("tfds:"), data_dir)
  if dataset.startswith("npz:"):
    return _read_npz(dataset)
  if dataset.startswith(image_folder.PREFIX):
    return image_folder.load(dataset)
  raise types.InputError(
    f"unknown dataset {dataset!r}: it is one of cifar10, digits,"
    " fashion_mnist, tfds:NAME, npz:FILE, images:DIR"
  )


def _read_digits() -> prepared.RawImages:
  """Reads the handwritten digits of scikit-learn, and splits off a test set."""
  try:
    from sklearn import datasets
  except ImportError as error:
    raise types.InputError(
      "--dataset=digits reads the digits that scikit-learn carries, and it is"
      " not installed: pip install scikit-learn"
    ) from error
  bunch = datasets.load_digits()
  # Grey levels go from 0 to 16; standardising expects 0 to 255.
  images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
  train, test = _shuffled_split(len(images), _DIGITS_TEST)
  labels = np.asarray(bunch.target)  # already numbered from 0
  splits = {
    "train": (images[train], labels[train]),
    "test": (images[test], labels[test]),
  }
  return prepared.RawImages(splits, tuple(map(str, bunch.target_names)))


def _shuffled_split(count: int, held_out: int) -> tuple[np.ndarray, np.ndarray]:
  """Splits 0 to count - 1 at random, in the same way every time.

  Returns:
    [count - held_out] and [held_out] int64, together each number once.
  """
  # Of NumPy's generators only this one never changes its stream.
  order = np.random.RandomState(_SPLIT_SEED).permutation(count)
  return order[: count - held_out], order[count - held_out :]


def _read_npz(dataset: str) -> prepared.RawImages:
  """Reads the archive of `npz:FILE`."""
  given = dataset.removeprefix("npz:")
  path = files.expand(given)
  if not given or not files.exists(path):
    raise types.InputError(
      f"--dataset={dataset}: looked for a file {given!r}, which is missing;"
      " npz:FILE takes what numpy.savez(FILE, x_train=..., y_train=...,"
      f" x_test=..., y_test=...) writes; {prepared.NO_DOWNLOAD}"
    )
  arrays = files.read_arrays(path)
  splits = _npz_splits(str(path), arrays)
  # Without names a class is a number, so the labels tell how many there are.
  largest = max(int(splits["train"][1].max(initial=0)), 0)
  _check_contiguous(str(path), splits["train"][1], largest)
  return prepared.RawImages(splits, tuple(map(str, range(largest + 1))))


def _npz_splits(path: str, arrays: dict[str, np.ndarray]) -> _Splits:
  """Collects the splits of an archive."""
  wanted = ["train", "test"]
  if "x_valid" in arrays or "y_valid" in arrays:
    wanted.insert(1, "valid")
  keys = [f"{axis}_{split}" for split in wanted for axis in "xy"]
  absent = [key for key in keys if key not in arrays]
  if absent:
    raise types.InputError(
      f"{path} lacks {' and '.join(absent)}; it has"
      f" {', '.join(arrays) or 'nothing'}"
    )
  return {
    split: (
      _npz_images(path, f"x_{split}", arrays[f"x_{split}"]),
      _npz_labels(path, f"y_{split}", arrays[f"y_{split}"]),
    )
    for split in wanted
  }


def _npz_images(path: str, key: str, images: np.ndarray) -> np.ndarray:
  """Turns images as people keep them into [n, H, W, C] uint8."""
  if images.ndim not in (3, 4):
    raise types.InputError(
      f"{path}: {key} has shape {images.shape}; it must be [n, H, W] or"
      " [n, H, W, C]"
    )
  if images.ndim == 3:
    images = images[..., None]
  if images.dtype == np.uint8:
    return images
  if not np.issubdtype(images.dtype, np.floating):
    raise types.InputError(
      f"{path}: {key} is of type {images.dtype}; it must be uint8, or floating"
      " point with values in [0, 1]"
    )
  # Written so that it also holds for NaN.
  if images.size and not (images.min() >= 0 and images.max() <= 1):
    raise types.InputError(
      f"{path}: {key} has values in [{images.min():g}, {images.max():g}];"
      " floating point images must be in [0, 1], or store them as uint8"
    )
  return np.rint(images * 255).astype(np.uint8)


def _npz_labels(path: str, key: str, labels: np.ndarray) -> np.ndarray:
  """Checks that labels are a row of integers."""
  if labels.ndim != 1:
    raise types.InputError(
      f"{path}: {key} has shape {labels.shape}; it must be [n]"
    )
  if not np.issubdtype(labels.dtype, np.integer):
    raise types.InputError(
      f"{path}: {key} is of type {labels.dtype}; labels must be integers"
    )
  return labels.astype(np.int64)


def _check_contiguous(path: str, labels: np.ndarray, largest: int) -> None:
  """Raises if a class between 0 and the largest has no training image."""
  present = np.unique(labels)
  negative = present[present < 0]
  if len(negative):
    raise types.InputError(
      f"{path}: y_train has the label {negative[0]}; labels start at 0"
    )
  # Not np.arange(largest + 1): one wrong label may be huge.
  gaps = np.flatnonzero(present != np.arange(len(present)))
  if len(present) and len(gaps):
    raise types.InputError(
      f"{path}: y_train goes up to {largest} but lacks {gaps[0]}; labels must"
      " be 0, 1, 2, ... without a gap"
    )


def _check(dataset: str, raw: prepared.RawImages) -> None:
  """Raises if a data set contradicts itself or cannot be trained on."""
  for split, (images, labels) in raw.splits.items():
    _check_split(f"{dataset}: the {split} split", images, labels)
  shapes = {split: x.shape[1:] for split, (x, _) in raw.splits.items()}
  for split, shape in shapes.items():
    if shape != shapes["train"]:
      raise types.InputError(
        f"{dataset}: the {split} images have the shape {shape} and the train"
        f" images {shapes['train']}; they must be the same"
      )
  if len(raw.class_names) < 2:
    raise types.InputError(
      f"{dataset} has {len(raw.class_names)} class; at least 2 are needed"
    )
  for split, (_, labels) in raw.splits.items():
    _check_labels(dataset, split, labels, len(raw.class_names))


def _check_split(where: str, images: np.ndarray, labels: np.ndarray) -> None:
  """Raises if the arrays of one split cannot be right."""
  if len(images) != len(labels):
    raise types.InputError(
      f"{where} has {len(images)} images and {len(labels)} labels"
    )
  if not len(images):
    raise types.InputError(f"{where} is empty")
  if images.dtype != np.uint8 or images.ndim != 4:
    raise types.InputError(
      f"{where} has images of type {images.dtype} and shape {images.shape};"
      " they must be uint8 [n, H, W, C]"
    )
  _, height, width, channels = images.shape
  if min(height, width) < _MIN_SIZE:
    raise types.InputError(
      f"{where} has images of height {height}, width {width} and {channels}"
      f" channels, which must come last: height and width must be at least"
      f" {_MIN_SIZE}, because the networks halve them twice"
    )
  if not channels:
    raise types.InputError(f"{where} has images without channels")


def _check_labels(
  dataset: str, split: str, labels: np.ndarray, num_classes: int
) -> None:
  """Raises if a label is not a class."""
  wrong = labels[(labels < 0) | (labels >= num_classes)]
  if len(wrong):
    raise types.InputError(
      f"{dataset}: the {split} split has the label {wrong[0]}; with"
      f" {num_classes} classes, labels must be in [0, {num_classes})"
    )


def _with_valid(dataset: str, splits: _Splits, num_valid: int) -> _Splits:
  """Sets training images aside for validation, unless there are some."""
  if "valid" in splits:
    return splits
  images, labels = splits["train"]
  count = len(images)
  if not 0 <= num_valid < count:
    raise types.InputError(
      f"num_valid is {num_valid}, but {dataset} has {count} training images to"
      f" take them from: it must be in [0, {count})"
    )
  train: slice | np.ndarray = slice(0, count - num_valid)
  valid: slice | np.ndarray = slice(count - num_valid, count)
  # The release takes the last 5,000 of CIFAR-10, whose files are shuffled.
  if dataset != "cifar10":
    train, valid = _shuffled_split(count, num_valid)
  return {
    "train": (images[train], labels[train]),
    "valid": (images[valid], labels[valid]),
    "test": splits["test"],
  }


def shrink(dataset: str, images: np.ndarray, size: int) -> np.ndarray:
  """Scales images down to `size` x `size` by averaging over squares.

  Args:
    dataset: name of the data set, for messages.
    images: [n, H, W, C] uint8.
    size: height and width in pixels; H and W must be one multiple of it.

  Returns:
    [n, size, size, C] uint8.

  Raises:
    InputError: if H and W are not, or `size` is too small for the networks.
  """
  chex.assert_rank(images, 4)
  chex.assert_type(images, np.uint8)
  count, height, width, channels = images.shape
  if height == width == size:
    return images
  if size < _MIN_SIZE:
    raise types.InputError(
      f"image_size is {size}; it must be at least {_MIN_SIZE}, because the"
      " networks halve the images twice"
    )
  if height != width or height % size:
    raise types.InputError(
      f"image_size is {size}, but {dataset} has images of height {height} and"
      f" width {width}: both must be one multiple of image_size"
    )
  factor = height // size
  area = factor * factor
  # Axes 2 and 4 run within a square.
  squares = images.reshape(count, size, factor, size, factor, channels)
  # In integers, the half added first: halves go up, where np.rint would take
  # them to the even neighbour.
  sums = squares.sum(axis=(2, 4), dtype=np.uint32)
  return ((sums + area // 2) // area).astype(np.uint8)


def channel_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The mean and the standard deviation of each channel in [0, 1].

  Args:
    images: [n, H, W, C] uint8, n at least 1.

  Returns:
    The means [C] and the standard deviations [C], float32; the deviation of a
    channel that is constant is given as 1.
  """
  chex.assert_rank(images, 4)
  chex.assert_type(images, np.uint8)
  counts = np.zeros((images.shape[-1], 256), np.int64)  # [C, 256]
  # A histogram is exact, and spares a copy of all pixels as floats.
  for start in range(0, len(images), _CHUNK):
    chunk = images[start : start + _CHUNK]
    for channel, count in enumerate(counts):
      count += np.bincount(chunk[..., channel].ravel(), minlength=256)
  levels = np.arange(256) / 255
  shares = counts / counts.sum(axis=1, keepdims=True)
  mean = shares @ levels
  std = np.sqrt(np.sum(shares * (levels - mean[:, None]) ** 2, axis=1))
  # Dividing by 1 leaves a constant channel at 0 where dividing by 0 is NaN.
  std = np.where(counts.max(axis=1) == counts.sum(axis=1), 1.0, std)
  return mean.astype(np.float32), std.astype(np.float32)
