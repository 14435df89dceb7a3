"""Minibatches of images on the device, and their augmentation (Appendix B).

The images of a split lie on the device as uint8. A step gathers its batch,
standardises it, and only then pads, crops, flips and cuts out, so that the
border that padding adds has the mean colour, 0, as in the released code. Every
random choice is made for each image by itself.

Functions on arrays assert ranks and types while they are traced, and raise
AssertionError where they are not those of the docstring.
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
    InputError: if B is not positive or larger than n.
  """
  if batch_size < 1:
    raise types.InputError(f"batch size is {batch_size}; it must be at least 1")
  if num_images < batch_size:
    flag = "--batch_size" if split == "train" else "--reward_batch_size"
    raise types.InputError(
      f"the {split} split has {num_images} images, too few for one batch of"
      f" {batch_size}: lower {flag} to {num_images} at most"
    )
  return num_images // batch_size


def epoch_permutation(key: types.PRNGKey, num_images: int) -> types.Array:
  """Draws the order of one epoch.

  Args:
    key: PRNG key of the order.
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
  chex.assert_rank([permutation, step], [1, 0])
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
    labels: [n] int32, classes.
    permutation: [n] int32, from `epoch_permutation`.
    step: [] int32, step of the epoch, in [0, num_batches).
    batch_size: B, static.

  Returns:
    Images [B, H, W, C] uint8, to be standardised, and labels [B] int32.
  """
  chex.assert_rank([images, labels, permutation], [4, 1, 1])
  chex.assert_equal_shape_prefix([images, labels, permutation], 1)
  # Indexing copies B images of uint8, not the split: 4 times fewer bytes than
  # if the split were kept as float32.
  indices = batch_indices(permutation, step, batch_size)
  return images[indices], labels[indices]


def standardise(
  images: types.Array, mean: types.Array, std: types.Array
) -> types.Array:
  """Gives every channel mean 0 and standard deviation 1 over the data set.

  Args:
    images: [B, H, W, C] uint8.
    mean: [C] float32, means of the training images in units of [0, 1].
    std: [C] float32, standard deviations in the same units, positive.

  Returns:
    [B, H, W, C] float32.
  """
  chex.assert_rank([images, mean, std], [4, 1, 1])
  chex.assert_type(images, jnp.uint8)
  chex.assert_shape([mean, std], (images.shape[-1],))
  return (images.astype(jnp.float32) / 255.0 - mean) / std


def augment(
  key: types.PRNGKey, images: types.Array, pad: int = 4, *, flip: bool = True
) -> types.Array:
  """Moves each image by up to `pad` pixels and flips half of them.

  Args:
    key: PRNG key of all choices.
    images: [B, H, W, C] float32, standardised.
    pad: width of the border of zeros in which the crop moves, static. The paper
      has 4 at 32 pixels. 0 leaves every image in its place.
    flip: whether to mirror an image left to right with probability 1/2, static.
      Not for digits and the like, whose classes a mirror changes.

  Returns:
    [B, H, W, C] float32.
  """
  chex.assert_rank(images, 4)
  chex.assert_type(images, float)
  key_crop, key_flip = jax.random.split(key)
  if pad:
    images = _random_crop(key_crop, images, pad)
  if flip:
    chosen = jax.random.bernoulli(key_flip, 0.5, (len(images), 1, 1, 1))
    # Both are computed and one is chosen, as `vmap` makes of a branch.
    images = jnp.where(chosen, images[:, :, ::-1], images)
  return images


def _random_crop(
  key: types.PRNGKey, images: types.Array, pad: int
) -> types.Array:
  """Pads [B, H, W, C] with zeros, and cuts each image out at its own place."""
  size = images.shape[1:]
  border = ((0, 0), (pad, pad), (pad, pad), (0, 0))
  padded = jnp.pad(images, border)
  corners = jax.random.randint(key, (len(images), 2), 0, 2 * pad + 1)  # [B, 2]
  # `vmap` of a slice is one gather; there is no branch that it would multiply.
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
    key: PRNG key of the corners.
    images: [B, H, W, C] float32, standardised, so that zero is the mean colour.
    size: side of the square in pixels, static. 0 changes nothing.

  Returns:
    [B, H, W, C] float32.
  """
  chex.assert_rank(images, 4)
  chex.assert_type(images, float)
  count, height, width, _ = images.shape
  key_top, key_left = jax.random.split(key)
  rows = _covered(key_top, count, height, size)
  columns = _covered(key_left, count, width, size)
  # A mask and not a slice per image: size is static, corners are not, and a
  # square that the border cuts off has no shape that could be sliced.
  square = rows[:, :, None, None] & columns[:, None, :, None]
  return jnp.where(square, 0.0, images)


def _covered(
  key: types.PRNGKey, count: int, length: int, size: int
) -> types.Array:
  """[count, length] bool: `size` places from a random one on, in each row."""
  start = jax.random.randint(key, (count, 1), 0, length)  # [count, 1]
  places = jnp.arange(length)[None, :]
  return (start <= places) & (places < start + size)
