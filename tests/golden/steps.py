"""Whether a gradient is on the other side of a step, or wrong.

The gradient has a step wherever the input of a ReLU is 0, or the two largest
inputs of a max pool are equal. Among the 1e6 such places of a case a few lie so
near that rounding decides on their side, and the release may decide otherwise
than we do: its gradient is then up to 1e-1 away in every layer before.

Float64 tells this from an error. Weights and images are moved by a few
roundings of float32. How far that moves the number that a place decides by says
whether float32 may put the place on either side. A gradient is on the other
side of steps if ours in float64 agrees with it, once some of these numbers are
on their other side. No choice of sides hides an error: there are a hundred
numbers, each changes many tensors at once, and a gradient has 1e5 values.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.nn import image_ops
from tests.golden import vectors as vectors_lib

Named = Mapping[str, np.ndarray]
_MOVE = 1e-6  # of a number: a few roundings of float32
_NEAR = 10  # times as far as that moves it: farther is beyond roundings
# The nearest numbers are tried, these many and, where they do not do, more: a
# gradient for each takes a second.
_TRIED = (8, 16, 32, 64, 128)
_ROOM = 2048  # places on their other side, at most: 16 for each number tried
_LEAST = 1e-5  # of the whole gradient's norm: less may be rounding alone
# A step, in the order of tracing, and the place in it.
Place = tuple[int, int]
# All places that decide by one number: a node goes through a ReLU for each
# operation that takes it, and two pixels meet in several windows of a max pool.
Number = tuple[Place, ...]


class Sides:
  """Decides at every ReLU and max pool of a network while it is traced.

  Attributes:
    margins: of each what it decides by, [B, H, W, C] floats: a ReLU's input; by
      how much the largest input of a max pool is larger than the next.
  """

  def __init__(self, crossed: types.Array) -> None:
    """Decides as the network does, or otherwise in places.

    Args:
      crossed: [_ROOM, 2] int32, each row a `Place` that is to be on its other
        side, where a max pool takes the next largest; rows of -1 are none.
    """
    self.margins: list[types.Array] = []
    self._crossed = crossed

  def relu(self, x: types.Array) -> types.Array:
    """`jax.nn.relu`, whose gradient takes the side that is decided."""
    given = lax.stop_gradient(x)
    passed = (given > 0) ^ self._decide(given)
    # Values stay as they are, so that one place moves no other.
    return jnp.maximum(given, 0.0) + passed * (x - given)

  def max_pool(self, x: types.Array, stride: int) -> types.Array:
    """`image_ops.max_pool`, whose gradient goes where it is decided."""
    taps = _taps(x, stride)
    given = lax.stop_gradient(taps)
    # Of equals the first, here and in the release.
    first, largest = jnp.argmax(given, axis=0), jnp.max(given, axis=0)
    number = jnp.arange(len(taps)).reshape(-1, 1, 1, 1, 1)
    others = jnp.where(number == first, -jnp.inf, given)
    flipped = self._decide(largest - jnp.max(others, axis=0))
    taken = jnp.where(flipped, jnp.argmax(others, axis=0), first)
    picked = jnp.take_along_axis(taps, taken[None], axis=0)[0]
    return largest + (picked - lax.stop_gradient(picked))

  def _decide(self, margins: types.Array) -> types.Array:
    """Where the next step is on its other side: bool, shaped like margins."""
    at, places = self._crossed.T
    here = jnp.where(at == len(self.margins), places, margins.size)
    self.margins.append(margins)
    nowhere = jnp.zeros(margins.size, bool)
    return nowhere.at[here].set(True, mode="drop").reshape(margins.shape)


def _taps(x: types.Array, stride: int) -> types.Array:
  """[9, B, H', W', C]: what the places of each 3x3 window meet."""
  chex.assert_rank(x, 4)
  window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
  pads = lax.padtype_to_pads(x.shape, window, strides, "SAME")
  padded = jnp.pad(x, pads, constant_values=-jnp.inf)
  batch, height, width, channels = padded.shape
  return jnp.stack(
    [
      lax.slice(
        padded,
        (0, row, column, 0),
        (batch, height - 2 + row, width - 2 + column, channels),
        strides,
      )
      for row in range(3)
      for column in range(3)
    ]
  )


def _decided(
  step: Callable[[Any], Any], inputs: Any, crossed: types.Array
) -> tuple[Any, list[types.Array]]:
  """A gradient, and the margins on the way; to be traced.

  Args:
    step: inputs -> the gradient, a pytree.
    inputs: pytree of float arrays, weights and images.
    crossed: see `Sides`.
  """
  sides = Sides(crossed)
  pooled = image_ops._PLAIN._replace(max_pool=sides.max_pool)
  with (
    # What is a `jit` of its own would be traced once for several steps.
    jax.disable_jit(),
    image_ops.using("plain"),
    mock.patch.object(image_ops, "_PLAIN", pooled),
    mock.patch.object(jax.nn, "relu", sides.relu),
  ):
    return step(inputs), sides.margins


class Exact:
  """Our gradient in float64, on either side of its steps."""

  def __init__(
    self,
    step: Callable[[Any], Any],
    inputs: Any,
    write: Callable[[Any], dict[str, np.ndarray]],
  ) -> None:
    """Prepares; nothing is computed before it is asked for.

    Args:
      step: inputs -> the gradient, a pytree; to be traced.
      inputs: pytree of float32 arrays, weights and images.
      write: the gradient -> by the release's names.
    """
    self._write = write
    self._program = vectors_lib.compiled(
      functools.partial(_decided, step), level=1
    )
    self._inputs = jax.tree.map(_widened, inputs)
    self._nearest: list[Number] | None = None
    # By the numbers that are on their other side; none is tried twice.
    self._known: dict[frozenset[Number], Named] = {}

  def closest(self, target: Named) -> tuple[Named, int]:
    """The float64 gradient that is closest to a float32 one.

    The number that helps most changes its side, and the search starts anew from
    there. So a number that helps by chance goes back once it no longer does.

    Args:
      target: gradients, by name; of all variables that shall agree.

    Returns:
      The gradient by name, and how many numbers are on their other side in it.
    """
    errors = _Errors(target)
    crossed: frozenset[Number] = frozenset()
    rest = errors.of(self._gradient(crossed))
    changes: dict[Number, np.ndarray] = {}
    for tried in _TRIED:
      if not errors.beyond(rest):
        break
      start = self._gradient(frozenset())
      for number in self.nearest()[len(changes) : tried]:
        other = self._gradient(frozenset({number}))
        changes[number] = errors.between(other, start)
      while changes and errors.beyond(rest):
        # Numbers add up nearly, so the change of each is computed once.
        left = {
          number: errors.beyond(rest + (-1) ** (number in crossed) * change)
          for number, change in changes.items()
        }
        other_side = crossed ^ {min(left, key=left.__getitem__)}
        nearer = errors.of(self._gradient(other_side))
        if errors.beyond(nearer) >= errors.beyond(rest):
          break
        crossed, rest = other_side, nearer
    return self._gradient(crossed), len(crossed)

  def nearest(self) -> list[Number]:
    """What roundings may put on the other side, the nearest first."""
    if self._nearest is None:
      rng = np.random.default_rng(0)
      beside = jax.tree.map(lambda a: _moved(rng, a), self._inputs)
      given, other = (
        self._run(i, frozenset())[1] for i in (self._inputs, beside)
      )
      numbers = collections.defaultdict(list)
      nearness = collections.defaultdict(lambda: np.inf)
      for at, (margins, there) in enumerate(zip(given, other, strict=True)):
        ratios = _nearness(margins, there)
        for place in np.flatnonzero(ratios <= _NEAR):
          # Values are the same for all that read a number.
          margin = margins.flat[place]
          numbers[margin].append((at, int(place)))
          nearness[margin] = min(nearness[margin], ratios[place])
      ordered = sorted(numbers, key=nearness.__getitem__)
      self._nearest = [tuple(numbers[margin]) for margin in ordered]
    return self._nearest

  def _gradient(self, crossed: frozenset[Number]) -> Named:
    """The gradient with these numbers on their other sides."""
    if crossed not in self._known:
      self._known[crossed] = self._write(self._run(self._inputs, crossed)[0])
    return self._known[crossed]

  def _run(
    self, inputs: Any, crossed: frozenset[Number]
  ) -> tuple[Any, list[np.ndarray]]:
    places = np.full((_ROOM, 2), -1, np.int32)
    for row, place in enumerate(itertools.chain(*crossed)):
      places[row] = place
    with jax.enable_x64(True):
      return jax.tree.map(np.asarray, self._program(inputs, places))


class _Errors:
  """How far gradients are from one, in units of its tensors' norms."""

  def __init__(self, target: Named) -> None:
    self._target = target
    self._norms = vectors_lib.norms(target, least=_LEAST)
    sizes = [target[name].size for name in self._norms]
    self._starts = np.cumsum([0, *sizes[:-1]])

  def of(self, gradient: Named) -> np.ndarray:
    return self.between(gradient, self._target)

  def between(self, one: Named, other: Named) -> np.ndarray:
    """The difference of two gradients, flat."""
    return np.concatenate(
      [np.ravel(one[n] - other[n]) / norm for n, norm in self._norms.items()]
    )

  def beyond(self, difference: np.ndarray) -> float:
    """How far tensors are beyond the tolerance: 0 if all agree.

    Orders of magnitude are summed, so that a tensor that is wrong altogether
    does not outweigh those that a step explains.
    """
    errors = np.sqrt(np.add.reduceat(difference**2, self._starts))
    ratios = errors / vectors_lib.GRADIENT_TOLERANCE
    return float(np.log(np.maximum(ratios, 1.0)).sum())


def _widened(array: Any) -> np.ndarray:
  array = np.asarray(array)
  return array.astype(np.float64) if array.dtype == np.float32 else array


def _moved(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
  if array.dtype != np.float64:
    return array
  return array * (1 + _MOVE * rng.normal(size=array.shape))


def _nearness(margins: np.ndarray, others: np.ndarray) -> np.ndarray:
  """How far places are from their step, in deviations of what moves them.

  Args:
    margins: [..., C] float64.
    others: [..., C] float64, the same for inputs moved by roundings.

  Returns:
    [...C] float64, flat; infinite where a margin is exactly 0, since it is so
    for the release, too.
  """
  # Batch norm widens roundings by another factor in each channel.
  axes = tuple(range(margins.ndim - 1))
  deviations = np.sqrt(np.mean((others - margins) ** 2, axis=axes))
  with np.errstate(divide="ignore", invalid="ignore"):
    ratios = np.abs(margins) / deviations
  return np.where(margins == 0, np.inf, ratios).ravel()


def compare(
  checks: vectors_lib.Checks,
  ours: Named,
  exact: Exact,
  label: str = "",
  group: vectors_lib.Arrays | None = None,
) -> None:
  """Compares a gradient with the case's, and in float64 where it disagrees.

  A tensor that disagrees is accepted if float64 comes as near as a gradient
  must, with the sides of steps that suit the release, to the release's; and
  with the sides that suit ours, to ours. Its line says so.

  Args:
    checks: the case's.
    ours: our gradient in float32 by the release's names.
    exact: the same gradient in float64.
    label: put before the names in the report.
    group: holds "grad/" + the variable's name, if not the case's gradients.
  """
  grads = group or checks.vectors.grads
  assert grads is not None
  given = checks.compare_tensors(grads, "grad/", ours, label)
  if all(comparison.ok for comparison in given):
    checks.done += given
    return
  golden = grads.take_all("grad/")
  theirs, crossed = exact.closest(golden)
  nearest, own = exact.closest({name: ours[name] for name in golden})
  by_theirs = checks.compare_tensors(grads, "grad/", theirs, label)
  for float32, float64 in zip(given, by_theirs, strict=True):
    name = float32.name.removeprefix(f"{label}grad/")
    if not float32.ok and float64.ok:
      norm = vectors_lib.norms(golden)[name]
      error = np.linalg.norm(nearest[name] - ours[name]) / norm
      if error <= vectors_lib.GRADIENT_TOLERANCE:
        note = f"in float64, steps crossed: {crossed} by it, {own} by us"
        float32 = dataclasses.replace(float64, name=float32.name, note=note)
    checks.done.append(float32)
