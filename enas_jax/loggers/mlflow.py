"""MLflow, by the package `mlflow`.

Where it keeps its runs is its own matter: MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME.
"""

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from enas_jax.loggers import base

_EXPERIMENT = "enas_jax"
_MOST_PARAMS = 100  # in one call


class Mlflow:
  """One run of MLflow's.

  It takes nothing back: what it has heard of a step is not told again.
  """

  def __init__(self, run: base.Run) -> None:
    """Begins the run, or goes on with it."""
    import mlflow
    from mlflow import entities, environment_variables

    self._entities: Any = entities
    self._client = mlflow.MlflowClient()
    if run.known_as is None:
      name = environment_variables.MLFLOW_EXPERIMENT_NAME.get() or _EXPERIMENT
      experiment = self._client.get_experiment_by_name(name)
      number = (
        experiment.experiment_id
        if experiment
        else self._client.create_experiment(name)
      )
      made = self._client.create_run(number, run_name=run.workdir.name)
      self._id = made.info.run_id
    else:
      self._id = run.known_as
      self._client.update_run(self._id, status="RUNNING")
    self.known_as: str | None = self._id
    self._resumed = run.known_as is not None
    self._heard: dict[str, int] = {}  # by scalar, the last step
    self._write_options(run.options)

  def scalars(self, place: base.Place, values: Mapping[str, float]) -> None:
    """See `base.Logger`."""
    # MLflow counts milliseconds.
    now, told = int(1000 * time.time()), []
    for name, value in values.items():
      at = place.on_axis_of(name)
      if at > self._last_step(name):
        self._heard[name] = at
        told.append(self._entities.Metric(name, value, now, at))
    if told:
      self._client.log_batch(self._id, metrics=told)

  def choices(self, place: base.Place, choices: Sequence[base.Choice]) -> None:
    """See `base.Logger`: it has no histograms; a file each epoch."""
    shares = {
      choice.label: dict(zip(choice.alternatives, choice.shares, strict=True))
      for choice in choices
    }
    name = f"policy/epoch_{place.epoch:04}.json"
    self._client.log_dict(self._id, shares, name)

  def picture(self, place: base.Place, name: str, png: bytes) -> None:
    """See `base.Logger`."""
    image = Image.open(io.BytesIO(png))
    path = f"{name}/epoch_{place.epoch:04}.png"
    self._client.log_image(self._id, image, path)

  def close(self, finished: bool) -> None:
    """See `base.Logger`."""
    self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")

  def _last_step(self, name: str) -> int:
    if name not in self._heard:
      heard = []
      if self._resumed:
        heard = self._client.get_metric_history(self._id, name)
      # Steps begin at 0: where nothing has been heard even that is new.
      self._heard[name] = max((one.step for one in heard), default=-1)
    return self._heard[name]

  def _write_options(self, options: Mapping[str, Any]) -> None:
    # It refuses another value for one that it has.
    known = self._client.get_run(self._id).data.params
    params = [
      self._entities.Param(name, str(value))
      for name, value in options.items()
      if name not in known
    ]
    for first in range(0, len(params), _MOST_PARAMS):
      batch = params[first : first + _MOST_PARAMS]
      self._client.log_batch(self._id, params=batch)


DEFINITION = base.Definition("mlflow", "mlflow", Mlflow)
