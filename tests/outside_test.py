"""A space, a strategy and a task from outside go through the same scripts.

They are in `tests/outside/`, a file each, entered by a line each. Nothing in
the package or in `experiments/` knows them.
"""

import contextlib
import dataclasses
import json
import pathlib
import re
import tempfile
import xml.etree.ElementTree
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from enas_jax import export
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import registry as tasks
from tests import command_line
from tests.outside import bandit, top2, widths

ROOT = pathlib.Path(__file__).resolve().parent.parent
_PLUGIN = "--plugin=tests.outside.plugin"


def run(script, *flags):
  """What a script prints that knows of the plugin."""
  done = command_line.run(script, _PLUGIN, *flags)
  if done.returncode:
    raise AssertionError(f"{script}: {done.stdout}{done.stderr}")
  return done.stdout


@contextlib.contextmanager
def registered():
  """Enters them for a while: tests over the registries do not see them."""
  with contextlib.ExitStack() as stack:
    for registry, definition in (
      (spaces, widths.DEFINITION),
      (strategies, bandit.DEFINITION),
      (tasks, top2.DEFINITION),
    ):
      known = registry._REGISTRY._definitions
      stack.enter_context(mock.patch.dict(known))
      registry.register(definition)
    yield


class OutsideTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    cls.workdir = cls.folder / "run"
    cls.search = run(
      "search", "--space=widths", "--policy=bandit", "--theta_bandit_rate=2.0",
      "--preset=smoke", "--dataset=digits", f"--workdir={cls.workdir}",
    )  # fmt: skip

  def test_they_are_in_the_registries(self):
    with registered():
      self.assertIs(spaces.get("widths"), widths.DEFINITION)
      self.assertIs(strategies.get("bandit"), bandit.DEFINITION)
      self.assertIs(tasks.get("top2"), top2.DEFINITION)
      for registry, taken in (
        (spaces, dataclasses.replace(widths.DEFINITION, name="macro")),
        (strategies, bandit.DEFINITION._replace(name="random")),
        (tasks, dataclasses.replace(top2.DEFINITION, name="language_model")),
      ):
        with self.assertRaisesRegex(ValueError, "already"):
          registry.register(taken)
        # What was refused takes no one's place.
        self.assertIsNot(registry.get(taken.name), taken)
    self.assertNotIn("widths", spaces.names())

  def test_a_search(self):
    saved = json.loads((self.workdir / "config.json").read_text())
    self.assertEqual(saved["space"], "widths")
    self.assertEqual(saved["config"]["strategy"], {"bandit_rate": 2.0})
    result = json.loads((self.workdir / "result.json").read_text())
    arc = widths.WidthSpace().from_dict(result["arc"])
    self.assertIn(widths.labels(arc)[0], self.search)
    # Eight samples, and the most likely one by `finish`.
    self.assertEqual((result["policy"], result["candidates"]), ("bandit", 9))
    self.assertBetween(result["test_top2_accuracy"], 0.0, 1.0)
    page = (self.workdir / "report.html").read_text()
    self.assertIn("Search of a network of two layers", page)
    self.assertIn("Validation top2 accuracy", page)
    tree = xml.etree.ElementTree.parse(self.workdir / "arc.svg")
    shown = "".join(tree.getroot().itertext())
    for label in widths.labels(arc):
      self.assertIn(label, shown)

  def test_resume_goes_on(self):
    """Three epochs at once are two and one more."""
    other = self.folder / "three"
    flags = ["--space=widths", "--num_epochs=3"]
    whole = run(
      "search", *flags, "--policy=bandit", "--theta_bandit_rate=2.0",
      "--preset=smoke", "--dataset=digits", f"--workdir={other}",
    )  # fmt: skip
    self.assertIn("epoch 3 omega", whole)
    resumed = run("search", *flags, f"--workdir={self.workdir}", "--resume")
    self.assertNotIn("epoch 2 omega", resumed)
    results = [
      json.loads((workdir / "result.json").read_text())
      for workdir in (other, self.workdir)
    ]
    for result in results:
      del result["search_seconds"]
    self.assertEqual(*results)

  def test_derive_describe_and_rank(self):
    again = self.folder / "derived"
    run(
      "derive", f"--run={self.workdir}", "--derive_arcs=5", "--tune_arcs=2",
      f"--workdir={again}",
    )  # fmt: skip
    result = json.loads((again / "result.json").read_text())
    self.assertEqual((result["candidates"], result["tuned"]), (6, 2))
    picture = self.folder / "arc.dot"
    text = run(
      "describe", "--arc=0 2 2 0", "--space=widths", "--preset=smoke",
      f"--draw={picture}", "--json",
    )  # fmt: skip
    record = json.loads(text)
    # One 1x1 convolution of 8 channels, the stem of 3 and the classifier.
    self.assertEqual(record["params"], 8 * 8 + 3 * 8 + 8 * 10)
    self.assertIn("dense, 4/4", picture.read_text())
    ranked = run(
      "ranking", f"--run={self.workdir}", "--tune_steps=3", "--num_arcs=3",
      "--num_images=0", "--bootstrap=0", "--json", "--score=top2_accuracy",
    )  # fmt: skip
    record = json.loads(ranked)
    self.assertEqual(
      (record["num_arcs"], record["score"]), (3, "top2_accuracy")
    )
    alone, ranking = (
      [json.loads(line) for line in (self.workdir / name).open()]
      for name in ("trained_alone.jsonl", "ranking_arcs.jsonl")
    )
    self.assertEqual(
      [row["truth"] for row in ranking],
      [row["valid_top2_accuracy"] for row in alone],
    )
    self.assertTrue(all(0.0 <= row["score"] <= 1.0 for row in ranking))
    refused = command_line.run(
      "ranking", _PLUGIN, f"--run={self.workdir}", "--truth=none",
      "--score=accuracy",
    )  # fmt: skip
    self.assertEqual(refused.returncode, 2)
    self.assertRegex(
      refused.stderr, "^error: .* nll, top2_accuracy, params, .* got 'accuracy'"
    )

  def test_training_alone_and_export(self):
    trained = self.folder / "trained"
    run(
      "train", f"--arc={self.workdir}/arcs.jsonl", "--retrain_top=2",
      "--preset=smoke", "--dataset=digits", f"--workdir={trained}",
    )  # fmt: skip
    record = json.loads((trained / "result.json").read_text())
    scores = [each["valid_top2_accuracy"] for each in record["retrained"]]
    self.assertEqual(record["valid_top2_accuracy"], max(scores))
    target = self.folder / "model"
    run("export", f"--run={trained}", f"--to={target}")
    images = np.zeros((3, 8, 8, 1), np.uint8)
    with registered():
      model = export.load(target)
      logits = jax.jit(model.module.apply)(
        model.variables, model.preprocess(images)
      )
    self.assertEqual(logits.shape, (3, 10))
    self.assertIn("a network of two layers", (target / "README.md").read_text())

  def test_without_the_plugin_one_line_says_so(self):
    done = command_line.run("derive", f"--run={self.workdir}")
    self.assertEqual(done.returncode, 2)
    self.assertRegex(done.stderr, r"^error: space must be one of .*'widths'")
    done = command_line.run(
      "search", "--plugin=no_such_module", "--space=macro"
    )
    self.assertEqual(done.returncode, 2)
    self.assertIn("--plugin=no_such_module cannot be imported", done.stderr)

  def test_an_installed_package_needs_no_flag(self):
    place = self._install("tests.outside.plugin")
    for path, status in ((place, 0), (self.folder, 2)):
      done = command_line.run(
        "describe", "--arc=0 2 2 0", "--space=widths", "--preset=smoke",
        "--json", pythonpath=[path],
      )  # fmt: skip
      self.assertEqual(done.returncode, status, done.stderr)
      if not status:
        # As `test_derive_describe_and_rank` counts it.
        expected = 8 * 8 + 3 * 8 + 8 * 10
        self.assertEqual(json.loads(done.stdout)["params"], expected)
    # Named by a flag as well it is registered once, and its strategy is known.
    flags = command_line.run(
      "search", _PLUGIN, "--space=widths", "--policy=bandit", "--helpfull",
      pythonpath=[place],
    )  # fmt: skip
    self.assertIn("--theta_bandit_rate", flags.stdout + flags.stderr)

  def test_an_installed_package_that_is_broken(self):
    for value in ("no_such_module", "tests.outside.plugin:no_such_name"):
      place = self._install(value)
      done = command_line.run("describe", "--help", pythonpath=[place])
      self.assertEqual(done.returncode, 2)
      self.assertRegex(
        done.stderr,
        "^error: outside's plugin mine cannot be loaded: .*no_such.*\n$",
      )

  def _install(self, value):
    """What pip leaves of a package `outside`; its one plugin is `value`."""
    place = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
    metadata = place / "outside-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: outside\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
      f"[enas_jax.plugins]\nmine = {value}\n"
    )
    return place

  def test_the_guides_recipe_is_this(self):
    """Every line of the guide's code stands in these files."""
    guide = ROOT / "experiments" / "docs" / "own_space.md"
    section = guide.read_text()
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    code = "".join(
      path.read_text() for path in (ROOT / "tests" / "outside").glob("*.py")
    )
    for block in blocks:
      self.assertIn(block.strip(), code)
    self.assertNotEmpty(blocks)


if __name__ == "__main__":
  absltest.main()
