"""Presets against the paper's and the release's numbers; refusals."""

import dataclasses

from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces import registry


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
    self.assertEqual(config.controller.hidden_size, 100)
    self.assertEqual(config.controller.temperature, 5.0)
    self.assertEqual(config.controller.tanh_constant, 2.5)
    self.assertEqual(config.controller.init_range, 0.1)
    self.assertEqual(config.omega.learning_rate, 20.0)
    self.assertEqual(config.omega.decay_rate, 0.96)
    self.assertEqual(config.omega.decay_start_epoch, 15)
    self.assertEqual(config.omega.clip_norm, 0.25)
    self.assertEqual(config.omega.l2_weight, 1e-7)
    self.assertEqual(config.omega.num_arcs, 1)
    self.assertEqual(config.omega.steps, 0)
    self.assertEqual(config.theta.steps, 2000)
    self.assertEqual(config.theta.learning_rate, 0.00035)
    self.assertEqual(config.theta.entropy_weight, 0.0001)
    self.assertEqual(config.run.num_epochs, 150)

  def test_released(self):
    config = registry.preset("released")
    self.assertEqual(config.child.num_nodes, 9)
    self.assertEqual(config.child.first_node, "tanh")
    self.assertEqual(config.child.output, "all_nodes")
    self.assertTrue(config.child.weights_per_op)
    self.assertFalse(config.child.batch_norm)
    self.assertEqual(config.data.batch_size, 128)
    self.assertEqual(config.controller.hidden_size, 64)
    self.assertEqual(config.controller.tanh_constant, 2.25)
    self.assertEqual(config.theta.steps * config.theta.num_arcs, 250)
    self.assertEqual(config.omega.clip_norm, 0.1)
    self.assertEqual(config.omega.decay_rate, 1.0)

  @parameterized.parameters(*config_lib.PRESETS)
  def test_every_field_has_a_help_text(self, name):
    config = registry.preset(name)
    for part in dataclasses.fields(config):
      for field in dataclasses.fields(getattr(config, part.name)):
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
    ("controller", {"temperature": 0.0}, "controller_temperature must be"),
    (
      "omega",
      {"clip_norm": float("nan")},
      "omega_clip_norm must be zero or positive",
    ),
    ("omega", {"steps": -1}, "omega_steps must be zero or positive, got -1"),
    ("theta", {"baseline_decay": 1.0}, r"theta_baseline_decay must be in"),
    (
      "run",
      {"policy": "annealing"},
      "policy must be one of controller, random, evolution",
    ),
    (
      "theta",
      {"tournament_size": 0},
      "theta_tournament_size must be positive, got 0",
    ),
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
      {"op_weights": "1,1,1,1"},
      "omega_op_weights must be empty unless architectures are uniform",
    ),
  )
  def test_values_are_checked(self, part, change, message):
    with self.assertRaisesRegex(types.InputError, message):
      config_lib.override(registry.preset("smoke"), part, **change)

  @parameterized.parameters(
    ("1,2,x,1", "must be positive numbers with commas .*, got '1,2,x,1'"),
    ("1,2,0,1", "must be positive numbers"),
    ("1,2,inf,1", "must be positive numbers"),
    ("1,2,3", "must be 4 positive numbers .*, one for each op.*, got '1,2,3'"),
  )
  def test_weights_of_operations(self, weights, message):
    config = registry.preset("smoke")
    config = config_lib.override(config, "run", policy="random")
    with self.assertRaisesRegex(
      types.InputError, f"^omega_op_weights {message}"
    ):
      config_lib.override(config, "omega", op_weights=weights)
    config = config_lib.override(config, "omega", op_weights="1,2,.5,1")
    self.assertEqual(config.omega.op_chances(), (1.0, 2.0, 0.5, 1.0))
    with self.assertRaisesRegex(types.InputError, "empty with omega_fair_ops"):
      config_lib.override(config, "omega", fair_ops=True)

  @parameterized.parameters(
    (
      "depth=5",
      "tune_changes must be options of the network or of minibatches",
    ),
    ("num_cells", "num_cells must be of type int, got ''"),
    ("num_cells=2.5", "num_cells must be of type int, got '2.5'"),
    ("flip=yes", "flip must be true or false, got 'yes'"),
    ("num_cells=0", "num_cells must be positive, got 0"),
  )
  def test_changes_for_candidates(self, changes, message):
    config = registry.preset("smoke", "nasbench201")
    start = {"tune_from": "scratch", "tune_changes": ""}
    config = config_lib.override(config, "run", **start)
    with self.assertRaisesRegex(types.InputError, f"^{message}"):
      config_lib.override(config, "run", tune_changes=changes)
    given = config_lib.override(
      config, "run", tune_changes="num_cells=3,flip=false,drop_features=0.5"
    )
    self.assertEqual(
      given.alone(),
      config_lib.override_parts(
        config,
        {
          "child": {"num_cells": 3, "drop_features": 0.5},
          "data": {"flip": False},
        },
      ),
    )
    with self.assertRaisesRegex(types.InputError, "--tune_from=shared"):
      config_lib.override(given, "run", tune_from="shared")
    with self.assertRaisesRegex(types.InputError, "leave the space as it is"):
      config_lib.override(
        registry.preset("smoke"), "run", tune_changes="num_nodes=3"
      )

  def test_unknown_preset(self):
    with self.assertRaisesRegex(
      types.InputError, "preset must be one of paper, released, small, smoke"
    ):
      registry.preset("huge")
    with self.assertRaisesRegex(types.InputError, "space must be one of"):
      registry.preset("paper", "graph")


if __name__ == "__main__":
  absltest.main()
