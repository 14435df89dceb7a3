"""Trains candidates of a search, each alone, before one of them is kept.

Section 2.2 says that all sampled architectures might be trained from scratch
and the best on validation data be chosen, and leaves it for its cost. A short
training tells some of it: from fresh weights, perhaps in a deeper network than
the search could afford, or from the weights that they shared.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import evaluate, optimizers
from enas_jax.search import state as states
from enas_jax.search import steps as phases
from enas_jax.spaces import decisions
from enas_jax.strategies import controller as controller_lib

Tune = Callable[[states.SearchState, types.Arc], states.SearchState]


def make_tune(
  config: config_lib.SearchConfig,
  task: Any,
  train: Any,
  serve_signal: Callable[[], None] = lambda: None,
) -> Tune:
  """Builds (state, arc) -> the state after training that arc alone.

  It begins with `state.omega`, which stays as it is, and takes `tune_steps`
  omega steps of the search, the learning rate falling by a cosine between
  `tune_rate` times the search's first and least one. Every arc meets the same
  batches, and one compiled program serves all.

  Args:
    config: of the search.
    task: of `tasks.Task`.
    train: its training data.
    serve_signal: called between steps; may raise.
  """
  steps, rate = config.run.tune_steps, config.run.tune_rate
  per_epoch = task.steps_per_epoch(train)
  omega = dataclasses.replace(
    config.omega,
    num_arcs=1,
    fair_ops=False,
    op_weights="",
    schedule="cosine",
    learning_rate=rate * config.omega.learning_rate,
    min_learning_rate=rate * config.omega.min_learning_rate,
    restart_epochs=1,  # of as many steps as there are
    restart_factor=1,
  )
  optimizer = optimizers.make_omega_optimizer(omega, steps)
  step = jax.jit(
    phases.make_arcs_step(
      dataclasses.replace(config, omega=omega), task, steps
    ),
    donate_argnums=0,
  )

  def tune(state: states.SearchState, arc: types.Arc) -> states.SearchState:
    arc = decisions.as_arrays(arc)
    state = jax.tree.map(jnp.copy, state)  # the step donates its buffers
    state = state.replace(
      omega_opt=optimizer.init(state.omega),
      omega_step=jnp.int32(0),
      total_steps=jnp.int32(0),
    )
    for index in range(steps):
      if index and index % per_epoch == 0:
        state = states.next_epoch(state, task)
      state, found = step(state, train, arc)
      # As in the loop of a search: few steps in flight.
      jax.block_until_ready(found)
      serve_signal()
    return state

  return tune


@dataclasses.dataclass(frozen=True)
class Tuned:
  """What training one candidate alone made of it.

  Attributes:
    arc: of Python ints.
    rank: among the candidates by reward, from 1.
    nats: cross-entropy on the whole validation split; smaller is better.
    valid: perplexity or accuracy there.
  """

  arc: types.Arc
  rank: int
  nats: float
  valid: float


def changed(
  config: config_lib.SearchConfig, task: Any, train: Any, valid: Any
) -> tuple[config_lib.SearchConfig, Any, Any, Any]:
  """The same four, as candidates are trained: with `tune_changes`, if at all.

  Raises:
    InputError: if the task or its data cannot be changed so.
  """
  if not (config.run.tune_arcs and config.run.tune_changes):
    return config, task, train, valid
  alone = config.alone()
  return alone, *task.changed(alone, train, valid)


def tune_best(
  config: config_lib.SearchConfig,
  task: Any,
  train: Any,
  valid: Any,
  state: states.SearchState,
  arcs: list[types.Arc],
  serve_signal: Callable[[], None],
  advance: Callable[[Tuned], None],
  done: Mapping[int, tuple[float, float]],
) -> list[Tuned]:
  """Trains the first `tune_arcs` different ones of arcs, each alone.

  Args:
    config: of the search; this and the next three as `changed` returns them.
    task: of `tasks.Task`, with the methods that evaluation needs.
    train: its training data.
    valid: its validation data, whole.
    state: of the search, at its end.
    arcs: of Python ints, best first; one may come twice.
    serve_signal: called between steps; may raise.
    advance: is told of each when it is done.
    done: by rank, nats and metric of those that were trained before the run was
      stopped.

  Returns:
    The same architectures, the best by validation first.
  """
  if config.run.tune_from == "scratch":
    controller = controller_lib.Controller(task.space, config.controller)
    state = states.init_state(
      config, task, controller, task.steps_per_epoch(train)
    )
  tune = make_tune(config, task, train, serve_signal)
  nats = evaluate.make_nats(task)
  measure = evaluate.make_evaluate(task)
  first_rank: dict[types.Arc, int] = {}
  for rank, arc in enumerate(arcs, start=1):
    first_rank.setdefault(arc, rank)
  found = []
  for arc, rank in list(first_rank.items())[: config.run.tune_arcs]:
    if rank in done:
      found.append(Tuned(arc, rank, *done[rank]))
      continue
    after = tune(state, arc)
    found.append(
      Tuned(
        arc,
        rank,
        nats(after, arc, valid),
        measure(after, arc, valid),
      )
    )
    advance(found[-1])
  # Weights that overflowed never win; the sort is stable.
  return sorted(found, key=lambda each: (not each.nats < jnp.inf, each.nats))
