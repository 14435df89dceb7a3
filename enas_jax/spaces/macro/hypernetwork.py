"""Weights of a network from its architecture (SMASH, Brock et al., 2018).

Instead of sharing weights, a hypernetwork makes them: omega are its weights,
and every architecture has others. Section 4 of ENAS says that such weights lie
in a low-rank space. Here that is the definition: of each array, such as the 5x5
kernels, all layers of all networks have theirs in the span of R arrays.

A layer is described by a vector: the sum of what is learnt for its operation,
for its depth and for each skip that it takes. That vector, and the mean of
those of all layers, go through a multilayer perceptron, whose outputs are the
coefficients in these spans. The coefficients of one array have length 1, so
that weights start with the variance of He's initialisation.

The stem, the reductions, the classifier and all batch norms are learnt as they
are. What differs from Brock et al.: their hypernetwork is convolutional and
reads a picture of the whole network's memory banks.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.nn import weights as weights_lib
from enas_jax.spaces import decisions
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro.presets import MacroConfig

_EMBEDDING = 32  # numbers that describe a layer
_UNITS = 64  # of the perceptron's hidden layer
_NAME = "hypernetwork"
_NORM = ("scale", "offset")


def specs(config: MacroConfig, plain: dict[str, Any]) -> dict[str, Any]:
  """How omega starts: a hypernetwork in place of the weights that it makes.

  Args:
    config: the network's options; R is its `hypernetwork_rank`.
    plain: pytree of `Spec`, the weights of a shared network.

  Returns:
    The same without the weights [...] of layers and joins, but with
    "hypernetwork": "ops" [6, D], "depths" [L, D] and "skips" [L, D], by the
    node that is taken; "w_in" [2 D, U], "b_in" [U] and "w_out"
    [U, A, R], A coefficient vectors; "bases", by operation as in a layer, and
    "join", with arrays [R, ...].
  """
  rank, layers = config.hypernetwork_rank, config.num_layers
  made = {name: part for name, part in plain.items() if _is_made(name)}
  bases = {
    op: {
      block: {
        name: _basis(spec, rank)
        for name, spec in arrays.items()
        if name not in _NORM
      }
      for block, arrays in blocks.items()
    }
    for op, blocks in plain["layer_0"].items()
  }
  # A: a vector for each array of a layer, and below for each block of a join.
  vectors = len(jax.tree.leaves(bases))
  network: dict[str, Any] = {
    "ops": _drawn((len(space_lib.OPS), _EMBEDDING), 2),
    "depths": _drawn((layers, _EMBEDDING), 2),
    "skips": _drawn((layers, _EMBEDDING), 2),
    "w_in": _drawn((2 * _EMBEDDING, _UNITS), 2 * _EMBEDDING),
    "b_in": weights_lib.Spec((_UNITS,)),
    "bases": bases,
  }
  if config.skip_combination == "concat":
    f = config.num_filters
    network["join"] = _drawn((rank, f, f), f)
    vectors += layers  # candidates of the last layer
  network["w_out"] = _drawn((_UNITS, vectors, rank), _UNITS)
  kept = {name: part for name, part in plain.items() if name not in made}
  norms = {name: _norms_of(part) for name, part in made.items()}
  return kept | norms | {_NAME: network}


def fill(
  omega: types.Omega, arc: space_lib.MacroArc, config: MacroConfig
) -> types.Omega:
  """The weights of one architecture, laid out as those of a shared network.

  Args:
    omega: laid out as `specs` says.
    arc: the network, of Python ints or traced: ops [L], skips [L, L].
    config: the network's options.

  Returns:
    Nested dicts of float32 arrays [...], with all operations of every layer,
    also those that the architecture does not use: what a gradient does not
    reach, XLA can leave out.
  """
  arc = decisions.as_arrays(arc)
  layers = config.num_layers
  chex.assert_shape([arc.ops, arc.skips], [(layers,), (layers, layers)])
  network = omega[_NAME]
  coefficients = _coefficients(network, arc)
  leaves, tree = jax.tree.flatten(network["bases"])
  filled = {name: part for name, part in omega.items() if name != _NAME}
  for layer in range(layers):
    vectors = coefficients[layer]
    arrays = jax.tree.unflatten(
      tree,
      # [R] times [R, ...].
      [jnp.tensordot(vectors[i], basis, 1) for i, basis in enumerate(leaves)],
    )
    name = f"layer_{layer}"
    filled[name] = {
      op: {block: norm | arrays[op][block] for block, norm in blocks.items()}
      for op, blocks in omega[name].items()
    }
    if layer > 0 and config.skip_combination == "concat":
      candidates = vectors[len(leaves) : len(leaves) + layer + 1]
      # [l + 1, F, F]: a block for each candidate, as the shared network has it.
      w = jnp.tensordot(candidates, network["join"], 1)
      filled[f"skip_{layer}"] = omega[f"skip_{layer}"] | {"w": w}
  return filled


def _coefficients(network: types.Omega, arc: space_lib.MacroArc) -> types.Array:
  """[L, A, R] float32: a vector of length 1 for each array that is made."""
  skips = jnp.asarray(arc.skips, jnp.float32)
  # [L, D]; a row for each layer.
  about = network["ops"][arc.ops] + network["depths"] + skips @ network["skips"]
  whole = jnp.broadcast_to(jnp.mean(about, axis=0), about.shape)
  both = jnp.concatenate([about, whole], axis=1)
  hidden = jax.nn.relu(both @ network["w_in"] + network["b_in"])
  raw = jnp.tensordot(hidden, network["w_out"], 1)  # [L, A, R]
  squares = jnp.sum(jnp.square(raw), axis=-1, keepdims=True)
  # Without the summand a vector of zeros would have no derivative.
  return raw / jnp.sqrt(squares + 1e-6)


def _is_made(name: str) -> bool:
  return name.startswith(("layer_", "skip_"))


def _norms_of(part: Any) -> Any:
  """A part of the plain network without the weights that are made."""
  if not isinstance(part, dict):
    return part
  return {
    name: _norms_of(value)
    for name, value in part.items()
    if isinstance(value, dict) or name in _NORM
  }


def _basis(spec: weights_lib.Spec, rank: int) -> weights_lib.Spec:
  return weights_lib.Spec((rank, *spec.shape), fan_in=spec.fan_in)


def _drawn(shape: tuple[int, ...], fan_in: int) -> weights_lib.Spec:
  return weights_lib.Spec(shape, fan_in=fan_in)
