"""What `config.json` of ablations says, of whichever run it is."""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from enas_jax import files
from enas_jax.analysis import ablation_lab
from enas_jax.search import folder as folder_lib
from experiments import _flags, _saved, _workdir

EXPERIMENT = "ablations"
_KNOWN = {"study": list, "seeds": list, "sizes": dict, "configs": dict}


def open_workdir() -> tuple[pathlib.Path, dict[str, Any] | None]:
  """As `_workdir.open_workdir`, with a `config.json` that was checked.

  Raises:
    InputError: if it is damaged, or the folder cannot be used.
  """
  workdir, saved = _workdir.open_workdir(EXPERIMENT)
  if saved:
    check(saved, workdir / folder_lib.CONFIG, "give another --workdir")
  return workdir, saved


def told(saved: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
  """`config.json` of the run that is resumed, or the studies' of `--config`.

  Args:
    saved: that of the run that is resumed, or None.

  Raises:
    InputError: if that of `--config` is damaged.
  """
  if saved:
    return saved
  record = _saved.read()
  if not record or record.get("experiment") != EXPERIMENT:
    return None
  check(record, files.expand(flags.FLAGS.config), _saved.ADVICE)
  return record


def check(record: Mapping[str, Any], path: pathlib.Path, advice: str) -> None:
  """Refuses what the studies cannot go by.

  What studies there are, and what a configuration and an architecture must be,
  is left to those who read them.

  Args:
    record: the object that the file holds.
    path: the file.
    advice: the end of the message.

  Raises:
    InputError: if a field is missing, or of another type.
  """
  folder_lib.check_fields(record, _KNOWN, path, advice)
  reference = record.get("reference", "")
  sound = (
    all(isinstance(name, str) for name in record["study"]),
    all(_is_whole(seed, 0, _flags.LARGEST_SEED) for seed in record["seeds"]),
    record["sizes"].keys() == ablation_lab.Sizes.__annotations__.keys(),
    all(_is_whole(size, 1) for size in record["sizes"].values()),
    isinstance(record["configs"].get("search"), dict),
    isinstance(record["configs"].get("training", ""), dict | None),
    reference is None or _is_reference(reference),
  )
  if not all(sound):
    raise files.damaged(path, advice)


def _is_whole(value: Any, least: int, most: int | None = None) -> bool:
  """Whether it is an integer in that range, and no truth value."""
  if type(value) is not int:
    return False
  return least <= value and (most is None or value <= most)


def _is_reference(record: Any) -> bool:
  """Whether it has two architectures, of which one may be none."""
  if not isinstance(record, dict):
    return False
  trained, searched = (record.get(n, "") for n in ablation_lab.Arcs._fields)
  return isinstance(trained, dict | None) and isinstance(searched, dict)
