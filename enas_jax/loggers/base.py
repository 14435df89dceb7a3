"""What a logger is told of a run, and what it must be able to do.

A logger is a file of this room and a line in `registry.py`; one from outside is
entered by `registry.register`.
"""

import importlib
import importlib.util
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from enas_jax import types

# What scalars are drawn against, by the part of their names before the slash.
# The axes of the report are the same.
_AXES = {"omega": "step", "theta": "theta_step"}


class Place(NamedTuple):
  """How far a run is.

  Attributes:
    step: omega steps in all.
    theta_step: theta steps in all.
    epoch: the epoch that these belong to, from 1; where a run goes on, the
      epochs that are finished.
  """

  step: int
  theta_step: int
  epoch: int

  def on_axis_of(self, name: str) -> int:
    """The place on the axis that the scalars `name` are drawn against."""
    return int(getattr(self, axis_of(name)))


class Choice(NamedTuple):
  """How often a policy proposes each alternative of one choice.

  Attributes:
    label: what is decided, such as "op 3".
    alternatives: their names.
    shares: one for each, in [0, 1]; they sum to 1.
  """

  label: str
  alternatives: Sequence[str]
  shares: Sequence[float]


class Run(NamedTuple):
  """A run as a logger gets to know it.

  Attributes:
    workdir: the run's folder, which exists.
    known_as: what the logger called it in an earlier process, or None.
    begin: where the run goes on. What was told of later places is told again.
    options: its configuration, by names with slashes.
    metric: the name of the scalar that says how good it is.
  """

  workdir: pathlib.Path
  known_as: str | None
  begin: Place
  options: Mapping[str, bool | int | float | str]
  metric: str


class Logger(Protocol):
  """One run in one logger.

  Attributes:
    known_as: what the logger calls the run, for a process that resumes it; None
      if its folder says enough.
  """

  known_as: str | None

  def scalars(self, place: Place, values: Mapping[str, float]) -> None:
    """Finite numbers, by names such as "omega/loss_nats"."""
    ...

  def choices(self, place: Place, choices: Sequence[Choice]) -> None:
    """What the policy proposes at the end of an epoch."""
    ...

  def picture(self, place: Place, name: str, png: bytes) -> None:
    """A picture at the end of an epoch."""
    ...

  def close(self, finished: bool) -> None:
    """Nothing more is told; the run may be resumed unless it is finished."""
    ...


class Definition(NamedTuple):
  """What the registry holds.

  Attributes:
    name: the logger's name, as `--loggers` has it.
    library: the module that it needs; None for one that the package needs.
    open: (run) -> its logger; may raise what it likes.
  """

  name: str
  library: str | None
  open: Callable[[Run], Logger]


def axis_of(name: str) -> str:
  """The field of `Place` that the scalars `name` are drawn against."""
  return _AXES.get(name.partition("/")[0], "epoch")


def check_library(definition: Definition) -> None:
  """Raises InputError if the logger's library is not installed."""
  library = definition.library
  if library is None:
    return
  found = importlib.util.find_spec(library)
  # A folder of that name, such as a run's, is no module with a file.
  if found is None or found.origin is None:
    raise types.InputError(
      f"--loggers={definition.name} needs the package {library}, which is not"
      f" installed: pip install {library}."
    )


def flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
  """The values of nested mappings, by names with slashes; lists as JSON."""
  values: dict[str, Any] = {}
  for name, value in options.items():
    if isinstance(value, Mapping):
      values |= flat(value, f"{before}{name}/")
    elif isinstance(value, bool | int | float | str):
      values[before + name] = value
    else:
      values[before + name] = json.dumps(value)
  return values
