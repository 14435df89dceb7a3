"""Trains candidates of a search further, each alone from the shared weights.

Section 2.2 says that all sampled architectures might be trained from scratch
before one is chosen, and leaves it for its cost. Here each begins with the
weights that it shared, so that a few epochs tell which of them gain most.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import evaluate, optimizers, phases, types
from enas_jax.spaces import decisions

Tune = Callable[[phases.SearchState, types.Arc], phases.SearchState]


def make_tune(
  config: config_lib.SearchConfig,
  task: Any,
  train: Any,
  serve_signal: Callable[[], None] = lambda: None,
) -> Tune:
  """Builds (state, arc) -> the state after training that arc alone.

  It begins with `state.omega`, which stays as it is, and runs `tune_epochs`
  epochs by the omega step of the search, the learning rate falling by a cosine
  between `tune_rate` times the search's first and least one. Every arc meets
  the same batches, and one compiled program serves all.

  Args:
    config: of the search.
    task: of `phases.Task`.
    train: its training data.
    serve_signal: called between steps; may raise.
  """
  steps, rate = task.steps_per_epoch(train), config.run.tune_rate
  omega = dataclasses.replace(
    config.omega,
    num_arcs=1,
    fair_ops=False,
    op_weights="",
    schedule="cosine",
    learning_rate=rate * config.omega.learning_rate,
    min_learning_rate=rate * config.omega.min_learning_rate,
    restart_epochs=config.run.tune_epochs,
    restart_factor=1,
  )
  optimizer = optimizers.make_omega_optimizer(omega, steps)
  step = jax.jit(
    phases.make_arcs_step(
      dataclasses.replace(config, omega=omega), task, steps
    ),
    donate_argnums=0,
  )

  def tune(state: phases.SearchState, arc: types.Arc) -> phases.SearchState:
    arc = decisions.as_arrays(arc)
    state = jax.tree.map(jnp.copy, state)  # the step donates its buffers
    state = state.replace(
      omega_opt=optimizer.init(state.omega),
      omega_step=jnp.int32(0),
      total_steps=jnp.int32(0),
    )
    for _ in range(config.run.tune_epochs):
      for _ in range(steps):
        state, found = step(state, train, arc)
        # As in the loop of a search: few steps in flight.
        jax.block_until_ready(found)
        serve_signal()
      state = phases.next_epoch(state, task)
    return state

  return tune


@dataclasses.dataclass(frozen=True)
class Tuned:
  """What training one candidate further made of it.

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


def tune_best(
  config: config_lib.SearchConfig,
  task: Any,
  train: Any,
  valid: Any,
  state: phases.SearchState,
  arcs: list[types.Arc],
  serve_signal: Callable[[], None],
  advance: Callable[[Tuned], None],
) -> list[Tuned]:
  """Trains the first `tune_arcs` different ones of arcs further.

  Args:
    config: of the search.
    task: of `phases.Task`, with the methods that evaluation needs.
    train: its training data.
    valid: its validation data, whole.
    state: of the search, at its end.
    arcs: of Python ints, best first; one may come twice.
    serve_signal: called between steps; may raise.
    advance: is told of each when it is done.

  Returns:
    The same architectures, the best by validation first.
  """
  tune = make_tune(config, task, train, serve_signal)
  nats = evaluate.make_nats(task)
  measure = evaluate.make_evaluate(task)
  first_rank: dict[types.Arc, int] = {}
  for rank, arc in enumerate(arcs, start=1):
    first_rank.setdefault(arc, rank)
  found = []
  for arc, rank in list(first_rank.items())[: config.run.tune_arcs]:
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
