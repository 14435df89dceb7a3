"""Whether a gradient is on the other side of a step, or wrong.

The gradient has a step wherever the input of a ReLU is 0. Among the 1e5 such
inputs of a case a few lie so near to 0 that rounding decides on their side, and
the release may decide otherwise than we do: its gradient is then up to 1e-2
away in every layer before.

Float64 tells this from an error. Of our network's ReLUs in float64, those whose
inputs are within 1e-4 of 0 (of their standard deviation) are the ones that
float32 may put on either side: small batches make batch norm widen roundings by
that much. A gradient is on the other side of steps if ours in float64, with
some of these put on their other side, agrees with it. No choice of sides hides
an error: there are a few dozen, and a gradient has 1e5 numbers.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax.nn import image_ops
from tests.golden import vectors as vectors_lib

Named = Mapping[str, np.ndarray]
_NEAR = 1e-4  # of the standard deviation of a ReLU's inputs
_TRIED = 16  # the nearest inputs: a gradient for each takes a second or more
_MOST = 4  # inputs that are noted each time that a ReLU is run
_RELUS, _ROOM = 500, 12  # ReLUs in a network, inputs that cross in each
_LEAST = 1e-5  # of the whole gradient's norm: less may be rounding alone
# A ReLU, in the order of tracing, and the input that has a side.
Unit = tuple[int, float]


class Exact:
  """Our gradient in float64, with ReLUs on either side of their steps."""

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
    self._step, self._write = step, write
    self._inputs = jax.tree.map(np.asarray, inputs)
    self._program = vectors_lib.compiled(self._run)
    self._near: set[Unit] = set()
    # By the one unit that is on its other side, or none.
    self._known: dict[frozenset[Unit], Named] = {}

  def closest(self, target: Named) -> tuple[Named, int]:
    """The float64 gradient that is closest to a float32 one.

    Args:
      target: gradients, by name; of all variables that shall agree.

    Returns:
      The gradient by name, and how many ReLUs are on their other side in it.
    """
    start = self._gradient(frozenset())
    norms = vectors_lib.norms(target, least=_LEAST)

    def difference(one: Named, other: Named) -> np.ndarray:
      parts = [np.ravel(one[n] - other[n]) / norms[n] for n in norms]
      return np.concatenate(parts)

    rest, crossed = difference(start, target), set()
    # Units add up nearly, so each is tried alone.
    nearest = sorted(self._near, key=lambda unit: abs(unit[1]))
    for unit in nearest[:_TRIED]:
      change = difference(self._gradient(frozenset({unit})), start)
      if np.linalg.norm(rest + change) < np.linalg.norm(rest):
        rest = rest + change
        crossed.add(unit)
    return self._gradient(frozenset(crossed)), len(crossed)

  def _gradient(self, crossed: frozenset[Unit]) -> Named:
    """The gradient with these units on their other sides."""
    if crossed in self._known:
      return self._known[crossed]
    sides = np.full((_RELUS, _ROOM), np.nan)
    for at, units in itertools.groupby(sorted(crossed), lambda unit: unit[0]):
      values = [value for _, value in units][:_ROOM]
      sides[at, : len(values)] = values
    wide = lambda a: a.astype(np.float64) if a.dtype == np.float32 else a
    with jax.enable_x64(True), image_ops.using("plain"):
      inputs = jax.tree.map(wide, self._inputs)
      gradient = self._write(self._program(sides, inputs))
      jax.effects_barrier()
    self._known[crossed] = gradient
    return gradient

  def _run(self, sides: jax.Array, inputs: Any) -> Any:
    """The step; `sides` [_RELUS, _ROOM] are inputs that change their side."""
    numbers = itertools.count()

    def relu(x: jax.Array) -> jax.Array:
      at, given = next(numbers), lax.stop_gradient(x)
      jax.debug.callback(functools.partial(self._note, at), given)
      # Values stay as they are, so an input is known again by its value.
      changes = jnp.any(given[..., None] == sides[at], axis=-1)
      passed = (given > 0) != changes
      return jnp.maximum(given, 0.0) + passed * (x - given)

    with mock.patch.object(jax.nn, "relu", relu):
      return self._step(inputs)

  def _note(self, at: int, given: jax.Array) -> None:
    if self._known:  # values are the same each time
      return
    values = np.asarray(given)
    # What is exactly 0 is so for the release, too.
    near = (values != 0) & (np.abs(values) <= _NEAR * values.std())
    nearest = sorted(map(float, values[near]), key=abs)[:_MOST]
    self._near |= {(at, value) for value in nearest}


def compare(
  checks: vectors_lib.Checks,
  ours: Named,
  exact: Exact,
  label: str = "",
  group: vectors_lib.Arrays | None = None,
) -> None:
  """Compares a gradient with the case's, and in float64 where it disagrees.

  A tensor that disagrees is accepted if float64 comes as near as a gradient
  must, with the sides of ReLUs that suit the release, to the release's; and
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
        note = f"in float64, ReLU steps crossed: {crossed} by it, {own} by us"
        float32 = dataclasses.replace(float64, name=float32.name, note=note)
    checks.done.append(float32)
