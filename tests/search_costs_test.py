"""What architectures cost, and what that does to rewards and to the end."""

import functools
import json
import math
import pathlib
import tempfile
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import (
  costs,
  derive,
  evaluate,
  search,
  theta_steps,
  tune,
)
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions, describe
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry
from tests import tiny


def first_node(arc):
  """Two features: a first operation of 0, of 1."""
  return jnp.stack([arc.ops[0] == 0, arc.ops[0] == 1]).astype(jnp.float32)


# 2 of most cells, 8 of those that begin with tanh, 4 with ReLU.
HANDMADE = costs.Costs(
  column="params",
  target=4.5,
  weight=-0.5,
  base=2.0,
  slopes=(6.0, 2.0),
  error=0.0,
  features=first_node,
)


class TableTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(folder) / "costs.json"
    self.lines = []

  def _find(self, config, task):
    state = SimpleNamespace(
      key=jax.random.key(0), omega=(), carry=SimpleNamespace()
    )
    return costs.find(config, task, None, state, self.path, self.lines.append)

  @parameterized.parameters("macro", "nasbench201")
  def test_sizes_are_what_the_live_children_have(self, space):
    memory = functools.lru_cache(None)(describe.describe)
    definition = spaces.get(space)
    for cost in ("params", "multiply_adds"):
      config = tiny.make_image_config(space, run={"cost": cost})
      task, _ = tiny.make_image_task(config, space)
      with mock.patch.object(describe, "describe", memory):
        found = self._find(config, task)
      self.assertLess(found.error, 1e-6)
      arcs = task.space.sample_uniform(jax.random.key(7), 6)
      told = evaluate.make_each(found.of)(arcs)
      for index in range(6):
        arc = task.space.validate(jax.device_get(decisions.nth(arcs, index)))
        live = definition.live(config.child, arc)
        record = memory(space, config.child, live, task.data_shape)
        self.assertAlmostEqual(float(told[index]) / record[cost], 1, places=5)
      self.assertIn(f"finding the {cost} of ", self.lines[-2])
      # Read, and not found again.
      again = self._find(config, task)
      self.assertEqual((again.slopes, again.base), (found.slopes, found.base))
      self.assertEqual(again.target, found.target)
      self.path.unlink()
    self.assertLen(self.lines, 4)

  def test_cells_of_equal_features_are_of_equal_size(self):
    """As each cell adds its part, and each of its operations."""
    config = tiny.make_image_config("micro", child={"num_nodes": 4})
    space, definition = config.child.space(), spaces.get("micro")

    def size(arc):
      record = describe.describe("micro", config.child, arc)
      return np.asarray([record["params"], record["multiply_adds"]])

    arcs = space.sample_uniform(jax.random.key(0), 3000)
    features = np.asarray(
      evaluate.make_each(lambda arc: definition.features(config.child, arc))(
        arcs
      )
    )
    like = {}
    for index, row in enumerate(features):
      like.setdefault(row.tobytes(), []).append(index)
    get = lambda i: space.validate(jax.device_get(decisions.nth(arcs, i)))
    pairs = [tuple(map(get, group[:2])) for group in like.values()]
    pairs = [pair for pair in pairs if len(set(pair)) == 2][:3]
    self.assertLen(pairs, 3)
    for one, other in pairs:
      np.testing.assert_array_equal(size(one), size(other))
    first, second = (one for one, _ in pairs[:2])
    mixed = [
      first._replace(reduction=second.reduction),
      second._replace(reduction=first.reduction),
    ]
    np.testing.assert_array_equal(
      size(first) + size(second), sum(map(size, mixed))
    )

  def test_latency_is_measured(self):
    """A clock that each operation moves by its own time."""
    config = tiny.make_config(run={"cost": "latency", "cost_weight": -1.0})
    task = tiny.text_task(config, 7)
    now, calls = [0.0], []

    def make_chunk(asked):
      self.assertIs(asked, task)

      def chunk(omega, arc, split, index, carry):
        calls.append(arc)
        now[0] += 0.25 + 0.5 * int(np.sum(np.asarray(arc.ops) == 0))
        return jnp.float32(0.0)

      return chunk

    with (
      mock.patch.object(evaluate, "make_chunk", make_chunk),
      mock.patch.object(costs.time, "perf_counter", lambda: now[0]),
      mock.patch.object(type(task), "start_split", lambda self, carry: carry),
    ):
      found = self._find(config, task)
    self.assertEqual(found.column, "latency_ms")
    # 250 ms, and 500 ms for each of three nodes that is tanh.
    for ops, expected in (((1, 2, 1), 250.0), ((0, 1, 0), 1250.0)):
      arc = task.space.from_tokens("0 0 0 0 0")._replace(ops=ops)
      cost = found.of(decisions.as_arrays(arc))
      self.assertAlmostEqual(float(cost), expected, places=2)
    record = json.loads(self.path.read_text())
    self.assertEqual(record["cost"], "latency")
    # The mean of those that were measured, as no other was asked for.
    self.assertBetween(record["target"], 400.0, 900.0)  # 625 of all
    self.assertLess(record["error"], 1e-6)
    # Each of them several times, and one to compile.
    self.assertEqual((len(calls) - 1) % 5, 0)

  def test_bad_tables_are_refused(self):
    config = tiny.make_image_config("macro", run={"cost": "params"})
    sound = {"cost": "params", "target": 2.0, "base": 1.0, "error": 0.0}
    sound["slopes"] = [1.0]
    self.path.write_text(json.dumps(sound))
    read = costs.read(config, self.path)
    self.assertEqual((read.slopes, read.base), ((1.0,), 1.0))
    self.assertEqual((read.column, read.target), ("params", 2.0))
    wanted = tiny.make_image_config(
      "macro", run={"cost": "params", "cost_target": 5.0}
    )
    self.assertEqual(costs.read(wanted, self.path).target, 5.0)
    for change in (
      *({"cost": "latency"}, {"slopes": 3}, {"slopes": ["a"]}),
      *({"base": None}, {"target": "a"}, {"target": 0.0}, {"target": None}),
    ):
      self.path.write_text(json.dumps(sound | change))
      with self.assertRaisesRegex(types.InputError, "costs.json"):
        costs.read(config, self.path)

  def test_refusals(self):
    text = tiny.make_config(run={"cost": "multiply_adds"})
    with self.assertRaisesRegex(
      types.InputError,
      "every architecture of the recurrent space has the same multiply_adds,"
      r" \d+; give --cost=latency",
    ):
      costs.check(text, tiny.text_task(text, 7))
    for changes, message in (
      ({"cost": "luck"}, "cost must be one of"),
      ({"cost_target": 2.0}, "cost_target must be 0 without cost"),
      ({"cost": "params", "cost_weight": 0.5}, r"cost_weight must be in \["),
      ({"cost": "params", "cost_target": -1.0}, "cost_target must be"),
    ):
      with self.assertRaisesRegex(types.InputError, message):
        tiny.make_image_config("macro", run=changes)
    for policy in ("darts", "gdas"):
      with self.assertRaisesRegex(
        types.InputError,
        "cost must be empty with a policy that earns no rewards",
      ):
        tiny.make_image_config("micro", policy=policy, run={"cost": "params"})

  def test_the_error_is_of_what_the_table_was_not_made_from(self):
    """Costs are 2 + 6 x, but in what is held out: 3 + 6 x, and 1 + 6 x."""
    x = np.tile([0.0, 1.0], 20)
    spent = 2.0 + 6.0 * x
    held_out = np.arange(40) >= 24
    spent[held_out] += np.tile([1.0, 1.0, -1.0, -1.0], 4)
    found = costs._fitted(x[:, None], spent)
    self.assertAlmostEqual(found["base"], 2.0)
    np.testing.assert_allclose(found["slopes"], [6.0])
    # Off by 1 each time, of 5 in the mean.
    self.assertAlmostEqual(found["error"], 0.2)


class TradeTest(absltest.TestCase):
  def test_the_factor_of_mnasnet(self):
    for op, cost in ((0, 8.0), (1, 4.0), (2, 2.0)):
      arc = SimpleNamespace(ops=jnp.asarray([op, 3]))
      self.assertAlmostEqual(float(HANDMADE.of(arc)), cost, places=6)
      # (2 / 4.5)^-0.5 is 1.5, (8 / 4.5)^-0.5 is 0.75.
      expected = {0: 0.75, 1: (4 / 4.5) ** -0.5, 2: 1.5}[op]
      self.assertAlmostEqual(float(HANDMADE.factor(arc)), expected, places=6)
    # exp(-nats) 1.5 is exp(-(nats - log 1.5)).
    self.assertAlmostEqual(HANDMADE.handicap(2.0), -math.log(1.5))
    self.assertAlmostEqual(HANDMADE.handicap(4.5), 0.0)

  def test_a_theta_step_earns_rewards_at_their_cost(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    config = tiny.make_config()
    task, splits = tiny.make_task(config, tiny.write_corpus(folder))
    strategy = registry.create(config, task.space)
    state = state_lib.init_state(config, task, strategy, 6)
    key = state_lib.step_key(state, state_lib.THETA_KEYS, state.theta_step)
    key_arc, _ = jax.random.split(key)
    sample = strategy.controller.sample(state.strategy.theta, key_arc, 1)
    arc = decisions.nth(sample.arc, 0)
    earned = []
    for known in (None, HANDMADE):
      step = theta_steps.make_theta_step(task, strategy, costs=known)
      after, metrics = step(
        jax.tree.map(jnp.copy, state), splits.valid, splits.train
      )
      earned.append(float(metrics["reward"]))
    factor = float(HANDMADE.factor(arc))
    self.assertNotEqual(factor, 1.0)
    self.assertAlmostEqual(earned[1] / earned[0], factor, places=5)
    # One program for all architectures.
    for _ in range(3):
      after, _ = step(after, splits.valid, splits.train)
    self.assertEqual(step._cache_size(), 1)

  def test_tuned_candidates_are_compared_at_their_cost(self):
    first, second = (
      tune.Tuned("a", 1, nats=1.0, valid=0.5, steps=2),
      tune.Tuned("b", 2, nats=1.25, valid=0.5, steps=2),
    )
    for handicaps, expected in (
      (None, [first, second]),
      ({"a": 0.0, "b": -0.125}, [first, second]),
      ({"a": 0.5, "b": 0.0}, [second, first]),
    ):
      self.assertEqual(tune._in_order([second, first], handicaps), expected)
    rows = [
      {"rank": 1, "tuned_nats": 1.0, "tuned_nats_at_cost": 1.5},
      {"rank": 2, "tuned_nats": 1.25, "tuned_nats_at_cost": 1.25},
    ]
    self.assertEqual(derive.in_order(rows)[0]["rank"], 2)


class SearchTest(absltest.TestCase):
  def test_a_search_keeps_the_best_at_its_cost(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    changes = {"cost": "latency", "cost_weight": -8.0, "num_epochs": 1}
    changes |= {"derive_arcs": 12, "tune_arcs": 2, "tune_steps": 1}
    config = tiny.make_config("random", run=changes)
    task, splits = tiny.make_task(config, tiny.write_corpus(folder))

    def latencies(task, arcs, valid, state):
      return 1.0 + np.sum(np.asarray(arcs.ops) == 0, axis=1)

    with mock.patch.object(costs, "_latencies", latencies):
      result = search.Search(config, task, splits, folder).run()
    rows, metrics = (
      [json.loads(line) for line in (folder / name).read_text().splitlines()]
      for name in ("arcs.jsonl", "metrics.jsonl")
    )
    target = json.loads((folder / "costs.json").read_text())["target"]
    for row in rows:
      spent = 1.0 + row["arc"]["ops"].count("tanh")
      self.assertAlmostEqual(row["latency_ms"], spent, places=4)
      traded = row["reward"] * (spent / target) ** -8.0
      self.assertAlmostEqual(row["score"] / traded, 1.0, places=3)
    scores = [row["score"] for row in rows]
    self.assertEqual(scores, sorted(scores, reverse=True))
    self.assertNotEqual(
      [row["reward"] for row in rows], sorted(row["reward"] for row in rows)
    )
    # Of two that were trained alone the one that is better at its cost.
    tuned = [row for row in rows if "tuned_nats" in row]
    self.assertLen(tuned, 2)
    for row in tuned:
      nats = row["tuned_nats"] + 8.0 * math.log(row["latency_ms"] / target)
      self.assertAlmostEqual(row["tuned_nats_at_cost"], nats, places=5)
    best = min(tuned, key=lambda row: row["tuned_nats_at_cost"])
    self.assertEqual(task.space.to_dict(result.arc), best["arc"])
    self.assertEqual(result.record["cost"], "latency_ms")
    self.assertEqual(result.record["latency_ms"], best["latency_ms"])
    (last,) = [row for row in metrics if row["phase"] == "epoch"]
    for who in ("policy", "uniform"):
      self.assertBetween(last[f"cost/{who}"], 1.0, 4.0)


if __name__ == "__main__":
  absltest.main()
