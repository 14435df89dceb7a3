"""What is kept of architectures that were trained alone, when it is damaged.

`ranking_cli_test` trains some.
"""

import json
import pathlib
import tempfile
import types as python_types
from unittest import mock

import jax
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.analysis import trained_alone
from enas_jax.search import loop, tune
from enas_jax.spaces import decisions
from tests import tiny

_ROW = {"arc": {}, "nats": 1.0, "valid_accuracy": 1, "training": {}}


class DamagedTest(parameterized.TestCase):
  @parameterized.parameters(
    ('{"arc"', "is damaged: it is not valid JSON: .*; move it away"),
    ('{"arc": {}, "training": {}}\n', "is damaged: move it away"),
    ("[]\n", "must hold JSON objects; move it away"),
    *(
      (json.dumps(_ROW | change) + "\n", "is damaged: move it away")
      for change in (
        {"arc": 5},
        {"nats": None},
        {"valid_accuracy": "1"},
        {"training": 5},
        {"training": {"tune_step": 1}},
      )
    ),
  )
  def test_a_damaged_file_stays(self, content, message):
    path = pathlib.Path(tempfile.mkdtemp()) / "trained_alone.jsonl"
    path.write_text(content)
    with self.assertRaisesRegex(types.InputError, message):
      trained_alone._read(path, {}, "valid_accuracy")
    self.assertEqual(path.read_text(), content)

  def test_one_that_is_whole(self):
    path = pathlib.Path(tempfile.mkdtemp()) / "trained_alone.jsonl"
    path.write_text(json.dumps(_ROW) + "\n")
    self.assertEqual(trained_alone._read(path, {}, "valid_accuracy"), [_ROW])


class DevicesTest(parameterized.TestCase):
  def test_each_device_trains_some(self):
    """As candidates of a search: `many_devices` compares what they end with."""
    folder, given = pathlib.Path(tempfile.mkdtemp()), []
    config = tiny.make_image_config("macro")
    run = python_types.SimpleNamespace(
      config=config,
      task=python_types.SimpleNamespace(
        space=config.child.space(), metric="accuracy", format_metric=str
      ),
      splits=python_types.SimpleNamespace(train=None, valid=None),
      state=None,
    )

    def train_all(alone, state, arcs, live, serve, tell, done, devices):
      given.append(devices)
      for rank, arc in enumerate(arcs, start=1):
        tell(tune.Tuned(arc, rank, 1.5, 0.5, 3))

    devices, progress = object(), loop.Progress()
    with mock.patch.multiple(tune, tune_best=train_all, changed=lambda *of: of):
      path = trained_alone.train(run, folder, 2, 0, {}, progress, devices)
      other = config.child.space().sample_uniform(jax.random.key(5), 1)
      arc = config.child.space().validate(
        jax.device_get(decisions.nth(other, 0))
      )
      worth = trained_alone.train_alike(run, folder, [arc], progress, devices)
    self.assertLen(path.read_text().splitlines(), 2)
    self.assertEqual((worth, given), ({arc: 0.5}, [devices, devices]))


if __name__ == "__main__":
  absltest.main()
