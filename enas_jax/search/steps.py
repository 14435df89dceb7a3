"""The two phases of ENAS: omega on training data, theta on rewards (Sec. 2.2).

Both steps are compiled once and serve every architecture. A step is a pure
function of the state and the data, keys included, so that a search that was
killed and resumed runs the same stream of numbers.
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
from enas_jax.nn import losses
from enas_jax.search import optimizers
from enas_jax.search import state as states
from enas_jax.spaces import decisions
from enas_jax.strategies import baseline as reward_lib
from enas_jax.strategies import controller as controller_lib
from enas_jax.strategies import evolution, policies
from enas_jax.tasks import base as tasks

OmegaStep = Callable[
  [states.SearchState, Any], tuple[states.SearchState, tasks.Metrics]
]
TrainStep = Callable[
  [states.TrainState, Any], tuple[states.TrainState, tasks.Metrics]
]
ThetaStep = Callable[
  [states.SearchState, Any], tuple[states.SearchState, tasks.Metrics]
]


def make_omega_step(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  policy: policies.Policy,
  steps_per_epoch: int,
) -> OmegaStep:
  """Builds the compiled omega step: (state, train data) -> (state, metrics).

  The state's buffers are donated: use the returned state alone.

  Metrics, [] float32: "loss" with penalties, "nats" per token or image without
  and what else the task reports, "grad_norm" before clipping, "learning_rate".
  """
  step = make_arcs_step(config, task, steps_per_epoch)
  num_arcs = config.omega.num_arcs

  def sample_uniform(
    state: states.SearchState, key: types.PRNGKey
  ) -> types.Arc:
    arcs = task.space.sample_uniform(key, num_arcs)
    if chances := config.omega.op_chances():
      key_ops = jax.random.fold_in(key, 1)
      return decisions.weigh_ops(task.space, arcs, key_ops, chances)
    if not config.omega.fair_ops:
      return arcs
    # Numbered through all epochs: a group may lie across two of them.
    first = state.total_steps * num_arcs
    key_run = jax.random.fold_in(state.key, states.ARC_KEYS)
    return decisions.balance_ops(task.space, arcs, key_run, first)

  def sample(state: states.SearchState, key: types.PRNGKey) -> types.Arc:
    if not policy.learns:
      return sample_uniform(state, key)
    arcs = policy.propose(state.theta, key, num_arcs)
    if not config.theta.warmup_epochs:
      return arcs
    early = state.epoch < config.theta.warmup_epochs
    uniform = sample_uniform(state, key)
    return jax.tree.map(functools.partial(jnp.where, early), uniform, arcs)

  def sample_and_step(
    state: states.SearchState, train: Any
  ) -> tuple[states.SearchState, tasks.Metrics]:
    arcs = sample(
      state, states.step_key(state, states.ARC_KEYS, state.omega_step)
    )
    if num_arcs == 1:
      arcs = jax.tree.map(lambda leaf: leaf[0], arcs)
    return step(state, train, arcs)

  return jax.jit(sample_and_step, donate_argnames="state")


def make_train_step(
  config: config_lib.TrainConfig, task: tasks.Task, steps_per_epoch: int
) -> TrainStep:
  """Builds the compiled step of one architecture: (state, data) -> same.

  Args:
    config: of the training.
    task: of one architecture; it is asked about no other.
    steps_per_epoch: of the training data.

  Returns:
    The step; state and metrics as for `make_omega_step`. Once an average has
    begun (`num_averaged` > 0) it also takes in the new weights.
  """
  step = make_arcs_step(config, task, steps_per_epoch)

  def step_and_average(
    state: states.TrainState, train: Any
  ) -> tuple[states.TrainState, tasks.Metrics]:
    state, metrics = step(state, train, ())
    if config.run.average_after:
      state = _averaged(state)
    return state, metrics

  return jax.jit(step_and_average, donate_argnames="state")


def _averaged(state: states.TrainState) -> states.TrainState:
  count = state.num_averaged + 1
  begun = state.num_averaged > 0
  share = jnp.where(begun, 1.0 / count, 0.0)
  average = jax.tree.map(
    lambda mean, new: mean + share * (new - mean), state.average, state.omega
  )
  return state.replace(average=average, num_averaged=jnp.where(begun, count, 0))


def begin_average(state: states.TrainState) -> states.TrainState:
  """The state with an average that holds the current weights alone."""
  copy = jax.tree.map(jnp.copy, state.omega)
  return state.replace(average=copy, num_averaged=jnp.int32(1))


def make_arcs_step(
  config: config_lib.SearchConfig | config_lib.TrainConfig,
  task: tasks.Task,
  steps_per_epoch: int,
) -> Callable[
  [states.State, Any, types.Arc], tuple[states.State, tasks.Metrics]
]:
  """Builds the omega step on given architectures, not compiled.

  The step takes one arc, or arcs with leaves [M, ...] if the configuration has
  `omega.num_arcs` = M > 1. One arc may be of Python ints: then the step knows
  that child alone, and a penalty or momentum leaves all other weights in peace.
  """
  optimizer = optimizers.make_omega_optimizer(config.omega, steps_per_epoch)
  schedule = optimizers.omega_learning_rate(config.omega, steps_per_epoch)
  num_arcs = config.omega.num_arcs
  update: Callable[..., Any]
  # Momentum also moves weights that the child does not use.
  if task.gathers and num_arcs == 1 and not config.omega.momentum:
    update = _update_child
  else:
    update = functools.partial(_update_all, num_arcs=num_arcs)

  def step(
    state: states.State, train: Any, arcs: types.Arc
  ) -> tuple[states.State, tasks.Metrics]:
    key_batch, key_loss = jax.random.split(
      states.step_key(state, states.OMEGA_KEYS, state.omega_step)
    )
    batch = task.train_batch(train, state.carry, state.omega_step, key_batch)
    omega, omega_opt, metrics, carry = update(
      task, optimizer, state, arcs, batch, key_loss
    )
    rate = schedule(state.total_steps) * task.step_size(batch)
    metrics["learning_rate"] = jnp.float32(rate)
    state = state.replace(
      omega=omega,
      omega_opt=omega_opt,
      carry=carry,
      omega_step=state.omega_step + 1,
      total_steps=state.total_steps + 1,
    )
    return state, metrics

  return step


def _update_child(
  task: tasks.Task,
  optimizer: optax.GradientTransformation,
  state: states.SearchState | states.TrainState,
  arc: types.Arc,
  batch: Any,
  key: types.PRNGKey,
) -> tuple[types.Omega, Any, tasks.Metrics, types.Carry]:
  """Updates the weights of one sampled child in place (M = 1).

  SGD without momentum leaves every other weight as it is, so only the child's
  weights are differentiated and written.
  """
  child = task.child_params(state.omega, arc)
  (loss, (found, carry)), grads = jax.value_and_grad(task.loss, has_aux=True)(
    child, arc, batch, state.carry, key
  )
  updates, omega_opt = optimizer.update(grads, state.omega_opt, child)
  updates = _scaled(updates, task.step_size(batch))
  omega = task.add_to_child(state.omega, arc, updates)
  metrics = {"loss": loss, **found, "grad_norm": optax.tree.norm(grads)}
  return omega, omega_opt, metrics, carry


def _update_all(
  task: tasks.Task,
  optimizer: optax.GradientTransformation,
  state: states.SearchState | states.TrainState,
  arcs: types.Arc,
  batch: Any,
  key: types.PRNGKey,
  num_arcs: int,
) -> tuple[types.Omega, Any, tasks.Metrics, types.Carry]:
  """Updates all of omega by the mean gradient of M children (Eqn 1)."""

  def loss_of(omega: types.Omega, arc: types.Arc, key: types.PRNGKey) -> Any:
    child = task.child_params(omega, arc)
    return task.loss(child, arc, batch, state.carry, key)

  def grads_of(arc: types.Arc, key: types.PRNGKey) -> Any:
    (loss, (found, carry)), grads = jax.value_and_grad(loss_of, has_aux=True)(
      state.omega, arc, key
    )
    return ({"loss": loss, **found}, grads), carry

  if num_arcs == 1:
    (metrics, grads), carry = grads_of(arcs, key)
  else:
    (metrics, grads), carry = _mean_of(grads_of, arcs, key, num_arcs)
  updates, omega_opt = optimizer.update(grads, state.omega_opt, state.omega)
  updates = _scaled(updates, task.step_size(batch))
  omega = optax.apply_updates(state.omega, updates)
  metrics |= {"grad_norm": optax.tree.norm(grads)}
  return omega, omega_opt, metrics, carry


def _scaled(updates: Any, size: types.Array | float) -> Any:
  """The updates at `size` times the learning rate."""
  if isinstance(size, float):
    assert size == 1.0  # every task but text of random lengths
    return updates
  return jax.tree.map(lambda update: size * update, updates)


def _mean_of(
  grads_of: Callable[..., Any],
  arcs: types.Arc,
  key: types.PRNGKey,
  num_arcs: int,
) -> tuple[Any, types.Carry]:
  """The mean of what `grads_of` finds for each of M arcs, one after another.

  A scan over arcs and not `vmap`, which would turn every switch into
  "compute all". The next step has one carry: the last child's.
  """
  keys = jax.random.split(key, num_arcs)

  def add(total: Any, each: Any) -> tuple[Any, types.Carry]:
    found, carry = grads_of(*each)
    return jax.tree.map(lambda t, x: t + x / num_arcs, total, found), carry

  first = jax.tree.map(lambda leaf: leaf[0], (arcs, keys))
  shapes, _ = jax.eval_shape(grads_of, *first)
  zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  total, carries = lax.scan(add, zeros, (arcs, keys))
  return total, jax.tree.map(lambda leaf: leaf[-1], carries)


def make_theta_step(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  controller: controller_lib.Controller,
) -> ThetaStep:
  """Builds the compiled theta step: (state, validation data) -> same.

  omega is read and not changed. The state's buffers are donated.

  Metrics, [] float32, means over the sampled arcs: "reward" without the
  entropy bonus, "entropy_nats", "log_prob", and "baseline" after the step. Of
  evolution: those of `evolution.evolve`.
  """
  num_arcs = config.theta.num_arcs

  def step(
    state: states.SearchState, valid: Any
  ) -> tuple[states.SearchState, tasks.Metrics]:
    key = states.step_key(state, states.THETA_KEYS, state.theta_step)

    def earn(arc: types.Arc, key: types.PRNGKey) -> types.Array:
      batch = task.reward_batch(valid, key)
      return task.reward(state.omega, arc, batch, state.carry)

    if config.run.policy == "evolution":
      theta, metrics = evolution.evolve(
        task.space, state.theta, key, earn, config.theta
      )
      state = state.replace(theta=theta, theta_step=state.theta_step + 1)
      return state, metrics
    key_arc, key_batch = jax.random.split(key)
    sample = controller.sample(state.theta, key_arc, num_arcs)
    keys = jax.random.split(key_batch, num_arcs)
    # Not `vmap`: it would run every branch of every switch.
    earned = lax.map(lambda each: earn(*each), (sample.arc, keys))
    return reinforce(config, controller, state, sample, earned)

  return jax.jit(step, donate_argnames="state")


def reinforce(
  config: config_lib.SearchConfig,
  controller: controller_lib.Controller,
  state: states.SearchState,
  sample: controller_lib.Sample,
  earned: types.Array,
) -> tuple[states.SearchState, tasks.Metrics]:
  """Trains theta on what sampled architectures earned, not compiled.

  Args:
    config: of the search.
    controller: whose samples they are.
    state: before the step.
    sample: S architectures, with what the policy says of them.
    earned: [S] float32, their rewards.

  Returns:
    The state after the step, and the metrics of `make_theta_step`.
  """
  theta_config = config.theta
  optimizer = optimizers.make_theta_optimizer(theta_config)
  # The entropy is part of the reward (Section 3.1): no gradient through it.
  rewards = earned + theta_config.entropy_weight * sample.entropy
  baseline, subtract = reward_lib.update_baseline(
    state.baseline, rewards, theta_config
  )

  def loss_of(theta: types.Theta) -> types.Array:
    scored = controller.score(theta, sample.arc)
    loss = losses.reinforce_loss(scored.log_prob, rewards, subtract)
    # Added to the loss as in the release: a term of the reward, as Section
    # 3.2 puts it, would only reach theta through the sampled arcs.
    return loss + theta_config.skip_weight * jnp.mean(scored.skip_kl)

  grads = jax.grad(loss_of)(state.theta)
  updates, theta_opt = optimizer.update(grads, state.theta_opt, state.theta)
  metrics = {
    "reward": jnp.mean(earned),
    "entropy_nats": jnp.mean(sample.entropy),
    "log_prob": jnp.mean(sample.log_prob),
    "baseline": reward_lib.read_baseline(baseline, theta_config),
  }
  state = state.replace(
    theta=optax.apply_updates(state.theta, updates),
    theta_opt=theta_opt,
    baseline=baseline,
    theta_step=state.theta_step + 1,
  )
  return state, metrics
