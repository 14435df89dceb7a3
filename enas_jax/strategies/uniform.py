"""Random search on shared weights (Li & Talwalkar, 2019; Section 3.3).

Every decision is uniform and nothing is learnt: the baseline that a strategy
has to beat.
"""

import dataclasses
from typing import Any, ClassVar

from enas_jax import types
from enas_jax.strategies import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniformConfig:
  """Nothing to choose."""

  learns: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class Uniform(base.Strategy):
  """Uniform architectures.

  Attributes:
    space: whose architectures are drawn.
    options: none.
    num_arcs: architectures a theta step; there is no such step.
  """

  space: Any
  options: UniformConfig = UniformConfig()
  num_arcs: int = 1

  @property
  def learns(self) -> bool:
    """No."""
    return self.options.learns

  def init(self, key: types.PRNGKey) -> base.State:
    """There is nothing to remember."""
    del key
    return ()

  def propose(
    self, state: base.State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Arcs with leaves [S, ...] int32; the state is not used."""
    del state
    return self.space.sample_uniform(key, num_arcs)

  def update(
    self, state: base.State, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[base.State, base.Metrics]:
    """Nothing is asked, and nothing learnt."""
    del key, judge
    return state, {}


DEFINITION = base.Definition("random", Uniform, UniformConfig)
