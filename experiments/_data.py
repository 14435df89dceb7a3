"""Where data lie, as the flags say it or a run that they name."""

import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags

from enas_jax import files
from enas_jax.search import folder as folder_lib


def take_folder(source: Mapping[str, Any]) -> None:
  """Gives `--data_dir`, where it is not set, the folder that a run had.

  Args:
    source: the run's `config.json`.
  """
  flag, kept = flags.FLAGS["data_dir"], source.get("data_dir")
  if flag.value is not None or not isinstance(kept, str):
    return
  if os.path.isdir(kept):  # also of what can be no path: False
    flag.value = kept
    return
  print(
    f"note: {kept}, where the run's data were, is no folder any more; give"
    " --data_dir if they are not in one of the usual places.",
    file=sys.stderr,
  )


def read_record(folder: pathlib.Path) -> dict[str, Any]:
  """`config.json` of a run that the flags name.

  Raises:
    InputError: if it cannot be read.
  """
  return folder_lib.read_json(
    folder / folder_lib.CONFIG, "give the folder of a run"
  )


def folder(saved: Mapping[str, Any] | None) -> str | None:
  """`--data_dir` as it can be found from everywhere, or else that of a run.

  Args:
    saved: `config.json` of the run that is resumed, or None.
  """
  given = flags.FLAGS.data_dir
  if given is None:
    return (saved or {}).get("data_dir")
  return str(files.expand(given).absolute())
