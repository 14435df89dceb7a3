"""Scores of architectures under shared weights: rewards and whole splits."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import losses
from enas_jax.search import devices as devices_lib
from enas_jax.search import precise
from enas_jax.spaces import decisions
from enas_jax.strategies import base as strategies
from enas_jax.tasks import base as tasks


class Weights(Protocol):
  """What is read of a state, of a search or of a training."""

  @property
  def omega(self) -> types.Omega:
    """The weights, shared or of one architecture."""
    ...

  @property
  def carry(self) -> types.Carry:
    """What one step hands to the next, e.g. moving statistics."""
    ...


Measure = Callable[[Weights, types.Arc, tasks.Split], float]
Serve = Callable[[], None]  # called between computations; may raise
_TOGETHER = 16  # architectures that each device scores in one program


def _serve_none() -> None:
  """Does nothing."""


def make_evaluate(
  task: tasks.Task, serve_signal: Serve = _serve_none
) -> Measure:
  """Builds (state, arc, split) -> perplexity or accuracy of the whole split.

  Compiled once for all arcs. Every token or image of the split that
  `task.splits` keeps is counted, the carry passed from part to part.

  Args:
    task: the task.
    serve_signal: a function called after each part; may raise.
  """
  totals = _make_totals(task, make_chunk(task), serve_signal)
  return lambda *of: task.finish_evaluation(*totals(*of))


def make_chunk(task: tasks.Task) -> Any:
  """Builds the compiled `task.evaluate_chunk`."""
  return jax.jit(precise.precise(task.evaluate_chunk, task.config))


def make_nats(task: tasks.Task, serve_signal: Serve = _serve_none) -> Measure:
  """Builds (state, arc, split) -> mean nats a token or image of the split.

  The mean negative log-likelihood tells networks apart that classify the same
  images rightly. Arguments: `make_evaluate`.
  """
  chunk = jax.jit(precise.precise(task.nats_chunk, task.config))
  totals = _make_totals(task, chunk, serve_signal)

  def nats(state: Weights, arc: types.Arc, split: tasks.Split) -> float:
    total, count = totals(state, arc, split)
    return total / count

  return nats


class Ensemble(NamedTuple):
  """How architectures do together, and each of them alone.

  Attributes:
    metric: perplexity or accuracy of the mean of their probabilities.
    nats: cross-entropy of that mean, nats a token or image.
    metrics: [S], of each architecture alone.
  """

  metric: float
  nats: float
  metrics: list[float]


def make_ensemble(
  task: tasks.Task, serve_signal: Serve = _serve_none
) -> Callable[[Weights, types.Arc, tasks.Split], Ensemble]:
  """Builds (state, arcs, split) -> what they do by vote (Section 3.3).

  The probabilities that the architectures, leaves [S, ...], give to classes or
  next words are averaged. Chunks are the outer loop: the mean of one chunk is
  all that is kept in memory, and a carry for each architecture.

  Args:
    task: the task.
    serve_signal: a function called for each architecture after each part; may
      raise.
  """

  def measure(log_probs: types.Array, targets: types.Array) -> types.Array:
    total = task.score_log_probs(log_probs, targets)
    return jnp.stack([total, losses.sum_of_nats(log_probs, targets)])

  @functools.partial(jax.jit, donate_argnums=0)
  def add(
    mean: types.Array, rank: types.Array, *of: Any
  ) -> tuple[types.Array, types.Array, types.Array, types.Carry]:
    chunk = precise.precise(task.log_probs_chunk, task.config)
    log_probs, targets, carry = chunk(*of)
    # A running mean, so that S sets of probabilities need the memory of one.
    mean += (jnp.exp(log_probs) - mean) / rank
    return mean, measure(log_probs, targets), targets, carry

  @jax.jit
  def measure_mean(
    mean: types.Array, targets: types.Array
  ) -> tuple[types.Array, types.Array]:
    return measure(jnp.log(mean), targets), jnp.sum(targets >= 0)

  def ensemble(state: Weights, arcs: types.Arc, split: tasks.Split) -> Ensemble:
    size = jax.tree.leaves(arcs)[0].shape[0]
    carries = [task.start_split(state.carry)] * size
    # Of the architectures in their order, then of their mean: total, nats.
    sums, count = np.zeros((size + 1, 2)), 0
    for index in range(task.evaluation_chunks(split)):
      where = split, jnp.int32(index)
      shape, _, _ = jax.eval_shape(
        task.log_probs_chunk,
        state.omega,
        decisions.nth(arcs, 0),
        *where,
        carries[0],
      )
      mean = jnp.zeros(shape.shape)
      for place in range(size):
        mean, measured, targets, carries[place] = add(
          mean, jnp.float32(place + 1), state.omega,
          decisions.nth(arcs, place), *where, carries[place],
        )  # fmt: skip
        sums[place] += np.asarray(measured, np.float64)
        serve_signal()
      measured, counted = measure_mean(mean, targets)
      sums[size] += np.asarray(measured, np.float64)
      count += int(counted)
    *metrics, metric = (
      task.finish_evaluation(float(total), float(count)) for total in sums[:, 0]
    )
    return Ensemble(metric, float(sums[size, 1]) / count, metrics)

  return ensemble


def _make_totals(
  task: tasks.Task,
  chunk: Callable[..., tuple[types.Array, types.Array, types.Carry]],
  serve_signal: Serve,
) -> Callable[[Weights, types.Arc, tasks.Split], tuple[float, float]]:
  """Builds (state, arc, split) -> the sums over all chunks."""

  def totals(
    state: Weights, arc: types.Arc, split: tasks.Split
  ) -> tuple[float, float]:
    arc, omega = decisions.as_arrays(arc), state.omega
    carry, sums, counts = task.start_split(state.carry), [], []
    for index in range(task.evaluation_chunks(split)):
      total, count, carry = chunk(omega, arc, split, jnp.int32(index), carry)
      sums.append(total)
      counts.append(count)
      # As in the loop of a search: few computations in flight.
      jax.block_until_ready(sums[-2:][0])
      serve_signal()
    # Added up on the host, where floats have 64 bits.
    return float(sum(map(float, sums))), float(sum(map(float, counts)))

  return totals


def make_totals_of_each(
  task: tasks.Task,
  chunks: Sequence[Callable[..., Any]],
  devices: devices_lib.Devices,
  serve_signal: Serve = _serve_none,
) -> Callable[..., list[list[tuple[float, float]]]]:
  """Builds (states, arcs, split) -> sums over the split, by function.

  Of as many architectures as devices, of which each holds one with its weights
  (`devices.on_each`).

  Args:
    task: the task.
    chunks: functions like `task.evaluate_chunk` that hand on the same carry.
    devices: the devices, at least two.
    serve_signal: a function called after each part; may raise.

  Returns:
    The function: for each of `chunks` the total and the count of each
    architecture.
  """

  def add(one: Any, split: tasks.Split, index: types.Array) -> Any:
    omega, arc, carry = one
    added = [chunk(omega, arc, split, index, carry) for chunk in chunks]
    return [some[:2] for some in added], added[0][2]

  def add_to_each(given: Any, *held: Any) -> Any:
    sums, carry = devices.on_each(add, given, *held)
    return devices.whole(sums), carry

  run = jax.jit(precise.precise(add_to_each, task.config))
  begin = jax.jit(lambda carry: devices.on_each(task.start_split, carry))

  def totals(
    states: Weights, arcs: types.Arc, split: tasks.Split
  ) -> list[list[tuple[float, float]]]:
    carry, parts = begin(states.carry), []
    for index in range(task.evaluation_chunks(split)):
      given = states.omega, arcs, carry
      sums, carry = run(given, split, jnp.int32(index))
      parts.append(sums)
      jax.block_until_ready(parts[-2:][0])
      serve_signal()
    add_up = lambda *rows: sum(np.asarray(row, np.float64) for row in rows)
    return [
      list(zip(total.tolist(), count.tolist(), strict=True))
      for total, count in jax.tree.map(add_up, *parts)
    ]

  return totals


def make_score(
  task: tasks.Task,
  devices: devices_lib.Devices = devices_lib.ONE,
  serve_signal: Serve = _serve_none,
) -> Callable[..., list[float]]:
  """Builds (state, arcs, validation data, key) -> the reward of each arc.

  Every arc, leaves [S, ...], meets the same minibatch, drawn by `key`, or with
  `num_batches` the same so many, over which its reward is the mean. Of several
  devices each scores some of the arcs.

  Args:
    task: the task.
    devices: the devices.
    serve_signal: a function called between scores; may raise.
  """

  def reward_of(
    omega: types.Omega,
    carry: types.Carry,
    arc: types.Arc,
    valid: tasks.Split,
    key: types.PRNGKey,
  ) -> types.Array:
    return task.reward(omega, arc, task.reward_batch(valid, key), carry)

  reward = jax.jit(precise.precise(reward_of, task.config))

  def of_devices(arcs: types.Arc, *held: Any) -> types.Array:
    def one(arc: types.Arc, *held: Any) -> types.Array:
      omega, carry, valid, key = held
      return task.reward(omega, arc, task.reward_batch(valid, key), carry)

    return devices.whole(devices.map_arcs(one, arcs, *held))

  rewards_of = jax.jit(precise.precise(of_devices, task.config))

  def score(
    state: Weights,
    arcs: types.Arc,
    valid: tasks.Split,
    key: types.PRNGKey,
    num_batches: int = 1,
  ) -> list[float]:
    count = jax.tree.leaves(arcs)[0].shape[0]
    # A single batch is what `key` itself draws, as in a theta step.
    keys = [key] if num_batches == 1 else jax.random.split(key, num_batches)
    group = min(count, _TOGETHER * devices.count) if devices.count > 1 else 1
    rewards: list[list[Any]] = []
    for first in range(0, count, group):
      if devices.count > 1:
        # The last group is as large as the others, and not compiled anew.
        places = np.minimum(np.arange(first, first + group), count - 1)
        some = jax.tree.map(lambda leaf, at=places: leaf[at], arcs)
        held = state.omega, state.carry, valid
        columns = [np.asarray(rewards_of(some, *held, k)) for k in keys]
        rewards += [list(row) for row in zip(*columns, strict=True)]
      else:
        one = decisions.nth(arcs, first)
        rewards.append([reward(state.omega, state.carry, one, valid, k)
                        for k in keys])  # fmt: skip
        jax.block_until_ready(rewards[-2:][0])
      serve_signal()
    return [sum(map(float, row)) / num_batches for row in rewards[:count]]

  return score


def make_propose(
  strategy: strategies.Strategy,
) -> Callable[[strategies.State, types.PRNGKey, int], types.Arc]:
  """Builds the compiled (strategy's state, key, S) -> arcs, leaves [S, ...]."""
  return jax.jit(strategy.propose, static_argnums=2)


def make_each(of_one: Callable[[types.Arc], Any]) -> Callable[[types.Arc], Any]:
  """Builds the compiled (arcs, leaves [S, ...]) -> a function's value of each.

  Of a function that runs no network: this is `vmap`, which would run every
  branch of every switch.
  """
  return jax.jit(jax.vmap(of_one))


def make_inspect(
  strategy: strategies.Strategy,
) -> Callable[[strategies.State, types.Arc], strategies.Inspection | None]:
  """Builds the compiled `strategy.inspect`."""
  return jax.jit(strategy.inspect)
