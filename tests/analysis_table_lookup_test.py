"""Cells and candidates in a made-up table."""

import itertools

import numpy as np
from absl.testing import absltest

from enas_jax.analysis import benchmark_table, table_lookup
from enas_jax.spaces.nasbench201 import arc as nasbench201


def truth(ops):
  """Made up, and another for each cell: base five, in [50, 65.625)."""
  return 50 + int(ops, 5) / 1000


def make_table():
  cells = ["".join(ops) for ops in itertools.product("01234", repeat=6)]
  return benchmark_table.BenchmarkTable(
    np.array([list(map(int, ops)) for ops in cells], np.int32),
    np.array([truth(ops) for ops in cells]),
  )


def make_rows(*rows):
  space = nasbench201.NasBench201Space()
  return [
    {"arc": space.to_dict(space.from_digits(row.pop("ops"))), **row}
    for row in rows
  ]


class LookUpTest(absltest.TestCase):
  def test_a_cell(self):
    record = table_lookup.cell(make_table(), (4, 4, 4, 4, 4, 3))
    self.assertEqual(record["rank"], 2)
    self.assertAlmostEqual(record["true_accuracy"], 65.623)
    self.assertAlmostEqual(record["regret"], 0.001)

  def test_candidates_that_were_trained_alone(self):
    rows = make_rows(
      {"reward": 0.4, "ops": "000000"},
      {"reward": 0.3, "tuned_nats": 1.2, "ops": "333333"},
      {"reward": 0.2, "tuned_nats": 1.1, "ops": "444444"},
      {"reward": 0.1, "tuned_nats": 1.3, "ops": "222222"},
    )
    candidates = table_lookup.candidates(make_table(), rows)
    self.assertEqual(candidates.num_tuned, 3)
    record = candidates.to_dict()
    # Of the three pairs two have their order, and then all.
    self.assertAlmostEqual(record["kendall_tau_before_tuning"], 1 / 3)
    self.assertAlmostEqual(record["kendall_tau_after_tuning"], 1.0)
    self.assertAlmostEqual(
      record["mean_true_accuracy"],
      (50.0 + truth("222222") + truth("333333") + truth("444444")) / 4,
    )

  def test_a_training_that_overflowed_is_the_worst(self):
    rows = make_rows(
      {"reward": None, "tuned_nats": 1.2, "ops": "333333"},
      {"reward": 0.2, "tuned_nats": None, "ops": "222222"},
      {"reward": 0.1, "tuned_nats": 1.1, "ops": "444444"},
    )
    record = table_lookup.candidates(make_table(), rows).to_dict()
    self.assertAlmostEqual(record["kendall_tau_after_tuning"], 1.0)
    # 222222, 444444 and 333333 by reward: one pair of three has its order.
    self.assertAlmostEqual(record["kendall_tau_before_tuning"], -1 / 3)

  def test_an_order_needs_two(self):
    rows = make_rows({"reward": 0.4, "tuned_nats": 1.2, "ops": "000000"})
    record = table_lookup.candidates(make_table(), rows).to_dict()
    self.assertEqual(record, {"mean_true_accuracy": 50.0})


if __name__ == "__main__":
  absltest.main()
