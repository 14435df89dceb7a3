"""The files of an exported folder: written, read and checked."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from flax import traverse_util

from enas_jax import files, types
from enas_jax.export import card as card_lib
from enas_jax.export import description, modules, serving
from enas_jax.export.description import Model, Preprocessing
from enas_jax.spaces import records, registry

_ARCHITECTURE = "architecture.json"
_PREPROCESSING = "preprocessing.json"
_WEIGHTS = "weights.safetensors"
_SERVING = "model.jaxexport"
_CARD = "card.json"
_README = "README.md"


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
  """A trained architecture that was read from a folder.

  Attributes:
    module: Flax module to call with `apply`; `init` makes fresh variables.
    variables: trained variables, nested dicts of float32 arrays: "params", and
      for images "batch_stats".
    preprocessing: how pixels or words become what the module reads.
    space: name of the search space, "recurrent", "macro" or "micro".
    config: options of the space and its network.
    arc: architecture of Python ints.
    card: what `card.json` tells of the training.
  """

  module: modules.Network
  variables: dict[str, Any]
  preprocessing: Preprocessing
  space: str
  config: Any
  arc: types.Arc
  card: dict[str, Any]

  def preprocess(self, raw: npt.ArrayLike | str) -> types.Array:
    """What the module reads.

    Args:
      raw: images [b, H, W, C] uint8, or a text.

    Returns:
      [b, H, W, C] float32, or [T, 1] int32 word ids.

    Raises:
      InputError: if it does not suit the model.
    """
    preprocess: Callable[[Any], types.Array] = self.preprocessing.preprocess
    return preprocess(raw)


def save(folder: str | os.PathLike[str], model: Model) -> None:
  """Writes a trained architecture, whole or not at all.

  Args:
    folder: path to write to; it may exist if it is empty.
    model: architecture, weights and all else that is written.

  Raises:
    InputError: if the folder holds something, if the weights do not fit the
      architecture or are not finite, if the card has a number that is not, or
      if a network for images has no moving statistics.
  """
  target = files.expand(folder).absolute()
  _check_free(target)
  # Before anything is written: a folder that cannot be read helps nobody.
  variables, module = _variables(model), _module(model)
  _check_fit(_flat(variables), module, "the weights given")
  _check_finite(_flat(variables), "the weights given")
  _check_card(model.card)
  # Beside the target, so that the rename stays within one file system.
  temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
  try:
    temporary.mkdir(parents=True)
    _write(temporary, model, module, variables)
    # The rename fails if another process has filled the folder meanwhile.
    os.replace(temporary, target)
  except OSError as error:
    raise types.InputError(
      f"cannot write {target}: {error.strerror or error}."
    ) from None
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def load(folder: str | os.PathLike[str]) -> Exported:
  """Reads what `save` wrote.

  Args:
    folder: path that `save` wrote to.

  Raises:
    InputError: if a file is missing or damaged, or of another version.
  """
  place = files.expand(folder)
  record = _read_json(place / _ARCHITECTURE)
  with _naming(place / _ARCHITECTURE):
    space, config, arc = description.read_architecture(record)
  record = _read_json(place / _PREPROCESSING)
  with _naming(place / _PREPROCESSING):
    preprocessing = description.read_preprocessing(space, record)
  module = modules.make(space, config, arc, preprocessing)
  flat = _read_weights(place / _WEIGHTS)
  _check_fit(flat, module, f"{place / _WEIGHTS}: the weights")
  variables = traverse_util.unflatten_dict(flat, sep="/")
  card = _read_json(place / _CARD)
  return Exported(module, variables, preprocessing, space, config, arc, card)


def load_serving(folder: str | os.PathLike[str]) -> Callable[..., Any]:
  """Reads the serving function of what `save` wrote.

  Args:
    folder: path that `save` wrote to.

  Returns:
    A function of images [b, H, W, C] uint8 that returns logits [b, classes]
    float32, or for text (tokens [t, b] int32, state [b, D] float32) -> (logits
    [t, b, V] float32, next state [b, D]). Each b, and t, compiles once.

  Raises:
    InputError: if the file is missing or damaged.
  """
  path = files.expand(folder) / _SERVING
  return serving.deserialize(_existing(path))


def _variables(model: Model) -> dict[str, Any]:
  if registry.get(model.space).network.kind == "text":
    return {"params": model.child}
  # A served image must be judged by itself.
  needed = _module(model).shapes()["batch_stats"]
  if not model.config.moving_statistics or (needed and not model.statistics):
    raise types.InputError(
      "a network without moving statistics normalises an image by the others"
      " of its batch, so it cannot be exported; train it with"
      " --moving_statistics."
    )
  return {"params": model.child, "batch_stats": model.statistics}


def _module(model: Model) -> modules.Network:
  return modules.make(model.space, model.config, model.arc, model.preprocessing)


def _write(
  folder: pathlib.Path,
  model: Model,
  module: modules.Network,
  variables: Mapping[str, Any],
) -> None:
  """Writes every file into a folder that nobody reads yet."""
  # Not a pickle: reading it runs no code, and other frameworks read it too.
  arrays = {name: np.asarray(leaf) for name, leaf in _flat(variables).items()}
  # `save_file` makes a file that nobody else may read.
  (folder / _WEIGHTS).write_bytes(safetensors.numpy.save(arrays))
  served = serving.serialize(module, variables, model.preprocessing)
  (folder / _SERVING).write_bytes(served)
  for name, record in (
    (_ARCHITECTURE, description.to_architecture(model)),
    (_PREPROCESSING, description.to_preprocessing(model.preprocessing)),
    (_CARD, dict(model.card)),
  ):
    (folder / name).write_text(json.dumps(record, indent=2) + "\n")
  card = card_lib.text(model, module)
  (folder / _README).write_text(card, encoding="utf-8")


def _flat(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The leaves by "/"-joined name, as safetensors wants them."""
  return traverse_util.flatten_dict(variables, sep="/")


def _check_free(target: pathlib.Path) -> None:
  try:
    taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
  except OSError as error:
    raise types.InputError(
      f"cannot look into {target}: {error.strerror or error}."
    ) from None
  if taken:
    raise types.InputError(
      f"{target} already holds something, which is kept; give a folder that is"
      " new or empty."
    )


def _check_fit(
  arrays: Mapping[str, Any], module: modules.Network, what: str
) -> None:
  """Raises unless names, shapes and types are those of the module.

  Args:
    arrays: flat variables, by "/"-joined name.
    module: module that declares what they must be.
    what: subject of the messages.
  """
  # Otherwise Flax would tell of the first call's shapes, not of the file.
  wanted = _flat(module.shapes())
  odd = sorted(set(arrays) ^ set(wanted))
  if odd:
    which = "lack" if odd[0] in wanted else "have, and should not,"
    raise types.InputError(
      f"{what} do not fit the architecture: they {which} {odd[0]}."
    )
  for name, leaf in arrays.items():
    # As JAX will have it: of a float64 array it makes float32.
    got = (tuple(np.shape(leaf)), jnp.asarray(leaf).dtype)
    if got != (wanted[name].shape, wanted[name].dtype):
      raise types.InputError(
        f"{what} do not fit the architecture: {name} must be"
        f" {wanted[name].dtype} {list(wanted[name].shape)}, got {got[1]}"
        f" {list(got[0])}."
      )


def _check_finite(arrays: Mapping[str, Any], what: str) -> None:
  for name, array in arrays.items():
    if not np.isfinite(np.asarray(array)).all():
      raise types.InputError(
        f"{what}: {records.brief(name)} has numbers that are not finite; export"
        " the training again, or an earlier one."
      )


def _check_card(card: Mapping[str, Any]) -> None:
  """Raises if JSON has no word for one of its numbers: `load` takes none."""
  # `default` lets by what is no number: it fails where it is written.
  try:
    json.dumps(dict(card), allow_nan=False, default=str)
  except ValueError:
    raise types.InputError(
      "the card has a number that is not finite, for which JSON has no word."
    ) from None


def _read_weights(path: pathlib.Path) -> dict[str, Any]:
  """The variables by name."""
  try:
    arrays = safetensors.numpy.load_file(_existing(path))
  # A type that NumPy lacks, such as FP8, is an error of several kinds.
  except (
    *(OSError, safetensors.SafetensorError),
    *(ValueError, TypeError, KeyError, AttributeError),
  ) as error:
    raise _unreadable(path, error) from None
  _check_finite(arrays, str(path))
  # On the device once: NumPy leaves would be copied there at every call.
  return {name: jnp.asarray(array) for name, array in arrays.items()}


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  advice = "copy or export the folder again"
  record = files.read_json(_existing(path), advice)
  if not isinstance(record, dict):
    raise types.InputError(f"{path} must hold a JSON object; {advice}.")
  return record


def _unreadable(path: pathlib.Path, error: Exception) -> types.InputError:
  why = getattr(error, "strerror", None) or records.brief(error)
  return types.InputError(
    f"{path} cannot be read: {why}; copy or export the folder again."
  )


def _existing(path: pathlib.Path) -> pathlib.Path:
  # Not `path.is_file`, which raises for a name that no file system takes.
  if not os.path.isfile(path):
    raise types.InputError(
      f"there is no {files.shown(path)}; give a folder that enas_jax exported."
    )
  return path


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
  """Puts the file's name before the message of what was wrong in it."""
  try:
    yield
  except types.InputError as error:
    raise types.InputError(f"{path}: {error}") from None
