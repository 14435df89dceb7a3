"""Presets against the paper's and the release's numbers; refusals."""

import dataclasses
import json

from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import fields
from enas_jax.spaces import registry
from enas_jax.strategies import registry as strategies


class PresetTest(parameterized.TestCase):
  def test_paper(self):
    config = registry.preset("paper")
    self.assertEqual(config.child.num_nodes, 12)
    self.assertEqual(config.child.init_range, 0.025)
    self.assertTrue(config.child.batch_norm)
    self.assertEqual(config.child.output, "loose_ends")
    self.assertEqual(
      (config.data.batch_size, config.data.bptt_length), (64, 35)
    )
    self.assertEqual(config.strategy.controller.hidden_size, 100)
    self.assertEqual(config.strategy.controller.temperature, 5.0)
    self.assertEqual(config.strategy.controller.tanh_constant, 2.5)
    self.assertEqual(config.strategy.controller.init_range, 0.1)
    self.assertEqual(config.omega.learning_rate, 20.0)
    self.assertEqual(config.omega.decay_rate, 0.96)
    self.assertEqual(config.omega.decay_start_epoch, 15)
    self.assertEqual(config.omega.clip_norm, 0.25)
    self.assertEqual(config.omega.l2_weight, 1e-7)
    self.assertEqual(config.omega.num_arcs, 1)
    self.assertEqual(config.omega.steps, 0)
    self.assertEqual(config.theta.steps, 2000)
    self.assertEqual(config.strategy.learning_rate, 0.00035)
    self.assertEqual(config.strategy.entropy_weight, 0.0001)
    self.assertEqual(config.run.num_epochs, 150)

  def test_released(self):
    config = registry.preset("released")
    self.assertEqual(config.child.num_nodes, 9)
    self.assertEqual(config.child.first_node, "tanh")
    self.assertEqual(config.child.output, "all_nodes")
    self.assertTrue(config.child.weights_per_op)
    self.assertFalse(config.child.batch_norm)
    self.assertEqual(config.data.batch_size, 128)
    self.assertEqual(config.strategy.controller.hidden_size, 64)
    self.assertEqual(config.strategy.controller.tanh_constant, 2.25)
    self.assertEqual(config.theta.steps * config.theta.num_arcs, 250)
    self.assertEqual(config.omega.clip_norm, 0.1)
    self.assertEqual(config.omega.decay_rate, 1.0)

  @parameterized.parameters(*config_lib.PRESETS)
  def test_every_field_has_a_help_text(self, name):
    config = registry.preset(name)
    parts = [getattr(config, part.name) for part in dataclasses.fields(config)]
    for part in (*parts, config.strategy.controller):
      for field in dataclasses.fields(part):
        if not dataclasses.is_dataclass(getattr(part, field.name)):
          self.assertNotEmpty(field.metadata["help"])


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    ("child", {"drop_x": 1.0}, r"drop_x must be in \[0, 1\), got 1\.0"),
    ("child", {"hidden_size": 0}, "hidden_size must be positive, got 0"),
    (
      "child",
      {"output": "mean"},
      "output must be one of loose_ends, all_nodes",
    ),
    ("child", {"num_nodes": 0}, "num_nodes must be at least 1, got 0"),
    (
      "child",
      {"num_nodes": 1, "output": "all_nodes"},
      "num_nodes must be at least 2",
    ),
    ("data", {"bptt_length": 0}, "bptt_length must be positive"),
    (
      "strategy",
      {"controller": {"temperature": 0.0}},
      "controller_temperature must be",
    ),
    (
      "omega",
      {"clip_norm": float("nan")},
      "omega_clip_norm must be zero or positive",
    ),
    ("omega", {"steps": -1}, "omega_steps must be zero or positive, got -1"),
    ("strategy", {"baseline_decay": 1.0}, r"theta_baseline_decay must be in"),
    ("strategy", {"entropy_weight": -1.0}, "theta_entropy_weight must be zero"),
    ("theta", {"warmup_epochs": 1.5}, "must be whole, or below 1, got 1.5"),
    ("run", {"seed": -1}, "seed must be in"),
    (
      "theta",
      {"reward": "accuracy"},
      "theta_reward must be one of likelihood, got 'accuracy'",
    ),
    (
      "omega",
      {"fair_ops": True},
      "omega_fair_ops must be false unless architectures are uniform",
    ),
    (
      "omega",
      {"op_weights": (1, 1, 1, 1)},
      "omega_op_weights must be empty unless architectures are uniform",
    ),
  )
  def test_values_are_checked(self, part, change, message):
    with self.assertRaisesRegex(types.InputError, message):
      config_lib.override(registry.preset("smoke"), part, **change)

  @parameterized.parameters(
    ("1,2,x,1", "must be positive numbers with commas .*, got '1,2,x,1'"),
    ("1,,1,1", "must be positive numbers with commas .*, got '1,,1,1'"),
    ("1,2,0,1", "must be positive numbers"),
    ("1,2,inf,1", "must be positive numbers"),
    ("1,2,3", r"must be 4 positive .*, one for each op.*, got \(1.0, 2.0, 3.0"),
  )
  def test_weights_of_operations(self, text, message):
    config = strategies.with_policy(registry.preset("smoke"), "random")

    def weighted(text):
      weights = fields.parse_numbers(text, "omega_op_weights")
      return config_lib.override(config, "omega", op_weights=weights)

    with self.assertRaisesRegex(
      types.InputError, f"^omega_op_weights {message}"
    ):
      weighted(text)
    self.assertEqual(weighted("1,2,.5,1").omega.op_weights, (1, 2, 0.5, 1))
    self.assertEqual(weighted("").omega.op_weights, ())
    with self.assertRaisesRegex(types.InputError, "empty with omega_fair_ops"):
      config_lib.override(weighted("1,2,.5,1"), "omega", fair_ops=True)

  @parameterized.parameters(
    (
      "depth=5",
      "tune_changes must be options of the network or of minibatches",
    ),
    ("num_cells", "num_cells must be of type int, got ''"),
    ("num_cells=2.5", "num_cells must be of type int, got 2.5"),
    ("num_cells=true", "num_cells must be of type int, got True"),
    ("flip=yes", "flip must be true or false, got 'yes'"),
    ("flip=1", "flip must be true or false, got 1"),
    ("drop_features=no", "drop_features must be of type float, got 'no'"),
    ("num_cells=0", "num_cells must be positive, got 0"),
  )
  def test_changes_for_candidates(self, text, message):
    config = registry.preset("smoke", "nasbench201")
    start = {"tune_from": "scratch", "tune_changes": {}}
    config = config_lib.override(config, "run", **start)

    def changed(text):
      changes = fields.parse_changes(text, "tune_changes")
      return config_lib.override(config, "run", tune_changes=changes)

    with self.assertRaisesRegex(types.InputError, f"^{message}"):
      changed(text)
    given = changed("num_cells=3,flip=false,drop_features=0.5,num_filters=2")
    self.assertEqual(
      given.alone(),
      config_lib.override_parts(
        config,
        {
          "child": {"num_cells": 3, "drop_features": 0.5, "num_filters": 2},
          "data": {"flip": False},
        },
      ),
    )
    # An integer will do for a float.
    self.assertEqual(changed("drop_features=0").alone().child.drop_features, 0)
    with self.assertRaisesRegex(types.InputError, "--tune_from=shared"):
      config_lib.override(given, "run", tune_from="shared")
    with self.assertRaisesRegex(types.InputError, "leave the space as it is"):
      config_lib.override(
        registry.preset("smoke"), "run", tune_changes={"num_nodes": 3}
      )

  def test_a_configuration_comes_back_from_json(self):
    for space in registry.names():
      for policy in strategies.names():
        config = strategies.with_policy(registry.preset("small", space), policy)
        record = json.loads(json.dumps(config.to_dict()))
        paper = strategies.with_policy(registry.preset("paper", space), policy)
        back = config_lib.override_parts(paper, record)
        self.assertEqual(back, config)
        self.assertEqual(hash(back), hash(config))
    record = registry.preset("small", "nasbench201").to_dict()
    self.assertEqual(
      record["run"]["tune_changes"],
      {"num_cells": 5, "image_size": 8, "pad": 1},
    )
    self.assertEqual(record["omega"]["op_weights"], (1.0, 1.0, 3.0, 3.0, 1.0))

  def test_a_warm_up_that_is_a_share_follows_the_epochs(self):
    config = registry.preset("small", "nasbench201")
    self.assertEqual((config.run.num_epochs, config.warmup_epochs), (30, 15))
    for num_epochs, expected in ((2, 1), (5, 2), (30, 15), (31, 15)):
      other = config_lib.override(config, "run", num_epochs=num_epochs)
      self.assertEqual(other.warmup_epochs, expected)
      self.assertEqual(other.settled().theta.warmup_epochs, expected)
    # In binary both products are just below.
    for share, expected in ((0.29, 29), (0.57, 57), (0.576, 57)):
      whole = config_lib.override(config, "run", num_epochs=100)
      whole = config_lib.override(whole, "theta", warmup_epochs=share)
      self.assertEqual(whole.warmup_epochs, expected)
    # What is settled stays when the run is made longer.
    longer = config_lib.override(config.settled(), "run", num_epochs=60)
    self.assertEqual(longer.warmup_epochs, 15)
    asked = config_lib.override(config, "theta", warmup_epochs=3)
    self.assertEqual(asked.warmup_epochs, 3)
    smoke = registry.preset("smoke", "nasbench201")
    self.assertEqual((smoke.run.num_epochs, smoke.warmup_epochs), (3, 2))

  def test_a_warm_up_without_end_is_refused(self):
    config = config_lib.override(registry.preset("smoke"), "run", num_epochs=3)
    config_lib.override(config, "theta", warmup_epochs=2)
    for epochs in (3, 4):
      with self.assertRaisesRegex(
        types.InputError,
        f"theta_warmup_epochs must be below num_epochs, 3, .* got {epochs}",
      ):
        config_lib.override(config, "theta", warmup_epochs=epochs)
    # Where nothing is learnt there is nothing to wait for.
    uniform = strategies.with_policy(config, "random")
    config_lib.override(uniform, "theta", warmup_epochs=3)

  def test_unknown_preset(self):
    with self.assertRaisesRegex(
      types.InputError, "preset must be one of paper, released, small, smoke"
    ):
      registry.preset("huge")
    with self.assertRaisesRegex(types.InputError, "space must be one of"):
      registry.preset("paper", "graph")


if __name__ == "__main__":
  absltest.main()
