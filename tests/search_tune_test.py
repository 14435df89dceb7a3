"""Successive halving of candidates that are trained alone."""

import json
import pathlib
import tempfile
import types as python_types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.search import (
  derive,
  devices,
  evaluate,
  groups,
  loop,
  search,
  tune,
)
from enas_jax.spaces import decisions
from enas_jax.spaces.nasbench201 import arc as nasbench201
from tests import tiny
from tests.search_test import final_files, stop_after


def cells(count):
  return [nasbench201.NasBench201Arc((0, 0, 0, 0, i // 5, i % 5))
          for i in range(count)]  # fmt: skip


class PlanTest(parameterized.TestCase):
  @parameterized.parameters(
    # 8 x 6 + 4 x 12 + 2 x 24 = 144 = 8 x 18
    (8, 18, 2, [(8, 0, 6), (4, 6, 18), (2, 18, 42)]),
    # Without halving each has all its steps.
    (5, 7, 0, [(5, 0, 7)]),
    # 3 s + 2 x 2 s = 7 s of 30: s = 4, and 2 are left.
    (3, 10, 1, [(3, 0, 4), (2, 4, 12)]),
    # One candidate cannot be halved.
    (1, 9, 3, [(1, 0, 9)]),
  )
  def test_by_hand(self, num_arcs, num_steps, halvings, expected):
    self.assertEqual(tune.plan(num_arcs, num_steps, halvings), expected)

  @parameterized.parameters(1, 2, 3)
  def test_no_more_steps_than_without_and_none_of_no_steps(self, halvings):
    for num_arcs in range(2**halvings, 40):
      for num_steps in range(halvings + 3, 40):
        rounds = tune.plan(num_arcs, num_steps, halvings)
        spent = sum(r.num_arcs * (r.stop - r.start) for r in rounds)
        self.assertLen(rounds, halvings + 1)
        self.assertGreater(rounds[0].stop, 0)
        self.assertLessEqual(spent, num_arcs * num_steps)
        if num_arcs % 2**halvings == 0 and num_steps % (halvings + 1) == 0:
          self.assertEqual(spent, num_arcs * num_steps)


class HalvingTest(parameterized.TestCase):
  """With curves of training that are known: nats = level + 1 / steps."""

  def _run(self, levels, halvings, num_steps, done=None, live=lambda a: a):
    arcs = cells(len(levels))
    level = dict(zip(arcs, levels, strict=True))
    config = tiny.make_image_config(
      "nasbench201",
      run={
        "tune_arcs": len(levels), "tune_from": "shared",
        "tune_steps": num_steps, "tune_halvings": halvings, "tune_changes": (),
      },
    )  # fmt: skip
    taken, told = [], []

    def go_on(state, arc, start, stop):
      self.assertEqual(state["steps"], start)
      taken.append((arcs.index(arc), stop - start))
      return {"steps": stop}

    def make(*args):
      count = len({live(arc) for arc in arcs})
      self.assertEqual(args[3], tune.plan(count, num_steps, halvings)[0][2])
      return lambda state: {"steps": 0}, go_on

    nats = lambda after, arc, valid: level[arc] + 1 / after["steps"]
    replaced = {
      "_make_training": make,
      "_to_host": lambda state: state,
      "_from_host": lambda held, state: held,
    }
    with (
      mock.patch.multiple(tune, **replaced),
      mock.patch.object(evaluate, "make_nats", lambda *of: nats),
      mock.patch.object(evaluate, "make_evaluate", lambda *of: nats),
    ):
      tuned = tune.tune_best(
        (config, None, None, None), None, arcs, live, lambda: None,
        told.append, done or {},
      )  # fmt: skip
    return arcs, tuned, taken, told

  def test_the_better_half_goes_on(self):
    levels = [5.0, 2.0, 7.0, 1.0, 8.0, 3.0, 4.0, 6.0]
    arcs, tuned, taken, told = self._run(levels, halvings=2, num_steps=18)
    self.assertEqual(taken[:8], [(i, 6) for i in range(8)])
    # The best four, best first, then the best two of them.
    self.assertEqual(taken[8:], [(3, 12), (1, 12), (5, 12), (6, 12),
                                 (3, 24), (1, 24)])  # fmt: skip
    self.assertEqual(sum(steps for _, steps in taken), 8 * 18)
    self.assertEqual(
      [(arcs.index(one.arc), one.steps) for one in tuned],
      [(3, 42), (1, 42), (5, 18), (6, 18), (0, 6), (7, 6), (2, 6), (4, 6)],
    )
    self.assertEqual([one.rank for one in tuned][:2], [4, 2])
    self.assertAlmostEqual(tuned[0].nats, 1 + 1 / 42)
    self.assertLen(told, 14)

  def test_of_those_that_compute_the_same_the_first_is_trained(self):
    same = lambda arc: arc._replace(ops=(*arc.ops[:5], arc.ops[5] % 2))
    levels = [4.0, 3.0, 2.0, 1.0]
    arcs, tuned, taken, _ = self._run(levels, 0, 5, live=same)
    self.assertEqual(len({same(arc) for arc in arcs}), 2)
    self.assertEqual(taken, [(0, 5), (1, 5)])
    self.assertEqual([one.rank for one in tuned], [2, 1])

  def test_weights_that_overflowed_are_dropped(self):
    levels = [np.nan, 3.0, np.inf, 4.0]
    arcs, tuned, _, _ = self._run(levels, halvings=1, num_steps=6)
    self.assertEqual([arcs.index(one.arc) for one in tuned], [1, 3, 0, 2])

  def test_what_is_known_is_not_trained_again(self):
    """After a stop no weights are left: those that go on begin again."""
    levels = [4.0, 3.0, 2.0, 1.0]
    arcs, expected, _, told = self._run(levels, halvings=1, num_steps=6)
    done = {(one.arc, one.steps): (one.nats, one.valid) for one in told[:3]}
    _, tuned, taken, _ = self._run(levels, 1, 6, done)
    self.assertEqual(taken, [(3, 3), (3, 6), (2, 9)])
    self.assertEqual(tuned, expected)


class PrecisionTest(parameterized.TestCase):
  @parameterized.parameters("highest", "default")
  def test_candidates_are_trained_at_the_precision_of_the_search(self, name):
    config = tiny.make_config(run={"matmul_precision": name})
    task = python_types.SimpleNamespace(steps_per_epoch=lambda train: 9)
    square, seen = jnp.ones((2, 2)), []

    def make_step(*_):
      def step(state, train, arc):
        seen.append(str(jax.make_jaxpr(jnp.dot)(square, square)))
        return state, {"loss": jnp.float32(0.0)}

      return step

    given = config, task, jnp.ones(3), 5, lambda: None
    # A mesh of one device: that a group is trained, and not on how many.
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    with mock.patch.object(tune.steps, "make_arcs_step", make_step):
      _, go_on = tune._make_training(*given)
      go_on({"w": jnp.ones(2)}, (0, 1), 0, 1)
      training = groups.Training(*given, devices.Devices(mesh))
      group = groups.Group({"w": jnp.ones((1, 2))}, (jnp.zeros(1, jnp.int32),))
      training.go_on(group, 0, 1)
    self.assertLen(seen, 2)
    for program in seen:
      self.assertEqual("HIGHEST" in program, name == "highest", program)


class EpochTest(absltest.TestCase):
  def test_a_training_that_goes_on_begins_an_epoch_after_the_last_step(self):
    config = tiny.make_config()
    ended = []
    task = python_types.SimpleNamespace(steps_per_epoch=lambda train: 3)
    step = lambda state, train, arc: (state, {"loss": jnp.float32(0.0)})
    end = lambda state, _: ended.append(None) or state
    with (
      mock.patch.object(tune.steps, "make_arcs_step", lambda *_: step),
      mock.patch.object(tune.state_lib, "next_epoch", end),
    ):
      _, go_on = tune._make_training(config, task, jnp.ones(3), 9, lambda: None)
      counts = []
      for start, stop in ((0, 3), (3, 6), (6, 7), (7, 9)):
        go_on({"w": jnp.ones(2)}, (0, 1), start, stop)
        counts.append(len(ended))
    # Before steps 3 and 6, counted from 0: not before the first of all.
    self.assertEqual(counts, [0, 1, 2, 2])


class HalvingSearchTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.dataset = tiny.write_corpus(self.folder)

  def _search(self, name, stop=lambda: 0):
    config = tiny.make_config(
      run={
        "num_epochs": 1, "derive_arcs": 8, "tune_arcs": 4,
        "tune_from": "shared", "tune_steps": 6, "tune_halvings": 1,
      },
    )  # fmt: skip
    task, splits = tiny.make_task(config, self.dataset)
    workdir = self.folder / name
    workdir.mkdir(exist_ok=True)
    return search.Search(config, task, splits, workdir, stop=stop), workdir

  def test_stopped_in_the_second_round_and_resumed_is_uninterrupted(self):
    stop = stop_after(1000)
    whole, folder = self._search("whole", stop)
    whole.run()
    # Steps of the epoch, and those of four candidates, 6 each.
    self.assertEqual(1000 - stop.left[0], 6 + 5 + 4 * 6)
    expected = final_files(folder)
    rows = [json.loads(line) for line in expected[2].splitlines()]
    tuned = [row for row in rows if "tuned_nats" in row]
    self.assertEqual(sorted(row["tuned_steps"] for row in tuned), [3, 3, 9, 9])
    kept = min(
      (row for row in tuned if row["tuned_steps"] == 9),
      key=lambda row: row["tuned_nats"],
    )
    self.assertEqual(expected[1]["arc"], kept["arc"])
    self.assertEqual(derive.in_order(rows)[0], kept)
    # 6 + 5 + 4 x 3 steps, one of the second round's, and two of the next.
    stopped, workdir = self._search("cut", stop_after(11 + 12 + 6 + 2))
    with self.assertRaises(loop.Interrupted):
      stopped.run()
    done = json.loads((workdir / "tuned.json").read_text())["done"]
    self.assertEqual([row["steps"] for row in done], [3, 3, 3, 3, 9])
    resumed, _ = self._search("cut")
    resumed.run()
    self.assertEqual(final_files(workdir), expected)

  def test_the_learning_rate_falls_in_every_round(self):
    run, _ = self._search("rate")
    config, task, train, _ = run._derivation._alone
    rates = []
    make = tune.steps.make_arcs_step

    def recording(*args):
      step = make(*args)

      def record(state, *more):
        state, metrics = step(state, *more)
        jax.debug.callback(
          lambda rate: rates.append(float(rate)), metrics["learning_rate"]
        )
        return state, metrics

      return record

    with mock.patch.object(tune.steps, "make_arcs_step", recording):
      begin, go_on = tune._make_training(config, task, train, 3, lambda: None)
      state = begin(run.state.replace(omega_step=jnp.int32(3)))
      counts = state.omega_step, state.total_steps
      self.assertEqual(tuple(map(int, counts)), (0, 0))
      arc = task.space.validate(decisions.nth(
        task.space.sample_uniform(jax.random.key(0), 1), 0))  # fmt: skip
      go_on(go_on(state, arc, 0, 3), arc, 3, 9)
    jax.effects_barrier()
    top = config.omega.learning_rate * config.run.tune_rate
    least = config.omega.min_learning_rate * config.run.tune_rate
    cosine = lambda n: (
      least + (top - least) * (1 + np.cos(np.pi * np.arange(n) / n)) / 2
    )
    np.testing.assert_allclose(
      rates, np.concatenate([cosine(3), cosine(6)]), rtol=1e-5
    )

  def test_options_are_checked(self):
    for changes, words in (
      ({"tune_halvings": -1}, "tune_halvings must be zero or positive"),
      (
        {"tune_arcs": 3, "tune_halvings": 2},
        "at most 1 with tune_arcs=3, got 2",
      ),
      (
        {"tune_arcs": 4, "tune_halvings": 2, "tune_steps": 4},
        "tune_steps must be above tune_halvings",
      ),
    ):
      with self.assertRaisesRegex(types.InputError, words):
        tiny.make_config(run=changes)


if __name__ == "__main__":
  absltest.main()
