"""The cases of `enas_lm`: its controller, search graph and fixed graph."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.released import recurrent as released
from enas_jax.released import tables
from enas_jax.search import optimizers
from enas_jax.spaces import decisions, registry
from enas_jax.spaces.recurrent import arc as space_lib
from enas_jax.spaces.recurrent import network as supergraph
from enas_jax.strategies import controller as controller_lib
from enas_jax.tasks import language_model
from tests.golden import vectors as vectors_lib


def check_controller(checks: vectors_lib.Checks) -> None:
  """Scores of given architectures, and the gradient of one."""
  vectors = checks.vectors
  num_ops = vectors.integer("controller_num_functions")
  if num_ops != len(space_lib.OPS):
    raise types.InputError(
      f"{vectors.stem}.json: config.controller_num_functions must be"
      f" {len(space_lib.OPS)}, got {num_ops}."
    )
  config = dataclasses.replace(
    registry.preset("released").strategy.controller,
    hidden_size=vectors.integer("controller_hidden_size"),
    # The release's null is no temperature at all.
    temperature=vectors.number("controller_temperature", 1.0),
    tanh_constant=vectors.number("controller_tanh_constant"),
  )
  space = space_lib.RecurrentSpace(
    vectors.integer("controller_num_layers"), "tanh"
  )
  controller = controller_lib.Controller(space, config)
  main = vectors.main
  graph = released.CONTROLLER
  theta = tables.read(main.take_all("var/"), graph, config)
  arcs = _arcs(space, main, "arcs")
  # One program for all: the architecture of the gradient is the last row.
  with_grad = "grad_arc" in main
  rows = [*arcs, _one_arc(space, main, "grad_arc")] if with_grad else arcs

  def last(theta: types.Theta, arcs: space_lib.RecurrentArc) -> Any:
    sample = controller.score(theta, arcs)
    return -sample.log_prob[-1], sample

  score = vectors_lib.compiled(jax.value_and_grad(last, has_aux=True))
  (value, sample), grads = score(theta, _stack(rows))
  sample = jax.tree.map(lambda leaf: leaf[: len(arcs)], sample)
  checks.outputs(
    {
      "neg_log_probs": -sample.step_log_probs,
      "neg_log_prob": -sample.log_prob,
      "entropy": sample.entropy,
      "ppl": jnp.exp(-jnp.mean(sample.step_log_probs, axis=-1)),
    }
  )
  if with_grad:
    checks.scalar(main, "grad_neg_log_prob", value)
    checks.tensors(main, "grad_nlp/", tables.write(grads, graph, config))


@dataclasses.dataclass(frozen=True)
class _Graph:
  """What differs between the search graph and the fixed graph.

  Attributes:
    l2_form: of `l2_penalty`.
    outputs: what its files hold of each architecture.
    released: names and layout of its weights.
    gather: weights, architecture -> the child's weights.
    add: weights, architecture, update of the child -> weights.
  """

  l2_form: str
  outputs: tuple[str, ...]
  released: tables.Graph
  gather: Callable[..., types.Omega]
  add: Callable[..., types.Omega]


_FORWARD = ("logits", "loss", "all_s", "final_state")
_SEARCH = _Graph(
  l2_form="released",
  outputs=(*_FORWARD, "train_loss", "l2_reg_loss"),
  released=released.SEARCH,
  gather=language_model.LanguageModel.child_params,
  add=language_model.LanguageModel.add_to_omega,
)
_FIXED = _Graph(
  l2_form="squares",
  outputs=_FORWARD,
  released=released.FIXED,
  # The weights are one child's already.
  gather=lambda task, child, arc: child,
  add=lambda task, child, arc, update: optax.apply_updates(child, update),
)


def check_search(checks: vectors_lib.Checks) -> None:
  """Children of the search graph: forward, gradient, training step."""
  _check_child(checks, _SEARCH)


def check_fixed(checks: vectors_lib.Checks) -> None:
  """Cells of the fixed graph: forward, gradient, training step."""
  _check_child(checks, _FIXED)


def _check_child(checks: vectors_lib.Checks, graph: _Graph) -> None:
  vectors, main, grads = (
    checks.vectors,
    checks.vectors.main,
    checks.vectors.grads,
  )
  task = _task(vectors, graph)
  variables = main.take_all("var/")
  weights = tables.read(variables, graph.released, task.config.child)
  rows = weights["embedding"].shape[0]
  if rows != task.vocabulary_size:
    raise types.InputError(
      f"{vectors.stem}.json: config.vocab is {task.vocabulary_size}, but the"
      f" embedding has {rows} rows."
    )
  run = _Run(task, graph, *_window(vectors, task))
  arcs = _arcs(task.space, main, "arcs")
  static = arcs[0]
  _compare_forward(checks, run, weights, arcs)

  # One compiled function serves all architectures.
  step = vectors_lib.compiled(run.step)
  if graph is _SEARCH and "grad_arc" in main:
    arc = _one_arc(task.space, main, "grad_arc")
    found = step(weights, decisions.as_arrays(arc))
    checks.scalar(main, "train_grad_norm", found["grad_norm"])
    checks.scalar(main, "train_lr", found["lr"])
  if grads is not None:
    static = _one_arc(task.space, grads, "arc")
    if "arc_index" in grads:
      grads.take("arc_index")  # says again what `arc` says
    found = step(weights, decisions.as_arrays(static))
    _compare_step(checks, run, found)
    checks.scalar(grads, "grad_norm", found["grad_norm"])
    checks.scalar(grads, "lr", found["lr"])

  # The same code with the architecture compiled in.
  if static in arcs:
    forward = vectors_lib.compiled(lambda w: run.forward(w, static))
    found = _outputs(run, main, [forward(weights)])
    checks.outputs(found, arcs=[arcs.index(static)])
  if grads is not None:
    step = vectors_lib.compiled(lambda w: run.step(w, static))
    _compare_step(checks, run, step(weights), label="static/")


def _compare_forward(
  checks: vectors_lib.Checks,
  run: "_Run",
  weights: types.Omega,
  arcs: list[space_lib.RecurrentArc],
) -> None:
  """Outputs of all architectures, traced through one compiled function."""
  main = checks.vectors.main
  forward = vectors_lib.compiled(run.forward)
  found = [forward(weights, decisions.as_arrays(arc)) for arc in arcs]
  checks.outputs(_outputs(run, main, found))
  if run.graph is _SEARCH:
    gap = max(float(one["train_minus_eval"]) for one in found)
    checks.scalar(main, "train_logits_minus_eval_max", gap)


def _compare_step(
  checks: vectors_lib.Checks,
  run: "_Run",
  found: dict[str, Any],
  label: str = "",
) -> None:
  grads = checks.vectors.grads
  assert grads is not None
  for name in ("grad", "delta"):
    named = tables.write(found[name], run.graph.released, run.task.config.child)
    checks.tensors(grads, f"{name}/", named, label)


def _outputs(
  run: "_Run", main: vectors_lib.Arrays, found: list[dict[str, Any]]
) -> dict[str, np.ndarray]:
  """Outputs in the files' layout: architecture, batch, time, the rest."""
  stacked = {
    name: np.stack([one[name] for one in found]) for name in run.graph.outputs
  }
  for name in ("logits", "all_s"):
    stacked[name] = stacked[name].swapaxes(1, 2)
  if "logits" in main:
    # The files keep the first time steps alone.
    steps = _shape(main, "logits", 4)[2]
    stacked["logits"] = stacked["logits"][:, :, :steps]
  return stacked


@dataclasses.dataclass(frozen=True)
class _Run:
  """What is computed of an architecture, traced or of Python ints."""

  task: language_model.LanguageModel
  graph: _Graph
  batch: types.TextBatch
  carry: language_model.Carry

  def forward(
    self, weights: types.Omega, arc: space_lib.RecurrentArc
  ) -> dict[str, types.Array]:
    task, batch, config = self.task, self.batch, self.task.config
    child = self.graph.gather(task, weights, arc)
    states, nats = self._evaluate(child, arc)
    logits = supergraph.logits(child, states)
    _, (found, carry) = self._loss(child, arc)
    masks = supergraph.sample_masks(
      jax.random.key(0),
      config.child,
      self.carry.state.shape[0],
      task.vocabulary_size,
    )
    train_states = supergraph.apply_child(
      child,
      arc,
      batch.inputs,
      self.carry.state,
      config=config.child,
      masks=masks,
    )
    gap = jnp.abs(supergraph.logits(child, train_states) - logits)
    return {
      "logits": logits,
      "loss": nats,
      "all_s": states,
      "final_state": carry.state,
      "train_loss": found["nats"],
      "l2_reg_loss": supergraph.l2_penalty(child, config.omega.l2_form),
      "train_minus_eval": jnp.max(gap),
    }

  def step(
    self, weights: types.Omega, arc: space_lib.RecurrentArc
  ) -> dict[str, Any]:
    """The gradient of the plain cross-entropy, and one training step."""
    task, graph, omega = self.task, self.graph, self.task.config.omega

    def nats_of(weights: types.Omega) -> types.Array:
      return self._evaluate(graph.gather(task, weights, arc), arc)[1]

    # The step is taken as `phases.make_omega_step` takes it for M = 1.
    child = graph.gather(task, weights, arc)
    grads = jax.grad(lambda child: self._loss(child, arc)[0])(child)
    optimizer = optimizers.make_omega_optimizer(omega, steps_per_epoch=1)
    update, _ = optimizer.update(grads, optimizer.init(child), child)
    after = graph.add(task, weights, arc, update)
    return {
      "grad": jax.grad(nats_of)(weights),
      "delta": jax.tree.map(jnp.subtract, after, weights),
      "grad_norm": optax.tree.norm(grads),
      "lr": jnp.float32(optimizers.omega_learning_rate(omega, 1)(0)),
    }

  def _evaluate(self, child: types.Omega, arc: Any) -> tuple[Any, types.Array]:
    states = supergraph.apply_child(
      child,
      arc,
      self.batch.inputs,
      self.carry.state,
      config=self.task.config.child,
    )
    nats = supergraph.softmax_loss(child, states, self.batch.targets)
    return states, jnp.mean(nats)

  def _loss(self, child: types.Omega, arc: Any) -> Any:
    # No drop rate is above 0, so the key has no effect.
    return self.task.loss(child, arc, self.batch, self.carry, jax.random.key(0))


def _task(
  vectors: vectors_lib.Vectors, graph: _Graph
) -> language_model.LanguageModel:
  """The released preset with the case's numbers."""
  if vectors.number("all_drop", 0.0) != 0:
    raise types.InputError(
      f"{vectors.stem}.json: config.all_drop must be 0, as dropout is random,"
      f" got {vectors.number('all_drop')}."
    )
  batch, length = _shape(vectors.main, "x", 2)
  config = config_lib.override(
    registry.preset("released"),
    "child",
    num_nodes=vectors.integer("N"),
    hidden_size=vectors.integer("hidden"),
    drop_word=0.0,
    drop_embedding=0.0,
    drop_x=0.0,
    drop_state=0.0,
    drop_output=0.0,
  )
  config = config_lib.override(
    config, "data", batch_size=batch, bptt_length=length
  )
  config = config_lib.override(
    config,
    "omega",
    # The release draws the length of each window and scales the rate with it.
    learning_rate=(
      vectors.number("learning_rate") * length / vectors.integer("bptt")
    ),
    clip_norm=vectors.number("grad_bound"),
    l2_weight=vectors.number("weight_decay"),
    l2_form=graph.l2_form,
    slowness_weight=vectors.number("beta", 0.0),
    activation_weight=vectors.number("alpha", 0.0),
  )
  return language_model.LanguageModel(
    config, supergraph.NETWORK, vectors.integer("vocab")
  )


def _window(
  vectors: vectors_lib.Vectors, task: language_model.LanguageModel
) -> tuple[types.TextBatch, language_model.Carry]:
  """The case's window of text, time-major, and h_0."""
  tokens = []
  for name in ("x", "y"):
    array = vectors.main.take(name)
    data = task.config.data
    _expect(vectors, name, array, (data.batch_size, data.bptt_length))
    # JAX would clamp a token out of range without a word.
    if not (
      np.issubdtype(array.dtype, np.integer)
      and array.min() >= 0
      and array.max() < task.vocabulary_size
    ):
      raise types.InputError(
        f"{vectors.main.file}: {name} must be integers in"
        f" [0, {task.vocabulary_size})."
      )
    tokens.append(jnp.asarray(array.T, jnp.int32))
  carry = vectors.main.take("init_state")
  fresh = task.init_carry()
  _expect(vectors, "init_state", carry, fresh.state.shape)
  start = fresh._replace(state=jnp.asarray(carry, jnp.float32))
  return types.TextBatch(*tokens), start


def _arcs(
  space: space_lib.RecurrentSpace, group: vectors_lib.Arrays, name: str
) -> list[space_lib.RecurrentArc]:
  """Architectures of Python ints, from one row of tokens or several."""
  tokens = group.take(name)
  if not np.issubdtype(tokens.dtype, np.integer):
    raise types.InputError(f"{group.file}: {name} must be integers.")
  rows = np.atleast_2d(tokens)
  if rows.ndim != 2 or not len(rows):
    raise types.InputError(f"{group.file}: {name} must be rows of tokens.")
  return [space.from_tokens(" ".join(map(str, row))) for row in rows]


def _one_arc(
  space: space_lib.RecurrentSpace, group: vectors_lib.Arrays, name: str
) -> space_lib.RecurrentArc:
  arcs = _arcs(space, group, name)
  if len(arcs) > 1:
    raise types.InputError(f"{group.file}: {name} must be one architecture.")
  return arcs[0]


def _stack(arcs: list[space_lib.RecurrentArc]) -> space_lib.RecurrentArc:
  """One architecture with a leading axis, as the controller scores them."""
  return space_lib.RecurrentArc(
    *(jnp.asarray(leaf, jnp.int32) for leaf in zip(*arcs, strict=True))
  )


def _shape(group: vectors_lib.Arrays, name: str, rank: int) -> tuple[int, ...]:
  shape = group.take(name).shape
  if len(shape) != rank or not all(shape):
    raise types.InputError(
      f"{group.file}: {name} must have {rank} axes, got the shape"
      f" {list(shape)}."
    )
  return shape


def _expect(
  vectors: vectors_lib.Vectors,
  name: str,
  array: np.ndarray,
  shape: tuple[int, ...],
) -> None:
  if array.shape != shape:
    raise types.InputError(
      f"{vectors.main.file}: {name} must have the shape {list(shape)}, got"
      f" {list(array.shape)}."
    )
