"""The true accuracies of the cells of NAS-Bench-201, from a table.

A table is a CSV file, as it is or compressed (.gz), with a row for each cell:
its column `ops` holds six digits (`NasBench201Space.to_digits`), the column
`cifar10_test_200`, or another one that is named, the accuracy in per cent.
Other columns are ignored. `analog_table` reads another form.
"""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterable, Sequence

import chex
import numpy as np

from enas_jax import files, types
from enas_jax.analysis import analog_table, placing
from enas_jax.config import fields
from enas_jax.spaces import records
from enas_jax.spaces.nasbench201 import arc as nasbench201

SPACE = nasbench201.NasBench201Space.name  # of the cells
ACCURACY = "cifar10_test_200"
_MOST_BYTES = 100_000_000  # the benchmark's whole table has less


# Compared by identity: `==` of arrays is no single truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class BenchmarkTable:
  """Cells with their accuracies.

  Attributes:
    arcs: [n, 6] int32, the operations of each cell, no cell twice.
    accuracies: [n] float64, the true accuracy of each, in per cent.
  """

  arcs: np.ndarray
  accuracies: np.ndarray

  @classmethod
  def load(
    cls, path: str | pathlib.Path, column: str = ACCURACY
  ) -> "BenchmarkTable":
    """Reads a table.

    Args:
      path: CSV file, as it is or compressed (.gz); or "analog-nasbench", the
        table of that package, or its file (.anb).
      column: the column that holds the truth, accuracies in per cent.

    Raises:
      InputError: if it cannot be read, lacks a column or has no rows, if a row
        is not a cell with an accuracy in [0, 100], or if a cell comes twice.
    """
    if str(path) == analog_table.NAME:
      path = analog_table.path_of_package()
    path = files.expand(path)
    if path.suffix == analog_table.SUFFIX:
      return cls._of_rows(analog_table.read(path, column))
    try:
      text = files.read_text(path, _MOST_BYTES)
      # newline="" is what csv asks for: a quoted field may hold line breaks.
      lines = io.StringIO(text, newline="")
      rows = _parse(lines, f"the benchmark table {path}", column)
    except csv.Error as error:
      raise types.InputError(
        f"the benchmark table {path} cannot be read: {error}."
      ) from None
    return cls._of_rows(rows)

  @classmethod
  def _of_rows(
    cls, rows: Sequence[tuple[tuple[int, ...], float]]
  ) -> "BenchmarkTable":
    arcs = np.array([ops for ops, _ in rows], np.int32)
    return cls(arcs, np.array([accuracy for _, accuracy in rows]))

  def __post_init__(self) -> None:
    chex.assert_shape(self.arcs, (None, nasbench201.NUM_EDGES))
    chex.assert_equal_shape_prefix([self.arcs, self.accuracies], 1)
    # A search asks for a cell at a time; scanning 15,625 rows would be slow.
    index = {tuple(ops): row for row, ops in enumerate(self.arcs.tolist())}
    object.__setattr__(self, "_rows", index)

  @property
  def optimum(self) -> float:
    """The best accuracy of all cells, in per cent."""
    return float(self.accuracies.max())

  def check_complete(self) -> None:
    """Raises InputError unless every cell of the space is in the table."""
    space = nasbench201.NasBench201Space()
    # No cell comes twice, so a count tells.
    if len(self.accuracies) < space.size():
      raise types.InputError(
        f"the benchmark table has {len(self.accuracies):,} of the"
        f" {space.size():,} cells; whatever the search finds must be in it."
      )

  def accuracy(self, ops: Sequence[int]) -> float:
    """The accuracy of a cell, in per cent.

    Args:
      ops: [6] integers, its operations.

    Raises:
      InputError: if the cell is not in the table.
    """
    rows: dict[tuple[int, ...], int] = getattr(self, "_rows")  # noqa: B009
    key = tuple(int(op) for op in ops)
    if key not in rows:
      digits = "".join(map(str, key))
      raise types.InputError(f"the cell {digits} is not in the table.")
    return float(self.accuracies[rows[key]])

  def rank(self, ops: Sequence[int]) -> int:
    """1 for the best cell; one more than there are better ones.

    Args:
      ops: [6] integers, its operations.

    Raises:
      InputError: if the cell is not in the table.
    """
    return 1 + int(np.sum(self.accuracies > self.accuracy(ops)))

  def regret(self, ops: Sequence[int]) -> float:
    """How far below the optimum a cell is, in percentage points.

    Args:
      ops: [6] integers, its operations.

    Raises:
      InputError: if the cell is not in the table.
    """
    return self.optimum - self.accuracy(ops)

  def sample(
    self, count: int, seed: int
  ) -> tuple[nasbench201.NasBench201Arc, np.ndarray]:
    """Draws different cells uniformly.

    Args:
      count: S; 0, or more than there are, for all of them.
      seed: seed of the draw.

    Returns:
      The cells, ops [S, 6] int32, and their accuracies [S] float64, per cent.
    """
    rng = np.random.default_rng(seed)
    total = len(self.accuracies)
    # A permutation: no cell twice, and fewer cells are the first of more.
    chosen = rng.permutation(total)[: count or total]
    arcs = nasbench201.NasBench201Arc(self.arcs[chosen])
    return arcs, self.accuracies[chosen]

  def expected_best_of(self, count: int) -> float:
    """The mean accuracy of the best of `count` cells drawn with replacement.

    It is what random search earns when it may look up the truth; see
    `placing.expected_best_of`.

    Args:
      count: number of cells drawn, at least 1.

    Returns:
      Per cent.

    Raises:
      InputError: if `count` is less than 1.
    """
    return placing.expected_best_of(np.asarray(self.accuracies), count)


def _parse(
  lines: Iterable[str], name: str, column: str
) -> list[tuple[tuple[int, ...], float]]:
  """Operations and accuracy of each row; `name` begins the messages."""
  reader = csv.DictReader(lines)
  needed = ("ops", column)
  missing = [c for c in needed if c not in (reader.fieldnames or ())]
  if missing:
    raise types.InputError(
      f"{name} lacks the column {missing[0]!r}; needed are"
      f" {' and '.join(needed)}."
    )
  names = list(reader.fieldnames or ())
  if twice := [c for c in needed if names.count(c) > 1]:
    raise types.InputError(
      f"{name} has the column {twice[0]!r} twice; leave one."
    )
  space = nasbench201.NasBench201Space()
  accuracies: dict[tuple[int, ...], float] = {}
  for row in reader:
    where = f"{name}, line {reader.line_num}"
    try:
      ops = space.from_digits((row["ops"] or "").strip()).ops
    except types.InputError as error:
      raise types.InputError(f"{where}: {files.shown(error)}") from None
    if ops in accuracies:
      raise types.InputError(f"{where}: the cell {row['ops']} comes twice.")
    accuracies[ops] = _percent(row[column], f"{where}: {column}")
  if not accuracies:
    raise types.InputError(f"{name} has no rows.")
  return list(accuracies.items())


def _percent(text: str | None, where: str) -> float:
  """The number that a field holds; None is a field that a row lacks."""
  value = fields.number(text or "")
  if value is None or not 0.0 <= value <= 100.0:
    raise types.InputError(
      f"{where} must be a number in [0, 100], got {records.brief(text)!r}."
    )
  return value
