"""The shared network of all cells of NAS-Bench-201.

The benchmark's skeleton: a stem, three stages of N cells with F, 2F and 4F
channels, a residual block that halves height and width between two stages, and
a classifier. Every cell, edge and convolution has weights of its own. One
function serves search and retraining: with a traced arc one compiled program
runs every cell, and of each edge's operations only the one sampled; with an
arc of Python ints the same code compiles to the plain network.

Convolutions are ReLU, convolution, batch norm, as the benchmark has them. In a
cell its batch norms have no scale and no offset, as in the benchmark's searches
with shared weights; those around the cells have both.
"""

import itertools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces.base import ImageNetwork, Logits
from enas_jax.spaces.nasbench201 import arc as space_lib
from enas_jax.spaces.nasbench201 import cell
from enas_jax.spaces.nasbench201.presets import NasBench201Config

_STAGES = 3
_DECAY = 0.9  # of moving statistics; PyTorch's, from 0 and 1


def init(
  key: types.PRNGKey,
  config: NasBench201Config,
  num_classes: int,
  shape: tuple[int, int, int],
) -> types.Omega:
  """Initialises omega: He's initialisation, batch norms at scale 1, offset 0.

  Args:
    key: consumed.
    config: the network's options; F is its `num_filters`, N its `num_cells`.
    num_classes: classes of the images.
    shape: height, width and channels of the images, (H, W, C).

  Raises:
    InputError: unless H and W can be halved twice.

  Returns:
    Nested dicts of float32 arrays. Where "(bn)" is said a dict also has the
    "scale" and the "offset" of a batch norm.
      "stem": w [3, 3, C, F] (bn)
      "stage_0" to "stage_2", by operation, with the stage's channels D:
        "nor_conv_1x1": w [N, 6, 1, 1, D, D]
        "nor_conv_3x3": w [N, 6, 3, 3, D, D]
      "reduction_0" and "reduction_1", after a stage of D channels:
        "first": w [3, 3, D, 2D] (bn)
        "second": w [3, 3, 2D, 2D] (bn)
        "shortcut": w [D, 2D]
      "last": (bn) [4F]
      "classifier": w [4F, num_classes], bias [num_classes]
  """
  # Else `_halve` could not cut the images into blocks of two by two.
  if shape[0] % 4 or shape[1] % 4:
    raise types.InputError(
      "height and width of the images must be multiples of 4, as the network"
      f" halves them twice, got {shape[0]} x {shape[1]}; set --image_size."
    )
  return weights_lib.draw(key, _leaves(config, num_classes, shape[-1]))


def init_statistics(config: NasBench201Config) -> types.Statistics:
  """The moving statistics before the first step.

  Args:
    config: the network's options.

  Returns:
    {} unless `config.moving_statistics`. Else for each batch norm, in the place
    where `init` has the weights before it, "mean" and "variance": [D], in a
    stage [N, 6, D].
  """
  if not config.moving_statistics:
    return {}

  def fresh(*shape: int) -> dict[str, types.Array]:
    # PyTorch's start, which `_DECAY` forgets slowly: nothing is debiased here.
    return {"mean": jnp.zeros(shape), "variance": jnp.ones(shape)}

  filters = config.filters()
  statistics: types.Statistics = {
    "stem": fresh(filters[0]),
    "last": fresh(filters[-1]),
  }
  for stage, width in enumerate(filters):
    shape = (config.num_cells, space_lib.NUM_EDGES, width)
    statistics[f"stage_{stage}"] = {name: fresh(*shape) for name in cell.CONVS}
  for block, width in enumerate(filters[1:]):
    statistics[f"reduction_{block}"] = {
      name: fresh(width) for name in ("first", "second")
    }
  return statistics


def child_params(
  omega: types.Omega, arc: space_lib.NasBench201Arc, config: NasBench201Config
) -> types.Omega:
  """The weights of a fixed child.

  Args:
    omega: the shared weights, as `init` lays them out.
    arc: the cell, of Python ints or traced.
    config: the network's options.

  Returns:
    omega, whose stages have for each operation w [N, edges that use it, ...].
    All of omega for a traced arc: the two convolutions differ in shape, so
    neither can stand for the other.
  """
  del config
  if not ops.is_static(arc):
    return omega
  names = [space_lib.OPS[op] for op in arc.ops]
  child = dict(omega)
  for stage in range(_STAGES):
    place = f"stage_{stage}"
    child[place] = {}
    for conv, weights in omega[place].items():
      rows = [edge for edge, name in enumerate(names) if name == conv]
      if rows:
        # Axis 0 is of the cells, axis 1 of the edges.
        child[place][conv] = {"w": weights["w"][:, jnp.array(rows)]}
  return child


def apply_child(
  child: types.Omega,
  statistics: types.Statistics,
  arc: space_lib.NasBench201Arc,
  images: types.Array,
  *,
  config: NasBench201Config,
  train: bool,
  key: types.PRNGKey | None = None,
  progress: types.Array | None = None,
) -> tuple[Logits, types.Statistics]:
  """Runs one network.

  Args:
    child: the weights that `child_params` has picked.
    statistics: the moving statistics, as `init_statistics` lays them out.
    arc: the cell; traced int32, or the Python ints that
      `NasBench201Space.validate` returns for a fixed child; or relaxed.
    images: [B, H, W, C] float32.
    config: the network's options.
    train: whether to drop features and to move the statistics.
    key: consumed by dropout; None where nothing is dropped.
    progress: ignored, as there is no drop path.

  Returns:
    The logits; and the statistics, which a training step with
    `config.moving_statistics` has moved: those of the operations that it ran.

  Raises:
    InputError: if features are dropped and there is no key, or a relaxed arc
      is to move or to use moving statistics.
    AssertionError: if images have another rank or type (at trace time).
  """
  chex.assert_rank(images, 4)
  chex.assert_type(images, float)
  del progress
  if config.moving_statistics and ops.is_relaxed(arc):
    raise types.InputError(
      "moving_statistics must be false where cells are mixed, as each operation"
      " has statistics of its own."
    )
  # A training step norms by its batch, and moves the statistics afterwards.
  given = statistics if config.moving_statistics and not train else {}
  weights = batch_norm.with_statistics(child, given) if given else child
  features, seen = _features(weights, arc, images, config.num_cells)
  if train and config.drop_features > 0:
    features = weights_lib.drop_features(key, features, config.drop_features)
  if config.moving_statistics and train:
    statistics = _moved(statistics, lax.stop_gradient(seen), arc)
  classifier = child["classifier"]
  return Logits(features @ classifier["w"] + classifier["bias"]), statistics


def _features(
  weights: types.Omega,
  arc: space_lib.NasBench201Arc,
  images: types.Array,
  num_cells: int,
) -> tuple[types.Array, types.Statistics]:
  """The pooled output of the last stage, [B, 4F], and what batch norms saw.

  Of a stage that is a mean and a variance for each edge, [N, 6, D]; they mean
  nothing where the edge's operation has no batch norm.
  """
  stem, last, seen = weights["stem"], weights["last"], {}
  x, seen["stem"] = batch_norm.normalise(
    image_ops.conv(images, stem["w"]), stem
  )
  for stage in range(_STAGES):
    name, block = f"stage_{stage}", f"reduction_{stage}"
    x, seen[name] = cell.run(weights[name], arc, x, num_cells)
    if block in weights:
      x, seen[block] = _reduce(weights[block], x)
  x, seen["last"] = batch_norm.normalise(x, last)
  return image_ops.global_average_pool(jax.nn.relu(x)), seen


def _reduce(
  weights: types.Omega, x: types.Array
) -> tuple[types.Array, types.Statistics]:
  """The benchmark's residual block of stride 2."""
  first, second = weights["first"], weights["second"]
  seen = {}
  # Padded on both sides, as in PyTorch; SAME would pad behind alone.
  y = image_ops.strided_conv(jax.nn.relu(x), first["w"])
  y, seen["first"] = batch_norm.normalise(y, first)
  y = image_ops.conv(jax.nn.relu(y), second["w"])
  y, seen["second"] = batch_norm.normalise(y, second)
  # The benchmark's shortcut: no ReLU and no batch norm.
  shortcut = _halve(x)
  return y + image_ops.pointwise_conv(shortcut, weights["shortcut"]["w"]), seen


def _halve(x: types.Array) -> types.Array:
  """2x2 average pooling of stride 2, [B, H / 2, W / 2, C]."""
  batch, height, width, channels = x.shape
  blocks = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return jnp.mean(blocks, axis=(2, 4))


def _moved(
  statistics: types.Statistics,
  seen: types.Statistics,
  arc: space_lib.NasBench201Arc,
) -> types.Statistics:
  """Moves the statistics one step: in cells, those of operations that ran."""
  ops_run = jnp.asarray(arc.ops)[:, None]

  def move(old: types.Statistics, new: types.Statistics) -> types.Statistics:
    step = lambda o, n: _DECAY * o + (1 - _DECAY) * n
    return jax.tree.map(step, old, new)

  def move_cells(
    name: str, old: types.Statistics, new: types.Statistics
  ) -> types.Statistics:
    # [6, 1], against statistics [N, 6, D].
    ran = ops_run == space_lib.OPS.index(name)
    keep = lambda o, n: jnp.where(ran, n, o)
    return jax.tree.map(keep, old, move(old, new))

  return {
    place: {
      name: move_cells(name, old[name], seen[place]) for name in cell.CONVS
    }
    if place.startswith("stage_")
    else move(old, seen[place])
    for place, old in statistics.items()
  }


def _leaves(
  config: NasBench201Config, num_classes: int, channels: int
) -> dict[str, Any]:
  """How each weight starts, laid out as `init` says."""
  filters = config.filters()
  tree: dict[str, Any] = {
    "stem": _conv_leaf(3, channels, filters[0])
    | weights_lib.norm_specs((filters[0],)),
    "last": weights_lib.norm_specs((filters[-1],)),
  }
  stacked = (config.num_cells, space_lib.NUM_EDGES)
  for stage, width in enumerate(filters):
    tree[f"stage_{stage}"] = {
      name: _conv_leaf(k, width, width, stacked)
      for name, k in cell.CONVS.items()
    }
  for block, (width, wider) in enumerate(itertools.pairwise(filters)):
    tree[f"reduction_{block}"] = {
      "first": _conv_leaf(3, width, wider) | weights_lib.norm_specs((wider,)),
      "second": _conv_leaf(3, wider, wider) | weights_lib.norm_specs((wider,)),
      "shortcut": {"w": weights_lib.Spec((width, wider), fan_in=width)},
    }
  tree["classifier"] = {
    "w": weights_lib.Spec((filters[-1], num_classes), fan_in=filters[-1]),
    "bias": weights_lib.Spec((num_classes,)),
  }
  return tree


def _conv_leaf(
  k: int, c_in: int, c_out: int, stacked: tuple[int, ...] = ()
) -> dict[str, weights_lib.Spec]:
  return {
    "w": weights_lib.Spec((*stacked, k, k, c_in, c_out), fan_in=k * k * c_in)
  }


NETWORK = ImageNetwork(
  init=init,
  init_statistics=init_statistics,
  child_params=child_params,
  apply_child=apply_child,
  penalised=lambda child, config: child,
)
