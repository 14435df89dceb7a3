"""The tasks, by name: a task is a file and a line here."""

from enas_jax.config import registry
from enas_jax.tasks import base

_REGISTRY = registry.Registry[base.Definition](
  "task",
  {
    "language_model": "enas_jax.tasks.language_model",
    "image_classifier": "enas_jax.tasks.image_classifier",
  },
)
register, names, get = _REGISTRY.register, _REGISTRY.names, _REGISTRY.get
