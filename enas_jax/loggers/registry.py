"""The loggers, by the names that `--loggers` takes: a file and a line here."""

from collections.abc import Sequence

from enas_jax.config import registry
from enas_jax.loggers import base

_REGISTRY = registry.Registry[base.Definition](
  "loggers",
  {
    "tensorboard": "enas_jax.loggers.tensorboard",
    "wandb": "enas_jax.loggers.wandb",
    "mlflow": "enas_jax.loggers.mlflow",
  },
)
register, names, get = _REGISTRY.register, _REGISTRY.names, _REGISTRY.get


def check(wanted: Sequence[str]) -> None:
  """Raises InputError unless there are such loggers, with their libraries."""
  for name in wanted:
    base.check_library(get(name))
