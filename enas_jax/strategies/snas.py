"""SNAS: stochastic neural architecture search (Xie et al., 2019).

A mixture is a sample of the concrete distribution of the policy (Eqn 4): noise
of Gumbel's distribution is added to the log-probabilities, and the softmax
taken at a temperature that falls. omega and alpha both descend the training
loss: there is no second level. They take turns here, an epoch each, and in the
paper move in one step.
"""

import dataclasses

import jax

from enas_jax import types
from enas_jax.config import fields
from enas_jax.strategies import base, relaxed


@dataclasses.dataclass(frozen=True, kw_only=True)
class SnasConfig(relaxed.DecayedConfig):
  """The authors' command: a temperature from 1 to 0.03."""

  snas_temperature: float = fields.field(
    "snas: temperature in the first epoch of theta's training", default=1.0
  )
  snas_last_temperature: float = fields.field(
    "snas: temperature in the last epoch, to which it falls linearly",
    default=0.03,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_positive(
      self, "theta_", "snas_temperature", "snas_last_temperature"
    )


class Snas(relaxed.Relaxed):
  """Samples of the concrete distribution."""

  def weigh(
    self, alpha: types.Array, key: types.PRNGKey, progress: types.Array
  ) -> types.Array:
    """A sample, [C, A] float32, near one alternative at low temperatures."""
    options = self.options
    temperature = relaxed.falling(
      options.snas_temperature, options.snas_last_temperature, progress
    )
    # Beyond the alternatives log-probabilities are -inf, whatever the noise.
    noise = jax.random.gumbel(key, alpha.shape)
    return jax.nn.softmax((self.log_probs(alpha) + noise) / temperature)

  def measure(
    self,
    alpha: types.Array,
    arc: types.Arc,
    key: types.PRNGKey,
    judge: base.Judge,
  ) -> types.Array:
    """The training loss, [] float32."""
    del alpha
    # One level: alpha has no validation loss.
    return judge.train_loss(arc, key)


DEFINITION = base.Definition(
  "snas", Snas, SnasConfig, {"nasbench201": "92.77 +- 0.83"}
)
