"""Whether a gradient is on the other side of a step, or wrong.

The gradient has a step wherever the input of a ReLU is 0, or two inputs of a
max pool are the largest. Among the 1e6 such places of a case a few lie so near
that rounding decides on their side, and the release may decide otherwise than
we do: its gradient is then up to 1e-2 away in every layer before.

Float64 tells this from an error. Weights and images are moved by a few
roundings of float32. How far that moves the number that a place decides by says
whether float32 may put the place on either side. A gradient is on the other
side of steps if ours in float64 agrees with it, once some of these places are
on their other side. No choice of sides hides an error: there are a few dozen at
most, and a gradient has 1e5 numbers.

`rounding` says how often roundings cross a step.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
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
_TRIED = 32  # the nearest numbers: a gradient for each takes a second
_LEAST = 1e-5  # of the whole gradient's norm: less may be rounding alone
# A step, in the order of tracing, and the place in it.
Place = tuple[int, int]


class Step(NamedTuple):
  """What one ReLU or max pool decides, everywhere in its output.

  Attributes:
    sides: bool, whether a ReLU lets its input pass; int, of a max pool which of
      the window's inputs is the largest.
    margins: what decides: a ReLU's input; by how much the largest input is
      larger than the next.
  """

  sides: types.Array
  margins: types.Array


class Sides:
  """Decides at every step of a network while it is traced."""

  def __init__(self, flips: list[types.Array] | None = None) -> None:
    """Decides as the network does, or otherwise in places.

    Args:
      flips: of each step, bool of its output's shape, where it is to be on its
        other side; a max pool takes the next largest. None is nowhere.
    """
    self.steps: list[Step] = []
    self._flips = flips

  def relu(self, x: types.Array) -> types.Array:
    """`jax.nn.relu`, whose gradient takes the side that is decided."""
    given = lax.stop_gradient(x)
    passed = given > 0
    flipped = self._decide(Step(passed, given))
    # Values stay as they are, so that one place moves no other.
    return jnp.maximum(given, 0.0) + (passed ^ flipped) * (x - given)

  def max_pool(self, x: types.Array, stride: int) -> types.Array:
    """`image_ops.max_pool`, whose gradient goes where it is decided."""
    taps = _taps(x, stride)
    given = lax.stop_gradient(taps)
    # Of equals the first, here and in the release.
    first, largest = jnp.argmax(given, axis=0), jnp.max(given, axis=0)
    number = jnp.arange(len(taps)).reshape(-1, 1, 1, 1, 1)
    others = jnp.where(number == first, -jnp.inf, given)
    flipped = self._decide(Step(first, largest - jnp.max(others, axis=0)))
    taken = jnp.where(flipped, jnp.argmax(others, axis=0), first)
    picked = jnp.take_along_axis(taps, taken[None], axis=0)[0]
    return largest + (picked - lax.stop_gradient(picked))

  def _decide(self, step: Step) -> types.Array | bool:
    self.steps.append(step)
    return False if self._flips is None else self._flips[len(self.steps) - 1]


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


def decided(
  step: Callable[[Any], Any], inputs: Any, flips: list[types.Array] | None
) -> tuple[Any, list[Step]]:
  """A gradient, and what was decided on the way; to be traced.

  Args:
    step: inputs -> the gradient, a pytree.
    inputs: pytree of float arrays, weights and images.
    flips: see `Sides`.
  """
  sides = Sides(flips)
  pooled = image_ops._PLAIN._replace(max_pool=sides.max_pool)
  with (
    # What is a `jit` of its own would be traced once for several steps.
    jax.disable_jit(),
    image_ops.using("plain"),
    mock.patch.object(image_ops, "_PLAIN", pooled),
    mock.patch.object(jax.nn, "relu", sides.relu),
  ):
    return step(inputs), sides.steps


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
      lambda inputs, flips: decided(step, inputs, flips), level=1
    )
    self._shape = lambda inputs: decided(step, inputs, None)[1]
    self._inputs = jax.tree.map(widened, inputs)
    self._steps: list[Step] = []  # shapes alone, once they are known
    self._nearest: list[tuple[Place, ...]] | None = None
    # By the places that are on their other side; none is tried twice.
    self._known: dict[tuple[Place, ...], Named] = {}

  def closest(self, target: Named) -> tuple[Named, int]:
    """The float64 gradient that is closest to a float32 one.

    Args:
      target: gradients, by name; of all variables that shall agree.

    Returns:
      The gradient by name, and how many numbers are on their other side in it.
    """
    start = self._gradient(())
    norms = vectors_lib.norms(target, least=_LEAST)

    def difference(one: Named, other: Named) -> np.ndarray:
      parts = [np.ravel(one[n] - other[n]) / norms[n] for n in norms]
      return np.concatenate(parts)

    ends = np.cumsum([target[n].size for n in norms])[:-1]
    rest = difference(start, target)
    crossed: list[tuple[Place, ...]] = []
    # Numbers add up nearly, so each is tried alone.
    for places in self.nearest():
      errors = map(np.linalg.norm, np.split(rest, ends))
      if max(errors) <= vectors_lib.GRADIENT_TOLERANCE:
        break
      change = difference(self._gradient(places), start)
      if np.linalg.norm(rest + change) < np.linalg.norm(rest):
        rest = rest + change
        crossed.append(places)
    return self._gradient(sum(crossed, ())), len(crossed)

  def nearest(self) -> list[tuple[Place, ...]]:
    """What roundings may put on the other side, the nearest first.

    A number that several places decide by is on one side in all of them: a node
    goes through a ReLU for each operation that takes it.
    """
    if self._nearest is None:
      rng = np.random.default_rng(0)
      beside = jax.tree.map(lambda a: moved(rng, a), self._inputs)
      given, other = (self._run(i, ())[1] for i in (self._inputs, beside))
      places = collections.defaultdict(list)
      nearness = collections.defaultdict(lambda: np.inf)
      for at, (step, there) in enumerate(zip(given, other, strict=True)):
        ratios = _nearness(step.margins, there.margins)
        for place in np.flatnonzero(ratios <= _NEAR):
          margin = step.margins.flat[place]
          places[margin].append((at, int(place)))
          nearness[margin] = min(nearness[margin], ratios[place])
      first = sorted(places, key=nearness.__getitem__)[:_TRIED]
      self._nearest = [tuple(places[margin]) for margin in first]
    return self._nearest

  def _gradient(self, crossed: tuple[Place, ...]) -> Named:
    """The gradient with these places on their other sides."""
    if crossed not in self._known:
      self._known[crossed] = self._write(self._run(self._inputs, crossed)[0])
    return self._known[crossed]

  def _run(
    self, inputs: Any, crossed: tuple[Place, ...]
  ) -> tuple[Any, list[Step]]:
    with jax.enable_x64(True):
      self._steps = self._steps or jax.eval_shape(self._shape, inputs)
      flips = [np.zeros(step.sides.shape, bool) for step in self._steps]
      for at, place in crossed:
        flips[at].flat[place] = True
      return jax.tree.map(np.asarray, self._program(inputs, flips))


def widened(array: Any) -> np.ndarray:
  array = np.asarray(array)
  return array.astype(np.float64) if array.dtype == np.float32 else array


def moved(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
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
