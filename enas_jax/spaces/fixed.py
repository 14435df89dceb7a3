"""The network of one architecture alone, out of a shared one.

What a search samples shares its weights with all others, and most batch norms
of its operations keep no statistics. An architecture that is trained alone, and
then serves single images, has weights of its own and statistics of every batch
norm. The forward pass is the shared network's at that architecture.
"""

import functools
from typing import Any

import jax

from enas_jax import types
from enas_jax.nn import batch_norm
from enas_jax.spaces.base import ImageNetwork, Logits, Options, TextNetwork

# No batch norm's size depends on the images or on the classes.
_ANY_CLASSES, _ANY_SHAPE = 2, (32, 32, 3)


def fix_image_network(network: ImageNetwork, arc: types.Arc) -> ImageNetwork:
  """A network that is always `arc`, whichever arc it is asked for.

  Args:
    network: the shared network of a space.
    arc: an architecture of Python ints, leaves [...] as the space says.

  Returns:
    Its functions take and return the child's weights, as the shared network's
    `child_params` lays them out, in place of omega. Its `init_statistics` has
    the statistics of every batch norm, laid out like these weights.
  """

  def init(
    key: types.PRNGKey,
    options: Options,
    num_classes: int,
    shape: tuple[int, int, int],
  ) -> types.Omega:
    # All of omega, so that a child starts with what the shared network of that
    # key would give it.
    omega = network.init(key, options, num_classes, shape)
    return network.child_params(omega, arc, options)

  def init_statistics(options: Options) -> types.Statistics:
    if not options.moving_statistics:
      return {}
    # Shapes alone: nothing is drawn.
    draw = functools.partial(
      init, options=options, num_classes=_ANY_CLASSES, shape=_ANY_SHAPE
    )
    return batch_norm.fresh(jax.eval_shape(draw, jax.random.key(0)))

  def apply_child(
    child: types.Omega,
    statistics: types.Statistics,
    _: types.Arc,
    images: types.Array,
    **how: Any,
  ) -> tuple[Logits, types.Statistics]:
    return network.apply_child(child, statistics, arc, images, **how)

  return network._replace(
    init=init,
    init_statistics=init_statistics,
    child_params=lambda child, _, options: child,
    apply_child=apply_child,
  )


def fix_text_network(network: TextNetwork, arc: types.Arc) -> TextNetwork:
  """A network that is always `arc`, whichever arc it is asked for.

  Args:
    network: the shared network of a space.
    arc: an architecture of Python ints, leaves [...] as the space says.

  Returns:
    Its functions take and return the child's weights, as the shared network's
    `child_params` lays them out, in place of omega. No update of a child is
    left to be added to omega.
  """

  def init(
    key: types.PRNGKey, options: Options, vocabulary_size: int
  ) -> types.Omega:
    # All of omega, as of images.
    omega = network.init(key, options, vocabulary_size)
    return network.child_params(omega, arc, options)

  def apply_child(
    child: types.Omega,
    _: types.Arc,
    tokens: types.Array,
    state: types.Array,
    **how: Any,
  ) -> types.Array:
    return network.apply_child(child, arc, tokens, state, **how)

  return network._replace(
    init=init,
    child_params=lambda child, _, options: child,
    add_to_omega=None,
    apply_child=apply_child,
  )
