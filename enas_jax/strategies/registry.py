"""The strategies, by the name of `run.policy`: a file and a line here."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import registry
from enas_jax.strategies import base

_REGISTRY = registry.Registry[base.Definition](
  "policy",
  {
    "controller": "enas_jax.strategies.reinforce",
    "supervised": "enas_jax.strategies.supervised",
    "tuned_controller": "enas_jax.strategies.tuned_controller",
    "random": "enas_jax.strategies.uniform",
    "evolution": "enas_jax.strategies.evolution",
    "local_search": "enas_jax.strategies.local_search",
    "darts": "enas_jax.strategies.darts",
    "gdas": "enas_jax.strategies.gdas",
    "snas": "enas_jax.strategies.snas",
    "drnas": "enas_jax.strategies.drnas",
  },
)
register, names, get = _REGISTRY.register, _REGISTRY.names, _REGISTRY.get


def create(config: config_lib.SearchConfig, space: Any) -> base.Strategy:
  """The strategy that a search asks for.

  Args:
    config: the search's configuration.
    space: the search space.

  Raises:
    InputError: if the options are not those of the strategy that is named.
  """
  definition = get(config.run.policy)
  if type(config.strategy) is not definition.options:
    raise types.InputError(
      f"policy is {config.run.policy}, but the options are a"
      f" {type(config.strategy).__name__}; change both by with_policy."
    )
  return definition.create(space, config.strategy, config.theta.num_arcs)


def with_policy(
  config: config_lib.SearchConfig, policy: str
) -> config_lib.SearchConfig:
  """The same search by another strategy, with that one's default options.

  Args:
    config: the search; if its options are that strategy's, they stay. Options
      without defaults are taken from it, where it has them. What it says of
      uniform architectures goes where the strategy trains mixtures.
    policy: the strategy's name.

  Raises:
    InputError: if there is no such strategy, or it has options without
      defaults that the search does not state: presets alone do.
  """
  options = get(policy).options
  strategy = config.strategy
  if type(strategy) is not options:
    without = [
      field.name
      for field in dataclasses.fields(options)
      if field.default is dataclasses.MISSING
    ]
    stated = vars(strategy)
    if lacking := [name for name in without if name not in stated]:
      raise types.InputError(
        f"policy cannot become {policy!r}: its options, such as {lacking[0]},"
        " have no defaults; begin with a preset, which states them."
      )
    strategy = options(**{name: stated[name] for name in without})
  run = dataclasses.replace(config.run, policy=policy)
  omega = config.omega
  if getattr(strategy, "mixes", False):
    # There are no uniform architectures whose operations could be drawn so.
    omega = dataclasses.replace(omega, fair_ops=False, op_weights=())
  return dataclasses.replace(config, omega=omega, strategy=strategy, run=run)


def restore_config(
  config: config_lib.SearchConfig, saved: Mapping[str, Any]
) -> config_lib.SearchConfig:
  """A configuration as `SearchConfig.to_dict` wrote it, of any strategy.

  Args:
    config: a preset's, of the same space.
    saved: what was written.

  Raises:
    KeyError, TypeError, AttributeError: if its fields are others.
    InputError: if a value is not allowed.
  """
  config = with_policy(config, saved["run"]["policy"])
  return config_lib.override_parts(
    config, {part: saved[part] for part in vars(config)}
  )
