"""The controller that learns from candidates trained alone, too."""

import json
import pathlib
import tempfile
import types as types_lib
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.config import parts
from enas_jax.search import asking as asking_lib
from enas_jax.search import loop, search
from enas_jax.strategies import base, registry, reinforce, tuned_controller
from tests import tiny
from tests.search_test import final_files, stop_after

OPTIONS = {"tuned_arcs": 3, "tuned_pool": 6, "tuned_steps": 4}


class Judging(base.Judge):
  """The more an architecture uses the last operation, the more it earns."""

  def reward(self, arc, key):
    del key
    return jnp.sum(arc.ops == 3).astype(jnp.float32)


def make(**options):
  config = tiny.make_config(policy="tuned_controller")
  config = parts.override(config, "strategy", **{**OPTIONS, **options})
  config = parts.override(config, "theta", num_arcs=2)
  return registry.create(config, config.child.space())


def run(strategy, state, steps, first=0):
  update = jax.jit(lambda state, key: strategy.update(state, key, Judging()))
  metrics = {}
  for index in range(first, first + steps):
    state, metrics = update(state, jax.random.key(index))
  return state, metrics


class TunedControllerTest(parameterized.TestCase):
  def test_until_the_first_set_it_is_reinforce_bit_for_bit(self):
    strategy = make()
    plain = strategy.reinforce
    key = jax.random.key(0)
    learnt, metrics = run(strategy, strategy.init(key), 4)
    expected, _ = run(plain, plain.init(key), 4)
    chex.assert_trees_all_equal(learnt.policy, expected)
    self.assertEqual(metrics["tuned_loss"], 0.0)

  def test_when_it_asks(self):
    strategy = make(tuned_every=3)
    asked = [strategy.asks(epoch) for epoch in range(1, 8)]
    request = base.Request(num_arcs=3, num_steps=4)
    self.assertEqual(asked, [None, None, request, None, None, request, None])
    plain = registry.create(tiny.make_config(), strategy.space)
    self.assertIsNone(plain.asks(3))

  def test_it_asks_about_the_best_of_its_samples(self):
    strategy = make(tuned_pool=40)
    state = jax.jit(strategy.init)(jax.random.key(0))
    ask = jax.jit(lambda state, key: strategy.ask(state, key, Judging()))
    arcs = ask(state, jax.random.key(1))
    key_arcs, _ = jax.random.split(jax.random.key(1))
    pool = strategy.propose(state, key_arcs, 40)
    different = {tuple(row) for row in strategy.space.to_choices(pool).tolist()}
    rewards = sorted(
      (
        float(Judging().reward(strategy.space.from_choices(jnp.array(row)), 0))
        for row in different
      ),
      reverse=True,
    )
    earned = [int(np.sum(row == 3)) for row in np.asarray(arcs.ops)]
    self.assertEqual(earned, rewards[:3])
    rows = {tuple(row) for row in strategy.space.to_choices(arcs).tolist()}
    self.assertLen(rows, 3)

  def test_the_baseline_is_the_mean_of_the_others(self):
    # 1 - (2 + 6) / 2, 2 - (1 + 6) / 2, 6 - (1 + 2) / 2
    np.testing.assert_allclose(
      tuned_controller.leave_one_out(jnp.array([1.0, 2.0, 6.0])),
      [-3.0, -1.5, 4.5],
    )
    np.testing.assert_allclose(
      tuned_controller.leave_one_out(jnp.array([1.0, jnp.nan, 4.0, jnp.inf])),
      [-3.0, 0.0, 3.0, 0.0],
    )
    np.testing.assert_allclose(
      tuned_controller.leave_one_out(jnp.array([jnp.nan, 4.0])), [0.0, 0.0]
    )

  def test_the_loss_by_hand(self):
    then = jnp.log(jnp.array([0.5, 0.2]))
    now = jnp.log(jnp.array([0.25, 0.4]))
    advantage = jnp.array([2.0, -3.0])
    # Ratios 0.5 and 2, the latter cut at 1.
    weights = np.array([0.5 * 2.0, 1.0 * -3.0])
    loss, grads = jax.value_and_grad(tuned_controller.set_loss)(
      now, then, advantage
    )
    np.testing.assert_allclose(loss, -np.mean(now * weights), rtol=1e-6)
    np.testing.assert_allclose(grads, -weights / 2, rtol=1e-6)

  def test_what_it_is_told_moves_the_policy(self):
    """All earn the same by shared weights, and one more trained alone."""
    strategy = make(entropy_weight=0.0, learning_rate=0.01)
    strategy_state = jax.jit(strategy.init)(jax.random.key(0))
    space = strategy.space
    arcs = space.sample_uniform(jax.random.key(2), 3)
    tell = jax.jit(strategy.tell)
    told, metrics = tell(strategy_state, arcs, jnp.array([0.0, 0.0, 3.0]))
    self.assertEqual(metrics["reward"], 1.0)
    self.assertEqual(told.policy.baseline, strategy_state.policy.baseline)
    np.testing.assert_allclose(told.advantages, [-1.5, -1.5, 3.0])
    score = jax.jit(lambda state: strategy.inspect(state, arcs).log_prob)
    np.testing.assert_allclose(told.log_probs, score(told), rtol=1e-5)

    class Same(base.Judge):
      def reward(self, arc, key):
        del arc, key
        return jnp.float32(0.5)

    update = jax.jit(lambda state, key: strategy.update(state, key, Same()))
    state = told
    for index in range(10):
      state, metrics = update(state, jax.random.key(index))
    self.assertNotEqual(metrics["tuned_loss"], 0.0)
    gain = score(state) - score(told)
    self.assertGreater(gain[2], 0.0)
    self.assertGreater(gain[2], jnp.max(gain[:2]))

  def test_options_are_checked(self):
    for options, words in (
      ({"tuned_every": 0}, "theta_tuned_every must be positive, got 0"),
      ({"tuned_arcs": 1}, "theta_tuned_arcs must be from 2 to .* 6, got 1"),
      ({"tuned_arcs": 7}, "theta_tuned_arcs must be from 2 to .* 6, got 7"),
    ):
      with self.assertRaisesRegex(types.InputError, words):
        make(**options)


class AskingTest(absltest.TestCase):
  def test_epochs_are_counted_from_the_first_in_which_theta_moves(self):
    config = tiny.make_config(
      policy="tuned_controller",
      strategy=OPTIONS,
      run={"num_epochs": 5},
      theta={"warmup_epochs": 2},
    )
    dataset = tiny.write_corpus(pathlib.Path(tempfile.mkdtemp()))
    task, splits = tiny.make_task(config, dataset)
    strategy = registry.create(config, task.space)
    asking = asking_lib.Asking(config, task, splits, strategy, None, None)
    counted = []
    asks = lambda strategy, epoch: counted.append(epoch)
    with mock.patch.object(tuned_controller.TunedController, "asks", asks):
      for epoch in range(5):
        state = types_lib.SimpleNamespace(epoch=epoch)
        self.assertEqual(asking.answer(state), (state, {}))
    self.assertEqual(counted, [1, 2, 3])


class TunedControllerSearchTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.dataset = tiny.write_corpus(self.folder)

  def _search(self, name, stop=lambda: 0, policy="tuned_controller"):
    options = OPTIONS if policy == "tuned_controller" else {}
    config = tiny.make_config(policy=policy, strategy=options)
    task, splits = tiny.make_task(config, self.dataset)
    workdir = self.folder / name
    workdir.mkdir(exist_ok=True)
    return search.Search(config, task, splits, workdir, stop=stop), workdir

  def test_it_is_the_plain_search_until_it_hears_and_resumes(self):
    plain, folder = self._search("plain", policy="controller")
    plain.run()
    plain_rows, _, _ = final_files(folder)
    whole, folder = self._search("whole")
    whole.run()
    expected = final_files(folder)
    rows = expected[0]
    self.assertEqual(int(whole.state.strategy.sets), 2)
    asked = [row for row in rows if row["phase"] == "asked"]
    self.assertEqual(
      [(r["epoch"], r["step"], r["theta_step"]) for r in asked],
      [(1, 6, 5), (2, 12, 10)],
    )
    self.assertTrue(all(np.isfinite(row["asked/reward"]) for row in asked))
    first = [
      {k: v for k, v in row.items() if k != "theta/tuned_loss"}
      for row in rows
      if row["epoch"] == 1 and row["phase"] != "asked"
    ]
    self.assertEqual(first, [row for row in plain_rows if row["epoch"] == 1])
    # Theta has moved otherwise since.
    learnt = whole.state.strategy.policy
    self.assertIsInstance(learnt, reinforce.State)
    with self.assertRaises(AssertionError):
      chex.assert_trees_all_equal(learnt.theta, plain.state.strategy.theta)
    # Stopped while the second candidate of the first set is trained.
    stopped, cut = self._search("cut", stop_after(6 + 5 + 4 + 2))
    with self.assertRaises(loop.Interrupted):
      stopped.run()
    self.assertEqual(int(stopped.state.strategy.sets), 0)

    class Killed(BaseException):
      pass

    def kill():
      raise Killed

    # Then killed after the set's row is written, before the epoch's end.
    killed, _ = self._search("cut")
    killed._evaluate_epoch = kill
    with self.assertRaises(Killed):
      killed.run()
    last = (cut / "metrics.jsonl").read_text().splitlines()[-1]
    self.assertEqual(json.loads(last)["phase"], "asked")
    # Then stopped in the evaluation after the second set.
    parts = whole._task.evaluation_chunks(whole._data.valid)
    an_epoch = 2 + 2 * parts + 4  # a set; two arcs; scores of two and of two
    calls = an_epoch + 2 + 3
    heard, _ = self._search("cut", stop_after(calls, evaluating=True))
    self.assertEqual(int(heard.state.strategy.sets), 0)
    with self.assertRaises(loop.Interrupted):
      heard.run()
    self.assertEqual(int(heard.state.epoch), 1)
    # What it has heard it does not hear again.
    resumed, _ = self._search("cut")
    self.assertEqual(int(resumed.state.strategy.sets), 2)
    resumed.run()
    self.assertEqual(final_files(cut), expected)
    chex.assert_trees_all_equal(resumed.state.strategy, whole.state.strategy)


if __name__ == "__main__":
  absltest.main()
