"""Networks that compute in bfloat16: the one place that casts.

Weights, the moving statistics and the state between two windows stay float32.
`at` casts the weights and the inputs on their way into a network, and what
comes out back to float32, so losses and softmax are in float32 and gradients
arrive in float32. Batch norms keep their weights and statistics in float32.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.spaces import base

_Network = TypeVar("_Network", base.ImageNetwork, base.TextNetwork)
# Scale, offset and statistics of a batch norm, by the ends of their names.
_KEPT = ("scale", "offset", "mean", "variance")


def at(network: _Network, dtype: str) -> _Network:
  """The network in another type.

  Args:
    network: the network, shared or of one architecture.
    dtype: the type of activations and products, one of
      `config.run.COMPUTE_DTYPES`.

  Returns:
    The same object for "float32"; else a network whose arguments and results
    are float32 as before.
  """
  if dtype == "float32":
    return network
  if isinstance(network, base.ImageNetwork):
    return _image_network(network, jnp.dtype(dtype))
  return _text_network(network, jnp.dtype(dtype))


def _image_network(
  network: base.ImageNetwork, dtype: jnp.dtype
) -> base.ImageNetwork:
  def apply_child(
    child: types.Omega,
    statistics: types.Statistics,
    arc: types.Arc,
    images: types.Array,
    **how: Any,
  ) -> tuple[base.Logits, types.Statistics]:
    logits, statistics = network.apply_child(
      _cast(child, dtype), statistics, arc, images.astype(dtype), **how
    )
    # An `aux` of None is no leaf, and stays None.
    return jax.tree.map(jnp.float32, logits), statistics

  return network._replace(apply_child=apply_child)


def _text_network(
  network: base.TextNetwork, dtype: jnp.dtype
) -> base.TextNetwork:
  def apply_child(
    child: types.Omega,
    arc: types.Arc,
    tokens: types.Array,
    state: types.Array,
    *,
    config: Any,
    masks: Any = None,
  ) -> types.Array:
    states = network.apply_child(
      _cast(child, dtype),
      arc,
      tokens,
      state.astype(dtype),
      config=config,
      # A float32 mask would make float32 of whatever it multiplies.
      masks=_cast(masks, dtype),
    )
    return jnp.float32(states)

  def nats(
    child: types.Omega,
    states: types.Array,
    targets: types.Array,
    masks: Any = None,
  ) -> types.Array:
    child, states, masks = _cast((child, states, masks), dtype)
    return jnp.float32(network.nats(child, states, targets, masks))

  def logits(
    child: types.Omega, states: types.Array, masks: Any = None
  ) -> types.Array:
    child, states, masks = _cast((child, states, masks), dtype)
    return jnp.float32(network.logits(child, states, masks))

  return network._replace(apply_child=apply_child, nats=nats, logits=logits)


def _cast(tree: Any, dtype: jnp.dtype) -> Any:
  """The floats of a pytree in another type, but those of batch norms."""

  def cast(path: tuple[Any, ...], leaf: Any) -> Any:
    name = str(getattr(path[-1], "key", "")) if path else ""
    if name.endswith(_KEPT) or not jnp.issubdtype(leaf.dtype, jnp.floating):
      return leaf
    return leaf.astype(dtype)

  return jax.tree_util.tree_map_with_path(cast, tree)
