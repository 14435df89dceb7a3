"""Image data sets that TensorFlow Datasets has prepared on disk.

They are read through its data sources, which need Pillow but not TensorFlow.
Only the format `array_record` can be read so; `tfrecord`, the default when a
data set is prepared, cannot.
"""

import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from enas_jax import files, types

_FORMAT = "array_record"
_INFO = "dataset_info.json"
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
NO_DOWNLOAD = "--dataset=digits needs no download"


class RawImages(NamedTuple):
  """A data set as it lies on disk, before it is checked and split.

  Attributes:
    splits: images [n, H, W, C] uint8 and labels [n] int64 of `train`, `test`
      and sometimes `valid`.
    class_names: one name a class, in the order of the labels.
  """

  splits: dict[str, tuple[np.ndarray, np.ndarray]]
  class_names: tuple[str, ...]


class PreparedFolder(NamedTuple):
  """One version of a prepared data set on disk.

  Attributes:
    folder: the version's folder, which holds `dataset_info.json`.
    readable: whether it can be read without TensorFlow.
  """

  folder: pathlib.Path
  readable: bool


def home(name: str) -> pathlib.Path:
  """A folder in the user's home, or what is none where there is no home."""
  return pathlib.Path(os.path.expanduser("~")) / name


def places(data_dir: str | None) -> list[pathlib.Path]:
  """Lists the folders where image data sets may lie, best first."""
  if data_dir is None:
    return [
      pathlib.Path.cwd() / "data",
      home("tensorflow_datasets"),
    ]
  return [files.expand(data_dir)]


def how_to_prepare(name: str) -> str:
  """Says how a data set is prepared so that it can be read here."""
  return (
    f"where TensorFlow is installed, prepare it with `tfds build {name}"
    f" --file_format={_FORMAT} --data_dir=DIR` and pass DIR as --data_dir"
  )


def find(name: str, data_dir: str | None) -> PreparedFolder | None:
  """Looks for a prepared data set.

  Args:
    name: name as TensorFlow Datasets writes it: `NAME`, `NAME/CONFIG`, and
      either with `:VERSION`.
    data_dir: folder given to `tfds build`, or one further in, down to the
      version's. None looks in all `places`.

  Returns:
    The newest version, or None if there is none.

  Raises:
    InputError: if several configs are prepared and the name does not choose
      one, or `dataset_info.json` cannot be read.
  """
  parts = re.fullmatch("([^/:]+)(?:/([^:]+))?(?::(.+))?", name)
  if parts is None:
    return None
  keys = ("name", "configName", "version")
  wanted = {k: v for k, v in zip(keys, parts.groups(), strict=True) if v}
  # NAME/CONFIG/VERSION below the folder, or the folder is one of these itself.
  for place in places(data_dir):
    for root, depth in ((place / parts[1], 3), (place, 2)):
      infos = _find_infos(root, depth, wanted)
      if infos:
        return _newest(name, infos)
  return None


def load(name: str, data_dir: str | None) -> RawImages:
  """Reads a prepared data set.

  Args:
    name: name as TensorFlow Datasets writes it, as for `find`.
    data_dir: folder to look in, as for `find`.

  Returns:
    All splits, images [n, H, W, C] uint8 and labels [n] int64 each.

  Raises:
    InputError: if there is none, in no format that can be read here, or one
      that `find` or `read` refuses.
  """
  version = find(name, data_dir)
  if version is not None and version.readable:
    return read(version.folder)
  if version is not None:
    raise types.InputError(
      f"{version.folder} is not in the format {_FORMAT}, the one that is read"
      f" without TensorFlow: {how_to_prepare(name)}; {NO_DOWNLOAD}"
    )
  looked = ", ".join(map(str, places(data_dir)))
  raise types.InputError(
    f"the prepared data set {name!r} is missing: looked for its {_INFO} in"
    f" {looked} and below; {how_to_prepare(name)}; {NO_DOWNLOAD}"
  )


def read(folder: pathlib.Path, sort_by: str | None = None) -> RawImages:
  """Reads every split of a prepared data set into memory.

  Args:
    folder: a version's folder, as `find` returns it.
    sort_by: a feature to order the examples by. Otherwise they come as they
      lie on disk, where preparing usually shuffled them.

  Returns:
    The splits `train`, `validation` (as `valid`) and `test`, those there are:
    images [n, H, W, C] uint8 and labels [n] int64 each.

  Raises:
    InputError: if a file is missing or damaged, the data set does not have
      images of one size with class labels, or it lacks `train` or `test`.
  """
  # Here and not above: it is slow to import, and few data sets need it.
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder_from_directory(folder, file_format=_FORMAT)
    _check_features(folder, builder.info.features)
    splits = {
      ours: _read_split(folder, builder.as_data_source(theirs), sort_by)
      for theirs, ours in _SPLITS.items()
      if theirs in builder.info.splits
    }
  except types.InputError:
    raise
  # The readers below name a missing or damaged file by several kinds of error.
  except (OSError, RuntimeError, ValueError, IndexError) as error:
    reason = " ".join(str(error).split())
    raise types.InputError(f"cannot read {folder}: {reason}") from error
  absent = [split for split in ("train", "test") if split not in splits]
  if absent:
    raise types.InputError(
      f"{folder} lacks the split {absent[0]!r}; it has"
      f" {', '.join(builder.info.splits)}"
    )
  return RawImages(splits, tuple(builder.info.features["label"].names))


def _find_infos(
  root: pathlib.Path, depth: int, wanted: dict[str, str]
) -> list[tuple[pathlib.Path, dict[str, Any]]]:
  """Finds the descriptions of a data set's versions, `depth` levels deep."""
  versions = []
  # Nearest first; `_newest` refuses what lies under several parents.
  for level in range(depth):
    for path in sorted(root.glob("*/" * level + _INFO)):
      info = _read_info(path)
      if wanted.items() <= info.items():
        versions.append((path.parent, info))
  return versions


def _read_info(path: pathlib.Path) -> dict[str, Any]:
  """Reads a `dataset_info.json`."""
  info = files.read_json(path)
  if not isinstance(info, dict):
    raise types.InputError(f"{path} is damaged: it must hold a JSON object.")
  return info


def _newest(
  name: str, infos: list[tuple[pathlib.Path, dict[str, Any]]]
) -> PreparedFolder:
  """Picks the newest version, which must be one of a single config."""
  parents = sorted({folder.parent for folder, _ in infos})
  # Versions of one config lie side by side; another parent is another config.
  if len(parents) > 1:
    configs = ", ".join(parent.name for parent in parents)
    raise types.InputError(
      f"{name} is prepared in several configs ({configs}): pass"
      f" --dataset=tfds:{name}/{parents[0].name} or another"
    )
  folder, info = max(infos, key=lambda pair: _version(pair[1]))
  others = info.get("alternativeFileFormats")
  formats = others if isinstance(others, list) else []
  return PreparedFolder(folder, _FORMAT in (info.get("fileFormat"), *formats))


def _version(info: dict[str, Any]) -> list[int]:
  """Reads a version as numbers, so that 1.10.0 comes after 1.9.0."""
  return [int(part) for part in re.findall(r"\d+", str(info.get("version")))]


def _check_features(folder: pathlib.Path, features: Any) -> None:
  """Raises unless the examples have an image and a class."""
  names = list(features)
  if "image" not in names or "label" not in names:
    raise types.InputError(
      f"{folder} does not classify images: it needs the features image and"
      f" label, and has {', '.join(names)}"
    )
  if not getattr(features["label"], "names", None):
    raise types.InputError(
      f"{folder} does not classify images: its label is not a ClassLabel"
    )


def _read_split(
  folder: pathlib.Path, source: Any, sort_by: str | None
) -> tuple[np.ndarray, np.ndarray]:
  """Reads one split: images [n, H, W, C] and labels [n] int64."""
  examples = list(source)
  if sort_by is not None and examples and sort_by in examples[0]:
    examples.sort(key=lambda example: example[sort_by])
  images = [np.asarray(example["image"]) for example in examples]
  shapes = sorted({image.shape for image in images})
  if len(shapes) > 1:
    raise types.InputError(
      f"{folder} has images of different shapes, such as {shapes[0]} and"
      f" {shapes[-1]}: all must have one"
    )
  labels = np.array([example["label"] for example in examples], np.int64)
  # np.stack takes no empty list; the caller says that the split is empty.
  return np.stack(images) if images else np.zeros((0,), np.uint8), labels
