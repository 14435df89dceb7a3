"""Tiny images as files, for tests: of CIFAR-10, and of one's own."""

import pathlib
from typing import Any

import numpy as np
import pytest

from enas_jax import types
from enas_jax.data import images

BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


PIXELS = 3 * 32 * 32


def fails(
  pattern: str,
  dataset: str,
  data_dir: str | pathlib.Path | None = None,
  **options: Any,
) -> str:
  data_dir = None if data_dir is None else str(data_dir)
  with pytest.raises(types.InputError, match=pattern) as caught:
    images.load(dataset, data_dir, **{"num_valid": 1, **options})
  message = str(caught.value)
  assert "\n" not in message
  return message


def records() -> list[tuple[list[int], np.ndarray]]:
  """Six batches of two images; image 2b + i holds noise of its own."""
  noise = np.random.RandomState(1).randint(0, 256, (6, 2, PIXELS), np.uint8)
  return [([b, 9 - b], noise[b]) for b in range(6)]


def write_binary(folder: pathlib.Path) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  for name, (labels, planes) in zip(BATCHES, records(), strict=True):
    content = b"".join(
      bytes([label]) + row.tobytes()
      for label, row in zip(labels, planes, strict=True)
    )
    (folder / f"{name}.bin").write_bytes(content)
  return folder


def check_ten_images(data: images.ImageData) -> None:
  """Compares with `records`, pixel by pixel and with loops."""
  labels = [label for pair, _ in records() for label in pair]
  assert data.train_labels.tolist() == labels[:7]
  assert data.valid_labels.tolist() == labels[7:10]
  assert data.test_labels.tolist() == labels[10:]
  planes = np.concatenate([rows for _, rows in records()])
  # A record has all of red, then green, then blue, each row by row.
  every = np.concatenate([data.train_images, data.valid_images])
  every = np.concatenate([every, data.test_images])
  for number, y, x, c in np.ndindex(12, 32, 32, 3):
    assert every[number, y, x, c] == planes[number, 1024 * c + 32 * y + x]


def arrays(**changed: Any) -> dict[str, Any]:
  """Arrays for an archive; None leaves one out."""
  rng = np.random.RandomState(2)
  every = {
    "x_train": rng.randint(0, 256, (6, 8, 10, 3), np.uint8),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": rng.randint(0, 256, (2, 8, 10, 3), np.uint8),
    "y_test": np.array([2, 0], np.uint8),
  }
  return {k: v for k, v in {**every, **changed}.items() if v is not None}


def write_npz(folder: pathlib.Path, **changed: Any) -> str:
  path = folder / "mine.npz"
  np.savez(path, **arrays(**changed))
  return f"npz:{path}"
