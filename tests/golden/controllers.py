"""The controllers of the CIFAR-10 code, macro and micro."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.released import macro as released_macro
from enas_jax.released import micro as released_micro
from enas_jax.released import tables
from enas_jax.spaces import decisions, registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.strategies import controller as controller_lib
from tests.golden import vectors as vectors_lib


def check_macro_controller(checks: vectors_lib.Checks) -> None:
  """Scores and skip terms of architectures, and the gradients of one."""
  vectors, main = checks.vectors, checks.vectors.main
  _require(vectors, "num_branches", len(macro.OPS))
  config = dataclasses.replace(
    _config(vectors, "macro"), skip_target=vectors.number("skip_target")
  )
  space = macro.MacroSpace(vectors.integer("num_layers"))
  arcs = _arcs(space, main, "arcs")
  grad_arcs = _arcs(space, main, "grad_arc") if "grad_arc" in main else []
  controller = controller_lib.Controller(space, config)
  sample = _check_scores(
    checks, released_macro.CONTROLLER, controller, arcs, grad_arcs
  )
  skips = jnp.sum(sample.arc.skips, axis=(1, 2))
  checks.outputs({"skip_penalty": sample.skip_kl, "skip_count": skips})


def check_micro_controller(checks: vectors_lib.Checks) -> None:
  """Scores of pairs of cells, the gradient of one, and how biases start."""
  vectors, main = checks.vectors, checks.vectors.main
  _require(vectors, "num_branches", len(micro.OPS))
  config = dataclasses.replace(
    _config(vectors, "micro"), op_tanh_reduce=vectors.number("op_tanh_reduce")
  )
  # The release's cells are our nodes without the two inputs.
  space = micro.MicroSpace(vectors.integer("num_cells") + micro.NUM_INPUTS)
  arcs = _arcs(space, main, "normal_arcs", "reduce_arcs")
  names, grad_arcs = ("grad_normal_arc", "grad_reduce_arc"), []
  if names[0] in main:
    grad_arcs = _arcs(space, main, *names)
  controller = controller_lib.Controller(space, config)
  graph = released_micro.CONTROLLER
  _check_scores(checks, graph, controller, arcs, grad_arcs)
  start = controller.init(jax.random.key(0))["op_bias"]
  checks.outputs({"b_soft_initial_value": start[None]})


def _config(
  vectors: vectors_lib.Vectors, space: str
) -> config_lib.ControllerConfig:
  """The released options with the case's numbers."""
  _require(vectors, "lstm_num_layers", 1)
  return dataclasses.replace(
    registry.preset("released", space).strategy.controller,
    hidden_size=vectors.integer("lstm_size"),
    tanh_constant=vectors.number("tanh_constant"),
    # The release's null is no temperature at all.
    temperature=vectors.number("temperature", 1.0),
  )


def _check_scores(
  checks: vectors_lib.Checks,
  graph: tables.Graph,
  controller: controller_lib.Controller,
  arcs: list[Any],
  grad_arcs: list[Any],
) -> controller_lib.Sample:
  """Compares what both cases hold, and returns the sample of `arcs`."""
  main, space = checks.vectors.main, controller.space
  config = controller.config
  theta = tables.read(main.take_all("var/"), graph, config)

  def last(theta: types.Theta, arcs: Any) -> Any:
    sample = controller.score(theta, arcs)
    return jnp.stack([-sample.log_prob[-1], sample.skip_kl[-1]]), sample

  # One program for all: the architecture of the gradient is the last row.
  score = vectors_lib.compiled(jax.jacrev(last, has_aux=True))
  grads, whole = score(theta, _stack([*arcs, *grad_arcs]))
  sample = jax.tree.map(lambda leaf: leaf[: len(arcs)], whole)
  checks.outputs({"neg_log_prob": -sample.log_prob, "entropy": sample.entropy})
  if grad_arcs:
    checks.scalar(main, "grad_neg_log_prob", -whole.log_prob[-1])
    kinds = ("nlp", "kl") if isinstance(space, macro.MacroSpace) else ("nlp",)
    for at, kind in enumerate(kinds):
      one = {name: leaf[at] for name, leaf in grads.items()}
      named = tables.write(one, graph, config)
      checks.tensors(main, f"grad_{kind}/", named)
  return sample


def _arcs(
  space: macro.MacroSpace | micro.MicroSpace,
  group: vectors_lib.Arrays,
  *names: str,
) -> list[Any]:
  """Architectures of Python ints, their cells in the arrays of that name."""
  cells = []
  for name in names:
    rows = np.atleast_2d(group.take(name))
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
      raise types.InputError(
        f"{group.file}: {name} must be rows of tokens, which are integers."
      )
    cells.append([" ".join(map(str, row)) for row in rows])
  if len({len(rows) for rows in cells}) > 1 or not cells[0]:
    raise types.InputError(
      f"{group.file}: {' and '.join(names)} must be as many, and not none."
    )
  return [
    space.from_tokens(" / ".join(row)) for row in zip(*cells, strict=True)
  ]


def _stack(arcs: list[Any]) -> Any:
  """One architecture with a leading axis, as the controller scores them."""
  arrays = [decisions.as_arrays(arc) for arc in arcs]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)


def _require(vectors: vectors_lib.Vectors, name: str, value: int) -> None:
  found = vectors.integer(name)
  if found != value:
    raise types.InputError(
      f"{vectors.stem}.json: config.{name} must be {value}, got {found}."
    )
