"""The cells of NAS-Bench-201 on analog hardware, from the package of its table.

AnalogNAS-Bench (2025, `pip install analog-nasbench`) measures every cell with
quantised weights, under the noise of analog in-memory computing, and after its
weights have drifted. Its file is a pickle, which could name any code to run:
here it may name its two records, of numbers alone, and nothing else.
"""

import importlib.util
import io
import math
import pathlib
import pickle
import reprlib
from typing import Any

from enas_jax import files, types
from enas_jax.spaces.nasbench201 import arc as nasbench201

NAME = "analog-nasbench"  # the package, and what `--benchmark_table` may be
SUFFIX = ".anb"
_PACKAGE = "analognasbench"
_RECORDS = ("Architecture", "DriftMeasurement")
_OPERATIONS = (1, 0, 3, 2, 4)  # ours, by theirs
# Ours, by theirs: they number the edges by where they begin.
_EDGES = (0, 1, 3, 2, 4, 5)
_MOST_BYTES = 100_000_000  # it has 5.6 million


class _Record:
  """Attributes, without a method that a file could ask for."""


class _Unpickler(pickle.Unpickler):
  """Reads plain containers of numbers and text, and `_Record`s."""

  def find_class(self, module: str, name: str) -> type[_Record]:
    """The record for either of the two names.

    Raises:
      UnpicklingError: for any other name.
    """
    if module.partition(".")[0] == _PACKAGE and name in _RECORDS:
      return _Record
    raise pickle.UnpicklingError(f"it names {module}.{name}")


def path_of_package() -> pathlib.Path:
  """The table of the installed package, which is not imported.

  Raises:
    InputError: if it is not installed.
  """
  spec = importlib.util.find_spec(_PACKAGE)
  if spec is None or spec.origin is None:
    raise types.InputError(
      # --no-deps: its file is all that is read here.
      f"the benchmark table {NAME} is not installed: pip install {NAME}"
      " --no-deps."
    )
  return pathlib.Path(spec.origin).with_name(f"data{SUFFIX}")


def read(
  path: pathlib.Path, column: str
) -> list[tuple[tuple[int, ...], float]]:
  """Reads the cells and one accuracy of each.

  Args:
    path: the package's file.
    column: an accuracy, "analog_accuracy" or such, or what a drift leaves of
      it, such as "analog_drift_3600" after so many seconds.

  Returns:
    Operations [6] of each cell, as `NasBench201Arc` has them, and its
    accuracy, per cent.

  Raises:
    InputError: if it cannot be read, lacks the column, or does not hold cells
      with accuracies in [0, 100], each once.
  """
  name = f"the benchmark table {path}"
  try:
    content = files.read_bytes(path, _MOST_BYTES)
  except types.InputError as error:
    raise types.InputError(f"the benchmark table {error}") from None
  try:
    files.check_pickle(content)
    records = _Unpickler(io.BytesIO(content)).load()
  # A damaged pickle raises nearly anything.
  except Exception as error:  # noqa: BLE001
    raise types.InputError(
      f"{name} is no table of {NAME}: {files.shown(error)[:100]}."
    ) from None
  if not isinstance(records, dict) or not records:
    raise types.InputError(f"{name} is no table of {NAME}: no records.")
  rows: dict[tuple[int, ...], float] = {}
  for record in records.values():
    values = vars(record) if isinstance(record, _Record) else {}
    if column not in values or column == "architecture":
      columns = [key for key in values if key != "architecture"]
      raise types.InputError(
        f"{name} lacks the column {column!r}; --truth_column may be one of"
        f" {', '.join(columns)}."
      )
    digits: Any = values.get("architecture")
    ops = _ops(digits, name)
    if ops in rows:
      cell = "".join(map(str, digits))
      raise types.InputError(f"{name}: the cell {cell} comes twice.")
    rows[ops] = _percent(values[column], f"{name}: {column} of {ops}")
  return list(rows.items())


def _ops(digits: object, name: str) -> tuple[int, ...]:
  """Our operations from theirs."""
  expected = range(len(_OPERATIONS))
  if (
    not isinstance(digits, tuple)
    or len(digits) != nasbench201.NUM_EDGES
    or not all(type(op) is int and op in expected for op in digits)
  ):
    raise types.InputError(
      f"{name}: a cell must be 6 integers from 0 to 4, got"
      f" {reprlib.repr(digits)}."
    )
  return tuple(_OPERATIONS[digits[edge]] for edge in _EDGES)


def _percent(value: Any, where: str) -> float:
  """An accuracy, or the mean of measurements after a drift."""
  if isinstance(value, _Record):
    value = vars(value).get("value")
  number = float(value) if isinstance(value, int | float) else math.nan
  # Written so that NaN does not pass.
  if not 0.0 <= number <= 100.0:
    raise types.InputError(
      f"{where} must be a number in [0, 100], got {reprlib.repr(value)}."
    )
  return number
