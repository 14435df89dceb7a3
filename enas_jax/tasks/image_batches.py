"""Batches of images: gathered on the device, standardised, and augmented."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.data import augment, batches


# Compared by identity: of the arrays of two, == is no bool.
@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
  """What the steps and evaluations of a task are shown of its splits.

  Attributes:
    options: the part of the configuration about data.
    mean: [C] float32, mean of the training images in units of [0, 1].
    std: [C] float32, standard deviation of the training images, same units.
  """

  options: config_lib.ImagesConfig
  mean: np.ndarray
  std: np.ndarray

  def to_train(
    self,
    split: batches.Split,
    order: types.Array,
    step: types.Array,
    key: types.PRNGKey,
  ) -> types.ImageBatch:
    """A batch of an epoch, augmented.

    Args:
      split: the training images.
      order: [n] int32, the epoch's order of them.
      step: [] int32, which batch of the epoch.
      key: of what is drawn for each image.
    """
    options = self.options
    taken = batches.take(split, order, step, options.batch_size)
    shown = self._standardise(taken.images)
    # Split only if both are drawn: without cutout the numbers of crops and
    # flips are those of a run that has never heard of it.
    if options.cutout:
      key, key_cutout = jax.random.split(key)
    shown = augment.augment(key, shown, options.pad, flip=options.flip)
    if options.cutout:
      shown = augment.cutout(key_cutout, shown, options.cutout)
    return types.ImageBatch(shown, taken.labels)

  def to_reward(
    self, split: batches.Split, key: types.PRNGKey
  ) -> types.ImageBatch:
    """One minibatch, drawn without replacement and not augmented."""
    return self._drawn(split, key, self.options.reward_batch_size)

  def to_descend(
    self, split: batches.Split, key: types.PRNGKey
  ) -> types.ImageBatch:
    """The same of omega's size, for a gradient in the architecture."""
    options = self.options
    # A split for rewards holds no more for sure.
    size = min(options.batch_size, options.reward_batch_size)
    return self._drawn(split, key, size)

  def _drawn(
    self, split: batches.Split, key: types.PRNGKey, size: int
  ) -> types.ImageBatch:
    # All of the split in a random order, of which step 0 is the first `size`:
    # so no image comes twice.
    order = augment.epoch_permutation(key, len(split.images))
    taken = batches.take(split, order, jnp.int32(0), size)
    return types.ImageBatch(self._standardise(taken.images), taken.labels)

  def to_evaluate(
    self, split: batches.Split, index: types.Array
  ) -> tuple[types.ImageBatch, types.Array]:
    """A batch of a whole split, and [B] bool: which were in no earlier one."""
    # Batches of the rewards' size: batch norm looks at all of a batch, and what
    # is scored shall be what was rewarded.
    part, fresh = batches.chunk(split, index, self.options.reward_batch_size)
    return types.ImageBatch(self._standardise(part.images), part.labels), fresh

  def _standardise(self, pixels: types.Array) -> types.Array:
    return augment.standardise(
      pixels, jnp.asarray(self.mean), jnp.asarray(self.std)
    )
