"""What every training loop does: steps, rows, checkpoints, signals.

`search` and `train` say what an epoch consists of.
"""

import contextlib
import math
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import jax

from enas_jax import config as config_lib
from enas_jax.loggers import base as loggers
from enas_jax.search import (
  checkpoint,
  compiling,
  folder,
  heartbeat,
  hosts,
  metrics,
  patience,
  rollback,
)
from enas_jax.search import devices as devices_lib
from enas_jax.search import state as state_lib
from enas_jax.tasks import base as tasks

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")


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


class Unstable(Exception):
  """The steps of a run have overflowed; it may go back and try again."""


class Progress:
  """Where a run tells how far it is; this one tells nothing."""

  def start(self, phase: str, epoch: int, done: int, total: int) -> None:
    """A phase of `total` steps goes on after its first `done`."""

  def advance(self) -> None:
    """One more step is done."""

  def waiting(self, text: str, seconds: float) -> None:
    """What the run waits for, several times a second, and for how long."""

  def finish(self, summary: str) -> None:
    """The phase is over."""

  def line(self, text: str) -> None:
    """Something worth a line."""

  def remaining(self, seconds: float) -> None:
    """How long the steps to come will take, of the whole run."""

  def beat(self, text: str) -> None:
    """How the run is, now and then; of use where no bar shows it."""


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
    self._checkpoints = checkpoint.Checkpoints(
      workdir / folder.CHECKPOINTS, self._progress.line
    )
    self._window: list[tasks.Metrics] = []
    self._skipped_in_a_row: dict[str, int] = {}  # by phase
    self._rollbacks = rollback.Rollbacks.read(workdir)
    self._rollbacks.forgive()
    self._saved_at = time.monotonic()
    self._clock = Clock()
    self._heartbeat = heartbeat.Heartbeat(
      run.heartbeat_every_minutes, self._progress.beat
    )
    self._doing = "starting"
    self._compiler = compiling.Compiler(self._progress.waiting)
    self._stopping = threading.Lock()

  def _patiently(self, what: str, function: Callable[[], _Value]) -> _Value:
    """What a function returns that the first time compiles for long.

    Args:
      what: what is compiled.
      function: changes nothing of the state.

    Raises:
      Interrupted: after a signal, once the checkpoint is saved.
    """
    with self._leaving_work():
      return self._compiler.call(what, function)

  @contextlib.contextmanager
  def _leaving_work(self) -> Iterator[None]:
    """A signal ends the run while the compiler goes on behind it."""
    try:
      yield
    except patience.Abandoned:
      if not hasattr(self, "state") or not self._position():
        raise Interrupted(self._stop()) from None  # nothing is lost
      self._serve_signal()
      raise

  def _begin(self, fresh: state_lib.State) -> dict[str, Any]:
    """Goes on from the newest checkpoint; without one, from a fresh state.

    Returns:
      What `_pending` held when the checkpoint was saved, or {}.
    """
    restored = self._checkpoints.restore(fresh, self._rollbacks.allow)
    self.state, pending = restored or (fresh, {})
    self._window = pending.get("window", [])
    self._skipped_in_a_row = pending.get("skipped_in_a_row", {})
    # After a rollback it is the time of this process that counts.
    seconds = pending.get("seconds", 0.0)
    self._clock.seconds = max(self._clock.seconds, seconds)
    for number in range(
      self._rollbacks.known(pending), len(self._rollbacks.places)
    ):
      self.state = state_lib.after_rollback(self.state, number)
    self.state = self._devices.put(self.state)
    if restored is not None:
      self._progress.line(
        f"resuming after {int(self.state.epoch)} epochs and"
        f" {self._steps_of_epoch()} steps of the next"
      )
    return pending

  def _run_stably(self, run: Callable[[], _Result]) -> _Result:
    """What a run comes to, which goes back when it has diverged.

    Raises:
      Diverged: if it has gone back too often.
    """
    while True:
      try:
        return run()
      except Unstable as error:
        self._go_back(error)

  def _go_back(self, error: Unstable) -> None:
    rollbacks, most = self._rollbacks, self._run.max_rollbacks
    # The last epoch's end may not be on the disk yet.
    self._checkpoints.wait()
    if rollbacks.counted >= most:
      rollbacks.end()
      raise Diverged(
        f"{error}; the run has gone back {rollbacks.counted} times, the last"
        " checkpoint is kept; go on with --resume and a lower one of"
        f" {self._rates()}."
      )
    rollbacks.add(self._checkpoints.newest_milestone())
    self._progress.line(
      f"{error}: back to the last epoch's end, with other random numbers and"
      f" learning rates of {rollbacks.factor:g} times those given (rollback"
      f" {rollbacks.counted} of {most})"
    )
    self._build()

  def _build(self) -> None:
    """Builds the steps by the rollbacks that there were, and the state."""
    raise NotImplementedError

  def _rates(self) -> str:
    """The options that a run may change after it has diverged, with values."""
    raise NotImplementedError

  def _steps_of_epoch(self) -> int:
    """Steps done in the epoch that is not finished."""
    return int(self.state.omega_step)

  def _position(self) -> int:
    """Steps done in all."""
    return int(self.state.total_steps)

  def _place(self, ending: bool = False) -> loggers.Place:
    """Where the run is: after an epoch's end, or `ending` before it."""
    step, epoch = int(self.state.total_steps), int(self.state.epoch)
    return loggers.Place(step, self._position() - step, epoch + ending)

  @contextlib.contextmanager
  def _writing(self) -> Iterator[metrics.MetricWriter]:
    """The metrics from where the run is, closed at the end of the block."""
    writer = metrics.MetricWriter(
      self._workdir,
      self._place(),
      self._task.config,
      self._task.metric,
      self._progress.line,
    )
    try:
      yield writer
    finally:
      writer.close()

  def _steps_left(self) -> dict[str, int]:
    """By phase, the steps that the run has still to take."""
    raise NotImplementedError

  def _pending(self) -> dict[str, Any]:
    """JSON-ready, what a checkpoint keeps besides the state."""
    window = [
      {k: float(v) for k, v in step.items()}
      for step in jax.device_get(self._window)
    ]
    return {
      "window": window,
      "skipped_in_a_row": dict(self._skipped_in_a_row),
      "rollbacks": len(self._rollbacks.places),
      "seconds": self._clock.seconds,
    }

  def _read_result(self, numbers: tuple[str, ...]) -> dict[str, Any]:
    path = self._workdir / folder.RESULT
    advice = "delete it and resume the run, whose end is then repeated"

    def read() -> dict[str, Any]:
      record = folder.read_json(path, advice)
      folder.check_numbers(record, numbers, path, advice)
      return record

    return hosts.from_first(read)

  def _has_result(self) -> bool:
    path = self._workdir / folder.RESULT
    return hosts.from_first(path.exists)

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
    epoch = int(self.state.epoch) + 1
    self._progress.start(phase, epoch, done, total)
    if hasattr(step, "trace"):
      with self._leaving_work():
        self._compiler.compile(f"the {phase} step", step, self.state, *data)
    before, since = time.monotonic(), done
    row: dict[str, Any] = {}
    for index in range(done, total):
      self.state, measured = step(self.state, *data)
      if len(self._window) > 1:
        # Two steps in flight keep the device busy; more would only delay the
        # answer to a signal.
        jax.block_until_ready(self._window[-1])
      self._window.append(measured)
      self._doing = f"epoch {epoch}: {phase} step {index + 1} of {total}"
      self._progress.advance()
      if index == done:
        # The first step may compile; its time is no step's time.
        jax.block_until_ready(measured)
        before, since = time.monotonic(), done + 1
      if (index + 1) % self._run.log_every == 0 or index + 1 == total:
        row = self._row(phase)
        now = time.monotonic()
        if index + 1 > since:
          seconds = (now - before) / (index + 1 - since)
          row |= self._heartbeat.measure(phase, seconds, self._steps_left())
          self._progress.remaining(row["remaining_seconds"])
        before, since = now, index + 1
        writer.write(row)
        self._check_skipped(phase)
      self._save_in_time()
      self._serve_signal()
    self._doing = f"after the {phase} steps of epoch {epoch}"
    self._progress.finish(_summary(phase, row))

  def _row(self, phase: str) -> dict[str, Any]:
    """Means over the steps since the last row; empties the window."""
    window = jax.device_get(self._window)
    self._window = []
    # Of an earlier version's checkpoint none has been skipped.
    skipped = [bool(w.pop("skipped", 0.0)) for w in window]
    in_a_row = self._skipped_in_a_row.get(phase, 0)
    for was_skipped in skipped:
      in_a_row = in_a_row + 1 if was_skipped else 0
    self._skipped_in_a_row[phase] = in_a_row
    taken = [w for w, was in zip(window, skipped, strict=True) if not was]
    row: dict[str, Any] = {
      "phase": phase,
      "epoch": int(self.state.epoch) + 1,
      "step": int(self.state.total_steps),
      "theta_step": self._position() - int(self.state.total_steps),
    }
    for name in window[0]:
      key = f"{phase}/loss_nats" if name == "nats" else f"{phase}/{name}"
      values = [float(w[name]) for w in taken]
      row[key] = sum(values) / len(values) if values else math.nan
    row[f"{phase}/skipped"] = sum(skipped)
    if phase == "omega":
      measured = self._task.measure_carry(self.state.carry)
      row |= {f"{phase}/{name}": value for name, value in measured.items()}
    return row

  def _check_skipped(self, phase: str) -> None:
    in_a_row = self._skipped_in_a_row[phase]
    if in_a_row >= self._run.max_skipped:
      raise Unstable(
        f"the last {in_a_row} {phase} steps of epoch"
        f" {int(self.state.epoch) + 1} had a loss or gradient that is not"
        " finite"
      )

  def _save_in_time(self) -> None:
    """Saves within an epoch, if the last checkpoint is old."""
    minutes = self._run.checkpoint_every_minutes
    if not hosts.is_first():
      return  # it has no clock in common with the one that saves
    if minutes and time.monotonic() - self._saved_at > 60.0 * minutes:
      self._save()

  def _serve_signal(self) -> None:
    """To be called now and then: tells how the run is, and may end it."""
    self._heartbeat.beat(self._doing, self._steps_left)
    signum = self._stop()
    if not signum:
      return
    # A thread that `_patiently` waits for may notice it as well.
    with self._stopping:
      if not self._save():
        self._progress.line(
          "the state is not finite and not saved; the last checkpoint is kept"
        )
      self._checkpoints.wait()
    raise Interrupted(signum)

  def _end_epoch_saved(self) -> None:
    """Goes on to the next epoch, from a checkpoint.

    Raises:
      Unstable: if the state is not finite; it is not saved.
    """
    state = state_lib.next_epoch(self.state, self._task)
    self.state = self._devices.put(state)
    if not self._save(milestone=True):
      raise Unstable(
        f"epoch {int(self.state.epoch)} ends in numbers that are not finite"
      )

  def _save(self, milestone: bool = False) -> bool:
    """Begins to save a state that is finite, and says whether it is."""
    self._saved_at = time.monotonic()
    state = self._devices.one(self.state)
    if not state_lib.is_finite(state):
      return False
    self._clock.stop()
    # An epoch's end takes no step, but is another place than its last step.
    number = self._position() + int(self.state.epoch)
    self._checkpoints.save(number, state, self._pending(), milestone)
    return True


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
