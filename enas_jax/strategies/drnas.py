"""DrNAS: Dirichlet neural architecture search (Chen et al., 2021).

The weights of a mixture are a sample of a Dirichlet distribution whose
concentration is elu(alpha) + 1; the gradient goes through the sample. An l2
term draws the concentration to 1, where all mixtures are equally likely. The
partial channels and the pruning in stages of the paper are not here.
"""

import dataclasses

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.config import fields
from enas_jax.strategies import base, relaxed

_LEAST = 1e-6  # elu(alpha) + 1 rounds to 0 where alpha is very negative


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrnasConfig(relaxed.RelaxedConfig):
  """The optimiser of DARTS, and the authors' weight of the anchor."""

  anchor_weight: float = fields.field(
    "drnas: weight of the sum of (concentration - 1)^2 in the loss",
    default=1e-3,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_not_negative(self, "theta_", "anchor_weight")


class Drnas(relaxed.Relaxed):
  """Samples of a Dirichlet distribution for each choice."""

  def log_probs(self, alpha: types.Array) -> types.Array:
    """The mean of the distribution: [C, A] float32, nats."""
    mean = jnp.where(self.known, jnp.log(concentration(alpha)), -jnp.inf)
    return jax.nn.log_softmax(mean)

  def weigh(
    self, alpha: types.Array, key: types.PRNGKey, progress: types.Array
  ) -> types.Array:
    """A sample, [C, A] float32, by gamma variates over their sum."""
    del progress
    # Of logarithms: a small concentration's variates are often 0.
    logs = jax.random.loggamma(key, concentration(alpha))
    return jax.nn.softmax(jnp.where(self.known, logs, -jnp.inf))

  def measure(
    self,
    alpha: types.Array,
    arc: types.Arc,
    key: types.PRNGKey,
    judge: base.Judge,
  ) -> types.Array:
    """The validation loss and the anchor's term, [] float32."""
    off = jnp.where(self.known, concentration(alpha) - 1.0, 0.0)
    anchor = self.options.anchor_weight * jnp.sum(jnp.square(off))
    return judge.loss(arc, key) + anchor


def concentration(alpha: types.Array) -> types.Array:
  """The Dirichlet distribution's parameters: [...] float32, above 0."""
  return jnp.maximum(jax.nn.elu(alpha) + 1.0, _LEAST)


DEFINITION = base.Definition(
  "drnas", Drnas, DrnasConfig, {"nasbench201": "94.36 +- 0.00"}
)
