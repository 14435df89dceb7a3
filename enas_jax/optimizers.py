"""The optax chains of the two phases."""

from typing import Any

import jax.numpy as jnp
import optax

from enas_jax import config as config_lib


def omega_learning_rate(
  config: config_lib.OmegaConfig, steps_per_epoch: int
) -> optax.Schedule:
  """Learning rate by step: constant, then decayed after every epoch.

  "Decayed by a factor of 0.96 after every epoch starting at epoch 15"
  (Section 3.1), with epochs counted from 1: the 16th is the first to run at
  0.96 of the initial rate.
  """

  def schedule(step: Any) -> Any:
    epoch = step // steps_per_epoch
    decays = jnp.maximum(epoch - config.decay_start_epoch + 1, 0)
    return config.learning_rate * config.decay_rate**decays

  return schedule


def make_omega_optimizer(
  config: config_lib.OmegaConfig, steps_per_epoch: int
) -> optax.GradientTransformation:
  """SGD on a clipped gradient (Section 3.1)."""
  return optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.sgd(omega_learning_rate(config, steps_per_epoch)),
  )


def make_theta_optimizer(
  config: config_lib.ThetaConfig,
) -> optax.GradientTransformation:
  """Adam (Section 2.2)."""
  return optax.adam(config.learning_rate)
