"""Numbers of ablations, by hand. `ablations_cli_test` runs all studies."""

import json
import math
import pathlib
import tempfile
import types
from unittest import mock

import jax
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax.analysis import (
  ablation_lab,
  ablation_summary,
  ablations,
  no_sharing,
)
from enas_jax.report import results
from enas_jax.search import loop
from enas_jax.spaces import base, decisions, registry
from enas_jax.tasks import registry as tasks
from enas_jax.types import InputError
from experiments import _ablation_table
from tests import tiny

MACRO = registry.get("macro")
IMAGES = tasks.get("image_classifier")


def trial(variant, seed, test, *, draw=0, params=100, **more):
  """Validation accuracy is 0.1 above that of the test."""
  return ablation_lab.Trial(
    variant, seed, draw, test + 0.1, test, params, 10.0, "0 1", **more
  )


TRIALS = [
  trial("reference", 0, 0.8),
  trial("random", 0, 0.75, params=50),
  trial("random", 0, 0.5, draw=1, params=80),
  trial("reference", 1, 0.7),
  trial("random", 1, 0.5, params=110),
  trial("random", 1, math.nan, draw=1, params=120),
]


class NearestTest(parameterized.TestCase):
  @parameterized.parameters(
    # Counts are 4, 16, 36, 64: halfway between two is the smaller.
    (1, 2), (10, 2), (11, 4), (26, 4), (27, 6), (36, 6), (60, 8), (9000, 8),
  )  # fmt: skip
  def test_by_hand(self, wanted, value):
    found = ablation_lab.nearest([2, 4, 6, 8], lambda v: v * v, wanted)
    self.assertEqual(found, value)

  def test_the_filters_of_a_network(self):
    """Normal convolutions need fewer filters, and filters must be even."""
    config = registry.train_preset("smoke", "macro")
    data = IMAGES.synthetic(config, types.SimpleNamespace(
      image_shape=(8, 8, 3), num_classes=10
    ), 1)  # fmt: skip
    lab = ablation_lab.Lab(
      MACRO, IMAGES, config, None, None, None, lambda config: data, None, None,
      None,
    )  # fmt: skip
    space = config.child.space()
    lower = tuple(tuple(int(i < row) for i in range(4)) for row in range(4))
    separable, normal = (
      space.validate(type("Arc", (), {"ops": (op,) * 4, "skips": lower})())
      for op in (3, 1)  # 5x5
    )
    wanted = lab.count_params(config, separable)
    value = ablation_lab.fit_option(lab, config, normal, "num_filters", wanted)
    counts = {
      filters: lab.count_params(_with_filters(config, filters), normal)
      for filters in (2, 4, 6, 8)
    }
    self.assertEqual(value, min(counts, key=lambda f: abs(counts[f] - wanted)))
    self.assertLess(value, config.child.num_filters)


def _with_filters(config, filters):
  return config_lib.override(config, "child", num_filters=filters)


class SummaryTest(absltest.TestCase):
  def test_by_hand(self):
    """Errors 20, 30 against 25, 50 | 50: means by seed 37.5 and 50."""
    rows = ablation_summary.summarise(MACRO, IMAGES, TRIALS, ["reference"])
    self.assertEqual([row["variant"] for row in rows], ["reference", "random"])
    reference, random = rows
    self.assertAlmostEqual(reference["test_error"], 25.0)
    self.assertAlmostEqual(reference["test_error_sd"], math.sqrt(50.0))
    self.assertAlmostEqual(reference["valid_error"], 15.0)
    self.assertEqual(reference["rises"], {})
    self.assertEqual(reference["published"]["error"], 4.23)
    self.assertIsNone(reference["published"]["rise"])
    self.assertEqual(
      (random["num_seeds"], random["num_trials"], random["diverged"]), (2, 4, 1)
    )
    self.assertAlmostEqual(random["test_error"], 125 / 3)
    self.assertEqual(random["params"], 90)
    rise = random["rises"]["reference"]["test"]
    self.assertAlmostEqual(rise["mean"], (17.5 + 20.0) / 2)
    self.assertEqual(rise["num_pairs"], 2)
    self.assertAlmostEqual(random["published"]["rise"], 5.86 - 4.23)

  def test_one_seed_has_no_interval(self):
    rows = ablation_summary.summarise(MACRO, IMAGES, TRIALS[:2], ["reference"])
    rise = rows[1]["rises"]["reference"]["test"]
    self.assertAlmostEqual(rise["mean"], 5.0)
    self.assertIsNone(rise["low"])
    self.assertIsNone(rows[1]["test_error_sd"])

  def test_an_interval(self):
    """Rises 5 and 30: 17.5 +- 12.706 x 12.5, of Student's with 1 d.o.f."""
    trials = [*TRIALS[:2], TRIALS[3], trial("random", 1, 0.4)]
    rows = ablation_summary.summarise(MACRO, IMAGES, trials, ["reference"])
    rise = rows[1]["rises"]["reference"]["test"]
    quantile = math.tan(math.pi * 0.475)  # of Cauchy's distribution
    self.assertAlmostEqual(rise["mean"], 17.5)
    self.assertAlmostEqual(rise["low"], 17.5 - 12.5 * quantile)
    self.assertAlmostEqual(rise["high"], 17.5 + 12.5 * quantile)

  def test_no_network_at_all(self):
    trials = [trial("reference", 0, 0.8), trial("random", 0, math.nan)]
    rows = ablation_summary.summarise(MACRO, IMAGES, trials, ["reference"])
    self.assertIsNone(rows[1]["test_error"])
    self.assertEqual(rows[1]["rises"]["reference"]["test"]["num_pairs"], 0)

  def test_what_diverged_has_no_seconds(self):
    """It ended early: counted, a variant that diverges would look cheap."""
    trials = [
      trial("reference", 0, 0.8),
      trial("random", 0, 0.8),
      trial("random", 1, math.nan)._replace(seconds=math.nan),
      trial("none", 0, math.nan)._replace(seconds=math.nan),
    ]
    rows = ablation_summary.summarise(MACRO, IMAGES, trials, ["reference"])
    self.assertEqual([row["seconds"] for row in rows], [10.0, 10.0, None])

  def test_what_the_paper_says_of_changes(self):
    said = {
      name: ablation_summary.published(MACRO, name)
      for name in ("normal_convolutions", "connections", "best_sampled")
    }
    self.assertIsNone(said["normal_convolutions"]["error"])
    self.assertEqual(said["normal_convolutions"]["rise"], 1.7)
    self.assertIsNone(said["connections"])
    self.assertIsNone(said["best_sampled"])

  def test_the_table(self):
    variants = ablation_summary.summarise(MACRO, IMAGES, TRIALS, ["reference"])
    record = {
      "space": "macro",
      "preset": "small",
      "dataset": "digits",
      "error": IMAGES.error_name,
      "seeds": [0, 1],
      "studies": {"guided_random": {"variants": variants}},
    }
    origin = {
      "command": ["a"], "commit": "b", "device": "c", "versions": {"jax": "1"}
    }  # fmt: skip
    table = _ablation_table.make_table(record, origin)
    head, _, reference, random = results.to_markdown(table).splitlines()
    self.assertIn("| test error, % | test, over reference |", head)
    self.assertIn("| 25.00 +- 7.07 | | 100 |", reference)
    self.assertIn("| 4.23 (Table 2) |", reference)
    self.assertIn("| 1 |", random)  # which diverged
    self.assertRegex(random, r"\| \+18\.75 \[\+2\.87, \+34\.63\] \|")
    self.assertIn("5.86 (+1.63; Section 3.3)", random)


class StudiesTest(absltest.TestCase):
  def test_which_spaces_admit_which(self):
    admitted = {
      name: [
        study
        for study, what in ablations.STUDIES.items()
        if not what.why_not(registry.get(name))
      ]
      for name in registry.names()
    }
    every = list(ablations.STUDIES)
    self.assertEqual(
      admitted,
      {
        "recurrent": every,
        "macro": every,
        "micro": every,
        "nasbench201": ["search_disabled", "no_sharing"],
      },
    )


class DivergedTest(absltest.TestCase):
  def test_a_training_that_diverged_has_no_seconds(self):
    config = registry.train_preset("smoke", "recurrent")
    config = config_lib.override(config, "child", **tiny.FLAGS["child"])
    arc = config.child.space().from_tokens("0 0 1 0 2")
    folder = pathlib.Path(tempfile.mkdtemp())
    text = tasks.get("language_model")
    data = text.synthetic(config, base.DataShape(30), 2)
    lab = ablation_lab.Lab(
      registry.get("recurrent"), text, config, None, None, None,
      lambda config: data, lambda *of: folder, loop.Progress(), lambda: 0,
    )  # fmt: skip
    diverge = mock.Mock(side_effect=loop.Diverged("at step 3."))
    with mock.patch.object(ablation_lab.train, "train_arc", diverge):
      made = lab.train("random", "random-0-0", config, arc)
    self.assertTrue(math.isnan(made.seconds))
    # As an earlier version wrote it.
    path = folder / "result.json"
    record = json.loads(path.read_text()) | {"train_seconds": 0.0}
    path.write_text(json.dumps(record))
    read = lab.train("random", "random-0-0", config, arc)
    self.assertTrue(math.isnan(read.seconds))
    self.assertEqual((read.params, read.tokens), (made.params, made.tokens))


class NoSharingTest(absltest.TestCase):
  def test_parameters_are_those_of_the_network_that_is_trained(self):
    config = tiny.make_config(run={"tune_changes": {"hidden_size": 12}})
    text = tasks.get("language_model")
    data = text.synthetic(config, base.DataShape(30), 2)
    folder = pathlib.Path(tempfile.mkdtemp())
    lab = ablation_lab.Lab(
      registry.get("recurrent"), text, None, config, None,
      ablation_lab.Sizes(1, 1, 1), lambda config: data,
      lambda *of: folder, loop.Progress(), lambda: 0,
    )  # fmt: skip
    arc = config.child.space().from_tokens("0 0 1 0 2")
    sample = no_sharing.Sample(arc, 0.5, 9.0, 9.0, 1.0)
    with (
      mock.patch.object(no_sharing, "controller_search", lambda *of: [sample]),
      mock.patch.object(no_sharing, "random_search", lambda *of: [sample]),
    ):
      trials = ablations.no_sharing(lab, 0)
    wide = config_lib.override(config, "child", hidden_size=12)
    expected = lab.count_params(wide, arc)
    self.assertNotEqual(expected, lab.count_params(config, arc))
    self.assertEqual([trial.params for trial in trials], [expected] * 2)


class DamagedTest(parameterized.TestCase):
  TRIAL = {
    "valid_accuracy": 0.5, "test_accuracy": None,
    "params": 3, "train_seconds": 1.5,
  }  # fmt: skip
  SPLIT = {"metric": 0.5, "metrics": [0.5, None]}
  VOTES = {
    "valid": SPLIT, "test": SPLIT, "tokens": ["0", "1"],
    "params": 3, "search_seconds": 1.5, "vote_seconds": 1.5,
  }  # fmt: skip

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def _train(self, record):
    (self.folder / "result.json").write_text(json.dumps(record))
    lab = ablation_lab.Lab(
      MACRO, IMAGES, None, None, None, None, None, lambda *_: self.folder,
      None, None,
    )  # fmt: skip
    config = registry.train_preset("smoke", "macro")
    arcs = config.child.space().sample_uniform(jax.random.key(0), 1)
    arc = config.child.space().validate(jax.device_get(decisions.nth(arcs, 0)))
    return lab.train("random", "random-0", config, arc)

  @parameterized.parameters(
    {"params": None}, {"train_seconds": "x"}, {"valid_accuracy": []}
  )
  def test_a_result_is_named(self, **change):
    trial = self._train(self.TRIAL)
    self.assertEqual((trial.valid, trial.params, trial.seconds), (0.5, 3, 1.5))
    self.assertTrue(math.isnan(trial.test))
    (name,) = change
    lacking = {key: self.TRIAL[key] for key in self.TRIAL if key != name}
    for record in (self.TRIAL | change, lacking):
      with self.assertRaisesRegex(
        InputError, f"{name} must be a number; delete it to train it again"
      ):
        self._train(record)

  @parameterized.parameters(
    {"params": None}, {"valid": 3}, {"test": {"metric": 0.5}},
    {"tokens": ["0"]}, {"valid": SPLIT | {"metrics": ["0", "1"]}},
  )  # fmt: skip
  def test_votes_are_named(self, **change):
    path = self.folder / "ensemble.json"
    path.write_text(json.dumps(self.VOTES))
    self.assertEqual(ablations._read_votes(path), self.VOTES)
    (name,) = change
    lacking = {key: self.VOTES[key] for key in self.VOTES if key != name}
    for record in (self.VOTES | change, lacking):
      path.write_text(json.dumps(record))
      with self.assertRaisesRegex(
        InputError, "ensemble.json .*; delete it|ensemble.json is damaged: de"
      ):
        ablations._read_votes(path)


class AloneTest(absltest.TestCase):
  def test_it_computes_as_the_search_does(self):
    config = config_lib.override(
      registry.preset("smoke", "macro"),
      "run",
      compute_dtype="bfloat16",
      matmul_precision="high",
      max_skipped=2,
    )
    alone = ablations.as_training(config).run
    self.assertEqual(alone.compute_dtype, "bfloat16")
    self.assertEqual(alone.matmul_precision, "high")
    self.assertEqual(alone.max_skipped, 2)
    self.assertEqual(alone.num_epochs, config.run.num_epochs)
    self.assertEqual(alone.average_after, 0)


if __name__ == "__main__":
  absltest.main()
