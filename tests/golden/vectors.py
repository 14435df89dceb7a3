"""Vector files, and how our numbers are compared with theirs.

A case is `NAME.npz` (weights, inputs, outputs) with `NAME.json` (which case,
its configuration) and, if they exist, `NAME.grads.npz` (gradients and one
training step) and `NAME.f64.npz` (float64 outputs `<output>_f64`, and the
release's own float32 error of each architecture, `tf_err_<output>`).
"""

import dataclasses
import json
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from enas_jax import types

TOLERANCE = 1e-4  # largest absolute error of an output
STATISTICS_TOLERANCE = 5e-5  # of the array's largest value, where that is more
ROUNDING = 3  # times the release's own float32 error, where that is more
GRADIENT_TOLERANCE = 1e-3  # error norm over the tensor's norm
# A tensor that gets no gradient has no norm to compare with: ours may be this
# much of the norm of the whole gradient, which is float32 noise.
ZERO_TOLERANCE = 1e-6

_COMPANIONS = ("grads", "f64")


def compiled(
  function: Callable[..., Any], *, level: int = 0
) -> Callable[..., Any]:
  """`jax.jit`, compiled in a third of the time on CPU.

  Programs run a few times here, so LLVM's optimiser would cost far more than
  it saves. XLA's own passes are the usual ones.

  Args:
    function: what to compile.
    level: of LLVM's optimiser. 1 pays for a program that runs six times: it
      compiles in twice the time and runs in a tenth.
  """
  if jax.default_backend() != "cpu":
    return jax.jit(function)
  options = {"xla_backend_optimization_level": level}
  return jax.jit(function, compiler_options=options)


class Arrays:
  """The arrays of one file, which remembers those that were asked for."""

  def __init__(self, path: pathlib.Path) -> None:
    self.file = path.name
    self._arrays = _load(path)
    self._taken: set[str] = set()

  def __contains__(self, name: str) -> bool:
    return name in self._arrays

  def take(self, name: str) -> np.ndarray:
    if name not in self._arrays:
      raise types.InputError(f"{self.file} has no array {name!r}.")
    self._taken.add(name)
    return self._arrays[name]

  def take_all(self, prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose name starts so, without the prefix."""
    names = [name for name in self._arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): self.take(name) for name in names}

  def left(self) -> list[str]:
    """Numbers that nothing asked for."""
    return [
      name
      for name, array in self._arrays.items()
      if name not in self._taken and array.dtype.kind not in "US"
    ]


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    file = np.load(path, allow_pickle=False)
    # A lone array is what an .npy file holds.
    if not isinstance(file, np.ndarray):
      with file:
        return {name: file[name] for name in file.files}
  except FileNotFoundError:
    raise types.InputError(f"there is no file {path}.") from None
  except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as e:
    reason = " ".join(str(e).split())
    raise types.InputError(f"{path} is not an .npz file: {reason}") from None
  raise types.InputError(f"{path} is not an .npz file but a lone array.")


@dataclasses.dataclass(frozen=True)
class Vectors:
  """One case.

  Attributes:
    stem: the name of its files, without endings.
    case: what was run, e.g. "ptb_child_search_N4".
    config: with what options.
    main: inputs, weights and outputs.
    grads: gradients, or None.
    f64: float64 outputs, or None.
  """

  stem: str
  case: str
  config: Mapping[str, Any]
  main: Arrays
  grads: Arrays | None
  f64: Arrays | None

  def number(self, name: str, default: float | None = None) -> float:
    """A number of the configuration; a null is like a missing one."""
    value = self.config.get(name)
    if value is None:
      value = default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      raise types.InputError(
        f"{self.stem}.json: config.{name} must be a number, got {value!r}."
      )
    return value

  def integer(self, name: str) -> int:
    value = self.number(name)
    if not isinstance(value, int) or value < 1:
      raise types.InputError(
        f"{self.stem}.json: config.{name} must be a positive integer, got"
        f" {value!r}."
      )
    return value


def main_file(name: str) -> pathlib.Path:
  """The case's main file; `NAME.grads.npz` and `NAME.f64.npz` mean NAME.npz.

  So that `*.npz` may be given.
  """
  path = pathlib.Path(name)
  if path.suffix != ".npz":
    raise types.InputError(f"{name} is not an .npz file.")
  for companion in _COMPANIONS:
    if path.stem.endswith(f".{companion}"):
      return path.with_name(path.stem.removesuffix(companion) + "npz")
  return path


def read(path: pathlib.Path) -> Vectors:
  """Reads a main file and its companions."""
  main = Arrays(path)
  described = path.with_suffix(".json")
  try:
    record = json.loads(described.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise types.InputError(
      f"there is no file {described}, which says what {path.name} holds."
    ) from None
  except (OSError, ValueError) as error:
    raise types.InputError(f"{described} is not JSON: {error}.") from None
  if not isinstance(record, dict):
    raise types.InputError(f"{described} must hold a JSON object.")
  case, config = record.get("case"), record.get("config")
  if not isinstance(case, str) or not isinstance(config, dict):
    raise types.InputError(
      f"{described} must have a string `case` and an object `config`."
    )
  found = {
    companion: Arrays(other)
    for companion in _COMPANIONS
    if (other := path.with_suffix(f".{companion}.npz")).exists()
  }
  return Vectors(
    path.stem, case, config, main, found.get("grads"), found.get("f64")
  )


@dataclasses.dataclass(frozen=True)
class Comparison:
  """One output, ours against the release's.

  Attributes:
    name: the array's name in the file; `static/...` where our architecture was
      compiled in instead of traced.
    measure: what `error` is.
    error: how far we are.
    tolerance: how far we may be.
    note: what else is to be said; see `steps`.
  """

  name: str
  measure: str
  error: float
  tolerance: float
  note: str = ""

  @property
  def ok(self) -> bool:
    # Not `error > tolerance`: a NaN is no agreement.
    return bool(self.error <= self.tolerance)

  def __str__(self) -> str:
    note = f"  ({self.note})" if self.note else ""
    return (
      f"{self.name:<48} {self.measure} {self.error:.2e}"
      f"  tolerance {self.tolerance:.2e}{note}  {'OK' if self.ok else 'FAIL'}"
    )


class Checks:
  """The comparisons of one case."""

  def __init__(self, vectors: Vectors) -> None:
    self.vectors = vectors
    self.done: list[Comparison] = []
    self.absent: dict[str, None] = {}  # in order, and once

  def outputs(
    self, ours: Mapping[str, Any], arcs: Iterable[int] | None = None
  ) -> None:
    """Compares outputs whose first axis is the architecture.

    Args:
      ours: by the name in the main file.
      arcs: the rows of the file's arrays that `ours` has, and that are static;
        None is all of them, traced.
    """
    main, f64 = self.vectors.main, self.vectors.f64
    rows = None if arcs is None else list(arcs)
    prefix = "" if rows is None else "static/"
    for name, value in ours.items():
      if name not in main:
        self.absent[name] = None
        continue
      golden = main.take(name)
      limit = np.full(golden.shape[:1], TOLERANCE)
      if f64 is not None and f"tf_err_{name}" in f64:
        own = f64.take(f"tf_err_{name}")
        self._same_shape(f"tf_err_{name}", limit, own)
        limit = np.maximum(limit, ROUNDING * own)
        if f"{name}_f64" in f64:
          golden = f64.take(f"{name}_f64")
      if rows is not None:
        golden, limit = golden[rows], limit[rows]
      self._outputs(prefix + name, np.asarray(value), golden, limit)

  def statistics(self, ours: Mapping[str, Any]) -> None:
    """Compares moving statistics, each channel of each.

    A variance of 20 has roundings 20 times as big as one of 1.
    """
    for name, value in ours.items():
      if name not in self.vectors.main:
        self.absent[name] = None
        continue
      golden = self.vectors.main.take(name)
      largest = np.max(np.abs(golden), initial=0.0)
      limit = max(TOLERANCE, STATISTICS_TOLERANCE * largest)
      limits = np.full(golden.shape[:1], limit)
      self._outputs(name, np.asarray(value), golden, limits)

  def _outputs(
    self, name: str, ours: np.ndarray, golden: np.ndarray, limit: np.ndarray
  ) -> None:
    self._same_shape(name, ours, golden)
    difference = np.abs(ours.astype(np.float64) - golden)
    errors = difference.reshape(len(golden), -1).max(axis=1)
    # The largest error, of those beyond their tolerance if there are any.
    beyond = ~(errors <= limit)
    worst = int(np.argmax(np.where(beyond, errors, -1.0)))
    if not beyond.any():
      worst = int(np.argmax(errors))
    self._add(name, "largest error", errors[worst], limit[worst])

  def scalar(self, group: Arrays, name: str, ours: Any) -> None:
    """Compares one number."""
    if name not in group:
      self.absent[name] = None
      return
    golden, value = group.take(name), np.asarray(ours)
    self._same_shape(name, value, golden)
    error = abs(float(value) - float(golden))
    self._add(name, "largest error", error, TOLERANCE)

  def tensors(
    self, group: Arrays, prefix: str, ours: Mapping[str, Any], label: str = ""
  ) -> None:
    """Compares gradients, or steps, by the norm of each tensor.

    Args:
      group: holds `prefix` + the variable's name.
      prefix: e.g. "grad/".
      ours: by the variable's name; must hold every variable of the file.
      label: put before the names in the report.
    """
    if not group.take_all(prefix):
      self.absent[f"{prefix}*"] = None
    self.done += self.compare_tensors(group, prefix, ours, label)

  def compare_tensors(
    self, group: Arrays, prefix: str, ours: Mapping[str, Any], label: str = ""
  ) -> list[Comparison]:
    """What `tensors` finds, without entering it among what is done."""
    golden, found = group.take_all(prefix), []
    unknown = sorted(set(golden) - set(ours))
    if unknown:
      raise types.InputError(
        f"{group.file} holds {prefix + unknown[0]!r}, which this case has not."
      )
    self.absent |= {prefix + name: None for name in ours if name not in golden}
    scale = norms(golden)
    for name, array in golden.items():
      value = np.asarray(ours[name], np.float64)
      self._same_shape(prefix + name, value, array)
      tolerance = GRADIENT_TOLERANCE if np.any(array) else ZERO_TOLERANCE
      error = _norm(value - array) / scale[name]
      found.append(
        Comparison(label + prefix + name, "relative norm", error, tolerance)
      )
    return found

  def _same_shape(
    self, name: str, ours: np.ndarray, golden: np.ndarray
  ) -> None:
    if ours.shape != golden.shape:
      raise types.InputError(
        f"{self.vectors.stem}: {name} must have the shape {list(ours.shape)},"
        f" got {list(golden.shape)}."
      )

  def _add(self, name: str, measure: str, error: Any, limit: Any) -> None:
    self.done.append(Comparison(name, measure, float(error), float(limit)))


def norms(
  arrays: Mapping[str, np.ndarray], least: float = 0.0
) -> dict[str, float]:
  """What errors of arrays are related to: their norms.

  Args:
    arrays: by name.
    least: of the norm of all arrays together, to count for a smaller one.

  Returns:
    By name; of an array of zeros the norm of all, and if that is 0, 1.
  """
  found = {name: _norm(array) for name, array in arrays.items()}
  whole = float(np.linalg.norm(list(found.values())))
  return {n: max(x, least * whole) or whole or 1.0 for n, x in found.items()}


def _norm(array: np.ndarray) -> float:
  return float(np.linalg.norm(np.asarray(array, np.float64)))
