"""What a theta step may ask: an architecture's rewards and losses.

Under the shared weights as they are, or one step of omega on (`unroll`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.nn import ops
from enas_jax.search import costs as costs_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import optimizers
from enas_jax.search import state as state_lib
from enas_jax.tasks import base as tasks


@dataclasses.dataclass(frozen=True)
class Judge:
  """`strategies.base.Judge` under the shared weights of a state."""

  task: tasks.Task
  state: state_lib.SearchState
  valid: tasks.Split
  train: tasks.Split
  devices: devices_lib.Devices = devices_lib.ONE
  costs: costs_lib.Costs | None = None

  @property
  def progress(self) -> types.Array:
    """How much of theta's training is over, [] float32, by epochs."""
    config = self.config
    first, last = config.warmup_epochs, config.run.num_epochs - 1
    done = (self.state.epoch - first) / max(last - first, 1)
    return jnp.float32(jnp.clip(done, 0.0, 1.0))

  @property
  def config(self) -> config_lib.SearchConfig:
    """The search's configuration."""
    assert isinstance(self.task.config, config_lib.SearchConfig)
    return self.task.config

  def reward(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """The reward on a validation minibatch at the arc's cost, [] float32."""
    batch = self._placed(self.task.reward_batch(self.valid, key))
    state = self.state
    reward = self.task.reward(state.omega, arc, batch, state.carry)
    return reward * self.costs.factor(arc) if self.costs else reward

  def rewards(self, arcs: types.Arc, keys: types.PRNGKey) -> types.Array:
    """`reward` of several arcs, [S] float32; each device runs some.

    Where the devices do not divide S, they split the minibatch of each.
    """
    if not self.devices.take_arcs(keys.shape[0]):
      # Not `vmap`: it would run every branch of every switch.
      return lax.map(lambda pair: self.reward(*pair), (arcs, keys))

    def earn(pair: Any, valid: tasks.Split, *of: Any) -> types.Array:
      state = self.state.replace(omega=of[0], carry=of[1])
      # Within `shard_map` this is one device, and splits no batch.
      alone = Judge(self.task, state, valid, (), costs=self.costs)
      return alone.reward(*pair)

    held = self.valid, self.state.omega, self.state.carry
    earned = self.devices.map_arcs(earn, (arcs, keys), *held)
    return self.devices.whole(earned)

  def loss(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """The cross-entropy on a validation minibatch, [] float32, nats."""
    return self._loss(arc, self.valid, key)

  def train_loss(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """The same on a minibatch of training data."""
    return self._loss(arc, self.train, key)

  def unrolled_loss(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """`loss` after one step of omega, [] float32; see `unroll`."""
    key_train, key_valid = jax.random.split(key)
    config = self.config.omega
    schedule = optimizers.omega_learning_rate(
      config, self.task.steps_per_epoch(self.train)
    )
    return unroll(
      lambda omega, arc: self._loss(arc, self.train, key_train, omega),
      lambda omega, arc: self._loss(arc, self.valid, key_valid, omega),
      lax.stop_gradient(self.state.omega),
      arc,
      schedule(self.state.total_steps),
      config.clip_norm,
    )

  def _placed(self, batch: tasks.Batch) -> tasks.Batch:
    """A minibatch, split over the devices."""
    return self.devices.split(batch, self.task.batch_axis)

  def _loss(
    self,
    arc: types.Arc,
    split: tasks.Split,
    key: types.PRNGKey,
    omega: types.Omega | None = None,
  ) -> types.Array:
    task = self.task
    if omega is None:
      omega = lax.stop_gradient(self.state.omega)
    key_batch, key_loss = jax.random.split(key)
    # Published gradient methods give alpha minibatches of the size of omega's.
    batch = self._placed(task.loss_batch(split, key_batch))
    # The hidden state of omega's last window belongs to no other one.
    carry = task.start_split(self.state.carry)
    child = task.child_params(omega, arc)
    _, (metrics, _) = task.loss(child, arc, batch, carry, key_loss)
    return metrics["nats"]


_Loss = Callable[[types.Omega, types.Arc], types.Array]


def unroll(
  train_loss: _Loss,
  valid_loss: _Loss,
  omega: types.Omega,
  arc: types.Arc,
  rate: types.Array,
  clip_norm: float = 0.0,
) -> types.Array:
  """A validation loss after one step of omega (DARTS, Eqns 6 to 8).

  Args:
    train_loss: (omega, arc) -> [] float32, what the step descends.
    valid_loss: (omega, arc) -> [] float32, what is measured after it.
    omega: the weights before the step.
    arc: the architecture; its float leaves are differentiated.
    rate: [] float32, the step's learning rate.
    clip_norm: bound on the norm of the step's gradient; 0: none. How much it
      shortens the gradient counts as a constant.

  Returns:
    [] float32, with the gradient of Eqn 7 in the arc, by Eqn 8.
  """
  chex.assert_rank(rate, 0)
  leaves, layout = jax.tree.flatten(lax.stop_gradient(arc))
  places = [i for i, leaf in enumerate(leaves) if ops.is_relaxed(leaf)]
  start = [leaves[i] for i in places]

  def at(weights: list[types.Array]) -> types.Arc:
    new = dict(zip(places, weights, strict=True))
    return jax.tree.unflatten(
      layout, [new.get(i, leaf) for i, leaf in enumerate(leaves)]
    )

  add = lambda scale, tree: jax.tree.map(
    lambda w, d: w + scale * d, omega, tree
  )
  slope = jax.grad(lambda omega: train_loss(omega, at(start)))(omega)
  if clip_norm:
    norm = optax.tree.norm(slope)
    rate = rate * jnp.minimum(1.0, clip_norm / jnp.maximum(norm, 1e-12))
  after = add(-rate, slope)
  value, (d_after, direct) = jax.value_and_grad(
    lambda omega, weights: valid_loss(omega, at(weights)), argnums=(0, 1)
  )(after, start)
  epsilon = 0.01 / jnp.maximum(optax.tree.norm(d_after), 1e-12)
  # One after the other, so that the network is compiled once for both.
  ahead, behind = 0, 1
  pair = lax.map(
    lambda scale: jax.grad(
      lambda weights: train_loss(add(scale, d_after), at(weights))
    )(start),
    jnp.stack([epsilon, -epsilon]),
  )
  grads = [
    first - rate * (both[ahead] - both[behind]) / (2.0 * epsilon)
    for first, both in zip(direct, pair, strict=True)
  ]
  # Zero in value: it hands on the gradient that is known.
  given = [jax.tree.leaves(arc)[i] for i in places]
  pulled = sum(
    jnp.vdot(lax.stop_gradient(grad), leaf - lax.stop_gradient(leaf))
    for grad, leaf in zip(grads, given, strict=True)
  )
  return lax.stop_gradient(value) + pulled
