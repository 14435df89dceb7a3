"""TensorBoard: event files in the run's folder.

Each axis has a folder: TensorBoard knows one axis in each, and takes back what
stands beyond a step for the whole folder.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import tensorboardX
from PIL import Image
from tensorboardX import summary

from enas_jax.loggers import base

FOLDER = "tensorboard"
_FOLDERS = {"step": "omega", "theta_step": "theta", "epoch": "epochs"}


class TensorBoard:
  """Events in a folder for each axis."""

  known_as: str | None = None

  def __init__(self, run: base.Run) -> None:
    """Opens the events of epochs, and says what the options are."""
    self._run = run
    self._writers: dict[str, tensorboardX.SummaryWriter] = {}
    events = self._events("epoch").file_writer
    # The 0 is not written: a metric's values are those of its scalar. The last
    # of the three parts says that the run has succeeded.
    *begin, self._end = summary.hparams(dict(run.options), {run.metric: 0.0})
    for part in begin:
      events.add_summary(part)

  def scalars(self, place: base.Place, values: Mapping[str, float]) -> None:
    """See `base.Logger`."""
    for name, value in values.items():
      events = self._events(base.axis_of(name))
      events.add_scalar(name, value, place.on_axis_of(name))
    self._flush()

  def choices(self, place: base.Place, choices: Sequence[base.Choice]) -> None:
    """See `base.Logger`: a histogram each, a bar for each alternative."""
    for choice in choices:
      shares = np.asarray(choice.shares)
      numbers = np.arange(len(shares))
      self._events("epoch").add_histogram_raw(
        f"policy/{choice.label}",
        min=0.0,
        max=float(len(shares) - 1),
        num=1.0,
        sum=float(shares @ numbers),
        sum_squares=float(shares @ numbers**2),
        bucket_limits=(numbers + 0.5).tolist(),
        bucket_counts=shares.tolist(),
        global_step=place.epoch,
      )
    self._flush()

  def picture(self, place: base.Place, name: str, png: bytes) -> None:
    """See `base.Logger`."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    events = self._events("epoch")
    events.add_image(name, pixels, place.epoch, dataformats="HWC")
    self._flush()

  def close(self, finished: bool) -> None:
    """See `base.Logger`."""
    if finished:
      self._events("epoch").file_writer.add_summary(self._end)
    for writer in self._writers.values():
      writer.close()

  def _events(self, axis: str) -> tensorboardX.SummaryWriter:
    if axis not in self._writers:
      begin = getattr(self._run.begin, axis)
      # What stands at this place is kept; what was written beyond it is not.
      self._writers[axis] = tensorboardX.SummaryWriter(
        str(self._run.workdir / FOLDER / _FOLDERS[axis]),
        purge_step=begin + 1 if begin else None,
      )
    return self._writers[axis]

  def _flush(self) -> None:
    for writer in self._writers.values():
      writer.flush()


DEFINITION = base.Definition("tensorboard", None, TensorBoard)
