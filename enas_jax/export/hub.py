"""Exported folders on Hugging Face's hub, by the package `huggingface_hub`."""

import importlib
import os
from typing import Any

from enas_jax import files, types
from enas_jax.export import folder as folder_lib

PREFIX = "hub:"


def push(
  folder: str | os.PathLike[str], name: str, *, private: bool = False
) -> str:
  """Uploads what `save` wrote as a model repository.

  Args:
    folder: path that `save` wrote to.
    name: repository, "USER/NAME"; made if there is none.
    private: whether one that is made is private.

  Returns:
    The address of the commit.

  Raises:
    InputError: if the folder is no exported model, or the hub refuses.
  """
  hub, place = _hub(), files.expand(folder)
  folder_lib.load(place)  # refuses what could not be loaded again
  api = hub.HfApi()
  try:
    # One that is there gets another commit.
    api.create_repo(name, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=name, folder_path=str(place)))
  # Without a network the errors are those of its HTTP client, which is not the
  # same in all of its versions.
  except Exception as error:  # noqa: BLE001
    raise _refused(name, error) from None


def load(folder: str | os.PathLike[str]) -> folder_lib.Exported:
  """Reads what `save` wrote, here or on the hub.

  Args:
    folder: path that `save` wrote to, or "hub:USER/NAME".

  Raises:
    InputError: if a file is missing or damaged, or of another version, or the
      hub refuses.
  """
  text = os.fspath(folder)
  if not text.startswith(PREFIX):
    return folder_lib.load(folder)
  hub, name = _hub(), text.removeprefix(PREFIX)
  try:
    place = hub.snapshot_download(name)
  except Exception as error:  # noqa: BLE001, as in `push`
    raise _refused(name, error) from None
  return folder_lib.load(place)


def _hub() -> Any:
  try:
    return importlib.import_module("huggingface_hub")
  except ImportError:
    raise types.InputError(
      "models on the hub need huggingface_hub: pip install 'enas_jax[hub]'."
    ) from None


def _refused(name: str, error: Exception) -> types.InputError:
  return types.InputError(f"{PREFIX}{name}: {files.shown(error)}.")
