"""How often a run has gone back after it diverged, in a file of its folder.

The file and the checkpoints decide all that follows, so a run that is killed
and resumed goes the same way. How far it goes back is decided by the ends of
epochs alone, never by when a signal came.
"""

import dataclasses
import pathlib
from typing import Any

from enas_jax import files
from enas_jax.search import folder, hosts

_SLOWDOWN = 0.5  # factor on the learning rates, each time
_ADVICE = "delete it, and the run has not gone back before"


@dataclasses.dataclass
class Rollbacks:
  """The rollbacks of one run.

  Attributes:
    path: the file that they are in.
    places: of each the number of the checkpoint that the run went back to; -1:
      its start.
    forgiven: how many of them were before the run was resumed after its end.
    ended: whether the run has ended since it diverged too often.
  """

  path: pathlib.Path
  places: list[int]
  forgiven: int = 0
  ended: bool = False

  @classmethod
  def read(cls, workdir: pathlib.Path) -> "Rollbacks":
    """Those of a run's folder.

    Raises:
      InputError: if the file is damaged.
    """
    stored = hosts.from_first(lambda: _read(workdir / folder.ROLLBACKS))
    return cls(workdir / folder.ROLLBACKS, **stored)

  @property
  def factor(self) -> float:
    """The factor on the configuration's learning rates."""
    return _SLOWDOWN**self.counted

  @property
  def counted(self) -> int:
    """How many there are since the run was begun, or resumed after its end."""
    return len(self.places) - self.forgiven

  def forgive(self) -> None:
    """A run that has ended may go back as often as at first, if it ended."""
    if self.ended:
      self.forgiven, self.ended = len(self.places), False
      self._write()

  def add(self, place: int) -> None:
    """The run goes back once more."""
    self.places.append(place)
    self._write()

  def end(self) -> None:
    """The run ends."""
    self.ended = True
    self._write()

  def allow(self, number: int, pending: dict[str, Any]) -> bool:
    """Whether the run may go on from a checkpoint: not from one that it left.

    Args:
      number: the checkpoint's number.
      pending: what the checkpoint keeps besides the state.
    """
    # A rollback after it was saved has left what lies beyond its place.
    return all(number <= place for place in self.places[self.known(pending) :])

  def known(self, pending: dict[str, Any]) -> int:
    """How many there had been when a checkpoint was saved."""
    return int(pending.get("rollbacks", 0))

  def _write(self) -> None:
    record = {
      "places": self.places,
      "forgiven": self.forgiven,
      "ended": self.ended,
    }
    folder.write_json(self.path, record)


def _read(path: pathlib.Path) -> dict[str, Any]:
  """The fields of `Rollbacks` that a file holds, if it is there.

  Raises:
    InputError: if it is damaged.
  """
  if not path.exists():
    return {"places": []}
  record = folder.read_json(path, _ADVICE)
  try:
    return {
      "places": [int(place) for place in record["places"]],
      "forgiven": int(record["forgiven"]),
      "ended": bool(record["ended"]),
    }
  except (KeyError, TypeError, ValueError):
    raise files.damaged(path, _ADVICE) from None


def has_ended(workdir: pathlib.Path) -> bool:
  """Whether a run has ended since it diverged, or one of its trainings has."""

  def ended() -> bool:
    folders = [workdir, *workdir.glob("arc_*")]
    stored = [_read(place / folder.ROLLBACKS) for place in folders]
    return any(one.get("ended", False) for one in stored)

  return hosts.from_first(ended)
