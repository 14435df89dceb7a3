"""Trained architectures as Flax modules, to be used and fine-tuned.

A module declares the child's weights as its parameters and calls the shared
network's own `apply_child` with the architecture as Python ints: there is no
second implementation. Parameters are laid out as the child's weights, nested
dicts of float32 arrays; batch norms' moving statistics are "batch_stats".
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.export.description import Preprocessing, TextPreprocessing
from enas_jax.spaces import base as spaces
from enas_jax.spaces import registry


class ImageNetwork(nn.Module):
  """A convolutional network found by a search.

  `init(key, images)` makes fresh "params" and "batch_stats". To fine-tune:
  `apply(variables, images, train=True, mutable=["batch_stats"],
  rngs={"dropout": key})`; the key is not needed where nothing is dropped. An
  auxiliary head's logits are sown as "aux_logits" among "intermediates".

  Attributes:
    space: name of the search space.
    config: options of the space and its network.
    arc: architecture of Python ints.
    num_classes: number of logits.
    image_shape: (H, W, C) of the images that it was trained on.
  """

  space: str
  config: Any
  arc: types.Arc
  num_classes: int
  image_shape: tuple[int, int, int]

  @nn.compact
  def __call__(self, images: types.Array, train: bool = False) -> types.Array:
    """Classifies.

    Args:
      images: [b, H, W, C] float32, standardised.
      train: whether to drop, to normalise by the batch's statistics and to
        move the moving ones.

    Returns:
      [b, num_classes] float32, logits.

    Raises:
      AssertionError: if images are of another rank or type.
    """
    chex.assert_rank(images, 4)
    chex.assert_type(images, float)
    network = self._network()
    child = _declare(self, self.draw)
    statistics = {
      name: self.variable("batch_stats", name, lambda part=part: part)
      for name, part in network.init_statistics(self.config).items()
    }
    # Without the key nothing is dropped: not every network needs one.
    drops = train and self.has_rng("dropout")
    # Without its progress: drop path is at the rate of the end of a training.
    logits, moved = network.apply_child(
      child,
      {name: variable.value for name, variable in statistics.items()},
      self.arc,
      images,
      config=self.config,
      train=train,
      key=self.make_rng("dropout") if drops else None,
    )
    # `init` with train=True must return the statistics as they begin.
    if train and not self.is_initializing():
      for name, variable in statistics.items():
        variable.value = moved[name]
    if logits.aux is not None:
      self.sow("intermediates", "aux_logits", logits.aux)
    return logits.main

  @nn.nowrap
  def draw(self, key: types.PRNGKey) -> types.Omega:
    """Fresh parameters drawn by `key`: nested dicts of float32 arrays [...]."""
    network = self._network()
    return network.init(key, self.config, self.num_classes, self.image_shape)

  @nn.nowrap
  def _network(self) -> spaces.ImageNetwork:
    network = _network(self.space, self.config, self.arc)
    assert isinstance(network, spaces.ImageNetwork)
    return network

  @nn.nowrap
  def shapes(self) -> dict[str, Any]:
    """The shapes and types of the variables, as `jax.ShapeDtypeStruct`."""
    network = self._network()
    statistics = lambda: network.init_statistics(self.config)
    return {
      "params": _shapes_of(self.draw),
      "batch_stats": jax.eval_shape(statistics),
    }


class TextNetwork(nn.Module):
  """A recurrent cell that a search kept, between embedding and softmax.

  `init(key, tokens, state)` makes fresh "params". To fine-tune: `apply(
  variables, tokens, state, train=True, rngs={"dropout": key})`.

  Attributes:
    space: name of the search space.
    config: options of the space and its network.
    arc: architecture of Python ints.
    vocabulary_size: V.
  """

  space: str
  config: Any
  arc: types.Arc
  vocabulary_size: int

  @nn.compact
  def __call__(
    self, tokens: types.Array, state: types.Array, train: bool = False
  ) -> tuple[types.Array, types.Array]:
    """Predicts the word that follows each word.

    Args:
      tokens: [T, b] int32.
      state: [b, D] float32; zeros at the start of a text.
      train: whether to drop.

    Returns:
      [T, b, V] float32, logits; and [b, D] float32, the state after the last
      word. Batch norm, where on, uses the batch's statistics.

    Raises:
      AssertionError: if an argument is of another rank or type.
    """
    chex.assert_rank([tokens, state], [2, 2])
    chex.assert_type([tokens, state], [int, float])
    network, child, masks = self._network(), _declare(self, self.draw), None
    if train:
      masks = network.sample_masks(
        self.make_rng("dropout"),
        self.config,
        state.shape[0],
        self.vocabulary_size,
      )
    states = network.apply_child(
      child, self.arc, tokens, state, config=self.config, masks=masks
    )
    return network.logits(child, states, masks), states[-1]

  @nn.nowrap
  def draw(self, key: types.PRNGKey) -> types.Omega:
    """Fresh parameters: a dict of float32 arrays [...], drawn by `key`."""
    return self._network().init(key, self.config, self.vocabulary_size)

  @nn.nowrap
  def shapes(self) -> dict[str, Any]:
    """The shapes and types of the variables, as `jax.ShapeDtypeStruct`."""
    return {"params": _shapes_of(self.draw)}

  @nn.nowrap
  def _network(self) -> spaces.TextNetwork:
    network = _network(self.space, self.config, self.arc)
    assert isinstance(network, spaces.TextNetwork)
    return network


Network = ImageNetwork | TextNetwork


def make(
  space: str, config: Any, arc: types.Arc, preprocessing: Preprocessing
) -> Network:
  """The module of an architecture.

  Args:
    space: name of the search space.
    config: options of the space and its network.
    arc: architecture of Python ints.
    preprocessing: preprocessing of the model, which knows its classes or words.
  """
  if isinstance(preprocessing, TextPreprocessing):
    return TextNetwork(space, config, arc, len(preprocessing.vocabulary))
  return ImageNetwork(
    space,
    config,
    arc,
    len(preprocessing.class_names),
    preprocessing.image_shape,
  )


def _declare(module: nn.Module, draw: Callable[..., Any]) -> types.Omega:
  """The parameters by name; each entry of the child's tree is declared."""
  # `init` of the shared network makes the whole tree at once, so it is called
  # once and each entry declared from it, not once for each parameter.
  if module.is_initializing():
    drawn = draw(module.make_rng("params"))
    start = lambda _, part: part
  else:  # Flax compares the shapes with these
    drawn = _shapes_of(draw)
    start = lambda _, part: jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), part
    )
  return {name: module.param(name, start, part) for name, part in drawn.items()}


def _shapes_of(draw: Callable[..., Any]) -> Any:
  """What `draw` returns, as `jax.ShapeDtypeStruct`; nothing is computed."""
  return jax.eval_shape(draw, jax.random.key(0))


@functools.cache
def _network(space: str, config: Any, arc: types.Arc) -> spaces.Network:
  """The network of one fixed child; its statistics take a while to lay out."""
  return registry.get(space).fixed(config, arc)
