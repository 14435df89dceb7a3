"""Whole searches: files, resume, signals and damaged checkpoints."""

import json
import pathlib
import sys
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import (
  derive,
  evaluate,
  heartbeat,
  loop,
  metrics,
  search,
)
from enas_jax.search import state as state_lib
from enas_jax.spaces.recurrent import arc as recurrent
from enas_jax.strategies import registry
from tests import tiny


def final_files(workdir):
  """What a run leaves behind, without the times."""
  rows = [
    {k: v for k, v in json.loads(line).items() if k not in heartbeat.FIELDS}
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  record = json.loads((workdir / "result.json").read_text())
  record.pop("search_seconds")
  policy = workdir / "policy.jsonl"
  record["what was proposed"] = policy.exists() and policy.read_text()
  arcs = (workdir / "arcs.jsonl").read_text()
  return rows, record, arcs


def stop_after(calls, evaluating=False):
  """A `stop` that says SIGTERM at the given call between two steps.

  With `evaluating` it is the given one between parts of an evaluation, or
  between scores.
  """
  left = [calls]

  def stop():
    # Of whoever called `Loop._serve_signal`.
    place = sys._getframe(2).f_code.co_filename
    if place.endswith("evaluate.py") == evaluating:
      left[0] -= 1
    return 15 if left[0] == 0 else 0

  stop.left = left
  return stop


class SearchTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.dataset = tiny.write_corpus(self.folder)

  def _search(self, name, stop=lambda: 0, **changes):
    config = tiny.make_config(**changes)
    task, splits = tiny.make_task(config, self.dataset)
    workdir = self.folder / name
    workdir.mkdir(exist_ok=True)
    return search.Search(config, task, splits, workdir, stop=stop), workdir

  def test_a_run_writes_what_it_found(self):
    run, workdir = self._search("run")
    told = []
    run._heartbeat = heartbeat.Heartbeat(1e-9, told.append)
    result = run.run()
    rows, record, arcs = final_files(workdir)
    space, arc = recurrent.from_dict(
      json.loads((workdir / "arc.json").read_text())
    )
    self.assertEqual(arc, result.arc)
    self.assertEqual(space, recurrent.RecurrentSpace(3))
    ranked = [json.loads(line) for line in arcs.splitlines()]
    self.assertLen(ranked, 4)
    rewards = [row["reward"] for row in ranked]
    self.assertEqual(rewards, sorted(rewards, reverse=True))
    self.assertEqual(record["reward"], rewards[0])
    self.assertAlmostEqual(record["mean_reward_policy"], np.mean(rewards))
    self.assertEqual(record["omega_steps"], 12)
    self.assertEqual(record["theta_steps"], 10)
    # Two epochs, each with rows at steps 4 and 6, 4 and 5, and at its end.
    self.assertEqual(
      [(r["phase"], r["epoch"], r["step"], r["theta_step"]) for r in rows],
      [
        ("omega", 1, 4, 0),
        ("omega", 1, 6, 0),
        ("theta", 1, 6, 4),
        ("theta", 1, 6, 5),
        ("epoch", 1, 6, 5),
        ("omega", 2, 10, 5),
        ("omega", 2, 12, 5),
        ("theta", 2, 12, 9),
        ("theta", 2, 12, 10),
        ("epoch", 2, 12, 10),
      ],
    )
    self.assertGreater(rows[-1]["valid/perplexity"], 3.0)  # what is possible
    self.assertBetween(rows[1]["omega/hidden_norm"], 0.01, 8**0.5)
    self.assertBetween(rows[2]["theta/grad_norm"], 1e-4, 100.0)
    text = (workdir / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    left = [row["remaining_seconds"] for row in rows if row["phase"] == "omega"]
    self.assertAlmostEqual(left[0], 8 * rows[0]["sec_per_step"])
    self.assertGreater(left[-1], 0)  # of theta's steps, the last ones
    self.assertEqual(rows[-2]["remaining_seconds"], 0)
    self.assertStartsWith(told[0], "epoch 1: omega step 1 of 6, 0 h 00 min")
    self.assertIn("s per theta step, 0 h 00 min of such steps to go", told[-1])

  def test_stopped_anywhere_and_resumed_is_uninterrupted(self):
    whole, folder = self._search("whole")
    whole.run()
    expected = final_files(folder)
    # In the omega phase, after its last step, in the theta phase, after the
    # last step of the first epoch, in the second, and after the last of all.
    for calls in (3, 6, 9, 11, 15, 22):
      stopped, workdir = self._search(f"cut{calls}", stop_after(calls))
      with self.assertRaises(loop.Interrupted) as caught:
        stopped.run()
      self.assertEqual(caught.exception.signum, 15)
      self.assertFalse(stopped.finished)
      resumed, _ = self._search(f"cut{calls}")
      self.assertEqual(
        int(resumed.state.total_steps), int(stopped.state.total_steps)
      )
      resumed.run()
      self.assertEqual(final_files(workdir), expected)
      for a, b in zip(
        jax.tree.leaves(whole.state.omega),
        jax.tree.leaves(resumed.state.omega),
        strict=True,
      ):
        np.testing.assert_array_equal(a, b)
      again, _ = self._search(f"cut{calls}")
      self.assertTrue(again.finished)
      self.assertEqual(int(again.state.epoch), 2)

  def test_killed_between_an_epochs_row_and_its_checkpoint(self):
    """After a signal at the epoch's last step, whose checkpoint is there."""
    whole, folder = self._search("whole")
    whole.run()
    stopped, workdir = self._search("cut", stop_after(11))
    with self.assertRaises(loop.Interrupted):
      stopped.run()

    class Killed(BaseException):
      pass

    def kill(milestone):
      raise Killed

    killed, _ = self._search("cut")
    killed._save = kill
    with self.assertRaises(Killed):
      killed.run()
    resumed, _ = self._search("cut")
    self.assertEqual(int(resumed.state.epoch), 0)
    resumed.run()
    self.assertEqual(final_files(workdir), final_files(folder))

  def test_candidates_trained_alone(self):
    options = {
      "tune_arcs": 3,
      "tune_from": "shared",
      "derive_arcs": 8,
      "tune_steps": 12,  # two epochs
    }
    whole, folder = self._search("whole", run=options)
    result = whole.run()
    omega = jax.tree.map(np.array, whole.state.omega)
    expected = final_files(folder)
    rows = [json.loads(line) for line in expected[2].splitlines()]
    tuned = [row for row in rows if "tuned_nats" in row]
    self.assertLen(tuned, 3)
    # The best by reward, each architecture once.
    different = {row["arc"]["tokens"]: row["rank"] for row in reversed(rows)}
    self.assertEqual(
      [row["rank"] for row in tuned], sorted(different.values())[:3]
    )
    best = min(tuned, key=lambda row: row["tuned_nats"])
    self.assertEqual(result.record["arc"], best["arc"])
    self.assertEqual(result.record["rank_before_tuning"], best["rank"])
    # What is trained to the end begins with the one that was kept.
    ordered = derive.in_order(rows)
    self.assertEqual(ordered[0]["arc"], result.record["arc"])
    self.assertEqual(
      [row["tuned_nats"] for row in ordered[:3]],
      sorted(row["tuned_nats"] for row in tuned),
    )
    left = [row["rank"] for row in ordered[3:]]
    self.assertEqual(left, sorted(left))
    self.assertEqual(result.record["reward"], best["reward"])
    self.assertAlmostEqual(
      result.record["tuned_valid_perplexity"], np.exp(best["tuned_nats"])
    )
    # Against the shared weights, which are still there.
    nats = evaluate.make_nats(whole._task)
    shared = {
      row["rank"]: nats(
        whole.state,
        whole._task.space.from_dict(row["arc"]),
        whole._data.valid,
      )
      for row in tuned
    }
    for row in tuned:
      self.assertNotAlmostEqual(
        row["tuned_nats"], shared[row["rank"]], places=3
      )
    # At a rate of next to nothing, training changes nothing.
    still, other = self._search("still", run={**options, "tune_rate": 1e-7})
    still.run()
    same = [json.loads(line) for line in final_files(other)[2].splitlines()]
    for row in same:
      if "tuned_nats" in row:
        self.assertAlmostEqual(row["tuned_nats"], shared[row["rank"]], places=4)
    # From scratch likewise: what is left are fresh weights, here of a network
    # that the search does not have.
    fresh = {
      "tune_from": "scratch",
      "tune_changes": {"hidden_size": 12, "bptt_length": 3},
      "tune_rate": 1e-7,
    }
    apart, other = self._search("apart", run={**options, **fresh})
    apart.run()
    config = tiny.make_config(
      child={"hidden_size": 12}, data={"bptt_length": 3}
    )
    task, splits = tiny.make_task(config, self.dataset)
    strategy = registry.create(config, task.space)
    state = state_lib.init_state(config, task, strategy, 6)
    nats = evaluate.make_nats(task)
    same = [json.loads(line) for line in final_files(other)[2].splitlines()]
    for row in same:
      if "tuned_nats" in row:
        arc = task.space.from_dict(row["arc"])
        expected_nats = nats(state, arc, splits.valid)
        self.assertAlmostEqual(row["tuned_nats"], expected_nats, places=4)
    for changes, message in (
      ({"batch_size": 5}, "batch_size cannot change"),
      ({"bptt_length": 299}, "validation split"),
    ):
      with self.assertRaisesRegex(types.InputError, message):
        self._search("no", run={**options, **fresh, "tune_changes": changes})
    # Stopped while it trains the second one, and resumed: not the first again.
    calls = 22 + 12 + 5  # steps of the search, of the first, of the second
    stopped, workdir = self._search("cut", stop_after(calls), run=options)
    with self.assertRaises(loop.Interrupted):
      stopped.run()
    self.assertFalse(stopped.finished)
    calls = 12 + 12  # steps of the second and of the third
    resumed, _ = self._search("cut", stop_after(calls + 1), run=options)
    self.assertEqual(int(resumed.state.epoch), 2)
    kept = workdir / "tuned.json"
    first = kept.read_text()
    kept.write_text(first[:-2])
    with self.assertRaisesRegex(types.InputError, "tuned.json is damaged"):
      resumed.run()
    # The time before the stop counts.
    late = {**json.loads(first), "seconds": 1e6}
    kept.write_text(json.dumps(late))
    self.assertGreater(resumed.run().record["search_seconds"], 1e6)
    self.assertEqual(final_files(workdir), expected)
    self.assertFalse(kept.exists())
    for a, b in zip(
      jax.tree.leaves(omega), jax.tree.leaves(resumed.state.omega), strict=True
    ):
      np.testing.assert_array_equal(a, b)

  def test_what_was_trained_alone_belongs_to_its_search(self):
    """Stopped in the middle of it, a search may go on for more epochs."""
    options = {"tune_arcs": 2, "tune_from": "shared", "tune_steps": 6}
    whole, folder = self._search("whole", run={**options, "num_epochs": 3})
    whole.run()
    calls = 22 + 6 + 3  # steps of the search, of the first, of the second
    stopped, workdir = self._search("cut", stop_after(calls), run=options)
    with self.assertRaises(loop.Interrupted):
      stopped.run()
    self.assertTrue((workdir / "tuned.json").exists())
    longer, _ = self._search("cut", run={**options, "num_epochs": 3})
    longer.run()
    self.assertEqual(final_files(workdir), final_files(folder))

  def test_killed_without_a_word_and_resumed_is_uninterrupted(self):
    """Rows after the last checkpoint are written anew, not twice."""
    whole, folder = self._search("whole")
    whole.run()

    class Killed(BaseException):
      pass

    def kill():
      if int(run.state.epoch) == 1 and int(run.state.theta_step) == 4:
        raise Killed
      return 0

    run, workdir = self._search("killed", kill)
    with self.assertRaises(Killed):
      run.run()
    run._checkpoints.wait()  # a thread of this process that was not killed
    rows = (workdir / "metrics.jsonl").read_text().splitlines()
    self.assertGreater(metrics.row_position(json.loads(rows[-1])), 11)
    with (workdir / "metrics.jsonl").open("a") as file:
      file.write('{"step": 13, "theta_st')  # cut off in the middle
    resumed, _ = self._search("killed")
    self.assertEqual(int(resumed.state.epoch), 1)
    resumed.run()
    self.assertEqual(final_files(workdir), final_files(folder))

  def test_a_damaged_checkpoint_gives_way_to_an_older_one(self):
    run, workdir = self._search("run")
    run.run()
    newest = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name))
    for path in newest.rglob("*"):
      if path.is_file():
        path.write_bytes(b"")
    resumed, _ = self._search("run")
    self.assertEqual(int(resumed.state.epoch), 1)
    resumed.run()
    again, _ = self._search("run")
    self.assertTrue(again.finished)

  def test_no_readable_checkpoint_is_said(self):
    run, workdir = self._search("run", run={"num_epochs": 1})
    run.run()
    for path in (workdir / "checkpoints").rglob("*"):
      if path.is_file():
        path.write_bytes(b"")
    with self.assertRaisesRegex(
      types.InputError, "no checkpoint in .* can be read"
    ):
      self._search("run", run={"num_epochs": 1})

  def test_a_finished_run_can_go_on_for_more_epochs(self):
    whole, folder = self._search("whole")
    whole.run()
    short, workdir = self._search("short", run={"num_epochs": 1})
    short.run()
    self.assertTrue(short.finished)
    longer, _ = self._search("short")
    self.assertFalse(longer.finished)
    longer.run()
    self.assertEqual(final_files(workdir), final_files(folder))

  def test_what_is_proposed_is_counted_after_every_epoch(self):
    run, workdir = self._search("run", policy="evolution")
    run.run()
    rows = [
      json.loads(line)
      for line in (workdir / "policy.jsonl").read_text().splitlines()
    ]
    self.assertEqual([row["epoch"] for row in rows], [1, 2])
    sizes = [4, 1, 4, 2, 4]  # ReLU to identity, or an earlier node
    for row in rows:
      self.assertEqual([len(entry) for entry in row["frequencies"]], sizes)
      for entry in row["frequencies"]:
        self.assertAlmostEqual(sum(entry), 1.0)
        for share in entry:
          self.assertAlmostEqual(share * 1000 % 1, 0.0)

  def test_a_damaged_count_of_what_was_proposed_is_named(self):
    run, workdir = self._search("damaged", policy="evolution")
    (workdir / "policy.jsonl").write_text('{"frequencies": []}\n')
    with self.assertRaisesRegex(
      types.InputError, "policy.jsonl lacks 'epoch'; delete it and resume"
    ):
      run.run()

  def test_the_random_policy_has_no_theta_phase(self):
    run, workdir = self._search("random", policy="random")
    run.run()
    self.assertEqual(run.state.strategy, ())
    self.assertFalse((workdir / "policy.jsonl").exists())
    rows, record, _ = final_files(workdir)
    self.assertEqual({row["phase"] for row in rows}, {"omega", "epoch"})
    self.assertEqual(record["theta_steps"], 0)

  def test_another_seed_is_another_run(self):
    first, folder = self._search("a")
    first.run()
    second, other = self._search("b", run={"seed": 1})
    second.run()
    self.assertNotEqual(
      final_files(folder)[0][0]["omega/loss_nats"],
      final_files(other)[0][0]["omega/loss_nats"],
    )

  def test_warm_up_leaves_theta_alone_and_resumes(self):
    changes = {"theta": {"steps": 5, "warmup_epochs": 1}}
    whole, workdir = self._search("warm", **changes)
    start = jax.tree.map(np.asarray, whole.state.strategy)
    whole.run()
    rows, _, _ = final_files(workdir)
    self.assertEqual(
      [
        (r["phase"], r["epoch"], r["theta_step"])
        for r in rows
        if r["step"] == 6
      ],
      [("omega", 1, 0), ("epoch", 1, 0)],
    )
    self.assertEqual(rows[-1]["theta_step"], 5)
    cut, _ = self._search("cut_warm", stop=stop_after(8), **changes)
    with self.assertRaises(loop.Interrupted):
      cut.run()
    self.assertEqual(int(cut.state.epoch), 1)
    for a, b in zip(
      jax.tree.leaves(start), jax.tree.leaves(cut.state.strategy), strict=True
    ):
      np.testing.assert_array_equal(a, b)
    again, workdir_cut = self._search("cut_warm", **changes)
    again.run()
    self.assertEqual(final_files(workdir), final_files(workdir_cut))

  def test_candidates_are_scored_on_the_mean_of_several_minibatches(self):
    run, _ = self._search("batches")
    arcs = run._derivation.propose(run.state.strategy, jax.random.key(0), 2)
    score = lambda key, **how: run._derivation.score(
      run.state, arcs, run._data.valid, key, **how
    )
    key = jax.random.key(1)
    each = [score(k) for k in jax.random.split(key, 3)]
    np.testing.assert_allclose(
      score(key, num_batches=3), np.mean(each, axis=0), rtol=1e-6
    )


if __name__ == "__main__":
  absltest.main()
