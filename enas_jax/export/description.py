"""What an exported folder says of its model, apart from the weights.

Everything here is JSON-ready and is checked when it is read: a folder may come
from anywhere.
"""

import dataclasses
import math
import types as types_lib
import typing
from collections.abc import Mapping
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from enas_jax import types
from enas_jax.config import fields
from enas_jax.data import augment
from enas_jax.spaces import records, registry

FORMAT = "enas_jax.export"
# Rises when folders of the form before it can no longer be read.
VERSION = 1
# What JSON may have in place of each type: 1.0 may be written 1.
_ACCEPTED: Mapping[Any, tuple[type, ...]] = {
  int: (int,),
  float: (int, float),
  bool: (bool,),
  str: (str,),
  type(None): (type(None),),
}


@dataclasses.dataclass(frozen=True)
class ImagePreprocessing:
  """How pixels become what a network for images reads.

  Attributes:
    image_shape: (H, W, C) of the images that it was trained on.
    mean: [C] floats, means of the training images in units of [0, 1].
    std: [C] floats, their standard deviations in the same units, positive.
    class_names: one name a class, in the order of the logits.
  """

  image_shape: tuple[int, int, int]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  class_names: tuple[str, ...]

  def __post_init__(self) -> None:
    # Arrays are welcome; what is stored is hashable and JSON-ready.
    for name, kind in (
      ("image_shape", int),
      ("mean", float),
      ("std", float),
      ("class_names", str),
    ):
      row = tuple(kind(value) for value in getattr(self, name))
      object.__setattr__(self, name, row)
    shape = self.image_shape
    _check(
      len(shape) == 3 and min(shape) > 0,
      f"image_shape must be (height, width, channels), got {shape}",
    )
    for name in ("mean", "std"):
      row = getattr(self, name)
      _check(
        len(row) == shape[2] and all(map(math.isfinite, row)),
        f"{name} must be {shape[2]} numbers, one a channel, got {row}",
      )
    _check(min(self.std) > 0, f"std must be positive, got {self.std}")
    _check(
      len(self.class_names) > 1,
      f"class_names must be at least 2, got {len(self.class_names)}",
    )

  def preprocess(self, images: npt.ArrayLike) -> types.Array:
    """Standardises images.

    Args:
      images: [b, H, W, C] uint8, of the size that the network was trained on.

    Returns:
      [b, H, W, C] float32.

    Raises:
      InputError: if they are of another shape or type.
    """
    shape, wanted = np.shape(images), self.image_shape
    dtype = getattr(images, "dtype", type(images).__name__)
    if len(shape) != 4 or shape[1:] != wanted or dtype != np.uint8:
      raise types.InputError(
        f"images must be a uint8 array [b, {', '.join(map(str, wanted))}], got"
        f" {dtype} {list(shape)}; scale them first."
      )
    return self.standardise(jnp.asarray(images))

  def standardise(self, images: types.Array) -> types.Array:
    """`preprocess` for images that are traced.

    Args:
      images: [b, H, W, C] uint8.

    Returns:
      [b, H, W, C] float32.
    """
    # Under `jax.export` b is a symbol, so of the shape only the rest is known.
    chex.assert_shape(images, (..., *self.image_shape))
    return augment.standardise(
      images, jnp.float32(self.mean), jnp.float32(self.std)
    )


@dataclasses.dataclass(frozen=True)
class TextPreprocessing:
  """How text becomes what a recurrent cell reads.

  Attributes:
    vocabulary: V distinct words; a word's id is its position.
    end: the word that stands for the end of a line; None if lines do not
      matter, also where the vocabulary lacks the word.
    unknown: the word that stands for every word that is not in the
      vocabulary; None if there is none, also where the vocabulary lacks it.
  """

  vocabulary: tuple[str, ...]
  end: str | None = "<eos>"
  unknown: str | None = "<unk>"

  def __post_init__(self) -> None:
    words = tuple(str(word) for word in self.vocabulary)
    object.__setattr__(self, "vocabulary", words)
    _check(
      0 < len(set(words)) == len(words),
      f"vocabulary must be distinct words, got {len(words)} of which"
      f" {len(set(words))} differ",
    )
    for name in ("end", "unknown"):
      if getattr(self, name) not in words:
        object.__setattr__(self, name, None)

  def preprocess(self, text: str) -> types.Array:
    """The ids of the words of one text.

    Args:
      text: words between white space, prepared as the training text was.

    Returns:
      [T, 1] int32, a batch of one text.

    Raises:
      InputError: for an empty text, and for an unknown word if the vocabulary
        has none to stand for it.
    """
    # As the training text was read, where a newline is a word.
    if self.end is not None:
      text = text.replace("\n", f" {self.end} ")
    index = {word: number for number, word in enumerate(self.vocabulary)}
    words = text.split()
    _check(bool(words), "the text must have at least one word")
    if self.unknown is None:
      strange = [word for word in words if word not in index]
      _check(
        not strange,
        "the vocabulary has no word for unknown ones; not in it:"
        f" {records.brief(' '.join(strange))}",
      )
    # 0 is never used: without a word for unknown ones all words are known here.
    unknown = index.get(self.unknown or "", 0)
    ids = [index.get(word, unknown) for word in words]
    return jnp.asarray(ids, jnp.int32)[:, None]


Preprocessing = ImagePreprocessing | TextPreprocessing


@dataclasses.dataclass(frozen=True)
class Model:
  """A trained architecture with all that belongs to it.

  Attributes:
    space: name of the search space, one of `registry.trainable()`.
    config: options of the space and its network.
    arc: the architecture; checked, and stored as Python ints.
    child: the child's weights, nested dicts of float32 arrays [...] as the
      module of `modules.make` declares them; `folder.save` checks.
    statistics: moving statistics of all its batch norms, nested dicts of [C]
      float32 arrays; {} for a recurrent cell.
    preprocessing: how this kind of data becomes what the network reads.
    card: JSON-ready record for the model card: "dataset", "command", "seed",
      "commit", "versions", "metrics" by name, or whatever else.
  """

  space: str
  config: Any
  arc: types.Arc
  child: types.Omega
  statistics: types.Statistics
  preprocessing: Preprocessing
  card: Mapping[str, Any]

  def __post_init__(self) -> None:
    fields.check_one_of("space", self.space, registry.trainable())
    kind = registry.get(self.space).options
    expected = _preprocessing_kind(self.space)
    for name, value, wanted in (
      ("config", self.config, kind),
      ("preprocessing", self.preprocessing, expected),
    ):
      _check(
        isinstance(value, wanted),
        f"{name} must be a {wanted.__name__} in the {self.space} space, got"
        f" {type(value).__name__}",
      )
    arc = self.config.space().validate(self.arc)
    object.__setattr__(self, "arc", arc)


def preprocessing_of(kind: str, data: Any) -> Preprocessing:
  """What a model that was trained on some data must know of them.

  Args:
    kind: the kind of its network, "images" or "text".
    data: the data set, `ImageData` or `TextData`.
  """
  if kind == "text":
    return TextPreprocessing(data.vocabulary)
  return ImagePreprocessing(
    data.train_images.shape[1:],
    tuple(data.mean.tolist()),
    tuple(data.std.tolist()),
    data.class_names,
  )


def to_architecture(model: Model) -> dict[str, Any]:
  """What `architecture.json` holds."""
  return {
    "format": FORMAT,
    "version": VERSION,
    "space": model.space,
    "arc": model.config.space().to_dict(model.arc),
    "child": dataclasses.asdict(model.config),
  }


def to_preprocessing(preprocessing: Preprocessing) -> dict[str, Any]:
  """What `preprocessing.json` holds."""
  how = (
    "(uint8 / 255 - mean) / std, by channel"
    if isinstance(preprocessing, ImagePreprocessing)
    else "words between white space; a word's id is its place in vocabulary"
  )
  return {"how": how, **dataclasses.asdict(preprocessing)}


def read_architecture(
  record: Mapping[str, Any],
) -> tuple[str, Any, types.Arc]:
  """The inverse of `to_architecture`.

  Args:
    record: JSON object, of whatever content.

  Returns:
    The space's name, its options, and the architecture of Python ints.

  Raises:
    InputError: if it is of another format or version, or damaged.
  """
  _check(
    record.get("format") == FORMAT,
    f'"format" must be {FORMAT!r}, got {records.brief(record.get("format"))};'
    " the folder was not exported by enas_jax",
  )
  version = record.get("version")
  _check(
    version == VERSION,
    f'"version" must be {VERSION}, got {records.brief(version)}; read it with'
    " the enas_jax that wrote it",
  )
  space, known = record.get("space"), registry.trainable()
  _check(
    isinstance(space, str) and space in known,
    f'"space" must be one of {", ".join(known)}, got {records.brief(space)}',
  )
  assert isinstance(space, str)  # which the type checker cannot see
  options = registry.get(space).options
  config = options(**_fields(options, record.get("child"), "child"))
  arc = record.get("arc")
  _check(
    isinstance(arc, dict),
    f'"arc" must be an object, got {records.brief(repr(arc))}',
  )
  return space, config, config.space().from_dict(arc)


def read_preprocessing(space: str, record: Mapping[str, Any]) -> Preprocessing:
  """The inverse of `to_preprocessing`.

  Args:
    space: name of the search space, which tells the kind of data.
    record: JSON object, of whatever content.

  Raises:
    InputError: if it is damaged, or of the other kind of data.
  """
  kind = _preprocessing_kind(space)
  # "how" is for people; the rest are the fields of the class.
  values = {name: value for name, value in record.items() if name != "how"}
  return kind(**_fields(kind, values, "preprocessing"))


def _preprocessing_kind(
  space: str,
) -> type[ImagePreprocessing] | type[TextPreprocessing]:
  reads_text = registry.get(space).network.kind == "text"
  return TextPreprocessing if reads_text else ImagePreprocessing


def _fields(kind: type, record: object, name: str) -> dict[str, Any]:
  """`record`, if it has the fields of the dataclass with values of its types.

  How long lists must be, and what else of values, the class itself checks.

  Args:
    kind: dataclass.
    record: what stands in the file where its fields should.
    name: subject of the messages.
  """
  if not isinstance(record, dict):
    raise types.InputError(
      f"{name} must be an object, got {records.brief(record)}."
    )
  fields: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(kind)}
  # Exactly these: a default for a missing option might build another network.
  odd = sorted(set(fields) ^ set(record))
  _check(
    not odd,
    f"{name} must have exactly the fields of {kind.__name__}; missing or"
    f" unknown: {records.brief(', '.join(odd))}",
  )
  for field, wanted in fields.items():
    value = record[field]
    expected = _expected(wanted, value)
    _check(
      not expected,
      f"{name}.{field} must be {expected}, got {records.brief(value)}",
    )
  return record


def _expected(wanted: Any, value: object) -> str:
  """What JSON's value for a field should be, by its type; "" if it is that."""
  is_tuple = typing.get_origin(wanted) is tuple  # a list in JSON
  is_union = isinstance(wanted, types_lib.UnionType)
  kinds = typing.get_args(wanted) if is_tuple or is_union else (wanted,)
  kinds = tuple(kind for kind in kinds if kind is not Ellipsis)
  values = value if is_tuple else [value]
  if isinstance(values, list) and all(_is_any_of(kinds, v) for v in values):
    return ""
  names = dict.fromkeys(
    "null" if kind is type(None) else kind.__name__ for kind in kinds
  )
  return ("a list of " if is_tuple else "of type ") + " or ".join(names)


def _is_any_of(kinds: tuple[Any, ...], value: object) -> bool:
  """Whether JSON's value may stand for one of the types."""
  # What a plugin's options may hold besides, their class checks itself.
  if not set(kinds) <= set(_ACCEPTED):
    return True
  # To Python True is an int.
  if isinstance(value, bool):
    return bool in kinds
  return any(isinstance(value, _ACCEPTED[kind]) for kind in kinds)


def _check(ok: bool, message: str) -> None:
  if not ok:
    raise types.InputError(f"{message}.")
