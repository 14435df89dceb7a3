"""GDAS: Gumbel softmax, one architecture at a time (Dong & Yang, 2019).

An architecture is sampled by the largest of log-probability plus Gumbel's
noise (Eqn 3). It alone is run; the gradient goes to alpha as if the softmax at
a temperature had been the weights (Eqns 5 and 6). omega's steps run samples of
the policy, which have the same distribution. So a step costs what that of one
architecture costs.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import types
from enas_jax.config import fields
from enas_jax.nn import ops
from enas_jax.strategies import base, relaxed


@dataclasses.dataclass(frozen=True, kw_only=True)
class GdasConfig(relaxed.DecayedConfig):
  """Dong & Yang (2019), Section 4.2: a temperature from 10 to 0.1."""

  mixes: ClassVar[bool] = False

  gdas_temperature: float = fields.field(
    "gdas: temperature in the first epoch of theta's training", default=10.0
  )
  gdas_last_temperature: float = fields.field(
    "gdas: temperature in the last epoch, to which it falls linearly",
    default=0.1,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_positive(
      self, "theta_", "gdas_temperature", "gdas_last_temperature"
    )


class Gdas(relaxed.Relaxed):
  """Samples whose gradient is that of the softmax."""

  def weigh(
    self, alpha: types.Array, key: types.PRNGKey, progress: types.Array
  ) -> ops.Sampled:
    """A sample: chosen [C] int32, weights [C, A] float32, straight-through."""
    options = self.options
    temperature = relaxed.falling(
      options.gdas_temperature, options.gdas_last_temperature, progress
    )
    noise = jax.random.gumbel(key, alpha.shape)
    logits = self.log_probs(alpha) + noise
    chosen = jnp.argmax(logits, axis=-1)
    # Of the same noise, so that the gradient is that of this very sample.
    soft = jax.nn.softmax(logits / temperature)
    hard = jax.nn.one_hot(chosen, alpha.shape[-1])
    # In this order the value is exactly 0 or 1.
    return ops.Sampled(chosen, hard + (soft - lax.stop_gradient(soft)))


DEFINITION = base.Definition(
  "gdas", Gdas, GdasConfig, {"nasbench201": "93.61 +- 0.09"}
)
