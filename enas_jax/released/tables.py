"""What reads and writes arrays in the naming and layout of the authors' code.

A table says, entry by entry, which variable of their TensorFlow graphs holds
which part of our arrays, and in what shape. The tables are in the modules
beside this one; all else is here.

Names are those of the variables, `child/fc/w` or `var/child/fc/w`.
Any mapping from names to arrays serves, an open `.npz` file too. Variables that
a table does not name are left alone, so a whole checkpoint may be given.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.spaces import base

Variables = Mapping[str, np.ndarray]
# A name for entries' templates, and by its value an index of one axis.
Axis = tuple[str, Mapping[Any, Any]]
_PREFIX = "var/"


class Form(NamedTuple):
  """How the release shapes a part of our arrays.

  Attributes:
    theirs: ours -> the released form.
    ours: the released form, the shape of ours -> ours.
  """

  theirs: Callable[[np.ndarray], np.ndarray]
  ours: Callable[[np.ndarray, tuple[int, ...]], np.ndarray] = np.reshape


AS_IS = Form(lambda a: a)
CONV = Form(lambda a: a[None, None] if a.ndim == 2 else a)  # 1x1: [1, 1, C, D]
DEPTHWISE = Form(lambda a: a[..., None])  # [k, k, C, 1]
ROWS = Form(lambda a: a.reshape(len(a), -1))  # a row is what a choice picks
ROW = Form(lambda a: a[None])
COLUMN = Form(lambda a: a[..., None])
TRANSPOSED = Form(np.transpose, lambda a, shape: a.T)


class Entry(NamedTuple):
  """Where arrays of ours are in the release.

  Attributes:
    ours: path in our nested dicts, e.g. "layer_{l}/conv_3x3/in/w"; a field in
      braces stands for any number.
    theirs: the variable's name without its scope, with fields of `ours` and
      of `axes`. Arrays whose variables have one name follow one another along
      its first axis, in the table's order.
    form: how the release shapes what `axes` picks.
    axes: the part that a variable holds of each of the array's first axes.
  """

  ours: str
  theirs: str
  form: Form = AS_IS
  axes: tuple[Axis, ...] = ()


class Graph(NamedTuple):
  """One graph of the release: all of its variables.

  Attributes:
    scope: what the variables' names begin with.
    entries: options -> the places of arrays.
    shapes: variables, options -> nested dicts of our arrays' shapes and types,
      for as many classes, channels or words as the variables have.
    requires: values of options, where the release has no other.
    size: the option to check if variables are of a bigger graph.
  """

  scope: str
  entries: Callable[[base.Options], Iterable[Entry]]
  shapes: Callable[[Variables, base.Options], types.Omega]
  requires: Mapping[str, Any]
  size: str


# The arrays of a convolution, a reduction or a batch norm: ours, theirs, form.
_UNIT = {
  "w": ("w", CONV),
  "kernel": ("w", CONV),
  "w1": ("path1_conv/w", CONV),
  "w2": ("path2_conv/w", CONV),
  "depthwise": ("w_depth", DEPTHWISE),
  "pointwise": ("w_point", CONV),
  "scale": ("bn/scale", AS_IS),
  "offset": ("bn/offset", AS_IS),
  "mean": ("bn/moving_mean", AS_IS),
  "variance": ("bn/moving_variance", AS_IS),
}


def unit(
  ours: str, theirs: str, axes: tuple[Axis, ...] = (), **forms: Form
) -> tuple[Entry, ...]:
  """The entries of a convolution, or a reduction, and its batch norm.

  Args:
    ours: path of the dict that holds the arrays, as in `Entry`.
    theirs: the release's scope of them.
    axes: the part that a variable holds of each first axis, as in `Entry`.
    **forms: the form of arrays that the release shapes otherwise than is
      usual, by our name.
  """
  return tuple(
    Entry(f"{ours}/{leaf}", f"{theirs}/{name}", forms.get(leaf, form), axes)
    for leaf, (name, form) in _UNIT.items()
  )


def reordered(order: Iterable[int]) -> Axis:
  """An axis of operations; `order` is our number of each of the release's."""
  return "", {"": np.array(list(order))}


WHOLE: Axis = ("", {"": slice(None)})


def write(
  tree: types.Omega, graph: Graph, config: base.Options
) -> dict[str, np.ndarray]:
  """Arrays by the release's names, and as it shapes them.

  Args:
    tree: weights, their gradients or moving statistics, in nested dicts of
      arrays [...].
    graph: the graph that they are of.
    config: the options of its network, or of its controller.

  Returns:
    Arrays [...], float32 where ours are.

  Raises:
    InputError: if the graph has no variable for an array.
  """
  tree = jax.tree.map(np.asarray, tree)
  named: dict[str, np.ndarray] = {}
  for name, path, part, form in _places(tree, graph, config):
    array = form.theirs(_at(tree, path)[part])
    parts = [named[name], array] if name in named else [array]
    # Along the first axis; see `Entry.theirs`.
    named[name] = np.concatenate(parts)
  return named


def read(
  variables: Variables,
  graph: Graph,
  config: base.Options,
  like: types.Omega | None = None,
) -> types.Omega:
  """The inverse of `write`.

  Moving statistics count as of no step: the release's own count is not among
  its batch norms' variables. So a first training step replaces those that are
  corrected for their start, as where the release starts from given values.

  Args:
    variables: arrays [...] of floats by the release's names.
    graph: the graph that they are of.
    config: the options of its network, or of its controller.
    like: what has our arrays' shapes and types, if not the graph's weights:
      the network's `init_statistics`.

  Returns:
    Nested dicts of arrays [...], float32 all but a count of steps.

  Raises:
    InputError: if a variable is missing, has another shape or no floats, if
      there are more layers or nodes than `config` has, or if `config` is not
      of the released kind.
  """
  for name, value in graph.requires.items():
    word = str(value).lower() if isinstance(value, bool) else value
    require(getattr(config, name) == value, f"{name} must be {word}")
  like = graph.shapes(variables, config) if like is None else like
  # Of NumPy, to be filled in place below.
  tree = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)
  # The names and shapes are those that writing such arrays gives.
  wanted = write(tree, graph, config)
  _refuse_bigger(variables, wanted, getattr(config, graph.size), graph.size)
  rest = {n: _find(variables, n, a.shape) for n, a in wanted.items()}
  for name, path, part, form in _places(tree, graph, config):
    array = _at(tree, path)
    ours = array[part]
    count = len(form.theirs(ours))
    # A variable may hold several arrays, of which this is the next.
    array[part] = form.ours(rest[name][:count], ours.shape)
    rest[name] = rest[name][count:]
  return jax.tree.map(jnp.asarray, tree)


def size(variables: Variables, name: str, axis: int) -> int:
  """The length of one axis of a variable, which has two axes or more."""
  shape = _find(variables, name).shape
  if len(shape) < 2:
    raise types.InputError(
      f"the released variable {name!r} must have two axes or more, got"
      f" {list(shape)}."
    )
  return shape[axis]


def require(ok: bool, rule: str) -> None:
  """Refuses a configuration that is not of the released kind."""
  if not ok:
    raise types.InputError(f"{rule} for weights of the released code.")


class _Place(NamedTuple):
  """One variable, whole or a part of it, and what it holds of an array."""

  name: str
  path: tuple[str, ...]
  part: tuple[Any, ...]
  form: Form


def _places(
  tree: types.Omega, graph: Graph, config: base.Options
) -> Iterator[_Place]:
  """In the table's order."""
  paths = dict.fromkeys(_paths(tree))
  unplaced = set(paths) - {"steps"}  # of moving statistics, a count of ours
  for entry in graph.entries(config):
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9]+)", entry.ours))
    for match in filter(None, map(pattern.fullmatch, paths)):
      path = match[0]
      unplaced.discard(path)
      for picked in itertools.product(*(a.items() for _, a in entry.axes)):
        labels = {
          name: label
          for (name, _), (label, _) in zip(entry.axes, picked, strict=True)
        }
        name = entry.theirs.format(**match.groupdict(), **labels)
        part = tuple(index for _, index in picked)
        keys = tuple(path.split("/"))
        yield _Place(graph.scope + name, keys, part, entry.form)
  if unplaced:
    raise types.InputError(
      f"the released code has no variable for {min(unplaced)!r}: check"
      f" {graph.size} and the other options."
    )


def _paths(tree: types.Omega, before: str = "") -> Iterator[str]:
  """The paths of all arrays in nested dicts."""
  for name, part in tree.items():
    if isinstance(part, dict):
      yield from _paths(part, f"{before}{name}/")
    else:
      yield before + name


def _at(tree: types.Omega, path: tuple[str, ...]) -> np.ndarray:
  return functools.reduce(lambda part, name: part[name], path, tree)


def _find(
  variables: Variables, name: str, shape: tuple[int, ...] | None = None
) -> np.ndarray:
  """The variable of that name, and of that shape if one is given, float32."""
  known = next((n for n in (name, _PREFIX + name) if n in variables), None)
  if known is None:
    raise types.InputError(f"the released weights lack the variable {name!r}.")
  array = np.asarray(variables[known])
  if shape not in (None, array.shape):
    raise types.InputError(
      f"the released variable {name!r} must have the shape {list(shape or ())},"
      f" got {list(array.shape)}."
    )
  if not np.issubdtype(array.dtype, np.floating):
    raise types.InputError(
      f"the released variable {name!r} must be of floats, got {array.dtype}."
    )
  return array.astype(np.float32)


def _refuse_bigger(
  variables: Variables, wanted: Mapping[str, Any], size: int, option: str
) -> None:
  """Refuses weights of a bigger graph, which would be read in part.

  Those are variables whose names differ from the wanted ones in numbers alone.
  """
  blank = lambda name: re.sub("[0-9]+", "#", name)
  kinds = {blank(name) for name in wanted}
  names = {full.removeprefix(_PREFIX) for full in variables}
  more = [n for n in names - wanted.keys() if blank(n) in kinds]
  if more:
    raise types.InputError(
      f"the released weights hold {max(more)!r}, which a graph of"
      f" {option}={size} has not: check {option}."
    )
