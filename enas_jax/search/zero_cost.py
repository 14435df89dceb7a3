"""Scores of architectures that cost no training: free baselines of a search.

Each looks at a network of fresh weights and at one minibatch, or at nothing but
its size. What shared weights know beyond these is what a search is worth.

- `params`, `multiply_adds`: the size of the child, without what a dead part of
  the architecture computes (`Definition.live`).
- `grad_norm`, `snip`: of the loss's gradient g the norm, and the sum of |w g|
  (Lee et al., 2019; Abdelfattah et al., 2021).
- `synflow`: the sum of |w dR/dw|, R the sum of the logits of an image of ones
  under weights |w|, without batch norm (Tanaka et al., 2020).
- `jacob_cov`: how differently the logits react to different images (Mellor et
  al., 2020, first version).
- `naswot`: how differently images switch the ReLUs (Mellor et al., 2021).

Larger is meant to be better in each.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from scipy import stats

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.nn import batch_norm, image_ops
from enas_jax.spaces import base, decisions, describe, registry
from enas_jax.tasks import base as tasks

# Of an architecture of Python ints, by each draw.
Score = Callable[[types.Arc], list[float]]
_BATCH_NORM = ("scale", "offset", "bn_scale", "bn_offset")
_JITTER = 1e-5  # Mellor et al.'s k, added to eigenvalues


class Draw(NamedTuple):
  """Fresh weights of all architectures, and a minibatch of training data.

  Attributes:
    omega: the weights.
    batch: the minibatch.
    key: for dropout.
  """

  omega: types.Omega
  batch: Any
  key: types.PRNGKey


@dataclasses.dataclass(frozen=True)
class Subject:
  """The network that is looked at, under one draw of weights or several.

  Attributes:
    config: the configuration of the search whose network it is.
    definition: its space.
    task: its task.
    draws: the draws.
  """

  config: config_lib.SearchConfig
  definition: base.Definition
  task: tasks.Task
  draws: tuple[Draw, ...]

  @classmethod
  def of(
    cls,
    config: config_lib.SearchConfig,
    task: tasks.Task,
    train: tasks.Split,
    keys: Sequence[types.PRNGKey],
  ) -> "Subject":
    """Draws the weights and the minibatch with each of the keys."""
    init = jax.jit(task.init_omega)

    def draw(key: types.PRNGKey) -> Draw:
      key_omega, key_epoch, key_batch, key = jax.random.split(key, 4)
      carry = task.start_epoch(task.init_carry(), key_epoch)
      batch = task.train_batch(train, carry, jnp.int32(0), key_batch)
      return Draw(init(key_omega), batch, key)

    definition = registry.of_options(config.child)
    return cls(config, definition, task, tuple(map(draw, keys)))


def check(name: str, definition: base.Definition) -> None:
  """Refuses a score that a space has not.

  Raises:
    InputError: if its networks read no images, and the score looks at them.
  """
  if name in _OF_IMAGES and not isinstance(
    definition.network, base.ImageNetwork
  ):
    raise types.InputError(
      f"the score {name} is defined for networks that read images, not in the"
      f" {definition.name} space."
    )


def make(name: str, subject: Subject) -> Score:
  """Builds a score by its name.

  Args:
    name: one of `SCORES`.
    subject: the network, and the draws that it is looked at under.

  Returns:
    The score of an architecture: a number for each draw; of those in `SIZES`,
    which need none, one number.

  Raises:
    InputError: if the score is not defined in the space.
  """
  check(name, subject.definition)
  return _MAKERS[name](subject)


def score_architectures(
  name: str,
  subject: Subject,
  arcs: Sequence[types.Arc],
  advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
  """Scores many architectures, by one draw of the weights or by several.

  Args:
    name: one of `SCORES`.
    subject: the network, and the draws that it is looked at under.
    arcs: S architectures of Python ints.
    advance: function to call after each of them.

  Returns:
    [S] float64, larger is better: the score, or of several draws the sum of
    the ranks by each.

  Raises:
    InputError: if the score is not defined in the space, or by no finite number
      for any of them.
  """
  score, rows = make(name, subject), []
  for arc in arcs:
    rows.append(score(arc))
    advance()
  columns = np.asarray(rows, np.float64).T
  return rank_sum([finite(column) for column in columns])


def finite(scores: np.ndarray) -> np.ndarray:
  """The scores, with those of networks that overflowed below all others.

  Args:
    scores: [S] float64, larger is better.

  Returns:
    [S] float64, all finite; what was not is 1 below the worst that was.

  Raises:
    InputError: if no score is a finite number.
  """
  chex.assert_rank(scores, 1)
  chex.assert_type(scores, float)
  known = np.isfinite(scores)
  if not known.any():
    raise types.InputError(
      "no score is a finite number: the weights have diverged."
    )
  # Any distance will do: only the order of scores is compared.
  return np.where(known, scores, scores[known].min() - 1.0)


def rank_sum(scores: Sequence[np.ndarray]) -> np.ndarray:
  """[S] float64: the sum of the ranks by each of several scores.

  Args:
    scores: [S] float64 each, larger is better; equal ones share their mean
      rank. Of one score alone its own values are kept.
  """
  if len(scores) == 1:
    return scores[0]
  return np.sum([stats.rankdata(column) for column in scores], axis=0)


def _make_size(quantity: str) -> Callable[[Subject], Score]:
  def make_score(subject: Subject) -> Score:
    options, definition = subject.config.child, subject.definition
    known: dict[types.Arc, float] = {}

    def score(arc: types.Arc) -> list[float]:
      live = definition.live(options, arc)
      if live not in known:
        record = describe.describe(definition.name, options, live)
        known[live] = float(record[quantity])
      return [known[live]]

    return score

  return make_score


def _make_traced(
  scalar: Callable[[Draw, types.Arc], types.Array], subject: Subject
) -> Score:
  """One compiled program for all architectures and all draws."""
  compiled = jax.jit(scalar)

  def score(arc: types.Arc) -> list[float]:
    arrays = decisions.as_arrays(arc)
    return [float(compiled(draw, arrays)) for draw in subject.draws]

  return score


def _make_of_gradient(
  reduce: Callable[[types.Omega, types.Omega], types.Array],
) -> Callable[[Subject], Score]:
  """(weights, their gradient) -> the score."""

  def make_score(subject: Subject) -> Score:
    task = subject.task
    carry = task.start_split(task.init_carry())

    def scalar(draw: Draw, arc: types.Arc) -> types.Array:
      def nats(child: types.Omega) -> types.Array:
        loss = task.loss(child, arc, draw.batch, carry, draw.key)
        return loss[1][0]["nats"]

      child = task.child_params(draw.omega, arc)
      return reduce(child, jax.grad(nats)(child))

    return _make_traced(scalar, subject)

  return make_score


def _norm(weights: types.Omega, grads: types.Omega) -> types.Array:
  del weights
  squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads)]
  return jnp.sqrt(sum(squares, start=jnp.float32(0.0)))


def _saliency(weights: types.Omega, grads: types.Omega) -> types.Array:
  """The sum of |w g|, batch norms left out."""
  total = jnp.float32(0.0)
  for (path, w), g in zip(
    jax.tree.leaves_with_path(weights), jax.tree.leaves(grads), strict=True
  ):
    if path[-1].key not in _BATCH_NORM:
      total += jnp.sum(jnp.abs(w * g))
  return total


def _make_synflow(subject: Subject) -> Score:
  # Without batch norm: statistics before the first step, mean 0 and variance 1,
  # make it the identity.
  options = dataclasses.replace(
    subject.config.child, moving_statistics=True, drop_features=0.0
  )
  network = subject.definition.network
  assert isinstance(network, base.ImageNetwork)
  statistics = network.init_statistics(options)

  def scalar(draw: Draw, arc: types.Arc) -> types.Array:
    positive = jax.tree.map(jnp.abs, draw.omega)
    ones = jnp.ones((1, *draw.batch.images.shape[1:]))

    def flow(child: types.Omega) -> types.Array:
      # Not every batch norm has a place in the network's own statistics, as
      # those within a cell of the micro space have none.
      child = batch_norm.with_statistics(child, batch_norm.fresh(child))
      logits, _ = network.apply_child(
        child, statistics, arc, ones, config=options, train=False, key=None
      )
      return jnp.sum(logits.main)

    child = network.child_params(positive, arc, options)
    # The logarithm orders alike, and stays in range.
    return jnp.log(_saliency(child, jax.grad(flow)(child)))

  return _make_traced(scalar, subject)


def _of_batch(subject: Subject) -> Any:
  """The child's options; its batch norms take what the batch has.

  As in training, of which the published codes take the mode: averages have
  seen nothing yet, and would make every batch norm the identity.
  """
  return dataclasses.replace(subject.config.child, moving_statistics=False)


def _make_jacob_cov(subject: Subject) -> Score:
  network, options = subject.task.network, _of_batch(subject)
  assert isinstance(network, base.ImageNetwork)
  statistics = network.init_statistics(options)

  def scalar(draw: Draw, arc: types.Arc) -> types.Array:
    child = network.child_params(draw.omega, arc, options)

    def total(images: types.Array) -> types.Array:
      logits, _ = network.apply_child(
        child, statistics, arc, images, config=options, train=False, key=None
      )
      return jnp.sum(logits.main)

    rows = jax.grad(total)(draw.batch.images)
    # [B, H * W * C]: the Jacobian of the sum of the logits, by image.
    rows = rows.reshape(rows.shape[0], -1)
    values = jnp.linalg.eigvalsh(jnp.corrcoef(rows)) + _JITTER
    # Rounding may push the least ones below 0.
    values = jnp.maximum(values, _JITTER)
    return -jnp.sum(jnp.log(values) + 1.0 / values)

  return _make_traced(scalar, subject)


def _make_naswot(subject: Subject) -> Score:
  network, options = subject.task.network, _of_batch(subject)
  assert isinstance(network, base.ImageNetwork)
  statistics = network.init_statistics(options)

  def of_draw(draw: Draw, arc: types.Arc) -> float:
    child = network.child_params(draw.omega, arc, options)
    images = draw.batch.images

    def forward(child: types.Omega, images: types.Array) -> types.Array:
      with image_ops.using("plain"):
        logits, _ = network.apply_child(
          child, statistics, arc, images, config=options, train=False, key=None
        )
      return logits.main

    program = jax.make_jaxpr(forward)(child, images)
    codes = [
      np.asarray(kept > 0).reshape(len(images), -1)
      for kept in relu_inputs(program, *jax.tree.leaves((child, images)))
    ]
    # [B, ReLUs]
    code = np.concatenate(codes, axis=1).astype(np.float32)
    # How many ReLUs two images switch alike: all, less the Hamming distance.
    agreeing = code @ code.T + (1 - code) @ (1 - code).T
    return float(np.linalg.slogdet(agreeing.astype(np.float64))[1])

  return lambda arc: [of_draw(draw, arc) for draw in subject.draws]


def relu_inputs(
  program: core.ClosedJaxpr, *arguments: jax.Array
) -> list[jax.Array]:
  """Runs a program and keeps what every ReLU in it is given.

  One operation after the other, also inside functions and loops: compiled anew
  for each architecture a program would take longer than it runs.

  Args:
    program: as `jax.make_jaxpr` makes it, without conditionals.
    *arguments: its flat arguments.
  """
  kept: list[jax.Array] = []
  _run(program.jaxpr, program.consts, arguments, kept)
  return kept


def _run(
  program: core.Jaxpr,
  consts: Sequence[Any],
  arguments: Sequence[Any],
  kept: list[jax.Array],
) -> list[Any]:
  values: dict[core.Var, Any] = {}
  for var, value in zip(
    (*program.constvars, *program.invars), (*consts, *arguments), strict=True
  ):
    values[var] = value
  read = lambda atom: (
    atom.val if isinstance(atom, core.Literal) else values[atom]
  )
  for eqn in program.eqns:
    given = [read(atom) for atom in eqn.invars]
    outs = _run_one(eqn, given, kept)
    values.update(zip(eqn.outvars, outs, strict=True))
  return [read(atom) for atom in program.outvars]


def _run_one(
  eqn: core.JaxprEqn, given: Sequence[Any], kept: list[jax.Array]
) -> Sequence[Any]:
  name = eqn.primitive.name
  # What `jax.nn.relu` becomes when it is traced.
  if name == "max" and _is_zero(eqn.invars[1]):
    kept.append(given[0])
  if name == "scan":
    return _run_scan(eqn, given, kept)
  for program in _inner(eqn):
    return _run(program.jaxpr, program.consts, given, kept)
  outs = eqn.primitive.bind(*given, **eqn.params)
  return outs if eqn.primitive.multiple_results else [outs]


def _run_scan(
  eqn: core.JaxprEqn, given: Sequence[Any], kept: list[jax.Array]
) -> Sequence[Any]:
  """Turn by turn, forwards."""
  assert not eqn.params["reverse"]
  body = eqn.params["jaxpr"]
  num_consts, num_carry = eqn.params["num_consts"], eqn.params["num_carry"]
  consts, rest = given[:num_consts], given[num_consts:]
  carry, rows = list(rest[:num_carry]), rest[num_carry:]
  columns: list[list[Any]] = []
  for turn in range(eqn.params["length"]):
    inputs = (*consts, *carry, *(row[turn] for row in rows))
    outs = _run(body.jaxpr, body.consts, inputs, kept)
    carry = outs[:num_carry]
    columns.append(outs[num_carry:])
  return [*carry, *(jnp.stack(out) for out in zip(*columns, strict=True))]


def _inner(eqn: core.JaxprEqn) -> Iterator[core.ClosedJaxpr]:
  """The program of a function that is called."""
  for name in ("jaxpr", "call_jaxpr"):
    if name in eqn.params:
      program = eqn.params[name]
      if isinstance(program, core.Jaxpr):
        program = core.ClosedJaxpr(program, ())
      yield program


def _is_zero(atom: core.Var | core.Literal) -> bool:
  return isinstance(atom, core.Literal) and float(atom.val) == 0.0


SIZES = ("params", "multiply_adds")  # no weights are drawn for them
_OF_IMAGES = ("synflow", "jacob_cov", "naswot")
_MAKERS: dict[str, Callable[[Subject], Score]] = {
  **{name: _make_size(name) for name in SIZES},
  "grad_norm": _make_of_gradient(_norm),
  "snip": _make_of_gradient(_saliency),
  "synflow": _make_synflow,
  "jacob_cov": _make_jacob_cov,
  "naswot": _make_naswot,
}
SCORES = tuple(_MAKERS)
