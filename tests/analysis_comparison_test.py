"""The comparison of methods over seeds, by hand."""

import types

import numpy as np
from absl.testing import absltest

from enas_jax.analysis import comparison


def row(seed, accuracy, seconds=None, tau=None):
  return {
    "seed": seed,
    "true_accuracy": accuracy,
    "rank": 1,
    "regret": 94.0 - accuracy,
    "search_seconds": seconds,
    "kendall_tau": tau,
    "omega_steps": 100 if seconds else None,
    "theta_steps": 40 if seconds else None,
    "ops": "333333",
  }


def make_record():
  table = types.SimpleNamespace(
    accuracies=np.array([80.0, 90.0, 94.0]), expected_best_of=lambda k: 91.5
  )
  rows = {
    "controller": [row(0, 92.0, 10.0, 0.25), row(1, 94.0, 30.0, 0.75)],
    "table_random": [row(0, 91.0), row(1, 91.0)],
  }
  record = comparison.summarise(rows, table, 5, "table_random")
  return {**record, "seeds": [0, 1]}


class SummaryTest(absltest.TestCase):
  def test_by_hand(self):
    record = make_record()
    self.assertEqual(record["chance"], {"one": 88.0, "best_of_5": 91.5})
    self.assertEqual(record["optimum"], 94.0)
    mean = record["summary"]["controller"]
    self.assertEqual(mean["true_accuracy"], 93.0)
    self.assertAlmostEqual(mean["true_accuracy_standard_error"], 1.0)
    self.assertEqual(mean["search_seconds"], 20.0)
    self.assertNotIn("search_seconds", record["summary"]["table_random"])
    self.assertEqual(mean["omega_steps"], 100)
    over = record["over_chance"]
    self.assertEqual(list(over), ["controller"])
    self.assertEqual(
      (over["controller"]["wins"], over["controller"]["ties"]), (2, 0)
    )
    differences = {
      name: (found["mean_difference"], found["wins"])
      for name, found in record["comparisons"].items()
    }
    self.assertEqual(
      differences,
      {
        "table_random": (2.0, 2),
        "chance_one": (5.0, 2),
        "chance_best_of_5": (1.5, 2),
      },
    )


if __name__ == "__main__":
  absltest.main()
