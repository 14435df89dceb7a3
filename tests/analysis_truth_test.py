"""Reading what architectures are worth that were trained alone."""

import json
import pathlib
import tempfile
import types as python_types

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import truth
from enas_jax.spaces import decisions
from enas_jax.spaces.macro import arc as macro

SPACE = macro.MacroSpace(2)


def make_task(metric="accuracy", metric_sign=1):
  return python_types.SimpleNamespace(
    space=SPACE, metric=metric, metric_sign=metric_sign
  )


def draw(count):
  arcs = jax.device_get(SPACE.sample_uniform(jax.random.key(0), count))
  return [SPACE.validate(decisions.nth(arcs, i)) for i in range(count)]


class RecordTest(parameterized.TestCase):
  def _read(self, record, task=None):
    (arc,) = draw(1)
    record = {"arc": SPACE.to_dict(arc), **record}
    return arc, truth.read_record(task or make_task(), record, "here")

  @parameterized.parameters(
    ({"valid_accuracy": 0.75, "test_accuracy": 0.5}, make_task(), 0.75),
    ({"accuracy": 0.25, "valid_accuracy": 0.75}, make_task(), 0.25),
    ({"valid_perplexity": 60.0}, make_task("perplexity", -1), -60.0),
    # A task from outside the package has a metric of its own.
    ({"top2_accuracy": 0.5}, make_task("top2_accuracy"), 0.5),
  )
  def test_larger_is_better(self, record, task, expected):
    arc, pair = self._read(record, task)
    self.assertEqual(pair, (arc, expected))

  @parameterized.parameters(
    ({"accuracy": "high"}, "accuracy of here must be a number, got 'high'"),
    ({"test_accuracy": 0.5}, "here has none of accuracy, valid_accuracy"),
    ({"perplexity": 60.0}, "here has none of accuracy, valid_accuracy"),
    ({"accuracy": 0.5, "candidates": 10}, "here is the result of a search"),
    ({"arc": None, "accuracy": 0.5}, 'here has no "arc"'),
  )
  def test_refusals(self, record, message):
    with self.assertRaisesRegex(types.InputError, message):
      self._read(record)


class FilesTest(absltest.TestCase):
  def test_files_that_are_not_there(self):
    with self.assertRaisesRegex(types.InputError, "--truth: .* cannot be read"):
      truth.read_objects(pathlib.Path(tempfile.mkdtemp()))

  def test_the_first_of_a_list(self):
    arcs = draw(3)
    path = pathlib.Path(tempfile.mkdtemp()) / "truth.jsonl"
    rows = [
      {"arc": SPACE.to_dict(arc), "accuracy": 0.25 * i}
      for i, arc in enumerate(arcs)
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    whole = truth.read(make_task(), [str(path)])
    np.testing.assert_array_equal(whole.values, [0.0, 0.25, 0.5])
    self.assertEqual(whole.validated(SPACE), arcs)
    first = truth.read(make_task(), [str(path)], 2)
    self.assertEqual(first.validated(SPACE), arcs[:2])
    with self.assertRaisesRegex(types.InputError, "has 1 architectures"):
      truth.read(make_task(), [str(path)], 1)


if __name__ == "__main__":
  absltest.main()
