"""What every training loop does: steps, rows, checkpoints, signals.

`search` and `train` say what an epoch consists of.
"""

import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, Generic

import jax

from enas_jax import config as config_lib
from enas_jax.search import checkpoint, folder, metrics
from enas_jax.search import devices as devices_lib
from enas_jax.search import state as state_lib
from enas_jax.tasks import base as tasks


class Interrupted(Exception):
  """A signal ended the run; its checkpoint is saved.

  Attributes:
    signum: the signal's number.
  """

  def __init__(self, signum: int) -> None:
    super().__init__(f"stopped by signal {signum}")
    self.signum = signum


class Diverged(Exception):
  """The loss or the reward is no longer a finite number."""


class Progress:
  """Where a run tells how far it is; this one tells nothing."""

  def start(self, phase: str, epoch: int, done: int, total: int) -> None:
    """A phase of `total` steps goes on after its first `done`."""

  def advance(self) -> None:
    """One more step is done."""

  def finish(self, summary: str) -> None:
    """The phase is over."""

  def line(self, text: str) -> None:
    """Something worth a line."""


class Clock:
  """Counts the seconds of a run, over all its processes.

  Attributes:
    seconds: those counted so far.
  """

  def __init__(self) -> None:
    self.seconds = 0.0
    self._since = time.monotonic()

  def start(self) -> None:
    """Time counts from here on."""
    self._since = time.monotonic()

  def stop(self) -> None:
    """Adds the time since the clock was started or last stopped."""
    now = time.monotonic()
    self.seconds += now - self._since
    self._since = now


class Loop(Generic[state_lib.State]):
  """The steps of one run in one folder.

  Attributes:
    state: the whole truth of the run, of `search.state`.
  """

  state: state_lib.State

  def __init__(
    self,
    run: config_lib.RunConfig | config_lib.TrainRunConfig,
    task: tasks.Task,
    data: tasks.Splits,
    workdir: pathlib.Path,
    progress: Progress | None,
    stop: Callable[[], int],
    devices: devices_lib.Devices,
  ) -> None:
    """Sets up what does not depend on the state.

    Args:
      run: the part of the configuration about the loop.
      task: the task that is learnt.
      data: the three splits.
      workdir: the run's folder, which exists.
      progress: the place where the run tells how far it is.
      stop: () -> the number of a signal that asks the run to end, or 0.
      devices: the devices.

    Raises:
      InputError: if the devices do not divide a batch.
    """
    devices.check(task.config.data.batch_size)
    self._run, self._task, self._devices = run, task, devices
    self._data = devices.put(data)
    self._workdir, self._stop = workdir, stop
    self._progress = progress or Progress()
    self._checkpoints = checkpoint.Checkpoints(workdir / folder.CHECKPOINTS)
    self._window: list[tasks.Metrics] = []
    self._clock = Clock()

  def _begin(self, fresh: state_lib.State) -> dict[str, Any]:
    """Goes on from the newest checkpoint; without one, from a fresh state.

    Returns:
      What `_pending` held when the checkpoint was saved, or {}.
    """
    restored = self._checkpoints.restore(fresh)
    if restored is None:
      self.state = self._devices.put(fresh)
      return {}
    state, pending = restored
    self.state = self._devices.put(state)
    self._window = pending["window"]
    self._clock.seconds = pending["seconds"]
    self._progress.line(
      f"resuming after {int(self.state.epoch)} epochs and"
      f" {self._steps_of_epoch()} steps of the next"
    )
    return pending

  def _next_epoch(self) -> None:
    """Begins the next epoch and saves the state."""
    state = state_lib.next_epoch(self.state, self._task)
    self.state = self._devices.put(state)
    self._save()

  def _steps_of_epoch(self) -> int:
    """Steps done in the epoch that is not finished."""
    return int(self.state.omega_step)

  def _position(self) -> int:
    """Steps done in all."""
    return int(self.state.total_steps)

  def _pending(self) -> dict[str, Any]:
    """JSON-ready, what a checkpoint keeps besides the state."""
    window = [
      {k: float(v) for k, v in step.items()}
      for step in jax.device_get(self._window)
    ]
    return {"window": window, "seconds": self._clock.seconds}

  def _read_result(self) -> dict[str, Any]:
    return folder.read_json(
      self._workdir / folder.RESULT,
      "delete it and resume the run, whose end is then repeated",
    )

  def _run_phase(
    self,
    writer: metrics.MetricWriter,
    phase: str,
    step: Callable[..., tuple[state_lib.State, tasks.Metrics]],
    total: int,
  ) -> None:
    """Runs the phase's steps that this epoch still lacks."""
    train, valid = self._data.train, self._data.valid
    data = (train,) if phase == "omega" else (valid, train)
    done = int(getattr(self.state, f"{phase}_step"))
    if done >= total:
      return
    self._progress.start(phase, int(self.state.epoch) + 1, done, total)
    before, since = time.monotonic(), done
    row: dict[str, Any] = {}
    for index in range(done, total):
      self.state, measured = step(self.state, *data)
      if len(self._window) > 1:
        # Two steps in flight keep the device busy; more would only delay the
        # answer to a signal.
        jax.block_until_ready(self._window[-1])
      self._window.append(measured)
      self._progress.advance()
      if index == done:
        # The first step may compile; its time is no step's time.
        jax.block_until_ready(measured)
        before, since = time.monotonic(), done + 1
      if (index + 1) % self._run.log_every == 0 or index + 1 == total:
        row = self._row(phase)
        now = time.monotonic()
        if index + 1 > since:
          row["sec_per_step"] = (now - before) / (index + 1 - since)
        before, since = now, index + 1
        writer.write(row)
        self._check_finite(row, phase)
      self._serve_signal()
    self._progress.finish(_summary(phase, row))

  def _row(self, phase: str) -> dict[str, Any]:
    """Means over the steps since the last row; empties the window."""
    window = jax.device_get(self._window)
    self._window = []
    row: dict[str, Any] = {
      "phase": phase,
      "epoch": int(self.state.epoch) + 1,
      "step": int(self.state.total_steps),
      "theta_step": self._position() - int(self.state.total_steps),
    }
    for name in window[0]:
      key = f"{phase}/loss_nats" if name == "nats" else f"{phase}/{name}"
      row[key] = sum(float(w[name]) for w in window) / len(window)
    return row

  def _check_finite(self, row: dict[str, Any], phase: str) -> None:
    for name, value in row.items():
      if isinstance(value, float) and not math.isfinite(value):
        advice = "lower --omega_learning_rate or --omega_clip_norm"
        raise Diverged(
          f"{name} is {value} in epoch {row['epoch']} ({phase} phase); the last"
          f" checkpoint is kept; {advice}."
        )

  def _serve_signal(self) -> None:
    signum = self._stop()
    if signum:
      self._save()
      raise Interrupted(signum)

  def _save(self) -> None:
    self._clock.stop()
    # An epoch's end takes no step, but is another place than its last step.
    number = self._position() + int(self.state.epoch)
    state = self._devices.one(self.state)
    self._checkpoints.save(number, state, self._pending())


def _summary(phase: str, row: dict[str, Any]) -> str:
  """The last row of a phase in a few words."""
  names = {
    "omega": ("omega/loss_nats", "omega/grad_norm", "omega/learning_rate"),
    "theta": ("theta/reward", "theta/baseline", "theta/entropy_nats"),
  }[phase]
  shown = [f"{n.split('/')[1]} {row[n]:.4g}" for n in names if n in row]
  if "sec_per_step" in row:
    shown.append(f"{row['sec_per_step']:.3g} s/step")
  return ", ".join(shown)
