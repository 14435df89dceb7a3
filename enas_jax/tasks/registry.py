"""The tasks, by name: a task is a file and a line here."""

import importlib

from enas_jax.config import fields
from enas_jax.tasks import base

# Where each `base.Definition` is; imported when it is first asked for.
_MODULES = {
  "language_model": "enas_jax.tasks.language_model",
  "image_classifier": "enas_jax.tasks.image_classifier",
}
_DEFINITIONS: dict[str, base.Definition] = {}


def register(definition: base.Definition) -> None:
  """Enters a task that comes from outside the package.

  Raises:
    ValueError: if another task has that name.
  """
  known = _DEFINITIONS.get(definition.name)
  if definition.name in _MODULES or known not in (None, definition):
    raise ValueError(f"there is a task {definition.name!r} already.")
  _DEFINITIONS[definition.name] = definition


def names() -> tuple[str, ...]:
  """The tasks that there are, the package's first."""
  return (*_MODULES, *(name for name in _DEFINITIONS if name not in _MODULES))


def get(name: str) -> base.Definition:
  """All that the package asks of a task.

  Raises:
    InputError: if there is none of that name; the message lists the known ones.
  """
  fields.check_one_of("task", name, names())
  if name not in _DEFINITIONS:
    module = importlib.import_module(_MODULES[name])
    _DEFINITIONS[name] = module.DEFINITION
  return _DEFINITIONS[name]
