"""Minibatches of images on the device, and their augmentation (Appendix B).

The images of a split lie on the device as uint8. A step gathers its batch,
standardises it, and only then pads, crops, flips and cuts out, so that the
border that padding adds has the mean colour, 0, as in the released code. Every
random choice is made for each image by itself.
"""

import chex
import jax
import jax.numpy as jnp

from enas_jax import types


def num_batches(num_images: int, batch_size: int, split: str) -> int:
  """Counts the batches of one epoch.

  Only full batches count, so that one shape compiles: every epoch leaves out
  num_images % batch_size images, others in each epoch.

  Args:
    num_images: n, the images of the split.
    batch_size: B.
    split: name of the split, for the message.

  Returns:
    n // B, at least 1.

  Raises:
    InputError: B is not positive or larger than n.
  """
  if batch_size < 1:
    raise types.InputError(f"batch size is {batch_size}; it must be at least 1")
  if num_images < batch_size:
    raise types.InputError(
      f"the {split} split has {num_images} images, too few for one batch of"
      f" {batch_size}: lower the batch size"
    )
  return num_images // batch_size


def epoch_permutation(key: types.PRNGKey, num_images: int) -> types.Array:
  """Draws the order of one epoch.

  Args:
    key: for the order.
    num_images: n, static.

  Returns:
    [n] int32, each of 0 to n - 1 once.
  """
  return jax.random.permutation(key, jnp.arange(num_images, dtype=jnp.int32))


def batch_indices(
  permutation: types.Array, step: types.Array, batch_size: int
) -> types.Array:
  """Cuts the images of one step out of an epoch's order.

  Args:
    permutation: [n] int32, from `epoch_permutation`.
    step: [] int32, step of the epoch, in [0, num_batches). Not checked: beyond
      the end, JAX moves the batch back to the last place where it fits.
    batch_size: B, static.

  Returns:
    [B] int32, numbers of images.
  """
  return jax.lax.dynamic_slice_in_dim(
    permutation, step * batch_size, batch_size
  )


def take_batch(
  images: types.Array,
  labels: types.Array,
  permutation: types.Array,
  step: types.Array,
  batch_size: int,
) -> tuple[types.Array, types.Array]:
  """Gathers the batch of one step.

  Args:
    images: [n, H, W, C] uint8, the split.
    labels: [n] int32.
    permutation: [n] int32, from `epoch_permutation`.
    step: [] int32, as for `batch_indices`.
    batch_size: B, static.

  Returns:
    Images [B, H, W, C] uint8, to be standardised, and labels [B] int32.
  """
  chex.assert_rank([images, labels, permutation], [4, 1, 1])
  indices = batch_indices(permutation, step, batch_size)
  return images[indices], labels[indices]


def standardise(
  images: types.Array, mean: types.Array, std: types.Array
) -> types.Array:
  """Gives every channel mean 0 and standard deviation 1 over the data set.

  Args:
    images: [B, H, W, C] uint8.
    mean: [C] float32, of the training images in units of [0, 1].
    std: [C] float32, likewise.

  Returns:
    [B, H, W, C] float32.
  """
  chex.assert_rank([images, mean, std], [4, 1, 1])
  chex.assert_type(images, jnp.uint8)
  return (images.astype(jnp.float32) / 255.0 - mean) / std


def augment(
  key: types.PRNGKey, images: types.Array, pad: int = 4, *, flip: bool = True
) -> types.Array:
  """Moves each image by up to `pad` pixels and flips half of them.

  Args:
    key: for all choices.
    images: [B, H, W, C] float32, standardised.
    pad: width of the border of zeros in which the crop moves, static. The paper
      has 4 at 32 pixels. 0 leaves every image in its place.
    flip: whether to mirror an image left to right with probability 1/2, static.
      Not for digits and the like, whose classes a mirror changes.

  Returns:
    [B, H, W, C] float32.
  """
  chex.assert_rank(images, 4)
  key_crop, key_flip = jax.random.split(key)
  if pad:
    images = _random_crop(key_crop, images, pad)
  if flip:
    chosen = jax.random.bernoulli(key_flip, 0.5, (len(images), 1, 1, 1))
    images = jnp.where(chosen, images[:, :, ::-1], images)
  return images


def _random_crop(
  key: types.PRNGKey, images: types.Array, pad: int
) -> types.Array:
  """Pads with zeros and cuts each image out at a place of its own."""
  size = images.shape[1:]
  border = ((0, 0), (pad, pad), (pad, pad), (0, 0))
  padded = jnp.pad(images, border)
  corners = jax.random.randint(key, (len(images), 2), 0, 2 * pad + 1)
  crop = lambda image, corner: jax.lax.dynamic_slice(
    image, (corner[0], corner[1], 0), size
  )
  return jax.vmap(crop)(padded, corners)


def cutout(key: types.PRNGKey, images: types.Array, size: int) -> types.Array:
  """Sets one square of each image to zero (DeVries & Taylor, 2017).

  As in the released code, the square's top left corner, not its centre, is
  uniform over the image, and what lies beyond the right or the bottom is lost:
  the top left pixel is covered least often.

  Args:
    key: for the corners.
    images: [B, H, W, C] float32, standardised, so that zero is the mean colour.
    size: side of the square in pixels, static. 0 changes nothing.

  Returns:
    [B, H, W, C] float32.
  """
  chex.assert_rank(images, 4)
  count, height, width, _ = images.shape
  key_top, key_left = jax.random.split(key)
  rows = _covered(key_top, count, height, size)
  columns = _covered(key_left, count, width, size)
  square = rows[:, :, None, None] & columns[:, None, :, None]
  return jnp.where(square, 0.0, images)


def _covered(
  key: types.PRNGKey, count: int, length: int, size: int
) -> types.Array:
  """Marks `size` places from a random one on, in each of [count, length]."""
  start = jax.random.randint(key, (count, 1), 0, length)
  places = jnp.arange(length)[None, :]
  return (start <= places) & (places < start + size)
