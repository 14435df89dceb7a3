"""The shared convolutional network of all macro children (Section 2.3).

A stem, L layers and a classifier. A layer is one of six operations, each with
weights of its own, and joins the outputs of the earlier layers that it takes.
One function serves search and retraining: with a traced arc one compiled
program runs every architecture, and of each layer's operations only the one
sampled; with an arc of Python ints the same code compiles to the plain network.

`nodes` holds the stem's output, then each layer's. What a layer reads and how
it joins is in `MacroConfig`, in the paper's form and in the released one's.
All images in it have F channels and, between two reductions, one size.

Weights of any layer can move in any step: momentum and weight decay act on all
of omega, as in the release. So search differentiates with respect to omega,
and `child_params` serves fixed children.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.base import ImageNetwork, Logits
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro import hypernetwork
from enas_jax.spaces.macro import weights as macro_weights
from enas_jax.spaces.macro.presets import MacroConfig

POOLS: dict[str, Callable[[types.Array], types.Array]] = {
  "max_pool_3x3": image_ops.max_pool,
  "avg_pool_3x3": image_ops.avg_pool,
}
_Bit = int | types.Array  # 0 or 1; traced, [] int32; relaxed, [] float32


def init(
  key: types.PRNGKey, config: MacroConfig, num_classes: int, channels: int
) -> types.Omega:
  """Initialises omega: He's initialisation, batch norms at scale 1, offset 0.

  Args:
    key: consumed.
    config: the network's options; F is its `num_filters`.
    num_classes: classes of the images.
    channels: channels of the images, C.

  Returns:
    Nested dicts of float32 arrays. A convolution and its batch norm are one
    dict, here (...): its weights, "scale" [F] and "offset" [F].
      "stem": (w [3, 3, C, F])
      "layer_0" and so on, by operation (`spaces.macro.OPS`):
        "in": (w [F, F]), the 1x1 convolution that each begins with
        "out": (w [k, k, F, F]), or (depthwise [k, k, F], pointwise [F, F]);
          pooling has none
      "skip_1" and so on: what joins the layer's candidates; with
        skip_combination=concat also w [l + 1, F, F], a block for each candidate
      "reduction_0" and so on, by the layer that it follows:
        "node_0" and so on: (w1 [F, F / 2], w2 [F, F / 2])
      "classifier": w [F, num_classes]
    With `config.hypernetwork_rank` they are what `hypernetwork.specs` says.
  """
  specs = macro_weights.specs(config, num_classes, channels)
  if config.hypernetwork_rank:
    specs = hypernetwork.specs(config, specs)
  return weights_lib.draw(key, specs)


def init_statistics(config: MacroConfig) -> types.Statistics:
  """The moving statistics before the first step.

  Args:
    config: the network's options.

  Returns:
    {} unless `config.moving_statistics`. Else "steps", [] int32, the training
    steps that they have seen; and for each batch norm, in the place where
    `init` has its scale, "mean" [F] and "variance" [F].
  """
  if not config.moving_statistics:
    return {}
  return batch_norm.fresh(
    macro_weights.specs(config, num_classes=1, channels=1)
  )


def child_params(
  omega: types.Omega, arc: space_lib.MacroArc, config: MacroConfig
) -> types.Omega:
  """The weights of a fixed child: its operations, and the skips it takes.

  The reductions of all nodes stay, as in the release. So does all of omega
  for a traced arc: operations differ in shape, so none can stand for another.
  With `config.hypernetwork_rank` the weights of its layers are made first.

  Args:
    omega: the shared weights, as `init` lays them out.
    arc: the network, of Python ints or traced.
    config: the network's options.

  Returns:
    omega without the other operations; with skip_combination=concat the w of
    "skip_l" is [taken, F, F].

  Raises:
    InputError: if a hypernetwork is to make the weights of a relaxed arc.
  """
  if config.hypernetwork_rank:
    if ops.is_relaxed(arc):
      raise types.InputError(
        "hypernetwork_rank must be 0 where networks are mixed, as it makes the"
        f" weights of a single one, got {config.hypernetwork_rank}."
      )
    omega = hypernetwork.fill(omega, arc, config)
  if not ops.is_static(arc):
    return omega
  operations = _child_operations(omega, arc)
  return operations | _child_skips(omega, arc, config)


def apply_child(
  child: types.Omega,
  statistics: types.Statistics,
  arc: space_lib.MacroArc,
  images: types.Array,
  *,
  config: MacroConfig,
  train: bool,
  key: types.PRNGKey | None = None,
  progress: types.Array | float = 1.0,
) -> tuple[Logits, types.Statistics]:
  """Runs one network.

  Args:
    child: the weights that `child_params` has picked.
    statistics: the moving statistics, as `init_statistics` lays them out.
    arc: the network; traced int32 arrays, or the tuples of Python ints that
      `MacroSpace.validate` returns for a fixed child; or relaxed.
    images: [B, H, W, C] float32.
    config: the network's options.
    train: whether to drop features and to move the statistics.
    key: consumed by dropout; None where nothing is dropped.
    progress: ignored, as there is no drop path.

  Returns:
    The logits, [B, num_classes] float32; and the statistics, which a training
    step with `config.moving_statistics` has moved. It moves those of all six
    operations of every layer whichever are sampled, as the release does; a
    fixed child has no other operations, and moves its own.

  Raises:
    InputError: if features are dropped and there is no key.
    AssertionError: if images have another rank or type (at trace time).
  """
  chex.assert_rank(images, 4)
  chex.assert_type(images, float)
  del progress
  moving = config.moving_statistics
  if moving and not train:
    # Those of operations that a fixed child has not are passed over.
    child = batch_norm.with_statistics(child, statistics)
  net = _Network(child, arc, config, every_operation=moving and train)
  features, seen = net.features(images)
  if train and config.drop_features > 0:
    features = weights_lib.drop_features(key, features, config.drop_features)
  if moving and train:
    statistics = batch_norm.moved(statistics, lax.stop_gradient(seen))
  return Logits(features @ child["classifier"]["w"]), statistics


@dataclasses.dataclass(frozen=True)
class _Network:
  """One network's forward pass.

  Its methods return an image and the mean and the unbiased variance that each
  batch norm has seen, laid out as `init_statistics` lays them out.

  Attributes:
    weights: the child's weights; with statistics among them where batch norms
      are to use these and not the batch's.
    arc: the network, traced or of Python ints.
    config: the network's options.
    every_operation: whether a traced arc's layers also report what the batch
      norms of the operations not sampled would have seen.
  """

  weights: types.Omega
  arc: space_lib.MacroArc
  config: MacroConfig
  every_operation: bool

  def features(
    self, images: types.Array
  ) -> tuple[types.Array, types.Statistics]:
    """The pooled output of the last layer.

    Args:
      images: [B, H, W, C] float32.

    Returns:
      [B, F] float32; and what the batch norms saw.
    """
    seen = {}
    stem = self.weights["stem"]
    # No ReLU: a layer's first convolution begins or ends with one.
    x, seen["stem"] = batch_norm.normalise(
      image_ops.conv(images, stem["w"]), stem
    )
    nodes = [x]
    for layer in range(self.config.num_layers):
      x, seen_by_layer = self._layer(layer, nodes)
      seen |= seen_by_layer
      nodes.append(x)
      if layer in self.config.reductions():
        # All of them: which ones later layers take, a traced arc does not say.
        nodes, seen[f"reduction_{layer}"] = self._reduce(layer, nodes)
    # No ReLU before it, as in the release.
    return image_ops.global_average_pool(nodes[-1]), seen

  def _layer(
    self, layer: int, nodes: Sequence[types.Array]
  ) -> tuple[types.Array, types.Statistics]:
    """Joins, then operates (paper); or the other way round (released)."""
    seen = {}
    operate, join = f"layer_{layer}", f"skip_{layer}"
    if layer == 0:
      # There is nothing but the stem to read.
      x, seen[operate] = self._operate(layer, nodes[0])
      return x, seen
    bits = _bits(self.config, self.arc, layer)
    if self.config.main_input == "previous":
      x, seen[operate] = self._operate(layer, nodes[-1])
      # Of `nodes`, l + 1 of them, the last is what the layer reads anyway.
      x, seen[join] = self._join(join, [*nodes[:layer], x], bits)
      return x, seen
    x, seen[join] = self._join(join, nodes, bits)
    x, seen[operate] = self._operate(layer, x)
    return x, seen

  def _operate(
    self, layer: int, x: types.Array
  ) -> tuple[types.Array, types.Statistics]:
    weights, op = self.weights[f"layer_{layer}"], self.arc.ops[layer]
    if ops.is_static(op):
      name = space_lib.OPS[op]
      y, seen = _operation(name, self.config, weights, x)
      return y, {name: seen}
    # Branches must return the same layout, and pools have a batch norm less:
    # what these have seen is found apart, where it is wanted.
    branch = lambda name: lambda *args: _operation(name, self.config, *args)[0]
    y = ops.switch(op, [branch(name) for name in space_lib.OPS], weights, x)
    return y, self._seen_by_all(weights, x) if self.every_operation else {}

  def _seen_by_all(
    self, weights: types.Omega, x: types.Array
  ) -> types.Statistics:
    """What the batch norms of all six operations see of x.

    Apart from the switch and without gradient: the operations not sampled then
    cost their convolutions' forward pass, no backward pass and no memory.
    """
    weights, x = lax.stop_gradient((weights, x))
    return {
      name: _operation(name, self.config, weights, x)[1]
      for name in space_lib.OPS
    }

  def _join(
    self, name: str, candidates: Sequence[types.Array], bits: Sequence[_Bit]
  ) -> tuple[types.Array, types.Statistics]:
    """Joins the candidates whose bit is 1."""
    weights = self.weights[name]
    taken = [
      (x, bit) for x, bit in zip(candidates, bits, strict=True) if _may_be(bit)
    ]
    if self.config.skip_combination == "sum":
      total = functools.reduce(jnp.add, (_masked(x, bit) for x, bit in taken))
      # As released, also where no skip joins the operation's output.
      return batch_norm.normalise(total, weights)
    images, kernels, stacked = [x for x, _ in taken], weights["w"], None
    if ops.is_relaxed([bit for _, bit in taken]):
      parts = jnp.stack([jnp.float32(bit) for _, bit in taken])
      # A convolution is linear in its kernel, which is smaller than an image.
      kernels = kernels * parts[:, None, None].astype(kernels.dtype)
    else:
      stacked = _stacked(taken)
    y = image_ops.pointwise_conv_sum(images, kernels, stacked)
    y, seen = batch_norm.normalise(y, weights)
    return jax.nn.relu(y), seen

  def _reduce(
    self, layer: int, nodes: Sequence[types.Array]
  ) -> tuple[list[types.Array], types.Statistics]:
    """Halves the size of every node, each with weights of its own."""
    reduced, seen = [], {}
    for i, x in enumerate(nodes):
      name = f"node_{i}"
      weights = self.weights[f"reduction_{layer}"][name]
      # No ReLU before or after, as released.
      y = image_ops.factorized_reduction(x, weights["w1"], weights["w2"])
      y, seen[name] = batch_norm.normalise(y, weights)
      reduced.append(y)
    return reduced, seen


def _operation(
  name: str, config: MacroConfig, weights: types.Omega, x: types.Array
) -> tuple[types.Array, types.Statistics]:
  """One of `spaces.macro.OPS`, with the 1x1 convolution before it."""
  blocks, seen = weights[name], {}
  x, seen["in"] = _conv_block(config, blocks["in"], x, batch_norm.EPSILON)
  if name in POOLS:
    return POOLS[name](x), seen
  # The release has another epsilon here: its batch norm of a masked
  # convolution.
  x, seen["out"] = _conv_block(config, blocks["out"], x, config.op_epsilon)
  return x, seen


def _conv_block(
  config: MacroConfig, weights: types.Omega, x: types.Array, eps: float
) -> tuple[types.Array, types.Statistics]:
  """A convolution, its batch norm and a ReLU, in the configured order."""
  if config.conv_order == "conv_bn_relu":
    y, seen = batch_norm.normalise(_convolve(weights, x), weights, eps)
    return jax.nn.relu(y), seen
  return batch_norm.normalise(_convolve(weights, jax.nn.relu(x)), weights, eps)


def _convolve(weights: types.Omega, x: types.Array) -> types.Array:
  """The convolution whose weights these are."""
  if "depthwise" in weights:
    return image_ops.separable_conv(
      x, weights["depthwise"], weights["pointwise"]
    )
  if weights["w"].ndim == 2:
    return image_ops.pointwise_conv(x, weights["w"])
  return image_ops.conv(x, weights["w"])


def _bits(
  config: MacroConfig, arc: space_lib.MacroArc, layer: int
) -> list[_Bit]:
  """Which candidates layer > 0 joins: a bit each, an int or traced.

  Released: node i is `nodes[i]`, so node 0 is the stem; the candidates are the
  nodes but the one before the layer, which it always reads, and last the
  layer's own operation. Paper: node i is layer i, and the candidates are the
  stem and the layers before. Something must be read where a layer takes
  nothing, of which the paper does not speak; the stem it is, as Zoph & Le
  (2017) let such a layer read the image.
  """
  row = [arc.skips[layer][node] for node in range(layer)]
  if config.main_input == "previous":
    return [*row, 1]
  return [_nothing(row), *row]


def _may_be(bit: _Bit) -> bool:
  """Whether a bit can be 1: it is, or it is traced."""
  return not isinstance(bit, int) or bit == 1


def _masked(x: types.Array, bit: _Bit) -> types.Array:
  """A candidate, or zeros where its bit is 0."""
  return x if isinstance(bit, int) else x * bit.astype(x.dtype)


def _stacked(taken: Sequence[tuple[types.Array, _Bit]]) -> types.Array | None:
  """The bits of (candidate, bit) pairs, [N]; None if each is known to be 1."""
  bits = [bit for _, bit in taken]
  if ops.is_static(bits):
    return None
  return jnp.stack([jnp.asarray(bit, jnp.int32) for bit in bits])


def _nothing(bits: Sequence[_Bit]) -> _Bit:
  """1 where no bit is 1, else 0; of relaxed bits how likely that is."""
  if ops.is_static(bits):
    return int(not any(bits))
  if ops.is_relaxed(bits):
    # Relaxed bits are chosen independently of each other.
    return functools.reduce(jnp.multiply, [1 - bit for bit in bits])
  return 1 - functools.reduce(jnp.maximum, bits)


def _child_operations(
  tree: types.Omega, arc: space_lib.MacroArc
) -> types.Omega:
  """Drops the operations that a fixed child has not."""
  chosen = {
    f"layer_{layer}": space_lib.OPS[op] for layer, op in enumerate(arc.ops)
  }
  return {
    name: {chosen[name]: part[chosen[name]]} if name in chosen else part
    for name, part in tree.items()
  }


def _child_skips(
  omega: types.Omega, arc: space_lib.MacroArc, config: MacroConfig
) -> types.Omega:
  """Gathers the blocks of the joins that a fixed child uses."""
  joins = {}
  for layer in range(1, len(arc.ops)):
    name = f"skip_{layer}"
    if "w" in omega[name]:
      bits = enumerate(_bits(config, arc, layer))
      rows = np.array([i for i, bit in bits if bit])
      # At least one row: `_bits` has the stem, or the layer's own output.
      joins[name] = {**omega[name], "w": omega[name]["w"][rows]}
  return joins


NETWORK = ImageNetwork(
  init=lambda key, config, num_classes, shape: init(
    key, config, num_classes, channels=shape[-1]
  ),
  init_statistics=init_statistics,
  child_params=child_params,
  apply_child=apply_child,
  penalised=lambda child, config: child,
)
