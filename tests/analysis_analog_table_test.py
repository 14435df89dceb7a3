"""The table of analog hardware, on a made-up file."""

import pathlib
import pickle
import sys
import tempfile
import types as python_types

from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import analog_table, benchmark_table


class Architecture:
  """What the package pickles."""


class DriftMeasurement:
  """The same of a drift."""


class Evil:
  """What a pickle may ask for if nobody looks."""

  def __reduce__(self):
    return sys.exit, (3,)


def record(digits, accuracy, drift):
  measured = DriftMeasurement()
  measured.value, measured.uncertainty = drift, 0.1
  made = Architecture()
  made.architecture, made.analog_accuracy = digits, accuracy
  made.analog_drift_60 = measured
  return made


def dump(records):
  """Bytes that name the classes as the package does."""
  name = "analognasbench.data"
  module = python_types.ModuleType(name)
  module.Architecture = Architecture
  module.DriftMeasurement = DriftMeasurement
  before = {kind: kind.__module__ for kind in (Architecture, DriftMeasurement)}
  package = python_types.ModuleType("analognasbench")
  sys.modules |= {"analognasbench": package, name: module}
  try:
    for kind in before:
      kind.__module__ = name
    return pickle.dumps(records, protocol=4)
  finally:
    del sys.modules[name], sys.modules["analognasbench"]
    for kind, module_name in before.items():
      kind.__module__ = module_name


class AnalogTableTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "data.anb"

  def write(self, records):
    self.path.write_bytes(dump(records))

  def test_operations_and_edges_are_ours(self):
    # Theirs: 0 skip, 1 none, 2 3x3, 3 1x1, 4 pooling; edges 3 and 4 swapped.
    digits = (0, 1, 2, 3, 4, 2)
    self.write({digits: record(digits, 91.5, 80.25)})
    for column, value in (
      ("analog_accuracy", 91.5),
      ("analog_drift_60", 80.25),
    ):
      table = benchmark_table.BenchmarkTable.load(self.path, column)
      self.assertEqual(table.arcs.tolist(), [[1, 0, 2, 3, 4, 3]])
      self.assertEqual(table.accuracy((1, 0, 2, 3, 4, 3)), value)

  def test_a_column_that_is_not_there_names_those_that_are(self):
    digits = (0,) * 6
    self.write({digits: record(digits, 91.5, 80.25)})
    with self.assertRaisesRegex(
      types.InputError, "'cifar10_test_200'.*analog_accuracy, analog_drift_60"
    ):
      benchmark_table.BenchmarkTable.load(self.path)

  def test_code_is_not_run(self):
    self.path.write_bytes(pickle.dumps({(0,) * 6: Evil()}))
    with self.assertRaisesRegex(types.InputError, "names sys.exit"):
      analog_table.read(self.path, "analog_accuracy")

  @parameterized.parameters(
    ((0, 0, 0, 0, 0, 5), 50.0, "6 integers from 0 to 4"),
    ((0, 0, 0, 0, 0), 50.0, "6 integers from 0 to 4"),
    ((0, 0, 0, 0, 0, 0), 100.5, r"number in \[0, 100\]"),
    ((0, 0, 0, 0, 0, 0), float("nan"), r"number in \[0, 100\]"),
    ((0, 0, 0, 0, 0, 0), "90", r"number in \[0, 100\]"),
  )
  def test_what_is_no_cell_or_no_accuracy(self, digits, accuracy, message):
    self.write({digits: record(digits, accuracy, 1.0)})
    with self.assertRaisesRegex(types.InputError, message):
      analog_table.read(self.path, "analog_accuracy")

  def test_a_cell_that_comes_twice(self):
    digits = (0, 1, 2, 3, 4, 2)
    self.write({name: record(digits, 50.0, 1.0) for name in ("a", "b")})
    with self.assertRaisesRegex(types.InputError, "cell 012342 comes twice"):
      benchmark_table.BenchmarkTable.load(self.path, "analog_accuracy")

  @parameterized.parameters(b"", b"\x80\x04nonsense", pickle.dumps([1, 2]))
  def test_damaged(self, content):
    self.path.write_bytes(content)
    with self.assertRaisesRegex(types.InputError, "is no table of"):
      analog_table.read(self.path, "analog_accuracy")

  def test_not_there(self):
    with self.assertRaisesRegex(types.InputError, "cannot be read"):
      analog_table.read(self.path, "analog_accuracy")


if __name__ == "__main__":
  absltest.main()
