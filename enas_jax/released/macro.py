"""Macro weights in the naming and layout of the authors' search graph.

Names are those of its TensorFlow variables, `child/layer_0/branch_1/...` or
`var/child/...`; any mapping from names to arrays serves, and what is not asked
for is left alone. A branch is an operation, numbered as in
`spaces.macro.RELEASED_OPS`.

What is laid out otherwise than ours: 1x1 convolutions are [1, 1, C, D],
depthwise ones [k, k, C, 1], and a separable one's pointwise half is [D, C].
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro import network as supergraph
from enas_jax.spaces.macro.presets import MacroConfig

Variables = Mapping[str, np.ndarray]

_PREFIX = "var/"
_SCOPE = "child/"
# Our names of a batch norm's arrays, and the released ones.
_WEIGHTS = {"scale": "bn/scale", "offset": "bn/offset"}
_STATISTICS = {"mean": "bn/moving_mean", "variance": "bn/moving_variance"}


class _Layout(NamedTuple):
  """How an array is laid out in the release.

  Attributes:
    theirs: ours -> the released form.
    ours: the inverse.
  """

  theirs: Callable[[np.ndarray], np.ndarray]
  ours: Callable[[np.ndarray], np.ndarray]


class _Entry(NamedTuple):
  """Where one array is.

  Attributes:
    path: of ours, in nested dicts.
    name: the released one, without scope.
    layout: the released one.
  """

  path: tuple[str, ...]
  name: str
  layout: _Layout


_SAME = _Layout(lambda a: a, lambda a: a)
_POINTWISE = _Layout(lambda a: a[None, None], lambda a: a[0, 0])
_DEPTHWISE = _Layout(lambda a: a[..., None], lambda a: a[..., 0])
_TRANSPOSED = _Layout(np.transpose, np.transpose)


def omega_from_released(
  variables: Variables, config: MacroConfig
) -> types.Omega:
  """Reads the shared weights of the macro search graph.

  Args:
    variables: holds `child/...`.
    config: of the released form: `main_input="previous"`,
      `skip_combination="sum"`, `conv_order="conv_bn_relu"`.

  Returns:
    omega, as of `supergraph.macro.init`.

  Raises:
    InputError: if a variable is missing or has another shape, if there are
      more layers than `config.num_layers`, or if the configuration is not of
      the released form.
  """
  _require_released(config)
  _check_layers(variables, config)
  channels = _take(variables, "stem_conv/w").shape[-2]
  classes = _take(variables, "fc/w").shape[-1]
  shapes = jax.eval_shape(
    lambda key: supergraph.init(key, config, classes, channels),
    jax.random.key(0),
  )
  return _read(variables, shapes, _weight_entries(config))


def omega_to_released(
  omega: types.Omega, config: MacroConfig
) -> dict[str, np.ndarray]:
  """The inverse of `omega_from_released`, for weights or their gradients."""
  return _write(omega, _weight_entries(config))


def statistics_from_released(
  variables: Variables, config: MacroConfig
) -> types.Statistics:
  """Reads the moving statistics; they count as of no step.

  The release's own count is not among the variables of its checkpoints'
  batch norms. So the first training step replaces those that are corrected
  for their start, as when the release starts from given values.

  Args:
    variables: holds `child/...`.
    config: of the released form, with `moving_statistics`.

  Returns:
    The statistics, as of `supergraph.macro.init_statistics`.

  Raises:
    InputError: as `omega_from_released`, or without `moving_statistics`.
  """
  _require_released(config)
  _require(config.moving_statistics, "moving_statistics must be true")
  _check_layers(variables, config)
  fresh = supergraph.init_statistics(config)
  read = _read(variables, fresh, _statistics_entries(config))
  return {**fresh, **read}


def statistics_to_released(
  statistics: types.Statistics, config: MacroConfig
) -> dict[str, np.ndarray]:
  """The inverse of `statistics_from_released`."""
  return _write(statistics, _statistics_entries(config))


def _units(config: MacroConfig) -> Iterator[tuple[tuple[str, ...], str]]:
  """Where each batch norm is, with the convolution before it: ours, theirs."""
  yield ("stem",), "stem_conv"
  for layer in range(config.num_layers):
    scope = f"layer_{layer}"
    for branch, op in enumerate(space_lib.RELEASED_OPS):
      for part, name in _parts(op).items():
        yield (scope, op, part), f"{scope}/branch_{branch}/{name}"
    if layer > 0:
      yield (f"skip_{layer}",), f"{scope}/skip"
    if layer in config.reductions():
      for i in range(layer + 2):
        ours = (f"reduction_{layer}", f"node_{i}")
        yield ours, f"{scope}/pool_at_{layer}/from_{i}"


def _parts(op: str) -> dict[str, str]:
  """The convolutions of an operation, ours and theirs."""
  if op in supergraph.POOLS:
    return {"in": "conv_1"}
  return {"in": "inp_conv_1", "out": f"out_conv_{op[-1]}"}


def _convolutions(path: tuple[str, ...]) -> Iterator[tuple[str, str, _Layout]]:
  """The weights of a unit: our name, the released one and its layout."""
  if path[0].startswith("reduction"):
    yield "w1", "path1_conv/w", _POINTWISE
    yield "w2", "path2_conv/w", _POINTWISE
  elif path[-1] == "in":
    yield "w", "w", _POINTWISE
  elif path[-1] == "out" and path[1].startswith("sep"):
    yield "depthwise", "w_depth", _DEPTHWISE
    yield "pointwise", "w_point", _TRANSPOSED
  elif not path[0].startswith("skip"):
    yield "w", "w", _SAME


def _weight_entries(config: MacroConfig) -> Iterator[_Entry]:
  for path, scope in _units(config):
    for ours, theirs, layout in _convolutions(path):
      yield _Entry((*path, ours), f"{scope}/{theirs}", layout)
    yield from _norm_entries(path, scope, _WEIGHTS)
  yield _Entry(("classifier", "w"), "fc/w", _SAME)


def _statistics_entries(config: MacroConfig) -> Iterator[_Entry]:
  for path, scope in _units(config):
    yield from _norm_entries(path, scope, _STATISTICS)


def _norm_entries(
  path: tuple[str, ...], scope: str, names: Mapping[str, str]
) -> Iterator[_Entry]:
  for ours, theirs in names.items():
    yield _Entry((*path, ours), f"{scope}/{theirs}", _SAME)


def _read(
  variables: Variables, shapes: Any, entries: Iterator[_Entry]
) -> dict[str, Any]:
  """Nested dicts of the variables, of the shapes that are wanted."""
  tree: dict[str, Any] = {}
  for path, name, layout in entries:
    place, wanted = tree, shapes
    for part in path[:-1]:
      place, wanted = place.setdefault(part, {}), wanted[part]
    shape = layout.theirs(np.zeros(wanted[path[-1]].shape)).shape
    array = layout.ours(_take(variables, name, shape))
    place[path[-1]] = jnp.asarray(array)
  return tree


def _write(tree: Any, entries: Iterator[_Entry]) -> dict[str, np.ndarray]:
  named = {}
  for path, name, layout in entries:
    array = tree
    for part in path:
      array = array[part]
    named[_SCOPE + name] = layout.theirs(np.asarray(array))
  return named


def _take(
  variables: Variables, name: str, shape: tuple[int, ...] | None = None
) -> np.ndarray:
  """The float32 variable of that name, and of that shape if one is given."""
  name = _SCOPE + name
  found = next((n for n in (name, _PREFIX + name) if n in variables), None)
  if found is None:
    raise types.InputError(f"the released weights lack the variable {name!r}.")
  array = np.asarray(variables[found])
  fits = array.ndim > 1 if shape is None else array.shape == shape
  if not fits:
    wanted = "two axes or more" if shape is None else f"shape {list(shape)}"
    raise types.InputError(
      f"the released variable {name!r} must have the {wanted}, got"
      f" {list(array.shape)}."
    )
  if not np.issubdtype(array.dtype, np.floating):
    raise types.InputError(
      f"the released variable {name!r} must be of floats, got {array.dtype}."
    )
  return array.astype(np.float32)


def _require(ok: bool, rule: str) -> None:
  if not ok:
    raise types.InputError(f"{rule} for weights of the released code.")


def _require_released(config: MacroConfig) -> None:
  for name, value in (
    ("main_input", "previous"),
    ("skip_combination", "sum"),
    ("conv_order", "conv_bn_relu"),
  ):
    _require(getattr(config, name) == value, f"{name} must be {value}")


def _check_layers(variables: Variables, config: MacroConfig) -> None:
  """Refuses weights of a bigger network, which would be read in part."""
  pattern = re.compile(f"(?:{_PREFIX})?{_SCOPE}layer_([0-9]+)/.*")
  for name in variables:
    match = pattern.fullmatch(name)
    if match and int(match[1]) >= config.num_layers:
      raise types.InputError(
        f"the released weights hold {name!r}, which a network of"
        f" {config.num_layers} layers has not: check num_layers."
      )
