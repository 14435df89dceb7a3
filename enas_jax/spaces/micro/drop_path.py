"""Drop path: whole operations of a network of cells left out in training.

Not in the paper; the authors' code trains the cells of a search with it.
For each image an operation other than identity is left out, more often the
later its cell and the further the training; what is kept is scaled up, so that
its mean stays.
"""

import chex
import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro.presets import MicroConfig

_IDENTITY = space_lib.OPS.index("identity")


def keep_rates(
  config: MicroConfig, progress: types.Array | float
) -> types.Array:
  """How often each cell keeps an operation.

  Args:
    config: the network's options; `drop_path` is the rate of the last cell in
      the end.
    progress: [] float32, how much of the training is over; 1 if more.

  Returns:
    [L] float32, of all cells with the reduction cells:
    1 - (l + 1) / L * min(1, progress) * drop_path.
  """
  chex.assert_rank(progress, 0)
  # L, the release's n + 2: a reduction cell begins each stage but the first.
  count = sum(config.normal_cells()) + len(config.normal_cells()) - 1
  depth = jnp.arange(1, count + 1, dtype=jnp.float32) / count
  return 1.0 - depth * jnp.minimum(1.0, progress) * config.drop_path


def draw(
  key: types.PRNGKey,
  config: MicroConfig,
  batch: int,
  progress: types.Array | float,
) -> types.Array:
  """What to multiply the operations by, if none were identity.

  Args:
    key: consumed.
    config: the network's options.
    batch: images of the batch.
    progress: [] float32, how much of the training is over.

  Returns:
    [L, B - 2, 2, batch] float32, of each cell, node, side and image: 0, or 1
    over the cell's rate of `keep_rates`.
  """
  chex.assert_rank(key, 0)
  # [L, 1, 1, 1]: each node, side and image is drawn by itself.
  keep = keep_rates(config, progress)[:, None, None, None]
  shape = (keep.shape[0], config.space().num_rows, 2, batch)
  kept = jax.random.bernoulli(key, keep, shape)
  return kept / keep


def masks_of_step(
  config: MicroConfig,
  train: bool,
  key: types.PRNGKey | None,
  batch: int,
  progress: types.Array | float,
) -> tuple[types.Array | None, types.PRNGKey | None]:
  """The masks of one pass through the network.

  Args:
    config: the network's options.
    train: whether anything is dropped.
    key: consumed; None will do where nothing is dropped.
    batch: images of the batch.
    progress: [] float32 in (0, 1], how much of the training is over.

  Returns:
    [L, B - 2, 2, batch] float32, as `draw` returns them, or None where nothing
    is dropped; and a key for all else.

  Raises:
    InputError: if operations are dropped and there is no key.
  """
  if not train or config.drop_path == 0:
    return None, key
  if key is None:
    raise types.InputError("key must be given where operations are dropped.")
  # Not split where nothing is dropped: the features' dropout then draws what it
  # would draw if there were no drop path.
  key, path_key = jax.random.split(key)
  return draw(path_key, config, batch, progress), key


def apply(masks: types.Array | None, op: int, x: types.Array) -> types.Array:
  """Drops a fixed operation's output.

  Args:
    masks: [batch] float32, from `draw`; None where nothing is dropped.
    op: the operation, an index into `OPS`, a Python int.
    x: [batch, H, W, F] float32.

  Returns:
    [batch, H, W, F] float32.
  """
  chex.assert_rank(x, 4)
  if masks is None or op == _IDENTITY:
    return x
  # A float32 mask would make float32 of images in bfloat16.
  return masks[:, None, None, None].astype(x.dtype) * x


def for_traced(masks: types.Array, ops: types.Array) -> types.Array:
  """The masks of traced operations: 1 for identity.

  Args:
    masks: [..., batch] float32, from `draw`.
    ops: [...] int32.

  Returns:
    [..., batch] float32.
  """
  chex.assert_rank(masks, ops.ndim + 1)
  return jnp.where(ops[..., None] == _IDENTITY, 1.0, masks)
