"""Who proposes architectures, and who learns from their rewards.

A policy is a space, and `propose(theta, key, num_arcs) -> arc`. The controller
and evolution learn; under the uniform policy theta stays as it is.
"""

import dataclasses
from typing import Any

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.strategies import controller as controller_lib
from enas_jax.strategies import evolution


@dataclasses.dataclass(frozen=True)
class ControllerPolicy:
  """pi(m; theta), trained with REINFORCE."""

  controller: controller_lib.Controller
  learns = True

  def propose(
    self, theta: types.Theta, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Samples arcs, leaves [S, ...]."""
    return self.controller.sample(theta, key, num_arcs).arc


@dataclasses.dataclass(frozen=True)
class UniformPolicy:
  """Every decision uniform: the search's baseline (Section 3.3)."""

  space: Any
  learns = False

  def propose(
    self, theta: types.Theta, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Samples arcs, leaves [S, ...]; theta is not used."""
    del theta
    return self.space.sample_uniform(key, num_arcs)


@dataclasses.dataclass(frozen=True)
class EvolutionPolicy:
  """Members of a population that regularised evolution renews."""

  space: Any
  learns = True

  def propose(
    self, theta: evolution.Population, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Draws members uniformly, leaves [S, ...]."""
    return evolution.propose(self.space, theta, key, num_arcs)


Policy = ControllerPolicy | UniformPolicy | EvolutionPolicy


def make_policy(
  config: config_lib.SearchConfig, controller: controller_lib.Controller
) -> Policy:
  """The policy that `config.run.policy` names."""
  if config.run.policy == "random":
    return UniformPolicy(controller.space)
  if config.run.policy == "evolution":
    return EvolutionPolicy(controller.space)
  return ControllerPolicy(controller)
