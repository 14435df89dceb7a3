"""What the LSTM policy does at each of its steps, as tables of numbers."""

from typing import Any, NamedTuple

import numpy as np

from enas_jax import config as config_lib
from enas_jax.spaces import base

KINDS = ("op", "index", "skips")
OP, INDEX, SKIPS = range(3)


class Steps(NamedTuple):
  """What the LSTM does at each of its T steps, arrays [T] on the host.

  A place is a node of a cell: number `cell * N + node`, of P places; P itself
  stands for none.

  Attributes:
    decision: int32, which decision is taken; -1 at a node's own step.
    kind: int32, 0 for "op", 1 for "index" and 2 for "skips".
    vocabulary: int32, which vocabulary an "op" decides about.
    size: int32, how many alternatives there are, or bits.
    node: int32, the node that is decided about.
    window: int32, the place of node 0 of the cell.
    prior: float32, what favoured operations get and others lose.
    anchor: int32, the place whose attention key is made of this output.
    vector: int32, the place whose vector this output is.
    restarts: bool, whether the next input is the start's.
  """

  decision: np.ndarray
  kind: np.ndarray
  vocabulary: np.ndarray
  size: np.ndarray
  node: np.ndarray
  window: np.ndarray
  prior: np.ndarray
  anchor: np.ndarray
  vector: np.ndarray
  restarts: np.ndarray


def make(
  decisions: tuple[base.Decision, ...],
  config: config_lib.ControllerConfig,
) -> Steps:
  """The steps of the LSTM over all decisions.

  With `config.anchor` "own_step" a node that others may attend to has a step
  of its own after its decisions, and so have a cell's inputs, about which
  nothing is decided, before those of the cell. The LSTM goes on where the cell
  before left it. An input has no vector: after it is taken the next input is
  zero. A node's skips are decided at its own step.

  Args:
    decisions: what to decide, in order.
    config: the LSTM's options.
  """
  num_nodes = num_nodes_of(decisions)
  # P: what is written there is read by no step.
  nowhere = num_nodes * (1 + max(d.cell for d in decisions))
  vocabularies = [*vocabularies_of(decisions)]
  # Fields as in `Steps`, of a step at which nothing is decided.
  empty: dict[str, Any] = dict(
    decision=-1, kind=OP, vocabulary=0, size=1, node=0, window=0, prior=0.0,
    anchor=nowhere, vector=nowhere, restarts=False,
  )  # fmt: skip
  own_step = config.anchor == "own_step"
  rows: list[dict[str, Any]] = []
  anchored: set[int] = set()
  for number, now in enumerate(decisions):
    before = decisions[number - 1] if number else None
    if own_step and (before is None or before.cell != now.cell):
      for node in range(now.node):
        # The next input stays the start's, as nothing is decided here.
        rows.append(empty | {"anchor": now.cell * num_nodes + node})
    place = now.cell * num_nodes + now.node
    of_ops = now.kind == "op" and now.vocabulary == base.OPERATIONS
    row = empty | dict(
      decision=number,
      kind=KINDS.index(now.kind),
      size=now.num_choices,
      node=now.node,
      window=now.cell * num_nodes,
      # The release favours operations in the normal cell alone.
      prior=config.op_prior if of_ops and now.cell == 0 else 0.0,
    )
    if now.kind == "op":
      row["vocabulary"] = vocabularies.index(now.vocabulary)
    rows.append(row)
    if own_step:
      # The last node has none after it that could attend to it.
      after = decisions[number + 1 : number + 2]
      due = any((d.cell, d.node) != (now.cell, now.node) for d in after)
      if due and now.kind != "skips":
        rows.append(empty | {"restarts": True})
    else:
      # At a node's first decision, and not again at the others.
      due = place not in anchored
    if due:
      anchored.add(place)
      rows[-1] |= {"anchor": place, "vector": place}
  types_of = {"prior": np.float32, "restarts": np.bool_}
  return Steps(
    **{
      name: np.array([row[name] for row in rows], types_of.get(name, np.int32))
      for name in Steps._fields
    }
  )


def num_nodes_of(decisions: tuple[base.Decision, ...]) -> int:
  """Nodes of the largest cell, N.

  Args:
    decisions: what to decide, in order.
  """
  return 1 + max(decision.node for decision in decisions)


def vocabularies_of(
  decisions: tuple[base.Decision, ...],
) -> dict[str, int]:
  """How many alternatives each vocabulary has, that of operations first.

  Args:
    decisions: what to decide, in order.
  """
  sizes: dict[str, int] = {}
  for decision in decisions:
    if decision.kind == "op":
      # Not all decisions need offer all of a vocabulary's words.
      known = sizes.get(decision.vocabulary, 0)
      sizes[decision.vocabulary] = max(known, decision.num_choices)
  num_ops = sizes.pop(base.OPERATIONS, 0)
  return {base.OPERATIONS: num_ops, **sizes}
