"""Weights & Biases, by the package `wandb`.

Account, project and mode are those of wandb's own settings: `wandb login`,
WANDB_PROJECT, WANDB_MODE=offline.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from enas_jax.loggers import base

_PROJECT = "enas_jax"


class Wandb:
  """One run of wandb's, whose own step counts steps of both phases.

  It takes nothing back: what it has heard of a step is not told again.
  """

  def __init__(self, run: base.Run) -> None:
    """Begins the run, or goes on with it."""
    import wandb

    self._wandb: Any = wandb
    settings = wandb.setup().settings
    self._run = wandb.init(
      project=settings.project or _PROJECT,
      name=settings.run_name or run.workdir.name,
      id=run.known_as,
      resume="allow" if run.known_as else None,
      dir=str(run.workdir),
      config=dict(run.options),
      allow_val_change=True,
      # The terminal's bars are none of its business.
      settings=wandb.Settings(console="off"),
    )
    self.known_as: str | None = self._run.id
    self._axes: set[str] = set()

  def scalars(self, place: base.Place, values: Mapping[str, float]) -> None:
    """See `base.Logger`."""
    self._log(place, dict(values))

  def choices(self, place: base.Place, choices: Sequence[base.Choice]) -> None:
    """See `base.Logger`: a histogram each, a bar for each alternative."""
    histograms = {}
    for choice in choices:
      edges = np.arange(len(choice.shares) + 1) - 0.5
      bars = (np.asarray(choice.shares), edges)
      histogram = self._wandb.Histogram(np_histogram=bars)
      histograms[f"policy/{choice.label}"] = histogram
    self._log(place, histograms)

  def picture(self, place: base.Place, name: str, png: bytes) -> None:
    """See `base.Logger`."""
    image = self._wandb.Image(Image.open(io.BytesIO(png)))
    self._log(place, {name: image})

  def close(self, finished: bool) -> None:
    """See `base.Logger`."""
    self._run.finish(exit_code=0 if finished else 1)

  def _log(self, place: base.Place, values: dict[str, Any]) -> None:
    number = place.step + place.theta_step
    if number < self._run.step:
      return
    for name in values:
      group, slash, _ = name.partition("/")
      pattern = f"{group}/*" if slash else name
      if pattern not in self._axes:
        self._axes.add(pattern)
        self._run.define_metric(pattern, step_metric=base.axis_of(name))
    # Its axes are scalars, too, and must be told with what is drawn on them.
    self._run.log(values | place._asdict(), step=number)


DEFINITION = base.Definition("wandb", "wandb", Wandb)
