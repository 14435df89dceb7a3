"""The table of true accuracies, on made-up numbers."""

import gzip
import itertools
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import benchmark_table

ROWS = (("000000", 10.0), ("333333", 90.5), ("421303", 60.0), ("111111", 60.0))


def write(folder, text, name="table.csv"):
  path = pathlib.Path(folder) / name
  if name.endswith(".gz"):
    path.write_bytes(gzip.compress(text.encode()))
  else:
    path.write_text(text)
  return path


def csv_of(rows):
  lines = [f"{i},{ops},{value},z" for i, (ops, value) in enumerate(rows)]
  return "\n".join(["index,ops,cifar10_test_200,other", *lines]) + "\n"


class BenchmarkTableTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  @parameterized.parameters("table.csv", "table.csv.gz")
  def test_look_up(self, name):
    table = benchmark_table.BenchmarkTable.load(
      write(self.folder, csv_of(ROWS), name)
    )
    np.testing.assert_array_equal(table.arcs[2], [4, 2, 1, 3, 0, 3])
    np.testing.assert_array_equal(table.accuracies, [10.0, 90.5, 60.0, 60.0])
    self.assertEqual(table.optimum, 90.5)
    self.assertEqual(table.accuracy((4, 2, 1, 3, 0, 3)), 60.0)
    self.assertEqual(table.rank((3,) * 6), 1)
    # Equals share a rank.
    self.assertEqual(table.rank((4, 2, 1, 3, 0, 3)), 2)
    self.assertEqual(table.rank((1,) * 6), 2)
    self.assertEqual(table.rank((0,) * 6), 4)
    self.assertEqual(table.regret((1,) * 6), 30.5)
    with self.assertRaisesRegex(types.InputError, "cell 222222 is not in"):
      table.accuracy((2,) * 6)
    with self.assertRaisesRegex(types.InputError, "4 of the 15,625 cells"):
      table.check_complete()

  def test_another_column_may_be_the_truth(self):
    path = write(self.folder, csv_of(ROWS).replace(",z", ",55.5"))
    table = benchmark_table.BenchmarkTable.load(path, "other")
    self.assertEqual(set(table.accuracies), {55.5})
    with self.assertRaisesRegex(types.InputError, "lacks the column 'none'"):
      benchmark_table.BenchmarkTable.load(path, "none")

  def test_expected_best_is_the_mean_over_all_draws(self):
    table = benchmark_table.BenchmarkTable.load(
      write(self.folder, csv_of(ROWS))
    )
    values = [value for _, value in ROWS]
    for count in (1, 2, 3):
      draws = itertools.product(values, repeat=count)
      self.assertAlmostEqual(
        table.expected_best_of(count), np.mean([max(d) for d in draws])
      )
    with self.assertRaisesRegex(types.InputError, "at least 1"):
      table.expected_best_of(0)

  @parameterized.parameters(
    ("a,b\n1,2\n", "lacks the column 'ops'"),
    ("ops\n000000\n", "lacks the column 'cifar10_test_200'"),
    ("", "lacks the column"),
    ("ops,cifar10_test_200\n", "has no rows"),
    (csv_of([("00000", 1.0)]), r"line 2: a cell must be 6 digits, got '00000'"),
    (csv_of([("000005", 1.0)]), r"line 2: arc.ops\[5\] must be in"),
    (csv_of([("000000", "x")]), r"line 2: .* in \[0, 100\], got 'x'"),
    (csv_of([("000000", "nan")]), r"in \[0, 100\], got 'nan'"),
    (csv_of([("000000", 101)]), r"in \[0, 100\], got '101'"),
    ("ops,cifar10_test_200\n000000\n", r"in \[0, 100\], got 'None'"),
    (csv_of([ROWS[0], ROWS[0]]), "line 3: the cell 000000 comes twice"),
  )
  def test_bad_tables(self, text, message):
    path = write(self.folder, text)
    with self.assertRaisesRegex(types.InputError, message) as caught:
      benchmark_table.BenchmarkTable.load(path)
    self.assertNotIn("\n", str(caught.exception))

  def test_unreadable_files(self):
    missing = pathlib.Path(self.folder) / "none.csv"
    folder = pathlib.Path(self.folder)
    broken = write(self.folder, "not compressed").rename(folder / "x.csv.gz")
    binary = folder / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    for path in (missing, folder, broken, binary):
      with self.assertRaisesRegex(types.InputError, "cannot be read"):
        benchmark_table.BenchmarkTable.load(path)


if __name__ == "__main__":
  absltest.main()
