"""What a strategy asks between two epochs: candidates trained alone.

It says when (`Strategy.asks`) and which (`ask`); each is trained from the
shared weights, as `search.tune` trains candidates at the end, and earns a
reward; the strategy hears it (`tell`). All of it is a function of the state:
a run that is stopped in the middle does it again from the first.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import costs as costs_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import evaluate, theta_steps, tune
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions
from enas_jax.strategies import base as strategies
from enas_jax.tasks import base as tasks


class Asking:
  """Answers to one strategy's requests."""

  def __init__(
    self,
    config: config_lib.SearchConfig,
    task: tasks.Task,
    data: tasks.Splits,
    strategy: strategies.Strategy,
    score: Callable[..., list[float]],
    serve_signal: Callable[[], None],
    devices: devices_lib.Devices = devices_lib.ONE,
    costs: costs_lib.Costs | None = None,
  ) -> None:
    """Compiles nothing yet.

    Args:
      config: the search's configuration.
      task: the task that is learnt.
      data: the three splits.
      strategy: the strategy.
      score: what `evaluate.make_score` has built, shared with the derive step.
      serve_signal: a function called between steps of training; may raise.
      devices: the devices that share the work.
      costs: what rewards are traded off against, if at all.
    """
    self._config, self._task, self._data = config, task, data
    self._strategy, self._serve_signal = strategy, serve_signal
    self._devices = devices
    self._trade = evaluate.make_each(costs.factor) if costs else None
    self._ask = theta_steps.make_ask(task, strategy, devices, costs)
    self._tell = theta_steps.make_tell(strategy)
    self._score = score
    self._tunes: dict[int, Callable[..., Any]] = {}

  def answer(
    self, state: state_lib.SearchState
  ) -> tuple[state_lib.SearchState, dict[str, Any]]:
    """Answers what the strategy asks after this epoch, if anything.

    Args:
      state: the state after the epoch's last step. Its buffers may be donated:
        use the returned state alone.

    Returns:
      The state with what the strategy has heard; and numbers for a row of
      metrics, {} if nothing was asked.
    """
    # Of those in which theta moves, as `Strategy.asks` counts them.
    epoch = int(state.epoch) + 1 - self._config.warmup_epochs
    request = self._strategy.asks(epoch) if epoch > 0 else None
    if request is None:
      return state, {}
    key = state_lib.step_key(state, state_lib.ASK_KEYS, jnp.int32(0))
    key_ask, key_batch = jax.random.split(key)
    arcs = self._ask(state, key_ask, self._data.valid, self._data.train)
    earned = self._earn(state, arcs, request, key_batch)
    rewards = jnp.asarray(earned, jnp.float32)
    # What `score` says is without costs.
    if self._trade:
      rewards *= self._trade(arcs)
    state, heard = self._tell(state, arcs, rewards)
    row = {f"asked/{name}": float(value) for name, value in heard.items()}
    return state, row

  def _earn(
    self,
    state: state_lib.SearchState,
    arcs: types.Arc,
    request: strategies.Request,
    key: types.PRNGKey,
  ) -> list[float]:
    """Rewards after training alone; of one that comes twice it is one."""
    asked = [
      self._task.space.validate(jax.device_get(decisions.nth(arcs, index)))
      for index in range(request.num_arcs)
    ]
    different = list(dict.fromkeys(asked))
    earned: dict[types.Arc, float] = {}
    trained = self._tune(request.num_steps)(state, different)
    for arc, after in zip(different, trained, strict=True):
      stacked = jax.tree.map(lambda leaf: leaf[None], decisions.as_arrays(arc))
      batches = self._config.run.derive_batches
      (earned[arc],) = self._score(
        after, stacked, self._data.valid, key, num_batches=batches
      )
    return [earned[arc] for arc in asked]

  def _tune(self, num_steps: int) -> Callable[..., Any]:
    if num_steps not in self._tunes:
      self._tunes[num_steps] = tune.make_tune_all(
        self._config, self._task, self._data.train, self._serve_signal,
        num_steps, self._devices,
      )  # fmt: skip
    return self._tunes[num_steps]
