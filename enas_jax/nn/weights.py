"""How the weights of a network start; dropout of pooled features.

A network says how each array starts, and all are drawn at once. A draw for each
array would be compiled for each: a minute for a network of hundreds.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import image_ops


# Compared by identity: `fan_in` may be an array, of which == is no bool.
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
  are the arrays before they are scaled. Unless it is traced, the parts are cut
  out and scaled on the host: XLA would compile a kernel for each.

  Args:
    key: consumed.
    specs: pytree of `Spec`.

  Returns:
    The pytree with float32 arrays in place of the specs.
  """
  leaves, tree = jax.tree.flatten(specs)
  normals = [s.shape for s in leaves if s.fan_in is not None]
  uniforms = [s.shape for s in leaves if s.limit is not None]
  drawn = _draw_flat(key, _size(normals), _size(uniforms))
  if not isinstance(drawn[0], jax.core.Tracer):
    drawn = jax.device_get(drawn)
  normal, uniform = _cut(drawn[0], normals), _cut(drawn[1], uniforms)

  def start(spec: Spec) -> Any:
    if spec.fan_in is not None:
      # In float64 on the host, so that the scale is rounded once.
      scale = np.sqrt(2.0 / np.asarray(spec.fan_in, np.float64))
      return next(normal) * scale.astype(np.float32)
    if spec.limit is not None:
      return next(uniform) * np.float32(spec.limit)
    return np.full(spec.shape, spec.fill, np.float32)

  return jax.tree.unflatten(tree, jax.device_put([start(s) for s in leaves]))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw_flat(
  key: types.PRNGKey, num_normals: int, num_uniforms: int
) -> tuple[types.Array, types.Array]:
  """Normals of deviation 1, and uniforms over [-1, 1)."""
  key_normal, key_uniform = jax.random.split(key)
  normal = uniform = jnp.zeros(0)
  if num_normals:
    # Of deviation 1, as of an array with two inputs.
    normal = image_ops.he_normal(key_normal, (num_normals,), fan_in=2.0)
  if num_uniforms:
    uniform = jax.random.uniform(key_uniform, (num_uniforms,), minval=-1.0)
  return normal, uniform


def _size(shapes: list[tuple[int, ...]]) -> int:
  return sum(math.prod(shape) for shape in shapes)


def _cut(flat: Any, shapes: list[tuple[int, ...]]) -> Iterator[Any]:
  """Arrays of these shapes, cut out of a flat one."""
  start = 0
  for shape in shapes:
    end = start + math.prod(shape)
    yield flat[start:end].reshape(shape)
    start = end


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
