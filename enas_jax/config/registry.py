"""Names and what stands for them: what the three registries have in common."""

import importlib
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from enas_jax.config import fields


class Named(Protocol):
  """What a registry holds: a definition with a name."""

  @property
  def name(self) -> str:
    """The name, one of its kind."""
    ...


Definition = TypeVar("Definition", bound=Named)


class Registry(Generic[Definition]):
  """Definitions by name; a module is imported when it is first asked for."""

  def __init__(self, kind: str, modules: Mapping[str, str]) -> None:
    """Enters what the package has.

    Args:
      kind: the word for what is registered, as the flag says it: "space".
      modules: by name, the module whose `DEFINITION` it is.
    """
    self._kind, self._modules = kind, dict(modules)
    self._definitions: dict[str, Definition] = {}

  def register(self, definition: Definition) -> None:
    """Enters what comes from outside the package; the same twice is once.

    Raises:
      ValueError: if something else has that name.
    """
    name = definition.name
    if name in self.names() and self.get(name) != definition:
      raise ValueError(f"there is a {self._kind} {name!r} already.")
    self._definitions[name] = definition

  def names(self) -> tuple[str, ...]:
    """The names that there are, the package's first."""
    return tuple(dict.fromkeys((*self._modules, *self._definitions)))

  def get(self, name: str) -> Definition:
    """The definition of that name.

    Raises:
      InputError: if there is none; the message lists the known names.
    """
    fields.check_one_of(self._kind, name, self.names())
    if name not in self._definitions:
      module = importlib.import_module(self._modules[name])
      self._definitions[name] = module.DEFINITION
    return self._definitions[name]
