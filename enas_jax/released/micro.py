"""Reads and writes micro weights in the naming and layout of the authors' code.

Names are those of its TensorFlow variables, `child/stem_conv/w` or
`var/child/stem_conv/w`, as in `released`. Variables that are not asked for are
left alone, moving statistics of the search too, which never reads them.

What the release lays out otherwise: each cell and branch has variables of its
own, where ours are rows of one table; what a node's choice of input picks is a
row of a matrix; and 1x1 kernels elsewhere have four axes.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.spaces.base import Network
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import cell as micro_cell
from enas_jax.spaces.micro import final_network as micro_final
from enas_jax.spaces.micro import network as supergraph

Variables = Mapping[str, np.ndarray]

_PREFIX = "var/"
_SCOPE = "child/"
_SIDE_NAMES = ("x", "y")
_NORM = {"offset": "bn/offset", "scale": "bn/scale"}
_CONV = {"kernel": "w", **_NORM}
_REDUCTION = {"w1": "path1_conv/w", "w2": "path2_conv/w", **_NORM}
_SEP_CONV = {"depthwise": "w_depth", "pointwise": "w_point", **_NORM}


class _Place(NamedTuple):
  """Where one released variable lies in omega.

  Attributes:
    name: of the variable, without its scope.
    keys: of the array in omega's nested dicts.
    part: where in that array it lies.
    form: how the release shapes the part: "rows" [n, all else], "1x1" with two
      axes of length 1 before it, "depthwise" with one after it, or "" for as it
      is.
  """

  name: str
  keys: tuple[str, ...]
  part: tuple[Any, ...] = ()
  form: str = ""


def omega_from_released(
  variables: Variables, config: supergraph.MicroConfig
) -> types.Omega:
  """Reads the shared weights of the released micro search graph.

  Args:
    variables: holds `child/...`; classes and channels are as many as the
      classifier and the stem there have.
    config: of the released kind: `reduction="factorized"`,
      `include_inputs=True`.

  Returns:
    omega, as of `supergraph.micro.init`.

  Raises:
    InputError: if a variable is missing or has another shape, or if the
      configuration is not of the released kind.
  """
  _require(config.reduction == "factorized", "reduction must be factorized")
  _require(config.include_inputs, "include_inputs must be true")
  omega = _zeros(variables, config, supergraph.NETWORK)
  _fill(omega, variables, _places(omega))
  return jax.tree.map(jnp.asarray, omega)


def final_from_released(
  variables: Variables, config: supergraph.MicroConfig, arc: space_lib.MicroArc
) -> tuple[types.Omega, types.Statistics]:
  """Reads the weights of a found cell's network, the release's fixed graph.

  Args:
    variables: as for `omega_from_released`.
    config: the network's options.
    arc: of Python ints.

  Returns:
    omega and the moving statistics, as of `supergraph.micro_final.network`;
    the latter are {} unless `config.moving_statistics`, and have seen no
    training step, so that a first one replaces them.

  Raises:
    InputError: if a variable is missing or has another shape.
  """
  network = micro_final.network(arc)
  omega = _zeros(variables, config, network)
  _fill(omega, variables, _final_places(omega))
  fresh = network.init_statistics(config)
  statistics = jax.tree.map(lambda a: np.array(a), fresh)
  if statistics:
    _fill(statistics, variables, _final_statistics_places(omega))
  as_arrays = lambda tree: jax.tree.map(jnp.asarray, tree)
  return as_arrays(omega), as_arrays(statistics)


def final_to_released(
  omega: types.Omega, statistics: types.Statistics | None = None
) -> dict[str, np.ndarray]:
  """The inverse of `final_from_released`, for weights or their gradients."""
  named = _named(omega, _final_places(omega))
  if statistics:
    named |= _named(statistics, _final_statistics_places(omega))
  return named


def _zeros(
  variables: Variables, config: supergraph.MicroConfig, network: Network
) -> types.Omega:
  """Omega's arrays, for as many classes and channels as the variables have."""
  stem, fc = _find(variables, "stem_conv/w"), _find(variables, "fc/w")
  size = 1
  if config.aux_head:
    # Any size that gives the wide convolution's kernel its shape.
    wide = _find(variables, "aux_head/avg_pool/w").shape[0]
    size = supergraph.least_image_size(wide)
  shape = (size, size, stem.shape[-2])
  shapes = jax.eval_shape(
    lambda key: network.init(key, config, fc.shape[-1], shape),
    jax.random.key(0),
  )
  return jax.tree.map(lambda a: np.zeros(a.shape, np.float32), shapes)


def _fill(tree: Any, variables: Variables, places: Iterable[_Place]) -> None:
  """Writes the variables into the tree's NumPy arrays."""
  for place in places:
    part = _at(tree, place.keys)[place.part]
    found = _find(variables, place.name)
    wanted = _reshaped(part, place.form).shape
    if found.shape != wanted:
      raise types.InputError(
        f"the released variable {_SCOPE + place.name!r} must have the shape"
        f" {list(wanted)}, got {list(found.shape)}."
      )
    part[...] = found.reshape(part.shape)


def _named(tree: Any, places: Iterable[_Place]) -> dict[str, np.ndarray]:
  """The tree's arrays by the release's names, and as it shapes them."""
  tree = jax.tree.map(np.asarray, tree)
  return {
    _SCOPE + place.name: _reshaped(
      _at(tree, place.keys)[place.part], place.form
    )
    for place in places
  }


def omega_to_released(omega: types.Omega) -> dict[str, np.ndarray]:
  """The inverse of `omega_from_released`, for weights or their gradients."""
  return _named(omega, _places(omega))


def statistics_to_released(
  statistics: types.Statistics, omega: types.Omega
) -> dict[str, np.ndarray]:
  """Moving statistics by the release's names.

  Args:
    statistics: of `supergraph.micro.init_statistics`.
    omega: the network's weights, beside which they stand.
  """
  named = {}
  for place in _places(omega):
    *path, leaf = place.keys
    if leaf != "scale":
      continue
    found: Any = statistics
    for key in path:
      found = found.get(key, {})
    for ours, name in (
      ("mean", "moving_mean"),
      ("variance", "moving_variance"),
    ):
      if ours in found:
        whole = _SCOPE + place.name.removesuffix("scale") + name
        named[whole] = np.asarray(found[ours])[place.part]
  return named


def _require(ok: bool, rule: str) -> None:
  if not ok:
    raise types.InputError(f"{rule} for weights of the released code.")


def _find(variables: Variables, name: str) -> np.ndarray:
  names = (_SCOPE + name, _PREFIX + _SCOPE + name)
  found = next((n for n in names if n in variables), None)
  if found is None:
    raise types.InputError(
      f"the released weights lack the variable {names[0]!r}."
    )
  array = np.asarray(variables[found])
  if not np.issubdtype(array.dtype, np.floating):
    raise types.InputError(
      f"the released variable {names[0]!r} must be of floats, got"
      f" {array.dtype}."
    )
  return array


def _at(omega: types.Omega, keys: tuple[str, ...]) -> np.ndarray:
  for key in keys:
    omega = omega[key]
  return omega


def _reshaped(part: np.ndarray, form: str) -> np.ndarray:
  if form == "rows":
    return part.reshape(part.shape[0], -1)
  if form == "depthwise":
    return part[..., None]
  return part[None, None] if form == "1x1" else part


def _places(omega: types.Omega) -> Iterator[_Place]:
  """All variables of the release's search graph that omega holds."""
  yield from _ends(omega)
  layer = 0
  for stage in range(supergraph.NUM_STAGES):
    name = f"stage_{stage}"
    yield from _inputs(omega[name], name, layer)
    count = omega[name]["cells"]["output"]["scale"].shape[0]
    for cell in range(count):
      yield from _cell(omega[name]["cells"], name, cell, layer + cell)
    layer += count


def _ends(omega: types.Omega) -> Iterator[_Place]:
  """What both graphs have before and after their cells."""
  yield _Place("fc/w", ("fc",))
  yield from _group("stem_conv", ("stem",), _CONV)
  if "aux_head" in omega:
    yield _Place("aux_head/fc/w", ("aux_head", "fc"))
    narrow, wide = ("aux_head", "narrow"), ("aux_head", "wide")
    yield from _group("aux_head/proj", narrow, _CONV, "1x1")
    yield from _group("aux_head/avg_pool", wide, _CONV)


def _group(
  scope: str, keys: tuple[str, ...], names: Mapping[str, str], form: str = ""
) -> Iterator[_Place]:
  """A convolution, or a reduction, and its batch norm."""
  for ours, released in names.items():
    own = "" if ours in _NORM else form
    yield _Place(f"{scope}/{released}", (*keys, ours), (), own)


def _inputs(weights: types.Omega, stage: str, layer: int) -> Iterator[_Place]:
  """What brings the inputs of a stage's cells to its size."""
  scopes = {
    "first_0": f"layer_{layer}/calibrate/pool_x",
    "first_1": f"layer_{layer}/calibrate/pool_y",
    "second_0": f"layer_{layer + 1}/calibrate/pool_x",
  }
  for key, scope in scopes.items():
    if key not in weights:
      continue
    reduces = "w1" in weights[key]
    if reduces and key == "first_1":
      scope = f"layer_{layer}"
    names = _REDUCTION if reduces else _CONV
    yield from _group(scope, (stage, key), names, "1x1")


def _cell(
  cells: types.Omega, stage: str, cell: int, layer: int
) -> Iterator[_Place]:
  keys = (stage, "cells")
  yield _Place(
    f"layer_{layer}/final_conv/w", (*keys, "output", "kernel"), (cell,), "rows"
  )
  for ours, released in _NORM.items():
    name = f"layer_{layer}/final_conv/{released}"
    yield _Place(name, (*keys, "output", ours), (cell,))
  num_nodes = cells["output"]["kernel"].shape[1]
  branches = itertools.product(
    range(num_nodes - space_lib.NUM_INPUTS),
    enumerate(_SIDE_NAMES),
    micro_cell.SEP_CONVS.items(),
    range(micro_cell.STACK),
    _SEP_CONV.items(),
  )
  for row, (side, letter), (op, width), at, (ours, released) in branches:
    first, end = (micro_cell.edge_index(r, 0) for r in (row, row + 1))
    yield _Place(
      f"layer_{layer}/cell_{row}/{letter}/conv_{width}x{width}/stack_{at}"
      f"/{released}",
      (*keys, op, ours),
      (cell, side, slice(first, end), at),
      "rows",
    )


def _final_places(omega: types.Omega) -> Iterator[_Place]:
  """All variables of the release's fixed graph that omega holds."""
  yield from _ends(omega)
  for layer in range(sum(name.startswith("cell_") for name in omega)):
    cell = f"cell_{layer}"
    for part, weights in omega[cell].items():
      scope, keys = f"layer_{layer}/{_final_scope(part)}", (cell, part)
      if "conv_0" in weights:
        for at in range(micro_cell.STACK):
          yield from _final_sep_conv(f"{scope}/sep_conv_{at}", keys, at)
      else:
        names = _REDUCTION if "w1" in weights else _CONV
        yield from _group(scope, keys, names, "1x1")


def _final_scope(part: str) -> str:
  """The release's scope of a part of a cell, of `micro_final.network`."""
  kind, *numbers = part.split("_")
  if kind == "base":
    return "layer_base"
  if kind == "input":
    return f"calibrate/pool_{_SIDE_NAMES[int(numbers[0])]}"
  if kind == "output":
    return f"final_combine/calibrate_{numbers[0]}"
  row = int(numbers[0]) - space_lib.NUM_INPUTS
  return f"cell_{row}/{_SIDE_NAMES[int(numbers[-1])]}_conv"


def _final_sep_conv(
  scope: str, keys: tuple[str, ...], at: int
) -> Iterator[_Place]:
  forms = {"depthwise": "depthwise", "pointwise": "1x1"}
  for ours, released in _SEP_CONV.items():
    own = (*keys, f"conv_{at}", ours)
    yield _Place(f"{scope}/{released}", own, (), forms.get(ours, ""))


def _final_statistics_places(omega: types.Omega) -> Iterator[_Place]:
  """The moving statistics, beside each batch norm's scale."""
  for place in _final_places(omega):
    if place.keys[-1] == "scale":
      scope = place.name.removesuffix("scale")
      for ours in ("mean", "variance"):
        yield _Place(f"{scope}moving_{ours}", (*place.keys[:-1], ours))
