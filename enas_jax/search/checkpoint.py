"""Checkpoints of a search, written and read by orbax."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from enas_jax import types
from enas_jax.search import state as state_lib


class Checkpoints:
  """The `checkpoints/` of one run: whole states, newest two kept.

  Attributes:
    folder: the folder that they lie in; made if need be.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder = folder.resolve()
    options = ocp.CheckpointManagerOptions(
      max_to_keep=2, enable_async_checkpointing=False
    )
    self._manager = ocp.CheckpointManager(self.folder, options=options)

  def save(
    self, number: int, state: state_lib.State, pending: dict[str, Any]
  ) -> None:
    """Writes one checkpoint, whole or not at all.

    Args:
      number: the checkpoint's name; larger than those of all before, unless
        nothing has happened since.
      state: the state, a search's or a training's.
      pending: JSON-ready, things that the loop holds besides the state.
    """
    if number in self._manager.all_steps():
      return
    # Orbax stores arrays; a typed key is stored as its words.
    raw = state.replace(key=jax.random.key_data(state.key))
    self._manager.save(
      number,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(raw),
        pending=ocp.args.JsonSave(pending),
      ),
    )

  def restore(
    self, like: state_lib.State
  ) -> tuple[state_lib.State, dict[str, Any]] | None:
    """Reads the newest checkpoint that is whole; None if there is none.

    Args:
      like: a state of the same shapes, e.g. a fresh one.

    Raises:
      InputError: if there are checkpoints and none can be read.
    """
    raw = like.replace(key=jax.random.key_data(like.key))
    template = jax.tree.map(ocp.utils.to_shape_dtype_struct, raw)
    steps = sorted(self._manager.all_steps(), reverse=True)
    failure = ""
    for step in steps:
      try:
        read = self._manager.restore(
          step,
          args=ocp.args.Composite(
            state=ocp.args.StandardRestore(template),
            pending=ocp.args.JsonRestore(),
          ),
        )
      # Orbax raises errors of many kinds for a damaged file; an older whole
      # checkpoint is what the user wants in every case.
      except Exception as error:  # noqa: BLE001
        failure = str(error).splitlines()[0] if str(error) else repr(error)
        continue
      self._forget_after(step, steps)
      state = read["state"]
      key = jax.random.wrap_key_data(state.key)
      return state.replace(key=key), read["pending"]
    if steps:
      raise types.InputError(
        f"no checkpoint in {self.folder} can be read ({failure}); give another"
        " --workdir to start again."
      )
    return None

  def _forget_after(self, step: int, steps: list[int]) -> None:
    """Deletes damaged checkpoints, whose place the run will need again."""
    for newer in steps:
      if newer > step:
        self._manager.delete(newer)


def read_newest(folder: pathlib.Path) -> dict[str, Any]:
  """The state in a run's newest checkpoint that is whole, as nested dicts.

  It needs no state of the same shapes, and changes nothing in the folder.

  Raises:
    InputError: if there is none.
  """
  names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
  for step in sorted(map(int, filter(str.isdigit, names)), reverse=True):
    try:
      with ocp.StandardCheckpointer() as reader:
        return reader.restore((folder / str(step) / "state").resolve())
    # See `Checkpoints.restore`.
    except Exception:  # noqa: BLE001, S112
      continue
  raise types.InputError(f"{folder} holds no checkpoint that can be read.")
