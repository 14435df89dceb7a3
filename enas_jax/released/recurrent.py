"""Reads and writes weights in the naming and layout of the authors' code.

Names are those of its TensorFlow variables, `child/rnn_cell/layer_3/w` or
`var/child/rnn_cell/layer_3/w`; any mapping from names to arrays serves, an
open `.npz` file too. Variables that are not asked for are left alone, so a
whole checkpoint may be given.

What `enas_lm` lays out otherwise than we do: its operations are numbered
tanh, ReLU, sigmoid, identity; a search graph keeps one tensor [K, l, D, 2D] for
the edges into node l, a fixed graph one matrix a node, counted from 0; and the
two input matrices of its first node are the halves of one `w_prev` [2D, 2D].

The controllers of the CIFAR-10 code are laid out as ours but for its numbering
of the macro space's operations.
"""

import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.recurrent import arc as space_lib
from enas_jax.spaces.recurrent import network as supergraph
from enas_jax.spaces.recurrent import presets as recurrent_presets

Variables = Mapping[str, np.ndarray]
ConvolutionalSpace = macro.MacroSpace | micro.MicroSpace

_NUM_OPS = len(space_lib.OPS)
_PREFIX = "var/"
_CONTROLLER = "controller/"
_SEARCH = "child/"
_FIXED = "language_model/"


def _op_order() -> list[int]:
  """The released number of each of our operations.

  Asked of the space, which reads the released tokens, so that the numbering
  is written down in one place.
  """
  space = space_lib.RecurrentSpace(1, "tanh")
  ours = [space.from_tokens(f"0 {op}").ops[1] for op in range(_NUM_OPS)]
  return [ours.index(op) for op in range(_NUM_OPS)]


def theta_from_released(
  variables: Variables,
  space: space_lib.RecurrentSpace,
  config: config_lib.ControllerConfig,
) -> types.Theta:
  """Reads the weights of the `enas_lm` controller.

  Args:
    variables: holds `controller/...`.
    space: of the released kind, `first_node="tanh"`.
    config: of the released kind, `tied_ops=True`; H is its `hidden_size`.

  Returns:
    theta, as of `Controller.init`.

  Raises:
    InputError: if a variable is missing or has another shape, or if the space
      or the configuration is not of the released kind.
  """
  _require(space.first_node == "tanh", "first_node must be tanh")
  _require(config.tied_ops, "controller_tied_ops must be true")
  h = config.hidden_size

  def take(name: str, *shape: int) -> np.ndarray:
    return _take(variables, _CONTROLLER + name, shape)

  theta = {
    "lstm": take("lstm/w", 2 * h, 4 * h),
    "start": take("embedding/g", 1, h)[0],
    "op_embedding": take("embedding/w", _NUM_OPS, h)[_op_order()],
    "attend_key": take("attention/w_1", h, h),
    "attend_query": take("attention/w_2", h, h),
    "attend_v": take("attention/v", h, 1)[:, 0],
  }
  return {name: jnp.asarray(value) for name, value in theta.items()}


def theta_to_released(theta: types.Theta) -> dict[str, np.ndarray]:
  """The inverse of `theta_from_released`, for weights or their gradients."""
  named = {
    "lstm/w": theta["lstm"],
    "embedding/g": theta["start"][None],
    "embedding/w": theta["op_embedding"][np.argsort(_op_order())],
    "attention/w_1": theta["attend_key"],
    "attention/w_2": theta["attend_query"],
    "attention/v": theta["attend_v"][:, None],
  }
  return {_CONTROLLER + k: np.asarray(v) for k, v in named.items()}


def convolutional_theta_from_released(
  variables: Variables,
  space: ConvolutionalSpace,
  config: config_lib.ControllerConfig,
) -> types.Theta:
  """Reads the weights of a controller of the CIFAR-10 code.

  Args:
    variables: holds `controller/...`.
    space: whose controller it is; its size is not in the weights.
    config: of the released kind: `tied_ops=False`, and `op_bias` above 0 in the
      micro space alone; H is its `hidden_size`.

  Returns:
    theta, as of `Controller.init`.

  Raises:
    InputError: if a variable is missing or has another shape, or if the
      configuration is not of the released kind.
  """
  _require(not config.tied_ops, "controller_tied_ops must be false")
  biased = isinstance(space, micro.MicroSpace)
  rule = "above 0 in the micro" if biased else "0 in the macro"
  _require((config.op_bias > 0) == biased, f"controller_op_bias must be {rule}")
  h, order = config.hidden_size, _convolutional_op_order(space)

  def take(name: str, *shape: int) -> np.ndarray:
    return _take(variables, _CONTROLLER + name, shape)

  theta = {
    "lstm": take("lstm/layer_0/w", 2 * h, 4 * h),
    "start": take("g_emb", 1, h)[0],
    "op_embedding": take("emb/w", len(order), h)[order],
    "op_softmax": take("softmax/w", h, len(order))[:, order],
    "attend_key": take("attention/w_1", h, h),
    "attend_query": take("attention/w_2", h, h),
    "attend_v": take("attention/v", h, 1)[:, 0],
  }
  if biased:
    theta["op_bias"] = take("softmax/b", 1, len(order))[0, order]
  return {name: jnp.asarray(value) for name, value in theta.items()}


def convolutional_theta_to_released(
  theta: types.Theta, space: ConvolutionalSpace
) -> dict[str, np.ndarray]:
  """The inverse, for weights or their gradients."""
  order = np.argsort(_convolutional_op_order(space))
  named = {
    "lstm/layer_0/w": theta["lstm"],
    "g_emb": theta["start"][None],
    "emb/w": theta["op_embedding"][order],
    "softmax/w": theta["op_softmax"][:, order],
    "attention/w_1": theta["attend_key"],
    "attention/w_2": theta["attend_query"],
    "attention/v": theta["attend_v"][:, None],
  }
  if "op_bias" in theta:
    named["softmax/b"] = theta["op_bias"][None, order]
  return {_CONTROLLER + k: np.asarray(v) for k, v in named.items()}


def _convolutional_op_order(space: ConvolutionalSpace) -> list[int]:
  """The released number of each of our operations."""
  if isinstance(space, macro.MacroSpace):
    return [macro.RELEASED_OPS.index(op) for op in macro.OPS]
  return list(range(len(micro.OPS)))


def omega_from_released(
  variables: Variables, config: recurrent_presets.RecurrentConfig
) -> types.Omega:
  """Reads the shared weights of the `enas_lm` search graph.

  Args:
    variables: holds `child/...`; V is the number of rows of its embedding.
    config: of the released kind: `first_node="tanh"`, `weights_per_op=True`,
      `batch_norm=False`.

  Returns:
    omega, as of `supergraph.recurrent.init`.

  Raises:
    InputError: if a variable is missing or has another shape, if there are
      more nodes than `config.num_nodes`, or if the configuration is not of
      the released kind.
  """
  _require_cell(config)
  _require(config.weights_per_op, "weights_per_op must be true")
  rows = range(1, config.num_nodes + 1)
  _check_nodes(variables, _SEARCH, rows)
  d = config.hidden_size
  layers = [
    _take(variables, _layer(_SEARCH, row), (_NUM_OPS, row, d, 2 * d))
    for row in rows
  ]
  # Edges of one node are neighbours in `supergraph.edge_index`, by `prev`.
  edges = np.concatenate(layers, axis=1)[_op_order()]
  return _dense(variables, _SEARCH, d) | {"w_edge": jnp.asarray(edges)}


def omega_to_released(omega: types.Omega) -> dict[str, np.ndarray]:
  """The inverse of `omega_from_released`, for weights or their gradients."""
  edges = np.asarray(omega["w_edge"])[np.argsort(_op_order())]
  named, row = _dense_to_released(omega, _SEARCH), 1
  while supergraph.edge_index(row, 0) < edges.shape[1]:
    first, end = (supergraph.edge_index(row, prev) for prev in (0, row))
    named[_layer(_SEARCH, row)] = edges[:, first:end]
    row += 1
  return named


def child_from_released(
  variables: Variables, config: recurrent_presets.RecurrentConfig
) -> types.Omega:
  """Reads the weights of the `enas_lm` fixed graph.

  It has one matrix a node, whatever the node reads, so its weights are one
  child's and not omega: give them to `supergraph.recurrent.apply_child`.

  Args:
    variables: holds `language_model/...`.
    config: `first_node="tanh"` and `batch_norm=False`.

  Returns:
    A child, as of `supergraph.recurrent.child_params`; "w_edge" is [N, D, 2D].

  Raises:
    InputError: if a variable is missing or has another shape, if there are
      more nodes than `config.num_nodes`, or if the configuration is not of
      the released kind.
  """
  _require_cell(config)
  _check_nodes(variables, _FIXED, range(config.num_nodes))
  d = config.hidden_size
  layers = [
    _take(variables, _layer(_FIXED, node), (d, 2 * d))
    for node in range(config.num_nodes)
  ]
  return _dense(variables, _FIXED, d) | {"w_edge": jnp.asarray(layers)}


def child_to_released(child: types.Omega) -> dict[str, np.ndarray]:
  """The inverse of `child_from_released`, for weights or their gradients."""
  named = _dense_to_released(child, _FIXED)
  for node, matrix in enumerate(np.asarray(child["w_edge"])):
    named[_layer(_FIXED, node)] = matrix
  return named


def _layer(scope: str, number: int) -> str:
  return f"{scope}rnn_cell/layer_{number}/w"


def _dense(variables: Variables, scope: str, d: int) -> types.Omega:
  """The embedding and the first node's matrices."""
  embedding = _take(variables, f"{scope}embedding/w", (None, d))
  w_prev = _take(variables, f"{scope}rnn_cell/w_prev", (2 * d, 2 * d))
  return {
    "embedding": jnp.asarray(embedding),
    "w_x": jnp.asarray(w_prev[:d]),
    "w_h": jnp.asarray(w_prev[d:]),
  }


def _dense_to_released(
  weights: types.Omega, scope: str
) -> dict[str, np.ndarray]:
  halves = [np.asarray(weights["w_x"]), np.asarray(weights["w_h"])]
  return {
    f"{scope}embedding/w": np.asarray(weights["embedding"]),
    f"{scope}rnn_cell/w_prev": np.concatenate(halves),
  }


def _require(ok: bool, rule: str) -> None:
  if not ok:
    raise types.InputError(f"{rule} for weights of the released code.")


def _require_cell(config: recurrent_presets.RecurrentConfig) -> None:
  _require(config.first_node == "tanh", "first_node must be tanh")
  _require(not config.batch_norm, "batch_norm must be false")


def _take(
  variables: Variables, name: str, shape: tuple[int | None, ...]
) -> np.ndarray:
  """The float32 variable of that name and shape; `None` is any length."""
  found = next((n for n in (name, _PREFIX + name) if n in variables), None)
  if found is None:
    raise types.InputError(f"the released weights lack the variable {name!r}.")
  array = np.asarray(variables[found])
  fits = len(array.shape) == len(shape) and all(
    want in (None, have) for have, want in zip(array.shape, shape, strict=True)
  )
  if not fits:
    wanted = ", ".join("any" if s is None else str(s) for s in shape)
    raise types.InputError(
      f"the released variable {name!r} must have the shape [{wanted}], got"
      f" {list(array.shape)}."
    )
  if not np.issubdtype(array.dtype, np.floating):
    raise types.InputError(
      f"the released variable {name!r} must be of floats, got {array.dtype}."
    )
  return array.astype(np.float32)


def _check_nodes(variables: Variables, scope: str, numbers: range) -> None:
  """Refuses weights of a bigger cell, which would be read in part."""
  pattern = re.compile(f"(?:{_PREFIX})?{scope}rnn_cell/layer_([0-9]+)/w")
  for name in variables:
    match = pattern.fullmatch(name)
    if match and int(match[1]) not in numbers:
      raise types.InputError(
        f"the released weights hold {name!r}, which a cell of"
        f" {len(numbers)} nodes has not: check num_nodes."
      )
