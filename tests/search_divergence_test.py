"""Runs whose numbers overflow: skipped steps, rollbacks, the end."""

import json
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.search import loop, rollback, search
from enas_jax.search import state as state_lib
from enas_jax.tasks import language_model
from tests import tiny
from tests.search_test import final_files, stop_after

# Of an epoch of six windows of five words.
_EPOCH = 30


class Hot(language_model.LanguageModel):
  """Overflows in the second epoch at a rate above 0.6, and in one window."""

  def loss(self, child, arc, batch, carry, key):
    loss, aux = super().loss(child, arc, batch, carry, key)
    bad = carry.position == 10
    if self.config.omega.learning_rate > 0.6:
      bad |= carry.position >= _EPOCH
    metrics, after = aux
    state = jnp.where(bad, jnp.nan, after.state)
    return jnp.where(bad, jnp.inf, loss), (metrics, after._replace(state=state))


class Overflowing(language_model.LanguageModel):
  """Cells that begin with tanh overflow, and with ReLU earn nothing at all."""

  def reward(self, omega, arc, batch, carry):
    earned = super().reward(omega, arc, batch, carry)
    earned = jnp.where(arc.ops[0] == 1, 0.0, earned)
    return jnp.where(arc.ops[0] == 0, jnp.nan, earned)


def strict_loads(text):
  def refuse(name):
    raise ValueError(f"{name} is not JSON")

  return json.loads(text, parse_constant=refuse)


class DivergenceTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(tempfile.mkdtemp())
    cls.dataset = tiny.write_corpus(cls.folder)

  def _search(self, name, stop=lambda: 0, rate=1.0, **run):
    run = {"log_every": 2, "max_skipped": 3, **run}
    config = tiny.make_config(run=run, omega={"learning_rate": rate})
    task, splits = tiny.make_task(config, self.dataset)
    workdir = self.folder / name
    workdir.mkdir(exist_ok=True)
    lines = []
    progress = loop.Progress()
    progress.line = lines.append
    hot = Hot(**vars(task))
    made = search.Search(config, hot, splits, workdir, progress, stop)
    return made, workdir, lines

  def test_a_step_that_overflows_changes_no_weight(self):
    run, _, _ = self._search("step")
    state, data = run.state, run._data.train
    for step in range(4):
      before = jax.tree.map(np.array, (state.omega, state.carry))
      state, metrics = run.omega_step(state, data)
      omega, carry = jax.tree.map(np.array, (state.omega, state.carry))
      self.assertEqual(float(metrics["skipped"]), step == 2)
      self.assertEqual(int(carry.position), 5 * step + 5)
      same = np.array_equal(omega["w_h"], before[0]["w_h"])
      self.assertEqual(same, step == 2)
      if step == 2:
        chex.assert_trees_all_equal(omega, before[0])
        np.testing.assert_array_equal(carry.state, before[1].state)
      self.assertTrue(bool(state_lib.is_finite(state)))
    self.assertEqual(int(state.total_steps), 4)

  def test_a_run_goes_back_slower_and_the_same_after_a_stop(self):
    whole, folder, lines = self._search("whole")
    whole.run()
    rows, record, _ = expected = final_files(folder)
    skipped = {
      (row["epoch"], row["step"]): row["omega/skipped"]
      for row in rows
      if row["phase"] == "omega"
    }
    self.assertEqual(list(skipped.values()), [0, 1, 0, 0, 0, 0])
    self.assertEqual(list(skipped)[3:], [(2, 8), (2, 10), (2, 12)])
    rates = [row["omega/learning_rate"] for row in rows if "omega/loss" in row]
    self.assertEqual(rates, [1.0] * 3 + [0.5] * 3)
    self.assertEqual(record["omega_steps"], 12)
    kept = json.loads((folder / "rollbacks.json").read_text())
    # Eleven steps and one epoch.
    self.assertEqual(kept, {"places": [12], "forgiven": 0, "ended": False})
    self.assertRegex(
      "\n".join(lines),
      "last 4 omega steps of epoch 2 had a loss or gradient that is not finite"
      ": back to the last epoch's end, .* 0.5 times .* .rollback 1 of 3",
    )
    # While steps are skipped, and after the run has gone back.
    for calls in (13, 16, 22):
      cut, workdir, _ = self._search(f"cut{calls}", stop_after(calls))
      with self.assertRaises(loop.Interrupted):
        cut.run()
      self._search(f"cut{calls}")[0].run()
      self.assertEqual(final_files(workdir), expected)

  def test_a_run_that_diverges_too_often_ends_and_goes_on_as_advised(self):
    run, workdir, _ = self._search("end", max_rollbacks=1, rate=100.0)
    with self.assertRaisesRegex(
      loop.Diverged,
      "epoch 2 had a loss .* gone back 1 times, the last checkpoint is kept; go"
      r" on with --resume and a lower one of --omega_learning_rate .now 100.,",
    ):
      run.run()
    self.assertTrue(rollback.has_ended(workdir))
    slower, _, _ = self._search("end", rate=0.5)
    self.assertEqual(int(slower.state.epoch), 1)
    slower.run()
    rows, _, _ = final_files(workdir)
    rates = [row.get("omega/learning_rate", 0.5) for row in rows]
    self.assertEqual(rates[-5:], [0.5] * 5)
    self.assertFalse(rollback.has_ended(workdir))

  def test_a_state_that_is_not_finite_is_never_saved(self):
    run, workdir, lines = self._search("inf", stop=lambda: 15)
    names = lambda: sorted(path.name for path in workdir.glob("checkpoints/*"))
    with self.assertRaises(loop.Interrupted):
      run.run()
    self.assertEqual(names(), ["1"])
    run.state = run.state.replace(
      total_steps=jnp.int32(2),
      omega={**run.state.omega, "w_h": run.state.omega["w_h"] * jnp.inf},
    )
    with self.assertRaises(loop.Interrupted):
      run._serve_signal()
    self.assertEqual(names(), ["1"])
    self.assertIn("is not finite and not saved", lines[-1])
    with self.assertRaisesRegex(loop.Unstable, "ends in numbers that are not"):
      run._end_epoch_saved()
    self.assertEqual(names(), ["1"])

  def test_divergence_is_said_and_the_checkpoint_kept(self):
    config = tiny.make_config(
      child={"batch_norm": False},
      omega={"learning_rate": 1e30, "clip_norm": 1e30},
      run={"max_rollbacks": 0},
    )
    task, splits = tiny.make_task(config, self.dataset)
    workdir = self.folder / "hot"
    workdir.mkdir()
    run = search.Search(config, task, splits, workdir)
    with self.assertRaisesRegex(
      loop.Diverged,
      "the last 5 omega steps of epoch 1 had .* .now 1e.30",
    ):
      run.run()
    rows = (workdir / "metrics.jsonl").read_text().splitlines()
    # All but the first step overflow.
    first, second = map(json.loads, rows)
    self.assertGreater(first["omega/grad_norm"], 0.0)
    self.assertIsNone(second["omega/grad_norm"])  # JSON has no NaN
    self.assertEqual((first["omega/skipped"], second["omega/skipped"]), (3, 2))

  @parameterized.parameters("controller", "evolution")
  def test_architectures_that_overflow_end_no_search(self, policy):
    config = tiny.make_config(
      policy, run={"derive_arcs": 20}, theta={"num_arcs": 4}
    )
    task, splits = tiny.make_task(config, self.dataset)
    task = Overflowing(**vars(task))
    workdir = self.folder / policy
    workdir.mkdir()
    run = search.Search(config, task, splits, workdir)
    result = run.run()
    self.assertNotIn(result.arc.ops[0], (0, 1))
    rows = (workdir / "metrics.jsonl").read_text().splitlines()
    counts = [
      row["theta/rewards_not_finite"]
      for row in map(strict_loads, rows)
      if row["phase"] == "theta"
    ]
    self.assertGreater(max(counts), 0)
    candidates = [
      strict_loads(line)
      for line in (workdir / "arcs.jsonl").read_text().splitlines()
    ]
    first = [row["arc"]["ops"][0] for row in candidates]
    rewards = [row["reward"] for row in candidates]
    # Those without a reward come last, whatever the others earned.
    known = len(rewards) - rewards.count(None)
    self.assertBetween(known, 1, 19)
    self.assertEqual(set(first[known:]), {"tanh"})
    self.assertEqual(rewards[known:], [None] * (len(rewards) - known))
    self.assertEqual(rewards[:known], sorted(rewards[:known], reverse=True))
    for row, op in zip(candidates, first, strict=True):
      self.assertEqual(row["perplexity"] is None, op in ("tanh", "relu"))
    record = strict_loads((workdir / "result.json").read_text())
    # The mean is of the samples alone, without what the strategy adds to them.
    sampled = rewards[:known]
    if policy == "evolution":
      self.assertLen(rewards, 21)
      best = task.space.from_choices(run.state.strategy.best)
      best = task.space.to_dict(task.space.validate(best))
      arcs = [candidate["arc"] for candidate in candidates]
      sampled.remove(rewards[arcs.index(best)])
    self.assertAlmostEqual(record["mean_reward_policy"], np.mean(sampled))


if __name__ == "__main__":
  absltest.main()
