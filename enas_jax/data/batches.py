"""The splits of an image data set on the device, and the batches of them."""

from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.data import augment, images

_ORDER = 20180209  # seeds the order of the images in their splits


class Split(NamedTuple):
  """Images on the device.

  Attributes:
    images: [n, H, W, C] uint8.
    labels: [n] int32.
  """

  images: types.Array
  labels: types.Array


def shuffled(data: images.ImageData) -> images.ImageData:
  """The data set with every split in an order of its own.

  Files are often sorted by class. Batch norm looks at the batch that is scored,
  so images that lie side by side must be no kind of their own. The order is the
  same in every run, whatever its seed.
  """
  ordered = {}
  for stream, name in enumerate(("train", "valid", "test")):
    pixels = getattr(data, f"{name}_images")
    order = np.random.default_rng([_ORDER, stream]).permutation(len(pixels))
    ordered[f"{name}_images"] = pixels[order]
    ordered[f"{name}_labels"] = getattr(data, f"{name}_labels")[order]
  return data._replace(**ordered)


def put(pixels: np.ndarray, labels: np.ndarray, size: int, name: str) -> Split:
  """Puts a split on the device.

  Args:
    pixels: [n, H, W, C] uint8.
    labels: [n] int32.
    size: the images of a batch.
    name: the name of the split, for the message.

  Raises:
    InputError: if it has too few images for one batch.
  """
  # It raises; the number itself is of no use here.
  augment.num_batches(len(pixels), size, name)
  return Split(jnp.asarray(pixels), jnp.asarray(labels))


def take(
  split: Split, order: types.Array, step: types.Array, size: int
) -> Split:
  """The batch of one step; arguments and errors as `augment.take_batch`."""
  return Split(*augment.take_batch(*split, order, step, size))


def chunk(
  split: Split, index: types.Array, size: int
) -> tuple[Split, types.Array]:
  """One batch of a split that is gone through in order.

  The last one begins early enough to be full, as batch norm may look at the
  whole batch, and shows again some images that were shown before.

  Args:
    split: the images, n of them.
    index: [] int32, the number of the batch.
    size: the images of a batch, B.

  Returns:
    The batch, and [B] bool: which images were in no earlier one.
  """
  chex.assert_rank(index, 0)
  start = jnp.minimum(index * size, len(split.images) - size)
  part = Split(*(lax.dynamic_slice_in_dim(x, start, size) for x in split))
  return part, start + jnp.arange(size) >= index * size
