"""Whether a gradient is on the other side of a step, or wrong.

The gradient has a step wherever the input of a ReLU is 0. Among the 1e5 such
inputs of a case a few lie so near to 0 that rounding decides on their side, and
the release may decide otherwise than we do: its gradient is then up to 1e-2
away in every layer before.

Float64 tells this from an error. Of our network's ReLUs in float64, those whose
inputs are within 1e-5 of 0 (of their standard deviation) are the ones that
float32 may put on either side. A gradient is on the other side of steps if ours
in float64, with some of these ReLUs put on their other side, agrees with it.
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
_NEAR = 1e-5  # of the standard deviation of a ReLU's input
_MOST = 8  # inputs that are noted at each ReLU
_RELUS = 500  # room for so many ReLUs in a network
_LEAST = 1e-5  # of the whole gradient's norm: less may be rounding alone


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
    self._near: list[tuple[int, float]] = []
    self._start: dict[str, np.ndarray] | None = None
    self._tried: dict[tuple[int, float], dict[str, np.ndarray]] = {}

  def closest(self, target: Named) -> tuple[Named, int]:
    """The float64 gradient that is closest to a float32 one.

    Args:
      target: gradients, by name; of all variables that shall agree.

    Returns:
      The gradient by name, and how many ReLUs' thresholds were moved for it.
    """
    if self._start is None:
      self._start = self._gradient({})
    norms = vectors_lib.norms(target, least=_LEAST)

    def flat(one: Named, other: Named) -> np.ndarray:
      parts = [np.ravel(one[n] - other[n]) / norms[n] for n in norms]
      return np.concatenate(parts)

    rest = flat(self._start, target)
    moved: dict[int, tuple[float, np.ndarray]] = {}
    # Far from each other, ReLUs add up: each is tried alone.
    for at, threshold in self._candidates():
      if (at, threshold) not in self._tried:
        self._tried[at, threshold] = self._gradient({at: threshold})
      change = flat(self._tried[at, threshold], self._start)
      other = rest + change - (moved[at][1] if at in moved else 0.0)
      if np.linalg.norm(other) < np.linalg.norm(rest):
        rest, moved[at] = other, (threshold, change)
    if not moved:
      return self._start, 0
    return self._gradient({at: t for at, (t, _) in moved.items()}), len(moved)

  def _candidates(self) -> list[tuple[int, float]]:
    """Thresholds that put one more input of a ReLU on its other side."""
    return [
      # A ReLU passes what is greater than its threshold.
      (at, x if x > 0 else float(np.nextafter(x, -np.inf)))
      for at, x in sorted(self._near, key=lambda pair: abs(pair[1]))
    ]

  def _gradient(self, moved: Mapping[int, float]) -> dict[str, np.ndarray]:
    thresholds = np.zeros(_RELUS)
    for at, threshold in moved.items():
      thresholds[at] = threshold
    wide = lambda a: a.astype(np.float64) if a.dtype == np.float32 else a
    noted, self._near = self._near, []
    with jax.enable_x64(True), image_ops.using("plain"):
      inputs = jax.tree.map(wide, self._inputs)
      gradient = self._write(self._program(thresholds, inputs))
      jax.effects_barrier()
    # What is near to 0 is noted where no threshold is moved.
    self._near = noted if moved else self._near
    return gradient

  def _run(self, thresholds: jax.Array, inputs: Any) -> Any:
    """The step, with a threshold for each ReLU in the order of tracing."""
    numbers = itertools.count()

    def relu(x: jax.Array) -> jax.Array:
      at = next(numbers)
      flat = lax.stop_gradient(x).reshape(-1)
      _, where = lax.top_k(-jnp.abs(flat), min(_MOST, flat.size))
      jax.debug.callback(
        functools.partial(self._note, at),
        flat[where],
        jnp.std(flat),
      )
      return jnp.where(x > thresholds[at], x, 0.0)

    with mock.patch.object(jax.nn, "relu", relu):
      return self._step(inputs)

  def _note(self, at: int, values: np.ndarray, std: np.ndarray) -> None:
    near = np.asarray(values)[np.abs(values) <= _NEAR * std]
    self._near += [(at, float(x)) for x in near]


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
