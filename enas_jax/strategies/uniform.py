"""Random search on shared weights (Li & Talwalkar, 2019; Section 3.3).

Every decision is uniform and nothing is learnt: the baseline that a strategy
has to beat. Where a controller learns from shared weights whose operations were
not drawn alike (`omega.op_weights`), its equal draws candidates so, too.
"""

import dataclasses
from typing import Any, ClassVar

from enas_jax import types
from enas_jax.config import fields
from enas_jax.spaces import decisions
from enas_jax.strategies import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniformConfig:
  """How candidates are drawn."""

  learns: ClassVar[bool] = False

  op_weights: tuple[float, ...] = fields.field(
    "random: how often each operation is drawn for a candidate, in the order of"
    " the space's OPS, as numbers with commas between them, of which only the"
    " proportions matter; empty: all alike",
    default=(),
    parse=fields.parse_numbers,
  )

  def __post_init__(self) -> None:
    fields.settle_numbers(self, "theta_", "op_weights")


@dataclasses.dataclass(frozen=True)
class Uniform(base.Strategy):
  """Uniform architectures.

  Attributes:
    space: whose architectures are drawn.
    options: how often operations are drawn.
    num_arcs: architectures a theta step; there is no such step.
  """

  space: Any
  # By default: beside any strategy's, each search scores uniform architectures.
  options: UniformConfig = UniformConfig()
  num_arcs: int = 1

  def __post_init__(self) -> None:
    """Raises InputError unless there is a weight for each operation."""
    decisions.check_weights(
      self.space, self.options.op_weights, "theta_op_weights"
    )

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
    if weights := self.options.op_weights:
      return decisions.sample_weighed(self.space, key, num_arcs, weights)
    return self.space.sample_uniform(key, num_arcs)

  def update(
    self, state: base.State, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[base.State, base.Metrics]:
    """Nothing is asked, and nothing learnt."""
    del key, judge
    return state, {}


DEFINITION = base.Definition(
  "random",
  Uniform,
  UniformConfig,
  {"nasbench201": "84.07 +- 3.61, 87.66 +- 1.69"},
)
