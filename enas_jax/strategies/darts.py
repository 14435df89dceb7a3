"""DARTS: differentiable architecture search (Liu et al., 2019).

Every choice is the mixture of its alternatives by the softmax of alpha (Eqn 2),
in omega's steps, too. alpha descends the validation loss: of the weights as
they are (first order), or of weights one step on (second order, Eqns 6 to 8).
"""

import dataclasses

import jax.numpy as jnp

from enas_jax import types
from enas_jax.config import fields
from enas_jax.strategies import base, relaxed


@dataclasses.dataclass(frozen=True, kw_only=True)
class DartsConfig(relaxed.DecayedConfig):
  """Liu et al. (2019), Section 3.1."""

  order: int = fields.field(
    "darts: 1, the gradient at the weights as they are; 2, at those one step"
    " on, which costs about four times as much",
    default=1,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check(self.order in (1, 2), "theta_order", "1 or 2", self.order)


class Darts(relaxed.Relaxed):
  """The mixture of all architectures."""

  def weigh(
    self, alpha: types.Array, key: types.PRNGKey, progress: types.Array
  ) -> types.Array:
    """The probabilities themselves, [C, A] float32; nothing is drawn."""
    del key, progress
    # 0 beyond the alternatives, whose log-probability is -inf.
    return jnp.exp(self.log_probs(alpha))

  def measure(
    self,
    alpha: types.Array,
    arc: types.Arc,
    key: types.PRNGKey,
    judge: base.Judge,
  ) -> types.Array:
    """The validation loss, of the order that is asked for; [] float32."""
    del alpha
    if self.options.order == 1:
      return judge.loss(arc, key)
    # That omega's step depends on alpha counts, too (Eqn 7).
    return judge.unrolled_loss(arc, key)


DEFINITION = base.Definition(
  "darts", Darts, DartsConfig, {"nasbench201": "54.30"}
)
