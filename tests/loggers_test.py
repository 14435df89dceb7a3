"""Loggers: what each is told of a run, and what happens when one fails."""

import contextlib
import io
import json
import pathlib
import re
import sys
import tempfile
import types as python_types
from unittest import mock

import numpy as np
import tensorboardX
from absl.testing import absltest
from PIL import Image

from enas_jax import types
from enas_jax.loggers import base, registry
from enas_jax.search import folder, metrics
from tests import tiny

START = base.Place(0, 0, 0)
CHOICES = [base.Choice("op 1", ("tanh", "relu"), (0.25, 0.75))]


def row(step, theta_step=0, epoch=1, **values):
  return {
    "phase": "omega", "epoch": epoch, "step": step, "theta_step": theta_step,
  } | values  # fmt: skip


def png():
  file = io.BytesIO()
  Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(file, "png")
  return file.getvalue()


def tell_all(writer):
  """What a run of one epoch tells."""
  writer.write(row(2, **{"omega/loss_nats": 1.5, "sec_per_step": 0.1}))
  writer.write(row(2, 3, **{"theta/reward": 0.5, "theta/x": float("nan")}))
  writer.write(row(2, 3, **{"valid/perplexity": 90.0}))
  end = base.Place(2, 3, 1)
  writer.choices(end, CHOICES)
  writer.picture(end, "architecture", png)
  record = {"test_perplexity": 80.0, "epochs": 1, "arc": {}}
  writer.finish(end, record)
  writer.close()


class LoggersTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(tempfile.mkdtemp())
    self.lines = []

  def writer(self, *loggers, begin=START):
    config = tiny.make_config(run={"loggers": loggers})
    return metrics.MetricWriter(
      self.workdir, begin, config, "perplexity", self.lines.append
    )

  def install(self, name, **content):
    """A module in the place of a library that need not be installed."""
    module = python_types.ModuleType(name)
    vars(module).update(content)
    self.enter_context(mock.patch.dict(sys.modules, {name: module}))

  def known_as(self):
    return json.loads((self.workdir / folder.LOGGERS).read_text())

  def test_tensorboard_has_the_axes_of_the_report(self):
    told, purged = [], {}

    class Events(mock.MagicMock):
      def __init__(self, path=None, purge_step=None, **more):
        super().__init__(**more)
        self.name = pathlib.Path(path).name if path else None
        if path:
          purged[self.name] = purge_step

      def add_scalar(self, name, value, step):
        told.append((self.name, name, value, step))

      def add_histogram_raw(self, name, *, bucket_counts, global_step, **more):
        told.append((self.name, name, bucket_counts, global_step))

      def add_image(self, name, pixels, step, dataformats):
        told.append((self.name, name, pixels.shape, step))

    with mock.patch.object(tensorboardX, "SummaryWriter", Events):
      tell_all(self.writer("tensorboard"))
      self.assertEqual(self.lines, [])
      self.assertEqual(
        told,
        [
          ("omega", "omega/loss_nats", 1.5, 2),
          ("theta", "theta/reward", 0.5, 3),
          ("epochs", "valid/perplexity", 90.0, 1),
          ("epochs", "policy/op 1", [0.25, 0.75], 1),
          ("epochs", "architecture", (2, 3, 3), 1),
          ("epochs", "result/test_perplexity", 80.0, 1),
        ],
      )
      self.assertEqual(purged, {"epochs": None, "omega": None, "theta": None})
      # What is at these steps and later is dropped.
      tell_all(self.writer("tensorboard", begin=base.Place(2, 3, 1)))
      self.assertEqual(purged, {"epochs": 2, "omega": 3, "theta": 4})

  def test_tensorboard_knows_the_options(self):
    self.writer("tensorboard").close()
    (file,) = (self.workdir / "tensorboard" / "epochs").iterdir()
    content = file.read_bytes()
    for name in (b"child/num_nodes", b"omega/learning_rate", b"valid/perplexi"):
      self.assertIn(name, content)

  def test_wandb_is_told_all_and_goes_on(self):
    told, axes, begun, ended = [], {}, [], []

    class Run:
      id, step = "abc", 0

      def define_metric(self, name, step_metric):
        axes[name] = step_metric

      def log(self, values, step):
        Run.step = step
        told.append((step, values))

      def finish(self, exit_code):
        ended.append(exit_code)

    def init(**words):
      begun.append(words)
      return Run()

    settings = mock.Mock(project=None, run_name=None)
    self.install(
      "wandb",
      init=init,
      setup=lambda: mock.Mock(settings=settings),
      Settings=mock.Mock,
      Histogram=lambda np_histogram: np_histogram[0].tolist(),
      Image=lambda image: image.size,
    )
    tell_all(self.writer("wandb"))
    self.assertEqual(self.lines, [])
    first, end = row(2), row(2, 3)
    del first["phase"], end["phase"]
    self.assertEqual(
      told,
      [
        (2, {"omega/loss_nats": 1.5} | first),
        (5, {"theta/reward": 0.5} | end),
        (5, {"valid/perplexity": 90.0} | end),
        (5, {"policy/op 1": [0.25, 0.75]} | end),
        (5, {"architecture": (3, 2)} | end),
        (5, {"result/test_perplexity": 80.0} | end),
      ],
    )
    self.assertEqual(axes["omega/*"], "step")
    self.assertEqual(axes["theta/*"], "theta_step")
    self.assertEqual(axes["valid/*"], "epoch")
    self.assertEqual(axes["architecture"], "epoch")
    self.assertEqual(begun[0]["project"], "enas_jax")
    self.assertEqual(begun[0]["name"], self.workdir.name)
    self.assertIsNone(begun[0]["id"])
    self.assertEqual(begun[0]["config"]["child/num_nodes"], 3)
    self.assertEqual(self.known_as(), {"wandb": "abc"})
    # A run that goes on is the same one, and is not told the same again.
    writer = self.writer("wandb", begin=base.Place(2, 0, 0))
    writer.write(row(2, 2, **{"theta/reward": 0.4}))
    writer.write(row(4, 3, epoch=2, **{"omega/loss_nats": 1.0}))
    writer.close()
    self.assertEqual((begun[1]["id"], begun[1]["resume"]), ("abc", "allow"))
    self.assertLen(told, 7)
    self.assertEqual(told[-1][0], 7)
    self.assertEqual(ended, [0, 1])

  def test_mlflow_is_told_all_and_goes_on(self):
    client = mock.MagicMock()
    client.get_experiment_by_name.return_value = None
    client.create_run.return_value.info.run_id = "r1"
    client.get_run.return_value.data.params = {"run/seed": "0"}
    client.get_metric_history.return_value = [mock.Mock(step=2)]
    self.install("mlflow", MlflowClient=lambda: client)
    self.install("mlflow.entities", Metric=lambda *m: m, Param=lambda *p: p)
    name = mock.Mock(get=lambda: None)
    variables = {"MLFLOW_EXPERIMENT_NAME": name}
    self.install("mlflow.environment_variables", **variables)
    mlflow = sys.modules["mlflow"]
    mlflow.entities = sys.modules["mlflow.entities"]
    mlflow.environment_variables = sys.modules["mlflow.environment_variables"]
    tell_all(self.writer("mlflow"))
    self.assertEqual(self.lines, [])
    client.create_experiment.assert_called_once_with("enas_jax")
    batches = [call.kwargs for call in client.log_batch.mock_calls]
    params = dict(p for b in batches for p in b.get("params", ()))
    self.assertEqual(params["child/num_nodes"], "3")
    self.assertNotIn("run/seed", params)  # it has that one
    self.assertLessEqual(max(len(b.get("params", ())) for b in batches), 100)
    told = [m for b in batches for m in b.get("metrics", ())]
    self.assertEqual(
      [(name, value, step) for name, value, _, step in told],
      [
        ("omega/loss_nats", 1.5, 2),
        ("theta/reward", 0.5, 3),
        ("valid/perplexity", 90.0, 1),
        ("result/test_perplexity", 80.0, 1),
      ],
    )
    shares = {"op 1": {"tanh": 0.25, "relu": 0.75}}
    client.log_dict.assert_called_once_with(
      "r1", shares, "policy/epoch_0001.json"
    )
    client.set_terminated.assert_called_once_with("r1", "FINISHED")
    self.assertEqual(self.known_as(), {"mlflow": "r1"})
    client.reset_mock()
    writer = self.writer("mlflow", begin=base.Place(1, 0, 0))
    for step in (2, 3):
      writer.write(row(step, **{"omega/loss_nats": 1.0}))
    writer.close()
    client.create_run.assert_not_called()
    told = [c.kwargs.get("metrics", ()) for c in client.log_batch.mock_calls]
    steps = [one[3] for batch in told for one in batch]
    self.assertEqual(steps, [3])
    client.set_terminated.assert_called_once_with("r1", "KILLED")

  def test_a_logger_that_fails_is_told_no_more(self):
    class Weak:
      known_as = None

      def scalars(self, place, values):
        raise OSError("the line\nis dead")

    definition = base.Definition("weak", None, lambda run: Weak())
    with mock.patch.dict(registry._REGISTRY._definitions):
      registry.register(definition)
      writer = self.writer("weak")
      tell_all(writer)
    self.assertLen(self.lines, 1)
    self.assertRegex(self.lines[0], "weak has failed .* the line is dead")
    self.assertLen(writer.path.read_text().splitlines(), 3)

  def test_the_one_of_the_guide_prints(self):
    guide = pathlib.Path(__file__).parents[1] / "experiments" / "docs"
    text = (guide / "watching_a_run.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    out = io.StringIO()
    with mock.patch.dict(registry._REGISTRY._definitions):
      exec(code, {})
      with contextlib.redirect_stdout(out):
        tell_all(self.writer("lines"))
    self.assertEqual(self.lines, [])
    told = [line.split()[1:] for line in out.getvalue().splitlines()]
    self.assertEqual(told[1], ["theta/reward", "3", "0.5"])
    self.assertLen(told, 4)

  def test_what_cannot_be_followed_is_one_line(self):
    (self.workdir / "absent").mkdir()
    self.enter_context(mock.patch.object(sys, "path", [str(self.workdir)]))
    absent = base.Definition("lost", "absent", mock.Mock())
    with self.assertRaisesRegex(types.InputError, "pip install absent"):
      base.check_library(absent)  # a folder of that name is no package
    with self.assertRaisesRegex(types.InputError, "tensorboard, wandb, mlflow"):
      registry.check(["tensorbord"])

    def no_account(run):
      raise RuntimeError("api_key not configured\nsee docs")

    (self.workdir / folder.LOGGERS).write_text('{"wandb": 3}')
    with self.assertRaisesRegex(types.InputError, "'wandb' must be text"):
      self.writer("tensorboard")
    (self.workdir / folder.LOGGERS).unlink()
    locked = base.Definition("locked", None, no_account)
    with mock.patch.dict(registry._REGISTRY._definitions):
      registry.register(locked)
      with self.assertRaisesRegex(
        types.InputError, "--loggers=locked cannot be used: api_key not conf"
      ):
        self.writer("locked")


if __name__ == "__main__":
  absltest.main()
