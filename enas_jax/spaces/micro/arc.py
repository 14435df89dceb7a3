"""The space of convolutional cells (Section 2.4).

An architecture is two cells of B nodes, a normal one and a reduction one.
Nodes 0 and 1 are a cell's inputs; every later node takes two earlier nodes,
applies an operation to each and adds the results. Code counts nodes from 0;
text for people counts from 1, as the paper does.

The paper says that the inputs are the outputs of the two cells before, not in
which order. Here, as in the released code, node 0 is the cell before the
previous one and node 1 the previous one.
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

# In the released code's numbering.
OPS = (
  "sep_conv_3x3",
  "sep_conv_5x5",
  "avg_pool_3x3",
  "max_pool_3x3",
  "identity",
)
NUM_INPUTS = 2  # nodes 0 and 1 of each cell; row c of an arc is node c + 2


class CellArc(NamedTuple):
  """One cell.

  Leaves are arrays in search, where one compilation serves every arc, or
  tuples of Python ints for a fixed child (see `MicroSpace.validate`).

  Attributes:
    inputs: [B - 2, 2] int32; row c holds the two nodes that node c + 2 takes,
      each in [0, c + 2).
    ops: [B - 2, 2] int32, index into `OPS`, applied to those two nodes.
  """

  inputs: types.Indices
  ops: types.Indices


class MicroArc(NamedTuple):
  """One architecture.

  Attributes:
    normal: the cell that keeps the resolution.
    reduction: the cell that halves it.
  """

  normal: CellArc
  reduction: CellArc


@dataclasses.dataclass(frozen=True)
class MicroSpace:
  """All pairs of cells of `num_nodes` nodes.

  Attributes:
    num_nodes: B, which counts the two inputs (7 in Section 2.4).
  """

  name: ClassVar[str] = "micro"

  num_nodes: int

  def __post_init__(self) -> None:
    records.check_size("num_nodes", self.num_nodes)
    if self.num_nodes <= NUM_INPUTS:
      raise types.InputError(
        "num_nodes must be at least 3 (it counts the two inputs), got"
        f" {self.num_nodes}."
      )

  @property
  def num_rows(self) -> int:
    """Rows of a cell's arc: B - 2, the nodes that are decided about."""
    return self.num_nodes - NUM_INPUTS

  def decisions(self) -> tuple[base.Decision, ...]:
    """What the controller decides: the normal cell, then the reduction one.

    Per node both inputs, then both operations, as in Figure 5. `cell` is 0
    for the normal cell and 1 for the reduction cell.
    """
    steps = []
    for cell in range(len(MicroArc._fields)):
      for node in range(NUM_INPUTS, self.num_nodes):
        index = base.Decision("index", node, num_choices=node, cell=cell)
        op = base.Decision("op", node, num_choices=len(OPS), cell=cell)
        steps += [index, index, op, op]
    return tuple(steps)

  def from_choices(self, choices: jax.Array) -> MicroArc:
    """Reads an arc off the controller's choices.

    Args:
      choices: [..., 8(B - 2)] int32, in the order of `decisions()`.

    Returns:
      An arc whose leaves are [..., B - 2, 2] int32.
    """
    shape = (*choices.shape[:-1], len(MicroArc._fields), self.num_rows, 4)
    chex.assert_axis_dimension(choices, -1, math.prod(shape[-3:]))
    # A row of four is a node: both inputs, then both operations (Figure 5).
    table = choices.astype(jnp.int32).reshape(shape)  # [..., 2, B - 2, 4]
    inputs, ops = table[..., :2], table[..., 2:]
    return MicroArc(
      normal=CellArc(inputs[..., 0, :, :], ops[..., 0, :, :]),
      reduction=CellArc(inputs[..., 1, :, :], ops[..., 1, :, :]),
    )

  def to_choices(self, arc: MicroArc) -> jax.Array:
    """The inverse of `from_choices`.

    Args:
      arc: leaves [..., B - 2, 2] int32, or a fixed arc of this space.

    Returns:
      [..., 8(B - 2)] int32.
    """
    table = jnp.stack(
      [
        jnp.concatenate([jnp.asarray(c.inputs), jnp.asarray(c.ops)], axis=-1)
        for c in arc
      ],
      axis=-3,
    )
    chex.assert_axis_dimension(table, -2, self.num_rows)
    return table.reshape((*table.shape[:-3], -1)).astype(jnp.int32)

  def relax(self, weights: Sequence[ops_lib.Sampled | jax.Array]) -> MicroArc:
    """A mixture of pairs of cells.

    Args:
      weights: for each choice [K] float32, or `ops.Sampled`; see
        `decisions.relax`.
    """
    return decisions.relax(self, weights)

  def sample_uniform(self, key: types.PRNGKey, num_arcs: int) -> MicroArc:
    """Samples arcs, all equally likely.

    Args:
      key: PRNG key of the draw.
      num_arcs: S, static.

    Returns:
      An arc whose leaves are [S, B - 2, 2] int32.
    """
    sizes = jnp.array([d.num_choices for d in self.decisions()], jnp.int32)
    # One draw for all decisions: the upper bounds broadcast.
    shape = (num_arcs, sizes.shape[0])
    return self.from_choices(jax.random.randint(key, shape, 0, sizes))

  def validate(self, arc: MicroArc) -> MicroArc:
    """Checks an arc on the host and returns it as Python ints.

    JAX clamps indices that are out of range without a word, so every arc that
    comes from outside passes here.

    Args:
      arc: leaves [B - 2, 2], arrays or nested sequences of integers.

    Raises:
      InputError: naming the cell, the entry, the rule and the value found.
    """
    return MicroArc(
      *(
        self._validate_cell(n, c) for n, c in zip(arc._fields, arc, strict=True)
      )
    )

  def loose_ends(
    self, cell: CellArc, include_inputs: bool = False
  ) -> tuple[int, ...]:
    """The nodes that no node of the cell takes, which form its output.

    Args:
      cell: fixed cell, not a traced one.
      include_inputs: whether an input that no node takes is one too, as in
        the released code. Section 2.4 speaks of computed nodes only.

    Returns:
      Node numbers counted from 0, the two inputs being 0 and 1, in order;
      never empty, as nothing can take the last node.
    """
    first = 0 if include_inputs else NUM_INPUTS
    loose = np.flatnonzero(are_loose(cell, include_inputs))
    return tuple((first + loose).tolist())

  def size(self) -> int:
    """The true number of arcs, 2.6e25 for B = 7.

    Both inputs and both operations of every node are free, so a node with i
    nodes before it has (5i)^2 possibilities. Many of these arcs describe the
    same network (a node's two halves may be exchanged).
    """
    # Python's integers: the count does not fit 64 bits.
    return math.prod(d.num_choices for d in self.decisions())

  def printed_size(self) -> int:
    """(5 (B - 2)!)^4, as Section 2.4 prints it: 1.3e11 for B = 7."""
    return (len(OPS) * math.factorial(self.num_nodes - 2)) ** 4

  def to_tokens(self, arc: MicroArc) -> str:
    """The released code's token string: the normal, then the reduction cell.

    Per node `input_1 op_1 input_2 op_2`, which is not the order of
    `decisions()`. Operations are numbered as in `OPS`.
    """
    tokens: list[int] = []
    for cell in self.validate(arc):
      for inputs, ops in zip(cell.inputs, cell.ops, strict=True):
        tokens += [inputs[0], ops[0], inputs[1], ops[1]]
    return " ".join(str(t) for t in tokens)

  def from_tokens(self, text: str) -> MicroArc:
    """Parses and checks a token string of `to_tokens`' form.

    A line break or one "/" may stand between the cells.

    Raises:
      InputError: if it is not integers, of another length, or out of range.
    """
    # The release gives its script two strings, one a cell; copied together they
    # are one row of numbers.
    parts = [records.parse_tokens(part) for part in text.split("/")]
    length = 4 * self.num_rows
    if len(parts) == 1 and len(parts[0]) == 2 * length:
      parts = [parts[0][:length], parts[0][length:]]
    if [len(part) for part in parts] != [length, length]:
      lengths = " / ".join(str(len(part)) for part in parts)
      raise types.InputError(
        f"an architecture of num_nodes={self.num_nodes} has {length} tokens"
        f" for each of its two cells, got {lengths}: {records.brief(text)!r}."
      )
    return self.validate(MicroArc(*(_cell_of_tokens(p) for p in parts)))

  def to_dict(self, arc: MicroArc) -> dict[str, Any]:
    """A JSON-ready description, with operations by name."""
    arc = self.validate(arc)
    return {
      "space": "micro",
      "num_nodes": self.num_nodes,
      "normal": _cell_to_dict(arc.normal),
      "reduction": _cell_to_dict(arc.reduction),
      "tokens": self.to_tokens(arc),
    }

  def from_dict(self, record: Mapping[str, Any]) -> MicroArc:
    """Reads what `to_dict` wrote for this space.

    Raises:
      InputError: if a field is missing, of the wrong kind or out of range, or
        if the architecture is of another space.
    """
    return records.of_space(self, *from_dict(record))

  def _validate_cell(self, name: str, cell: CellArc) -> CellArc:
    """`validate` of one cell, "normal" or "reduction"."""
    where = f"(MicroSpace, num_nodes={self.num_nodes})."
    shape = (self.num_rows, 2)
    inputs = records.int_table(f"{name}.inputs", cell.inputs, shape, where)
    ops = records.int_table(f"{name}.ops", cell.ops, shape, where)
    for row in range(self.num_rows):
      for field, entries, limit in (
        ("inputs", inputs[row], row + NUM_INPUTS),
        ("ops", ops[row], len(OPS)),
      ):
        for side, entry in enumerate(entries):
          at = f"{name}.{field}[{row}][{side}]"
          records.check_range(at, entry, limit, where)
    return CellArc(inputs, ops)


def are_loose(cell: CellArc, include_inputs: bool) -> types.Array:
  """Which nodes no node of the cell takes, so that they form its output.

  Args:
    cell: inputs [B - 2, 2] int32, traced or not, or tuples of Python ints.
    include_inputs: whether to begin with the two inputs, not with node 2.

  Returns:
    [B] or [B - 2] bool; of NumPy for a cell that is not traced.
  """
  xp = np if ops_lib.is_static(cell) else jnp
  taken = xp.asarray(cell.inputs).reshape(-1)
  first = 0 if include_inputs else NUM_INPUTS
  nodes = np.arange(first, len(cell.inputs) + NUM_INPUTS)
  # [2(B - 2), 1] against [B], or [B - 2] without the inputs.
  return xp.all(taken[:, None] != nodes, axis=0)


def from_dict(record: Mapping[str, Any]) -> tuple[MicroSpace, MicroArc]:
  """Reads what `MicroSpace.to_dict` wrote: the space and the arc.

  Raises:
    InputError: if a field is missing, of the wrong kind or out of range.
  """
  records.check_fields(record, "micro", ("num_nodes", *MicroArc._fields))
  space = MicroSpace(records.integer(record, "num_nodes"))
  cells = (_cell_from_dict(name, record[name]) for name in MicroArc._fields)
  return space, space.validate(MicroArc(*cells))


def _cell_of_tokens(tokens: list[int]) -> CellArc:
  """A cell, not yet checked, of `input_1 op_1 input_2 op_2` a node."""
  pairs = list(zip(tokens[0::2], tokens[1::2], strict=True))
  inputs, ops = ([pair[k] for pair in pairs] for k in (0, 1))
  return CellArc(_two_by_two(inputs), _two_by_two(ops))


def _two_by_two(row: list[int]) -> list[list[int]]:
  return [row[at : at + 2] for at in range(0, len(row), 2)]


def _cell_to_dict(cell: CellArc) -> dict[str, Any]:
  return {
    "inputs": [list(row) for row in cell.inputs],
    "ops": [[OPS[op] for op in row] for row in cell.ops],
  }


def _cell_from_dict(name: str, record: object) -> CellArc:
  if not isinstance(record, Mapping) or not {"inputs", "ops"} <= set(record):
    raise types.InputError(
      f"arc.{name} must be an object with inputs and ops, got"
      f" {records.brief(record)}."
    )
  rows = record["ops"]
  if not isinstance(rows, list):
    raise types.InputError(
      f"arc.{name}.ops must be a list of pairs of names, got"
      f" {records.brief(rows)}."
    )
  ops = [
    records.op_indices(f"{name}.ops[{at}]", row, OPS)
    for at, row in enumerate(rows)
  ]
  return CellArc(record["inputs"], ops)
