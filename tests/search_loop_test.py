"""What every training loop does, with steps that are made up and a clock."""

import json
import pathlib
import tempfile
import types
from unittest import mock

from absl.testing import absltest, parameterized

from enas_jax.search import devices, loop
from enas_jax.tasks import base as tasks

_DATA = tasks.Splits(train="train", valid="valid", test="test")


class Told(loop.Progress):
  def __init__(self):
    self.calls = []

  def start(self, phase, epoch, done, total):
    self.calls.append((phase, epoch, done, total))

  def advance(self):
    self.calls.append("step")

  def remaining(self, seconds):
    self.calls.append(seconds)

  def finish(self, summary):
    self.calls.append(summary)

  def line(self, text):
    self.calls.append(text)


class Made(loop.Loop):
  """A run of `total` steps; `_save` only notes when it was called."""

  total = 5

  def _steps_left(self):
    left = self.total - int(self.state.omega_step)
    return {"omega": left, "theta": left}

  def _rates(self):
    return "--rate (now 1)"

  def _build(self):
    self.built = getattr(self, "built", 0) + 1


class LoopTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.workdir = pathlib.Path(folder)
    self.now, self.signum, self.rows, self.saved = 0.0, 0, [], []
    clock = types.SimpleNamespace(monotonic=lambda: self.now)
    self.enter_context(mock.patch.object(loop, "time", clock))
    # Orbax has threads, and a folder to clean up.
    kept = mock.Mock(**{"return_value.newest_milestone.return_value": -1})
    self.enter_context(mock.patch.object(loop.checkpoint, "Checkpoints", kept))

  def _loop(self, done=0, **changes):
    run = {
      **{"log_every": 2, "max_skipped": 3, "max_rollbacks": 1},
      **{"checkpoint_every_minutes": 2.0, "heartbeat_every_minutes": 0.0},
      **changes,
    }
    task = types.SimpleNamespace(
      config=types.SimpleNamespace(data=types.SimpleNamespace(batch_size=4)),
      measure_carry=lambda carry: {"hidden_norm": carry},
    )
    made = Made(
      types.SimpleNamespace(**run), task, _DATA, self.workdir, Told(),
      lambda: self.signum, devices.ONE,
    )  # fmt: skip
    made.state = self._state(done)

    def save(milestone=False):
      self.saved.append(self.now)
      made._saved_at = self.now
      return True

    made._save = save
    return made

  def _state(self, done):
    return types.SimpleNamespace(
      epoch=2, omega_step=done, theta_step=0, total_steps=10 + done, carry=2.5
    )

  def _step(self, seconds, losses, skipped=()):
    """The step of number i takes `seconds[i]`; of which some are skipped."""

    def step(state, *data):
      self.assertEqual(data, ("train",))
      place = state.omega_step
      self.now += seconds[place]
      metrics = {"nats": losses[place], "rate": 0.5}
      metrics["skipped"] = float(place in skipped)
      return self._state(place + 1), metrics

    return step

  def _run(self, made, step, total=5, phase="omega"):
    writer = types.SimpleNamespace(write=self.rows.append)
    made._run_phase(writer, phase, step, total)

  def test_rows_are_means_and_times_leave_out_the_first_step(self):
    made = self._loop()
    step = self._step([100, 30, 2, 3, 4], [10, 20, 99, 40, 50], skipped=[2])
    self._run(made, step)
    names = ("phase", "epoch", "step", "theta_step", "omega/loss_nats")
    names += ("omega/skipped", "sec_per_step", "remaining_seconds")
    self.assertEqual(
      [tuple(row[name] for name in names) for row in self.rows],
      [
        ("omega", 3, 12, 0, 15.0, 0, 30.0, 90.0),
        ("omega", 3, 14, 0, 40.0, 1, 2.5, 2.5),
        ("omega", 3, 15, 0, 50.0, 0, 4.0, 0.0),
      ],
    )
    for row in self.rows:
      self.assertEqual(
        (row["omega/rate"], row["omega/hidden_norm"]), (0.5, 2.5)
      )
    # Two minutes after the start and none after that.
    self.assertEqual(self.saved, [130])
    self.assertEqual(
      made._progress.calls,
      [
        ("omega", 3, 0, 5), *("step", "step", 90.0), *("step", "step", 2.5),
        *("step", 0.0), "loss_nats 50, 4 s/step",
      ],
    )  # fmt: skip
    self._run(made, step)  # nothing is left of it
    self.assertLen(self.rows, 3)

  def test_what_a_checkpoint_held_is_part_of_the_next_row(self):
    made = self._loop(done=3)
    made._window = [{"nats": 30, "rate": 0.5, "skipped": 0.0}]
    self._run(made, self._step([0, 0, 0, 9, 4], [0, 0, 0, 40, 50]))
    self.assertEqual(
      [row["omega/loss_nats"] for row in self.rows], [35.0, 50.0]
    )
    # The first step of this process was the row's only one.
    self.assertNotIn("sec_per_step", self.rows[0])
    self.assertEqual(self.rows[1]["sec_per_step"], 4.0)

  def test_theta_is_given_both_splits(self):
    given = []

    def step(state, *data):
      given.append(data)
      state.theta_step += 1
      return state, {"reward": 0.25, "skipped": 0.0}

    self._run(self._loop(), step, 1, "theta")
    self.assertEqual(given, [("valid", "train")])
    self.assertEqual(self.rows[0]["theta/reward"], 0.25)
    self.assertNotIn("theta/hidden_norm", self.rows[0])

  def test_steps_skipped_in_a_row_end_the_epoch(self):
    made = self._loop()
    step = self._step([1] * 5, [1, 2, 3, 4, 5], skipped=[1, 2, 3])
    with self.assertRaisesRegex(
      loop.Unstable, "the last 3 omega steps of epoch 3 had a loss or gradient"
    ):
      self._run(made, step)
    self.assertEqual([row["omega/skipped"] for row in self.rows], [1, 2])
    self.assertEqual(made._skipped_in_a_row, {"omega": 3})

  def test_a_signal_ends_the_run_after_the_step(self):
    self.signum = 15
    made = self._loop()
    with self.assertRaises(loop.Interrupted) as caught:
      self._run(made, self._step([7] * 5, [1] * 5))
    self.assertEqual(caught.exception.signum, 15)
    self.assertEqual((self.saved, made.state.omega_step), ([7], 1))
    self.assertNotIn("kept", str(made._progress.calls))
    made._save = lambda: False
    with self.assertRaises(loop.Interrupted):
      made._serve_signal()
    self.assertIn("not saved; the last checkpoint is", made._progress.calls[-1])

  def test_a_run_goes_back_as_often_as_it_may(self):
    made = self._loop()

    def run():
      raise loop.Unstable("bad numbers")

    with self.assertRaisesRegex(
      loop.Diverged,
      "^bad numbers; the run has gone back 1 times, .* --rate .now 1.[.]$",
    ):
      made._run_stably(run)
    self.assertEqual(made.built, 1)
    (line,) = made._progress.calls
    self.assertIn(
      "learning rates of 0.5 times those given (rollback 1 of 1)", line
    )
    record = json.loads((self.workdir / "rollbacks.json").read_text())
    self.assertEqual(record, {"places": [-1], "forgiven": 0, "ended": True})
    # Resumed after its end it may go back again.
    self.assertEqual(self._loop()._rollbacks.counted, 0)

  def test_a_clock_counts_over_processes(self):
    clock = loop.Clock()
    clock.seconds = 10.0  # of earlier ones
    self.now = 3.0
    clock.start()
    for self.now in (5.0, 9.0):
      clock.stop()
    self.assertEqual(clock.seconds, 16.0)


if __name__ == "__main__":
  absltest.main()
