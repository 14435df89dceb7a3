"""How the weights of image networks start; dropout of pooled features."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.nn import image_ops


@dataclasses.dataclass(frozen=True, eq=False)
class Spec:
  """How one array of omega starts. A leaf of a pytree.

  Attributes:
    shape: of the array.
    fan_in: of He's initialisation; an array that broadcasts to `shape` gives
      parts of the array different ones. None for a constant.
    fill: the constant.
  """

  shape: tuple[int, ...]
  fan_in: Any = None
  fill: float = 0.0


def norm_specs(shape: tuple[int, ...]) -> dict[str, Spec]:
  """Batch norm's scale and offset."""
  return {"scale": Spec(shape, fill=1.0), "offset": Spec(shape)}


def draw(key: types.PRNGKey, specs: Any) -> types.Omega:
  """Draws all arrays of a pytree of `Spec`, each with a key of its own."""
  leaves, tree = jax.tree.flatten(specs)
  keys = jax.random.split(key, len(leaves))
  drawn = [_draw(k, spec) for k, spec in zip(keys, leaves, strict=True)]
  return jax.tree.unflatten(tree, drawn)


def _draw(key: types.PRNGKey, spec: Spec) -> types.Array:
  if spec.fan_in is None:
    return jnp.full(spec.shape, spec.fill, jnp.float32)
  return image_ops.he_normal(key, spec.shape, spec.fan_in)


def drop_features(
  key: types.PRNGKey | None, x: types.Array, rate: float
) -> types.Array:
  """Dropout of the pooled features.

  Raises:
    InputError: without a key.
  """
  if key is None:
    raise types.InputError("key must be given where features are dropped.")
  kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
  return jnp.where(kept, x / (1.0 - rate), 0.0)
