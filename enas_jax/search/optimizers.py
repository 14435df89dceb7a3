"""The optax chain that trains the shared weights."""

import jax.numpy as jnp
import optax

from enas_jax import config as config_lib
from enas_jax import types

_MAX_STEP = 2**31 - 1  # steps are int32


def omega_learning_rate(
  config: config_lib.OmegaConfig, steps_per_epoch: int
) -> optax.Schedule:
  """Learning rate by step, of the form that `config.schedule` names."""
  if config.schedule == "exponential":
    return _exponential(config, steps_per_epoch)
  return _cosine(config, steps_per_epoch)


def _exponential(
  config: config_lib.OmegaConfig, steps_per_epoch: int
) -> optax.Schedule:
  """Constant, then decayed after every epoch.

  "Decayed by a factor of 0.96 after every epoch starting at epoch 15"
  (Section 3.1), with epochs counted from 1: the 16th is the first to run at
  0.96 of the initial rate.
  """

  def schedule(step: types.Array) -> types.Array:
    epoch = step // steps_per_epoch
    decays = jnp.maximum(epoch - config.decay_start_epoch + 1, 0)
    return config.learning_rate * config.decay_rate**decays

  return schedule


def _cosine(
  config: config_lib.OmegaConfig, steps_per_epoch: int
) -> optax.Schedule:
  """Cosine decay with warm restarts (Loshchilov & Hutter 2017; Section 3.2).

  Between restarts i and i + 1, T_i = T_0 T_mul^i epochs, the rate falls from
  the initial one to the least.
  """
  lengths, starts = _periods(config, steps_per_epoch)
  span = config.learning_rate - config.min_learning_rate

  def schedule(step: types.Array) -> types.Array:
    if config.schedule == "cosine_epochs":
      step = step // steps_per_epoch * steps_per_epoch
    at = jnp.searchsorted(starts, step, side="right") - 1
    # Beyond the last period that is planned, it repeats.
    done = (step - starts[at]) % lengths[at]
    cosine = jnp.cos(jnp.pi * done / lengths[at])
    return config.min_learning_rate + 0.5 * span * (1.0 + cosine)

  return schedule


def _periods(
  config: config_lib.OmegaConfig, steps_per_epoch: int
) -> tuple[types.Array, types.Array]:
  """Length and first step of each period between two restarts, int32."""
  # A first period that int32 cannot count is as good as endless.
  lengths = [min(config.restart_epochs * steps_per_epoch, _MAX_STEP)]
  starts = [0]
  while config.restart_factor > 1:
    start, length = starts[-1] + lengths[-1], lengths[-1]
    if start + config.restart_factor * length > _MAX_STEP:
      break
    starts.append(start)
    lengths.append(config.restart_factor * length)
  return jnp.asarray(lengths, jnp.int32), jnp.asarray(starts, jnp.int32)


def make_omega_optimizer(
  config: config_lib.OmegaConfig, steps_per_epoch: int
) -> optax.GradientTransformation:
  """SGD on a clipped gradient, with Nesterov momentum in images."""
  clip = optax.clip_by_global_norm(config.clip_norm)
  sgd = optax.sgd(
    omega_learning_rate(config, steps_per_epoch),
    # None, and not 0, for which optax would keep an array for each weight.
    momentum=config.momentum or None,
    nesterov=config.momentum > 0,
  )
  return optax.chain(clip, sgd) if config.clip_norm else optax.chain(sgd)
