"""The first phase of ENAS: omega on training data (Section 2.2).

The step is compiled once and serves every architecture. It is a pure function
of the state and the data, keys included, so that a search that was killed and
resumed runs the same stream of numbers. `theta_steps` has the second phase.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import devices as devices_lib
from enas_jax.search import optimizers, precise
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.strategies import base as strategies
from enas_jax.tasks import base as tasks

OmegaStep = Callable[
  [state_lib.SearchState, tasks.Split],
  tuple[state_lib.SearchState, tasks.Metrics],
]
TrainStep = Callable[
  [state_lib.TrainState, tasks.Split],
  tuple[state_lib.TrainState, tasks.Metrics],
]


def make_omega_step(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  strategy: strategies.Strategy,
  steps_per_epoch: int,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> OmegaStep:
  """Builds the compiled omega step: (state, train data) -> (state, metrics).

  The state's buffers are donated: use the returned state alone.

  When omega learns from whom is said here, the same for every strategy: from
  uniform architectures, perhaps with weighted or balanced operations, during
  the warm-up and where the strategy learns nothing; else from its
  `train_arcs`. Of a strategy that mixes these serve the warm-up, too: it is at
  its start then, and mixes all alike.

  Args:
    config: the search's configuration.
    task: the task that is learnt.
    strategy: the strategy that proposes architectures.
    steps_per_epoch: the number of steps that the training data give.
    devices: the devices; state and data are whole on each (`Devices.put`).

  Returns:
    The step. Metrics, [] float32: "loss" with penalties, "nats" per token or
    image without and what else the task reports, "grad_norm" before clipping,
    "learning_rate", and "skipped": 1 where the loss or the gradient is not
    finite. Then the step is counted and changes no weight.
  """
  step = make_arcs_step(config, task, steps_per_epoch, devices)
  num_arcs = config.omega.num_arcs

  def sample_uniform(
    state: state_lib.SearchState, key: types.PRNGKey
  ) -> types.Arc:
    if weights := config.omega.op_weights:
      return decisions.sample_weighed(task.space, key, num_arcs, weights)
    arcs = task.space.sample_uniform(key, num_arcs)
    if not config.omega.fair_ops:
      return arcs
    # Numbered through all epochs: a group may lie across two of them.
    first = state.total_steps * num_arcs
    key_run = jax.random.fold_in(state.key, state_lib.FAIR_KEYS)
    return decisions.balance_ops(task.space, arcs, key_run, first)

  def sample(state: state_lib.SearchState, key: types.PRNGKey) -> types.Arc:
    if not strategy.learns:
      return sample_uniform(state, key)
    arcs = strategy.train_arcs(state.strategy, key, num_arcs)
    if not config.warmup_epochs or config.mixes:
      return arcs
    # Both are drawn in every step: the epoch is traced, and one program serves
    # the warm-up and what follows.
    early = state.epoch < config.warmup_epochs
    key_uniform = state_lib.step_key(
      state, state_lib.WARMUP_KEYS, state.omega_step
    )
    uniform = sample_uniform(state, key_uniform)
    return jax.tree.map(functools.partial(jnp.where, early), uniform, arcs)

  def sample_and_step(
    state: state_lib.SearchState, train: tasks.Split
  ) -> tuple[state_lib.SearchState, tasks.Metrics]:
    arcs = sample(
      state, state_lib.step_key(state, state_lib.ARC_KEYS, state.omega_step)
    )
    if num_arcs == 1:
      # One arc without an axis: only then are its weights alone updated.
      arcs = jax.tree.map(lambda leaf: leaf[0], arcs)
    return step(state, train, arcs)

  return jax.jit(
    precise.precise(sample_and_step, config), donate_argnames="state"
  )


def make_train_step(
  config: config_lib.TrainConfig,
  task: tasks.Task,
  steps_per_epoch: int,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> TrainStep:
  """Builds the compiled step of one architecture: (state, data) -> same.

  Args:
    config: the training's configuration.
    task: a task of one architecture; it is asked about no other.
    steps_per_epoch: the number of steps that the training data give.
    devices: the devices; state and data are whole on each (`Devices.put`).

  Returns:
    The step; state and metrics as for `make_omega_step`. Once an average has
    begun (`num_averaged` > 0) it also takes in the new weights.
  """
  step = make_arcs_step(config, task, steps_per_epoch, devices)

  def step_and_average(
    state: state_lib.TrainState, train: tasks.Split
  ) -> tuple[state_lib.TrainState, tasks.Metrics]:
    state, metrics = step(state, train, ())
    if config.run.average_after:
      state = devices.whole(_averaged(state))
    return state, metrics

  return jax.jit(
    precise.precise(step_and_average, config), donate_argnames="state"
  )


def _averaged(state: state_lib.TrainState) -> state_lib.TrainState:
  count = state.num_averaged + 1
  # Before `begin_average` the share is 0, and the average stays as it is.
  begun = state.num_averaged > 0
  share = jnp.where(begun, 1.0 / count, 0.0)
  average = jax.tree.map(
    lambda mean, new: mean + share * (new - mean), state.average, state.omega
  )
  return state.replace(average=average, num_averaged=jnp.where(begun, count, 0))


def begin_average(state: state_lib.TrainState) -> state_lib.TrainState:
  """The state with an average that holds the current weights alone."""
  copy = jax.tree.map(jnp.copy, state.omega)
  return state.replace(average=copy, num_averaged=jnp.int32(1))


def make_arcs_step(
  config: config_lib.SearchConfig | config_lib.TrainConfig,
  task: tasks.Task,
  steps_per_epoch: int,
  devices: devices_lib.Devices = devices_lib.ONE,
) -> Callable[
  [state_lib.State, tasks.Split, types.Arc],
  tuple[state_lib.State, tasks.Metrics],
]:
  """Builds the omega step on given architectures, not compiled.

  The step takes one arc, or arcs with leaves [M, ...] if the configuration has
  `omega.num_arcs` = M > 1. One arc may be of Python ints: then the step knows
  that child alone, and a penalty or momentum leaves all other weights in peace.

  Of several devices each runs M / n of the architectures on the whole batch,
  where their number n divides M; else each runs all on its part of the batch.
  """
  optimizer = optimizers.make_omega_optimizer(config.omega, steps_per_epoch)
  schedule = optimizers.omega_learning_rate(config.omega, steps_per_epoch)
  num_arcs = config.omega.num_arcs
  update: Callable[..., Any]
  # Momentum also moves weights that the child does not use.
  if task.gathers and num_arcs == 1 and not config.omega.momentum:
    update = _update_child
  else:
    update = functools.partial(_update_all, num_arcs=num_arcs, devices=devices)

  def step(
    state: state_lib.State, train: tasks.Split, arcs: types.Arc
  ) -> tuple[state_lib.State, tasks.Metrics]:
    key_batch, key_loss = jax.random.split(
      state_lib.step_key(state, state_lib.OMEGA_KEYS, state.omega_step)
    )
    batch = task.train_batch(train, state.carry, state.omega_step, key_batch)
    if not devices.take_arcs(num_arcs):
      batch = devices.split(batch, task.batch_axis)
    omega, omega_opt, metrics, carry = update(
      task, optimizer, state, arcs, batch, key_loss
    )
    rate = schedule(state.total_steps) * task.rate_factor(batch)
    metrics["learning_rate"] = jnp.float32(rate)
    metrics["skipped"] = 1.0 - jnp.float32(_is_sound(metrics))
    state = state.replace(
      omega=omega,
      omega_opt=omega_opt,
      carry=carry,
      omega_step=state.omega_step + 1,
      total_steps=state.total_steps + 1,
    )
    return devices.whole((state, metrics))

  return step


def _update_child(
  task: tasks.Task,
  optimizer: optax.GradientTransformation,
  state: state_lib.SearchState | state_lib.TrainState,
  arc: types.Arc,
  batch: tasks.Batch,
  key: types.PRNGKey,
) -> tuple[types.Omega, optax.OptState, tasks.Metrics, types.Carry]:
  """Updates the weights of one sampled child in place (M = 1).

  SGD without momentum leaves every other weight as it is, so only the child's
  weights are differentiated and written.
  """
  child = task.child_params(state.omega, arc)
  (loss, (parts, carry)), grads = jax.value_and_grad(task.loss, has_aux=True)(
    child, arc, batch, state.carry, key
  )
  updates, omega_opt = optimizer.update(grads, state.omega_opt, child)
  updates = _scaled(updates, task.rate_factor(batch))
  metrics = {"loss": loss, **parts, "grad_norm": optax.tree.norm(grads)}
  # Without a copy of omega, to which nothing is added where it must not change.
  choose = functools.partial(_floats_if, _is_sound(metrics))
  updates = choose(updates, jax.tree.map(jnp.zeros_like, updates))
  omega = task.add_to_omega(state.omega, arc, updates)
  omega_opt = choose(omega_opt, state.omega_opt)
  return omega, omega_opt, metrics, choose(carry, state.carry)


def _update_all(
  task: tasks.Task,
  optimizer: optax.GradientTransformation,
  state: state_lib.SearchState | state_lib.TrainState,
  arcs: types.Arc,
  batch: tasks.Batch,
  key: types.PRNGKey,
  num_arcs: int,
  devices: devices_lib.Devices,
) -> tuple[types.Omega, optax.OptState, tasks.Metrics, types.Carry]:
  """Updates all of omega by the mean gradient of M children (Eqn 1)."""

  def loss_of(
    omega: types.Omega,
    carry: types.Carry,
    arc: types.Arc,
    batch: tasks.Batch,
    key: types.PRNGKey,
  ) -> Any:
    child = task.child_params(omega, arc)
    return task.loss(child, arc, batch, carry, key)

  def grads_of(*of: Any) -> Any:
    (loss, (parts, carry)), grads = jax.value_and_grad(loss_of, has_aux=True)(
      *of
    )
    return ({"loss": loss, **parts}, grads), carry

  def mean_grads(pairs: Any, batch: tasks.Batch, *held: Any) -> Any:
    return _mean_of(lambda arc, k: grads_of(*held, arc, batch, k), pairs)

  def of_batch(
    batch: tasks.Batch, key: types.PRNGKey, arcs: types.Arc, *held: Any
  ) -> Any:
    if num_arcs == 1:
      return grads_of(*held, arcs, batch, key)
    pairs = arcs, jax.random.split(key, num_arcs)
    return _last(mean_grads(pairs, batch, *held))

  # Handed over and not closed over, which `shard_map` does not allow.
  held = state.omega, state.carry
  if devices.take_arcs(num_arcs):
    pairs = arcs, jax.random.split(key, num_arcs)
    means = devices.over_arcs(mean_grads, pairs, batch, *held)
    (metrics, grads), carry = _last(means)
  elif task.norms_parts:
    (metrics, grads), carry = devices.over_parts(
      of_batch, batch, task.batch_axis, key, arcs, *held
    )
  else:
    (metrics, grads), carry = of_batch(batch, key, arcs, *held)
  updates, omega_opt = optimizer.update(grads, state.omega_opt, state.omega)
  updates = _scaled(updates, task.rate_factor(batch))
  omega = optax.apply_updates(state.omega, updates)
  metrics |= {"grad_norm": optax.tree.norm(grads)}
  # A conditional: XLA would fuse `jnp.where` with the update, and round every
  # search in another way.
  omega, omega_opt, carry = lax.cond(
    _is_sound(metrics),
    lambda new, old: new,
    functools.partial(_floats_if, False),
    (omega, omega_opt, carry),
    (state.omega, state.omega_opt, state.carry),
  )
  return omega, omega_opt, metrics, carry


def _is_sound(metrics: tasks.Metrics) -> types.Array:
  """Whether a step may change weights, [] bool."""
  # A norm is finite only if every number in it is.
  return jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])


def _floats_if(sound: types.Array | bool, new: Any, old: Any) -> Any:
  """The new tree; its floats are the old ones unless the step was sound.

  Integers count steps and windows, which go on.
  """

  def choose(new: types.Array, old: types.Array) -> types.Array:
    floats = jnp.issubdtype(new.dtype, jnp.floating)
    return jnp.where(sound, new, old) if floats else new

  return jax.tree.map(choose, new, old)


def _scaled(updates: types.Omega, size: types.Array | float) -> types.Omega:
  """The updates at `size` times the learning rate."""
  if isinstance(size, float):
    assert size == 1.0  # every task but text of random lengths
    return updates
  return jax.tree.map(lambda update: size * update, updates)


def _mean_of(
  grads_of: Callable[..., Any], pairs: tuple[types.Arc, types.PRNGKey]
) -> tuple[Any, types.Carry]:
  """The mean of what `grads_of` finds for each of M arcs, one after another.

  A scan over arcs and not `vmap`, which would turn every switch into
  "compute all".

  Returns:
    The mean; the carries of all M, leaves [M, ...].
  """
  num_arcs = pairs[1].shape[0]

  def add(total: Any, pair: Any) -> tuple[Any, types.Carry]:
    parts, carry = grads_of(*pair)
    return jax.tree.map(lambda t, x: t + x / num_arcs, total, parts), carry

  # The total begins as zeros, whose shapes need no network to be run.
  first = jax.tree.map(lambda leaf: leaf[0], pairs)
  shapes, _ = jax.eval_shape(grads_of, *first)
  zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  return lax.scan(add, zeros, pairs)


def _last(means: tuple[Any, types.Carry]) -> tuple[Any, types.Carry]:
  """The next step has one carry: the last child's."""
  total, carries = means
  return total, jax.tree.map(lambda leaf: leaf[-1], carries)
