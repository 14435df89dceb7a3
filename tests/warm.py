"""What scripts import, imported before they are forked; see `command_line`."""

from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import registry as tasks

# Definitions are imported when they are first asked for.
for _registry in (spaces, strategies, tasks):
  for _name in _registry.names():
    _registry.get(_name)
