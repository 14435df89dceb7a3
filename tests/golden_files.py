"""Copies of the golden vectors, changed for tests."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden"


def copy(stem: str, folder: pathlib.Path) -> pathlib.Path:
  """Copies a case's main file and description; returns the main file."""
  for ending in ("npz", "json"):
    target = folder / f"{stem}.{ending}"
    target.write_bytes((FOLDER / target.name).read_bytes())
  return folder / f"{stem}.npz"


def change(path: pathlib.Path, **arrays: np.ndarray) -> None:
  """Replaces arrays of a file; `__` in a name stands for a slash."""
  with np.load(path) as file:
    held = {name: file[name] for name in file.files}
  held |= {name.replace("__", "/"): array for name, array in arrays.items()}
  np.savez(path, **held)
