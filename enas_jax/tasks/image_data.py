"""The data sets of image classification: where they come from, what suits."""

from collections.abc import Mapping
from typing import Any

from enas_jax import config as config_lib
from enas_jax.data import images, own
from enas_jax.data import synthetic as synthetic_data
from enas_jax.spaces import base as spaces

_CIFAR10_IMAGES = 50_000  # to train and to validate on
# What suits a data set. A mirrored digit is another digit, or none; those of
# scikit-learn are few and small.
_SUITED: dict[str, dict[str, Any]] = {
  "digits": {"flip": False, "image_size": 0, "num_valid": 300},
  **dict.fromkeys(
    ("tfds:mnist", "tfds:svhn_cropped", "tfds:emnist"), {"flip": False}
  ),
}


def suited(dataset: str, config: config_lib.AnyConfig) -> Mapping[str, Any]:
  """Fields of `config.data` that suit the data set of that name."""
  data = config.data
  given = own.suited(
    dataset,
    num_valid=data.num_valid,
    image_size=data.image_size,
    batch_size=data.batch_size,
    reward_batch_size=data.reward_batch_size,
  )
  return given | _SUITED.get(dataset, {})


def load(
  dataset: str, data_dir: str | None, config: config_lib.AnyConfig
) -> images.ImageData:
  """The data set of that name, of the size and split that `config` wants.

  Raises:
    InputError: if it cannot be had.
  """
  return images.load(
    dataset,
    data_dir,
    num_valid=config.data.num_valid,
    image_size=config.data.image_size or None,
  )


def describe(data: images.ImageData, config: config_lib.AnyConfig) -> str:
  """A line about the images; that they are mirrored must be no surprise."""
  if not config.data.flip:
    return data.describe()
  return (
    f"{data.describe()}; half of the training images are mirrored left to right"
    " (--flip=false: none)"
  )


def num_batches(config: config_lib.AnyConfig) -> tuple[int, int]:
  """Batches of CIFAR-10's training and validation split."""
  data = config.data
  train = _CIFAR10_IMAGES - data.num_valid
  return train // data.batch_size, data.num_valid // data.batch_size


def synthetic(
  config: config_lib.AnyConfig, data: spaces.DataShape, num_batches: int
) -> images.ImageData:
  """Random images, enough for so many batches."""
  batch = config.data
  # One count serves all splits, and those that are scored need a whole batch.
  count = max(num_batches * batch.batch_size, batch.reward_batch_size)
  return synthetic_data.random_images(count, data.image_shape, data.num_classes)
