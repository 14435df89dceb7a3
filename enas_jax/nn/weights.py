"""How the weights of a network start; dropout of pooled features.

A network says how each array starts, and all are drawn at once. A draw for each
array would be compiled for each: a minute for a network of hundreds.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import image_ops


@dataclasses.dataclass(frozen=True, eq=False)
class Spec:
  """How one array of omega starts. A leaf of a pytree.

  Attributes:
    shape: dimensions of the array.
    fan_in: inputs of each output, for He's initialisation; an array that
      broadcasts to `shape` gives parts of the array different ones.
    limit: bound of a uniform distribution, over [-limit, limit).
    fill: the constant of an array that is not drawn, with neither of the two.
  """

  shape: tuple[int, ...]
  fan_in: Any = None
  limit: float | None = None
  fill: float = 0.0


def norm_specs(shape: tuple[int, ...]) -> dict[str, Spec]:
  """Batch norm's scale and offset, which make it the identity."""
  return {"scale": Spec(shape, fill=1.0), "offset": Spec(shape)}


def draw(key: types.PRNGKey, specs: Any) -> types.Omega:
  """Draws all arrays of a pytree of `Spec`.

  What is drawn are two flat arrays, of normals and of uniforms, whose parts
  are the arrays before they are scaled.

  Args:
    key: consumed.
    specs: pytree of `Spec`.

  Returns:
    The pytree with float32 arrays in place of the specs.
  """
  leaves, tree = jax.tree.flatten(specs)
  key_normal, key_uniform = jax.random.split(key)
  normal = _parts(
    [s.shape for s in leaves if s.fan_in is not None],
    # Of deviation 1, as of an array with two inputs.
    lambda shape: image_ops.he_normal(key_normal, shape, fan_in=2.0),
  )
  uniform = _parts(
    [s.shape for s in leaves if s.limit is not None],
    lambda shape: jax.random.uniform(key_uniform, shape, minval=-1.0),
  )

  def start(spec: Spec) -> types.Array:
    if spec.fan_in is not None:
      # In float64 on the host, so that the scale is rounded once.
      scale = np.sqrt(2.0 / np.asarray(spec.fan_in, np.float64))
      return next(normal) * jnp.asarray(scale, jnp.float32)
    if spec.limit is not None:
      return next(uniform) * jnp.float32(spec.limit)
    return jnp.full(spec.shape, spec.fill, jnp.float32)

  return jax.tree.unflatten(tree, [start(spec) for spec in leaves])


def _parts(
  shapes: list[tuple[int, ...]],
  draw_flat: Callable[[tuple[int]], types.Array],
) -> Any:
  """An iterator over arrays of these shapes, cut out of one that is drawn."""
  if not shapes:
    return iter(())
  sizes = [math.prod(shape) for shape in shapes]
  parts = jnp.split(draw_flat((sum(sizes),)), np.cumsum(sizes)[:-1])
  pairs = zip(parts, shapes, strict=True)
  return (part.reshape(shape) for part, shape in pairs)


def drop_features(
  key: types.PRNGKey | None, x: types.Array, rate: float
) -> types.Array:
  """Dropout of the pooled features.

  Args:
    key: consumed; not optional where `drop_features` is above 0.
    x: [B, C] float32.
    rate: how often a feature is dropped, in [0, 1).

  Returns:
    [B, C] float32; what is kept is scaled by 1 / (1 - rate).

  Raises:
    InputError: without a key.
  """
  if key is None:
    raise types.InputError("key must be given where features are dropped.")
  kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
  return jnp.where(kept, x / (1.0 - rate), 0.0)
