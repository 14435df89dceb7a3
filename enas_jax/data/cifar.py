"""CIFAR-10 in the forms in which people have it on disk."""

import io
import os
import pathlib
import pickle
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from enas_jax import files, types
from enas_jax.data import prepared

_BATCH_IMAGES = 10_000  # in each of the six files
_TRAIN_BATCHES = 5
_MOST_BYTES = 64_000_000  # a batch has 31 million
_PIXELS = 3 * 32 * 32  # three planes: red, green, blue
_CLASSES = (
  *("airplane", "automobile", "bird", "cat", "deer"),
  *("dog", "frog", "horse", "ship", "truck"),
)
# The binary form comes first: it needs no unpickling.
_FOLDERS = {".bin": "cifar-10-batches-bin", "": "cifar-10-batches-py"}
_PAGE = "www.cs.toronto.edu/~kriz/cifar.html"

# Rows of colour planes, [n, 3072] uint8, and labels, [n] int64.
_Pair = tuple[np.ndarray, np.ndarray]


def load(data_dir: str | None) -> prepared.RawImages:
  """Reads CIFAR-10: prepared by tfds, else binary batches, else Python's.

  Args:
    data_dir: folder that holds `cifar10` as tfds prepared it,
      `cifar-10-batches-bin` or `cifar-10-batches-py`, or one of these folders
      itself; None looks in all `prepared.places`.

  Returns:
    Images [n, 32, 32, 3] uint8 and labels [n] int64, 50,000 of them in `train`
    and 10,000 in `test`, in the order of the official files whatever the form.

  Raises:
    InputError: if the files are missing or damaged.
  """
  version = prepared.find("cifar10", data_dir)
  if version is not None and version.readable:
    # Preparing shuffles the examples; their ids number the official order.
    raw = prepared.read(version.folder, sort_by="id")
    _check_prepared(version.folder, raw)
    return raw
  for suffix, read in ((".bin", _read_binary), ("", _read_python)):
    folder = _find_folder(suffix, data_dir)
    if folder is not None:
      return _read_batches(folder, suffix, read)
  raise types.InputError(_describe_missing(version, data_dir))


def _check_prepared(folder: pathlib.Path, raw: prepared.RawImages) -> None:
  """Raises if the prepared data set is not CIFAR-10."""
  counts = {"train": _TRAIN_BATCHES * _BATCH_IMAGES, "test": _BATCH_IMAGES}
  for split, count in counts.items():
    wanted = (count, 32, 32, 3)
    shape = raw.splits[split][0].shape
    if shape != wanted:
      raise types.InputError(
        f"{folder} is not CIFAR-10: expected {split} images of shape {wanted},"
        f" found {shape}"
      )


def _batch_names(suffix: str) -> list[str]:
  """Names the six files; the last holds the test split."""
  numbers = range(1, _TRAIN_BATCHES + 1)
  return [f"data_batch_{i}{suffix}" for i in numbers] + [f"test_batch{suffix}"]


def _folders(suffix: str, data_dir: str | None) -> list[pathlib.Path]:
  """Lists the folders where the files of one form may lie, best first."""
  roots = [
    root
    for place in prepared.places(data_dir)
    for root in (place, place / "cifar10")
  ]
  return [root / inner for root in roots for inner in ("", _FOLDERS[suffix])]


def _absent(folder: pathlib.Path, suffix: str) -> list[str]:
  """Names the files that a folder lacks."""
  names = _batch_names(suffix)
  # Not Path.is_file: before Python 3.14 it raises where a folder is closed.
  return [name for name in names if not os.path.isfile(folder / name)]


def _find_folder(suffix: str, data_dir: str | None) -> pathlib.Path | None:
  """Finds a folder that holds all six files of one form."""
  folders = _folders(suffix, data_dir)
  return next((x for x in folders if not _absent(x, suffix)), None)


def _describe_missing(
  version: prepared.PreparedFolder | None, data_dir: str | None
) -> str:
  """Says what is missing, where it was looked for and where to get it."""
  looked = [
    f"{folder}{_describe_absent(_absent(folder, suffix))}"
    for suffix in _FOLDERS
    for folder in _folders(suffix, data_dir)
  ]
  if version is not None:
    looked.append(f"{version.folder} (which is not in the format array_record)")
  return (
    "CIFAR-10 is missing: no folder with data_batch_1.bin to data_batch_5.bin"
    " and test_batch.bin, or the same without .bin; looked in"
    f" {', '.join(dict.fromkeys(looked))}; unpack cifar-10-binary.tar.gz from"
    f" {_PAGE} and pass the folder that holds {_FOLDERS['.bin']} as --data_dir"
    f" (or, {prepared.how_to_prepare('cifar10')}); {prepared.NO_DOWNLOAD}"
  )


def _describe_absent(absent: list[str]) -> str:
  """Names the missing files of a folder that holds a part of them."""
  if len(absent) > _TRAIN_BATCHES:
    return ""
  return f" (which lacks {' and '.join(absent)})"


def _read_batches(
  folder: pathlib.Path,
  suffix: str,
  read: Callable[[pathlib.Path], _Pair],
) -> prepared.RawImages:
  """Reads the six files of one form."""
  batches = [read(folder / name) for name in _batch_names(suffix)]
  planes, labels = zip(*batches, strict=True)
  train = np.concatenate(planes[:-1]), np.concatenate(labels[:-1])
  splits = {"train": train, "test": (planes[-1], labels[-1])}
  return prepared.RawImages(
    {split: (_as_images(x), y) for split, (x, y) in splits.items()}, _CLASSES
  )


def _as_images(planes: np.ndarray) -> np.ndarray:
  """Turns rows of three colour planes, [n, 3072], into [n, 32, 32, 3]."""
  images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  # Every batch is gathered along the first axis: its images must be contiguous.
  return np.ascontiguousarray(images)


def _read_bytes(path: pathlib.Path) -> bytes:
  """Reads a file."""
  return files.read_bytes(path, _MOST_BYTES)


def _read_binary(path: pathlib.Path) -> _Pair:
  """Reads a file of records: a byte with the class, then the pixels."""
  content = _read_bytes(path)
  expected = _BATCH_IMAGES * (1 + _PIXELS)
  if len(content) != expected:
    raise types.InputError(
      f"{path} is damaged: expected {expected:,} bytes, found"
      f" {len(content):,}; unpack cifar-10-binary.tar.gz from {_PAGE} again"
    )
  records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
  return records[:, 1:], records[:, 0].astype(np.int64)


def _read_python(path: pathlib.Path) -> _Pair:
  """Reads a pickled dictionary with `data` and `labels`."""
  content = _unpickle(path)
  if not isinstance(content, dict) or not {b"data", b"labels"} <= set(content):
    raise types.InputError(
      f"{path} is not a batch of CIFAR-10: it is no dictionary with data and"
      " labels"
    )
  planes, labels = content[b"data"], content[b"labels"]
  if not isinstance(planes, _PickledArray):
    raise types.InputError(f"{path} is damaged: its data are not an array")
  wanted = (_BATCH_IMAGES, _PIXELS)
  if planes.shape != wanted or len(planes.content) != np.prod(wanted):
    raise types.InputError(
      f"{path} is damaged: expected data of shape {wanted} in"
      f" {np.prod(wanted):,} bytes, found"
      f" {reprlib.repr(planes.shape)} in"
      f" {len(planes.content):,}"
    )
  _check_python_labels(path, labels)
  array = np.frombuffer(planes.content, np.uint8).reshape(wanted)
  return array, np.array(labels, np.int64)


def _check_python_labels(path: pathlib.Path, labels: Any) -> None:
  """Raises unless the labels are one class an image."""
  if not isinstance(labels, list) or len(labels) != _BATCH_IMAGES:
    raise types.InputError(
      f"{path} is damaged: its labels are not a list of {_BATCH_IMAGES:,}"
    )
  wrong = [x for x in labels if type(x) is not int or not 0 <= x < 10]
  if wrong:
    raise types.InputError(
      f"{path} is damaged: a label is {reprlib.repr(wrong[0])}; it must be in"
      " [0, 10)"
    )


class _PickledDtype:
  """Stands for a pickled `numpy.dtype`."""

  def __init__(self, name: Any, *_: Any) -> None:
    self.is_uint8 = name in (b"u1", "u1")

  def __setstate__(self, state: Any) -> None:
    """Ignores the byte order and the like, which bytes do not have."""


class _PickledArray:
  """Stands for a pickled `numpy.ndarray`: its shape and its bytes.

  NumPy's own functions for this task were not made to resist a file that
  lies, so they are not called.
  """

  def __init__(self, *_: Any) -> None:
    self.shape: Any = None
    self.content = b""

  def __setstate__(self, state: Any) -> None:
    _, shape, dtype, in_fortran_order, content = state
    if not isinstance(dtype, _PickledDtype) or not dtype.is_uint8:
      raise pickle.UnpicklingError("its array is not one of uint8")
    if in_fortran_order or not isinstance(content, bytes):
      raise pickle.UnpicklingError("its array is not a row of bytes")
    self.shape, self.content = shape, content


class _PickledClass:
  """Stands for `numpy.ndarray` where a pickle names it as an argument."""


_ADMITTED: dict[tuple[str, str], type] = {
  ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
  ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
  ("numpy", "ndarray"): _PickledClass,
  ("numpy", "dtype"): _PickledDtype,
}


class _Unpickler(pickle.Unpickler):
  """Builds plain Python values and stand-ins for arrays, and nothing else.

  A pickle may name any function of any module and have it called. Here only
  the names of a NumPy array are known, and they mean the classes above.
  """

  def find_class(self, module: str, name: str) -> Any:
    """Refuses every name but those of a NumPy array."""
    if (module, name) not in _ADMITTED:
      raise pickle.UnpicklingError(
        f"it refers to {module}.{name}, which no CIFAR-10 file needs"
      )
    return _ADMITTED[module, name]


def _unpickle(path: pathlib.Path) -> Any:
  """Reads a pickle without running any code that it names."""
  content = _read_bytes(path)
  try:
    files.check_pickle(content)
    return _Unpickler(io.BytesIO(content), encoding="bytes").load()
  # A damaged pickle may raise nearly anything, as pickle's manual says.
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise types.InputError(
      f"{path} is refused: {reason}; unpack cifar-10-python.tar.gz from"
      f" {_PAGE} again"
    ) from error
