"""Training one architecture: files, resume, averages, starting weights."""

import json
import math
import pathlib
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.data import text
from enas_jax.search import heartbeat, loop, steps, train
from enas_jax.spaces import decisions, registry
from enas_jax.spaces.recurrent import arc as recurrent
from enas_jax.spaces.recurrent import network as supergraph
from tests import tiny
from tests.search_test import stop_after

ARC = recurrent.RecurrentArc(prev=(0, 0, 1), ops=(0, 1, 2))


def make_config(**changes):
  """Three epochs of six steps of a cell of eight units."""
  config = registry.train_preset("smoke", "recurrent")
  parts = {
    "child": {"num_nodes": 3, "hidden_size": 8, "init_range": 0.3},
    "data": {"batch_size": 4, "bptt_length": 5},
    "omega": {"steps": 6, "learning_rate": 1.0},
    "run": {"num_epochs": 3, "log_every": 4},
  }
  for part, fields in parts.items():
    config = config_lib.override(
      config, part, **{**fields, **changes.get(part, {})}
    )
  return config


class TrainTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.corpus = text.load(tiny.write_corpus(self.folder), None)

  def _training(self, name, stop=lambda: 0, omega=None, **changes):
    config = make_config(**changes)
    words = len(self.corpus.vocabulary)
    task = tiny.text_task(config, words, ARC)
    splits = task.splits(self.corpus)
    workdir = self.folder / name
    workdir.mkdir(exist_ok=True)
    return train.Training(config, task, splits, workdir, stop=stop, omega=omega)

  def test_a_run_learns_and_writes_what_came_out(self):
    training = self._training("run")
    before = training._evaluate(training.state, (), training._data.valid)
    record = training.run({"arc": "here"})
    written = json.loads((self.folder / "run/result.json").read_text())
    self.assertEqual(written, record)
    self.assertEqual(record["arc"], "here")
    self.assertEqual((record["epochs"], record["steps"]), (3, 18))
    self.assertLess(record["valid_perplexity"], before)
    self.assertTrue(training.finished)

  def test_a_result_without_its_numbers_is_named(self):
    training = self._training("damaged")
    record = {"params": 5, "epochs": 3, "train_seconds": 1.5}
    record |= {"valid_perplexity": None, "test_perplexity": 9.0}
    path = self.folder / "damaged" / "result.json"
    path.write_text(json.dumps(record))
    self.assertEqual(training.load_result(), record)
    for name in ("params", "epochs", "train_seconds"):
      path.write_text(json.dumps(record | {name: None}))
      with self.assertRaisesRegex(types.InputError, "result.json is damaged"):
        training.load_result()

  def test_a_stopped_run_ends_as_if_it_had_not_been(self):
    data = {"data": {"batch_size": 4, "bptt_length": 5, "length_std": 1.0}}
    run = {"run": {"num_epochs": 3, "log_every": 4, "average_after": 1}}
    whole = self._training("whole", **data, **run)
    expected = whole.run({})
    with self.assertRaises(loop.Interrupted):
      self._training("cut", stop_after(8), **data, **run).run({})
    resumed = self._training("cut", **data, **run)
    self.assertEqual(int(resumed.state.total_steps), 8)
    found = resumed.run({})
    for record in (expected, found):
      record.pop("train_seconds")
    self.assertEqual(found, expected)
    rows = [
      [
        {k: v for k, v in json.loads(line).items() if k not in heartbeat.FIELDS}
        for line in (self.folder / name / "metrics.jsonl").open()
      ]
      for name in ("whole", "cut")
    ]
    self.assertEqual(*rows)
    self.assertEqual({row["theta_step"] for row in rows[0]}, {0})
    for a, b in zip(
      jax.tree.leaves(whole.state.omega),
      jax.tree.leaves(resumed.state.omega),
      strict=True,
    ):
      np.testing.assert_array_equal(a, b)

  def test_it_is_the_supergraph_at_that_cell(self):
    """Section 2.1: the fixed child and the shared network say the same."""
    config = make_config()
    omega = supergraph.init(jax.random.key(1), config.child, 30)
    child = supergraph.child_params(omega, ARC)
    shared = tiny.text_task(config, 30)
    alone = tiny.text_task(config, 30, ARC)
    tokens = np.arange(24, dtype=np.int32).reshape(6, 4) % 30
    batch = types.TextBatch(jnp.asarray(tokens), jnp.asarray(tokens[::-1]))
    carry = shared.init_carry()
    traced = jax.jit(shared._nats)(
      omega, decisions.as_arrays(ARC), batch, carry
    )
    fixed = jax.jit(lambda c: alone._nats(c, (), batch, carry))(child)
    for a, b in zip(traced, fixed, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

  def test_starts_from_given_weights(self):
    config = make_config()
    words = len(self.corpus.vocabulary)
    omega = supergraph.init(jax.random.key(1), config.child, words)
    child = supergraph.child_params(omega, ARC)
    training = self._training("given", omega=child)
    np.testing.assert_array_equal(
      training.state.omega["w_edge"], child["w_edge"]
    )

  def test_weights_of_another_network_are_refused(self):
    config = make_config(child={"hidden_size": 4})
    omega = supergraph.init(jax.random.key(1), config.child, 30)
    with self.assertRaisesRegex(types.InputError, "do not fit the network"):
      self._training("other", omega=supergraph.child_params(omega, ARC))

  def test_an_average_is_the_mean_of_the_steps_since_it_began(self):
    training = self._training("mean", run={"average_after": 2})
    state, train_data = training.state, training._data.train
    state, _ = training.step(state, train_data)
    self.assertEqual(int(state.num_averaged), 0)
    state = steps.begin_average(state)
    seen = [np.asarray(state.omega["w_h"])]
    for _ in range(3):
      state, _ = training.step(state, train_data)
      seen.append(np.asarray(state.omega["w_h"]))
    self.assertEqual(int(state.num_averaged), 4)
    np.testing.assert_allclose(
      state.average["w_h"], np.mean(seen, axis=0), rtol=1e-5
    )

  @parameterized.parameters(
    # Worse than the best of all but the last two: 90 and 80.
    ([90.0, 80.0, 70.0, 60.0], 81.0, True),
    ([90.0, 80.0, 70.0, 60.0], 79.0, False),
    ([90.0, 80.0, 70.0, 60.0], 80.0, False),
    ([90.0, 80.0], 95.0, False),
    # The first epoch that has any before it to be worse than.
    ([90.0, 80.0, 70.0], 95.0, True),
  )
  def test_non_monotonic_trigger(self, history, found, expected):
    training = self._training("trigger", run={"average_after": 2})
    training._history = history
    self.assertEqual(training._average_is_due(found), expected)


class Lines(loop.Progress):
  def __init__(self):
    self.told = []

  def line(self, text):
    self.told.append(text)


class BestTest(parameterized.TestCase):
  @parameterized.parameters(
    # Perplexities: less is better, and what overflowed is worse than all.
    ("recurrent", [math.inf, 90.0, 80.0, 80.0], 3),
    ("macro", [0.5, math.nan, 0.75, 0.25], 3),
    ("macro", [math.nan, math.nan], 1),
    # Null in the file of one that was trained before the run was stopped.
    ("macro", [0.5, None, 0.75], 3),
  )
  def test_the_best_on_validation_data_is_kept(self, space, values, best):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    config = registry.train_preset("smoke", space)
    metric = {"recurrent": "perplexity", "macro": "accuracy"}[space]
    given = []

    def train_arc(config, arc, data, place, omega, **how):
      given.append((arc, place.name, omega))
      (place / "arc.json").write_text(f"{arc}\n")
      return {f"valid_{metric}": values[len(given) - 1], "of": arc}

    arcs, omegas = (list(range(i, len(values) + i)) for i in (10, 20))
    for _ in range(2):  # the folders may be there
      given.clear()
      lines = Lines()
      with mock.patch.object(train, "train_arc", train_arc):
        record = train.train_best(
          config, arcs, None, folder, omegas, progress=lines
        )
    names = [f"arc_{rank}" for rank in range(1, len(values) + 1)]
    self.assertEqual(given, list(zip(arcs, names, omegas, strict=True)))
    self.assertEqual(record["best_rank"], best)
    self.assertEqual(record["of"], arcs[best - 1])
    self.assertEqual([one["of"] for one in record["retrained"]], arcs)
    self.assertEqual((folder / "arc.json").read_text(), f"{arcs[best - 1]}\n")
    self.assertFalse((folder / "arc.svg").exists())
    written = json.loads((folder / "result.json").read_text())
    self.assertEqual(written["best_rank"], best)
    self.assertEqual(
      [lines.told[0], lines.told[-1]],
      [
        f"architecture 1 of {len(values)}: {folder / 'arc_1'}",
        f"best of {len(values)} by valid_{metric}: candidate {best}",
      ],
    )

  def test_a_candidate_with_a_word_for_a_number_is_named(self):
    path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    path /= "arcs.jsonl"
    for name in ("rank", "tuned_nats", "tuned_nats_at_cost", "tuned_steps"):
      row = {"rank": 1, "reward": 0.5, "arc": {}, name: "low"}
      path.write_text(json.dumps(row) + "\n")
      with self.assertRaisesRegex(
        types.InputError, f"{name} must be a number; copy it from the run"
      ):
        train.best_candidates(str(path), 1)

  def test_the_auxiliary_head_is_no_part_of_the_child(self):
    weights = {
      "a": np.zeros((2, 3)),
      "b": {"c": np.zeros(5), "d": np.zeros(())},
    }
    weights["aux_head"] = {"w": np.zeros((7, 7))}
    self.assertEqual(train.count_params(weights), 6 + 5 + 1)


class LengthsTest(absltest.TestCase):
  def test_lengths_are_around_t_or_half_of_it(self):
    draw = jax.jit(
      jax.vmap(lambda key: text.draw_length(key, 35, 5.0)),
    )
    lengths = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    # Two standard deviations either way, rounded down.
    self.assertLessEqual(lengths.max(), text.longest_window(35, 5.0))
    self.assertEqual(text.longest_window(35, 5.0), 45)
    self.assertGreaterEqual(lengths.min(), 7)
    half = lengths < 25
    self.assertAlmostEqual(half.mean(), 0.05, delta=0.02)
    self.assertAlmostEqual(lengths[~half].mean(), 34.5, delta=0.3)
    # Of a normal cut off at two standard deviations.
    self.assertAlmostEqual(lengths[~half].std(), 0.88 * 5.0, delta=0.3)

  def test_a_text_too_short_for_the_longest_window_is_refused(self):
    config = make_config()
    fixed = tiny.text_task(config, 30, ARC)
    drawn = config_lib.override(config, "data", length_std=1.0)
    tokens = np.zeros(4 * 7, np.int32)  # 7 steps; 5 + 2 x 1, and a target
    train, valid = (fixed.prepare(tokens, name) for name in ("train", "valid"))
    message = "train split has 7 steps .* longest window .*it takes 8"
    with self.assertRaisesRegex(types.InputError, message):
      fixed.changed(drawn, train, valid)
    task = fixed.with_config(drawn)
    with self.assertRaisesRegex(types.InputError, message):
      task.prepare(tokens, "train")
    # It is read in windows of 5 steps.
    self.assertEqual(task.prepare(tokens, "valid").shape, (7, 4))
    long = task.prepare(np.zeros(4 * 8, np.int32), "train")
    carry, step = task.init_carry(), jnp.int32(0)
    batch = task.train_batch(long, carry, step, jax.random.key(0))
    self.assertEqual(batch.inputs.shape, (7, 4))

  def test_a_short_window_is_a_short_window(self):
    """Padded steps change neither the loss, nor the gradient, nor the state."""
    config = make_config(omega={"slowness_weight": 0.5, "l2_weight": 0.0})
    config = config_lib.override(config, "omega", activation_weight=0.25)
    task = tiny.text_task(config, 30, ARC)
    child = task.init_omega(jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (8, 4), 0, 30)
    padded = types.TextBatch(tokens[:-1], tokens[1:], jnp.int32(4))
    short = types.TextBatch(tokens[:4], tokens[1:5])
    key = jax.random.key(2)
    results = [
      jax.jit(
        jax.value_and_grad(
          lambda c, batch: task.loss(c, (), batch, task.init_carry(), key),
          has_aux=True,
        )
      )(child, batch)
      for batch in (padded, short)
    ]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
      np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    self.assertEqual(int(results[0][0][1][1].position), 4)
    self.assertAlmostEqual(float(task.rate_factor(padded)), 4 / 5)


if __name__ == "__main__":
  absltest.main()
