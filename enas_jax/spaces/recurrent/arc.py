"""The space of recurrent cells (Section 2.1 and Appendix A).

A cell has N nodes. Node 1 reads x_t and h_(t-1) and has an activation; every
later node picks one earlier node and one activation. Code counts nodes from
0; text for people counts from 1, as the paper does.

The released `enas_lm` code differs: the node that reads x_t is always tanh and
is not one of its N. `first_node="tanh"` is that space: arcs then have N + 1
rows, the first one fixed.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import ops as ops_lib
from enas_jax.spaces import base, decisions, records

# In the order of the search script's tokens, and of `ops.activate`.
OPS = ("tanh", "relu", "identity", "sigmoid")
# The numbering of enas_lm's tokens, which is not that of the search script.
_ENAS_LM_OPS = ("tanh", "relu", "sigmoid", "identity")
FIRST_NODES = ("sampled", "tanh")


class RecurrentArc(NamedTuple):
  """One recurrent cell.

  Leaves are arrays in search, where one compilation serves every arc, or
  tuples of Python ints for a fixed child (see `RecurrentSpace.validate`).

  Attributes:
    prev: [N] int32; node l reads node `prev[l]` < l. `prev[0]` is 0 and unused:
      node 0 reads x_t and h_(t-1).
    ops: [N] int32, index into `OPS`.
  """

  prev: types.Indices
  ops: types.Indices


@dataclasses.dataclass(frozen=True)
class RecurrentSpace:
  """All cells of `num_nodes` nodes.

  Attributes:
    num_nodes: N, the nodes that the controller decides about.
    first_node: "sampled": node 1 is one of the N and its activation is sampled
      (paper). "tanh": the N nodes follow a fixed tanh node (`enas_lm`).
  """

  name: ClassVar[str] = "recurrent"

  num_nodes: int
  first_node: str = "sampled"

  def __post_init__(self) -> None:
    records.check_size("num_nodes", self.num_nodes)
    if self.num_nodes < 1:
      raise types.InputError(
        f"num_nodes must be at least 1, got {self.num_nodes}."
      )
    if self.first_node not in FIRST_NODES:
      raise types.InputError(
        f"first_node must be one of {', '.join(FIRST_NODES)}, got"
        f" {records.brief(repr(self.first_node))}."
      )

  @property
  def num_rows(self) -> int:
    """Rows of an arc: N, plus the fixed first node if there is one."""
    return self.num_nodes + (self.first_node == "tanh")

  def decisions(self) -> tuple[base.Decision, ...]:
    """What the controller decides, in the order of Figure 1 (right)."""
    steps = []
    if self.first_node == "sampled":
      steps.append(base.Decision("op", node=0, num_choices=len(OPS)))
    for row in range(1, self.num_rows):
      # Also of row 1, which can only read node 0: the released tokens have it.
      steps.append(base.Decision("index", node=row, num_choices=row))
      steps.append(base.Decision("op", node=row, num_choices=len(OPS)))
    return tuple(steps)

  def from_choices(self, choices: jax.Array) -> RecurrentArc:
    """Reads an arc off the controller's choices.

    Args:
      choices: [..., C] int32, in the order of `decisions()`.

    Returns:
      An arc whose leaves are [..., num_rows] int32.
    """
    chex.assert_axis_dimension(choices, -1, len(self.decisions()))
    # Zeros stand where nothing is decided, so that every row is a pair.
    zero = jnp.zeros((*choices.shape[:-1], 1), jnp.int32)
    if self.first_node == "tanh":
      # The first node's operation: 0 is tanh.
      choices = jnp.concatenate([zero, choices], axis=-1)
    pairs = jnp.concatenate([zero, choices], axis=-1)
    return RecurrentArc(prev=pairs[..., 0::2], ops=pairs[..., 1::2])

  def to_choices(self, arc: RecurrentArc) -> jax.Array:
    """The inverse of `from_choices`.

    Args:
      arc: leaves [..., num_rows] int32, or a fixed arc of this space.

    Returns:
      [..., C] int32.
    """
    pairs = jnp.stack([jnp.asarray(arc.prev), jnp.asarray(arc.ops)], axis=-1)
    chex.assert_axis_dimension(pairs, -2, self.num_rows)
    flat = pairs.reshape((*pairs.shape[:-2], -1)).astype(jnp.int32)
    # What nobody decides is dropped: node 0's input, and a tanh node's op.
    return flat[..., 1 if self.first_node == "sampled" else 2 :]

  def relax(
    self, weights: Sequence[ops_lib.Sampled | jax.Array]
  ) -> RecurrentArc:
    """A mixture of cells.

    Args:
      weights: for each choice [K] float32, or `ops.Sampled`; see
        `decisions.relax`.
    """
    return decisions.relax(self, weights)

  def sample_uniform(self, key: types.PRNGKey, num_arcs: int) -> RecurrentArc:
    """Samples arcs, all equally likely.

    Args:
      key: PRNG key of the draw.
      num_arcs: S, static.

    Returns:
      An arc whose leaves are [S, num_rows] int32.
    """
    sizes = jnp.array([d.num_choices for d in self.decisions()], jnp.int32)
    # One draw for all decisions: the upper bounds broadcast.
    shape = (num_arcs, sizes.shape[0])
    return self.from_choices(jax.random.randint(key, shape, 0, sizes))

  def validate(self, arc: RecurrentArc) -> RecurrentArc:
    """Checks an arc on the host and returns it as Python ints.

    JAX clamps indices that are out of range without a word, so every arc that
    comes from outside passes here.

    Args:
      arc: leaves [num_rows], arrays or sequences of integers.

    Raises:
      InputError: naming the row, the rule and the value found.
    """
    where = f"(RecurrentSpace, num_nodes={self.num_nodes})."
    prev = records.int_row("prev", arc.prev, self.num_rows, where)
    ops = records.int_row("ops", arc.ops, self.num_rows, where)
    for row, (source, op) in enumerate(zip(prev, ops, strict=True)):
      if row == 0 and source != 0:
        raise types.InputError(
          f"arc.prev[0] must be 0 (the first node reads x_t and h_(t-1)), got"
          f" {source} {where}"
        )
      if row > 0:
        records.check_range(f"prev[{row}]", source, row, where)
      records.check_range(f"ops[{row}]", op, len(OPS), where)
    if self.first_node == "tanh" and ops[0] != OPS.index("tanh"):
      raise types.InputError(
        f"arc.ops[0] must be tanh with first_node=tanh, got {OPS[ops[0]]}"
        f" {where}"
      )
    return RecurrentArc(prev, ops)

  def output_nodes(self, arc: RecurrentArc) -> tuple[int, ...]:
    """The loose ends: nodes that no node reads, which form the cell's output.

    Args:
      arc: fixed arc, not a traced one.

    Returns:
      Rows, counted from 0, in order.
    """
    return tuple(np.flatnonzero(are_loose(arc)).tolist())

  def size(self) -> int:
    """The true number of arcs: 4^N (N - 1)! if the first node is sampled."""
    return math.prod(d.num_choices for d in self.decisions())

  def printed_size(self) -> int:
    """4^N N!, as Section 2.1 prints it; `size` counts the arrays there are."""
    return len(OPS) ** self.num_nodes * math.factorial(self.num_nodes)

  def to_tokens(self, arc: RecurrentArc) -> str:
    """The released codes' token string.

    With a sampled first node that of the released search script,
    `op_1 prev_2 op_2 ...` (0 tanh, 1 ReLU, 2 identity, 3 sigmoid); with a tanh
    first node that of `enas_lm`, `prev_1 op_1 ...` (2 sigmoid, 3 identity).
    """
    arc = self.validate(arc)
    if self.first_node == "sampled":
      pairs = list(zip(arc.prev, arc.ops, strict=True))
      tokens = [t for pair in pairs for t in pair][1:]
    else:
      tokens = []
      for source, op in zip(arc.prev[1:], arc.ops[1:], strict=True):
        tokens += [source, _ENAS_LM_OPS.index(OPS[op])]
    return " ".join(str(t) for t in tokens)

  def from_tokens(self, text: str) -> RecurrentArc:
    """Parses and checks a token string of `to_tokens`' form.

    Raises:
      InputError: if it is not integers, of another length, or out of range.
    """
    tokens = records.parse_row(
      text,
      len(self.decisions()),
      f"an architecture of {self.num_nodes} nodes with"
      f" first_node={self.first_node}",
    )
    pairs = ([0] if self.first_node == "sampled" else [0, 0]) + tokens
    ops = pairs[1::2]
    if self.first_node == "tanh":
      # What is out of range stays so, for `validate` to name it.
      known = range(len(_ENAS_LM_OPS))
      ops = [OPS.index(_ENAS_LM_OPS[o]) if o in known else o for o in ops]
    return self.validate(RecurrentArc(pairs[0::2], ops))

  def to_dict(self, arc: RecurrentArc) -> dict[str, Any]:
    """A JSON-ready description, with operations by name."""
    arc = self.validate(arc)
    return {
      "space": "recurrent",
      "num_nodes": self.num_nodes,
      "first_node": self.first_node,
      "prev": list(arc.prev),
      "ops": [OPS[op] for op in arc.ops],
      "tokens": self.to_tokens(arc),
    }

  def from_dict(self, record: Mapping[str, Any]) -> RecurrentArc:
    """Reads what `to_dict` wrote for this space.

    Raises:
      InputError: if a field is missing, of the wrong kind or out of range, or
        if the architecture is of another space.
    """
    return records.of_space(self, *from_dict(record))


def are_loose(arc: RecurrentArc) -> types.Array:
  """Which nodes are loose ends, that no node reads (Section 2.1, step 5).

  Args:
    arc: prev [N] int32, traced or not, or a tuple of Python ints.

  Returns:
    [N] float, 1 for a loose end and else 0; of NumPy for an arc that is not
    traced.
  """
  xp = np if ops_lib.is_static(arc) else jnp
  prev = xp.asarray(arc.prev)
  # [N - 1, N]: whether each later node reads each node; row 0 reads none.
  readers = xp.equal(prev[1:, None], np.arange(prev.shape[0])[None])
  # `initial` is for a cell of one node, which nothing could read.
  return 1.0 - xp.max(readers, axis=0, initial=0.0)


def from_dict(
  record: Mapping[str, Any],
) -> tuple[RecurrentSpace, RecurrentArc]:
  """Reads what `RecurrentSpace.to_dict` wrote: the space and the arc.

  Raises:
    InputError: if a field is missing, of the wrong kind or out of range.
  """
  records.check_fields(record, "recurrent", ("num_nodes", "prev", "ops"))
  space = RecurrentSpace(
    records.integer(record, "num_nodes"), record.get("first_node", "sampled")
  )
  ops = records.op_indices("ops", record["ops"], OPS)
  return space, space.validate(RecurrentArc(record["prev"], ops))
