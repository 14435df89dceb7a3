"""The space of cells of NAS-Bench-201 (Dong & Yang, 2020).

A cell has four nodes: its input and three more. Every pair of nodes is joined
by an edge with one of five operations, and a node is the sum of its edges. The
same cell is repeated throughout the network. There are 15,625 of them, and the
benchmark has trained each: what a search finds can be looked up.

Edges are in the order of the benchmark, (1<-0) (2<-0) (2<-1) (3<-0) (3<-1)
(3<-2); operations are numbered as in its table.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.nn import ops as ops_lib
from enas_jax.spaces import base, decisions, records

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NUM_NODES = 4
# From which node to which, by edge.
EDGES = tuple(
  (source, node) for node in range(1, NUM_NODES) for source in range(node)
)
NUM_EDGES = len(EDGES)
_WHERE = "(NasBench201Space)."
_ARC_STR = re.compile(r"\|.*\|")


class NasBench201Arc(NamedTuple):
  """One cell.

  Attributes:
    ops: [6] int32, index into `OPS`, by edge; an array in search, a tuple of
      Python ints for a fixed child.
  """

  ops: types.Indices


@dataclasses.dataclass(frozen=True)
class NasBench201Space:
  """All cells of the benchmark."""

  name: ClassVar[str] = "nasbench201"

  def decisions(self) -> tuple[base.Decision, ...]:
    """What the controller decides: the operation of each edge in turn.

    The decision's "node" is the edge: nothing attends to nodes here.
    """
    return tuple(
      base.Decision("op", edge, len(OPS)) for edge in range(NUM_EDGES)
    )

  def from_choices(self, choices: jax.Array) -> NasBench201Arc:
    """Reads an arc off the controller's choices, which are its operations.

    Args:
      choices: [..., 6] int32, in the order of `decisions()`.

    Returns:
      An arc whose ops are [..., 6] int32.
    """
    chex.assert_axis_dimension(choices, -1, NUM_EDGES)
    return NasBench201Arc(choices.astype(jnp.int32))

  def to_choices(self, arc: NasBench201Arc) -> jax.Array:
    """The inverse of `from_choices`.

    Args:
      arc: ops [..., 6] int32, or a fixed arc.

    Returns:
      [..., 6] int32.
    """
    choices = jnp.asarray(arc.ops, jnp.int32)
    chex.assert_axis_dimension(choices, -1, NUM_EDGES)
    return choices

  def relax(
    self, weights: Sequence[ops_lib.Sampled | jax.Array]
  ) -> NasBench201Arc:
    """A mixture of architectures.

    Args:
      weights: for each choice [K] float32, or `ops.Sampled`; see
        `decisions.relax`.
    """
    return decisions.relax(self, weights)

  def sample_uniform(self, key: types.PRNGKey, num_arcs: int) -> NasBench201Arc:
    """Samples arcs, all equally likely.

    Args:
      key: PRNG key of the draw.
      num_arcs: S, static.

    Returns:
      An arc whose ops are [S, 6] int32.
    """
    shape = (num_arcs, NUM_EDGES)
    return NasBench201Arc(
      jax.random.randint(key, shape, 0, len(OPS), jnp.int32)
    )

  def validate(self, arc: NasBench201Arc) -> NasBench201Arc:
    """Checks an arc on the host and returns it as Python ints.

    JAX clamps indices that are out of range without a word, so every arc that
    comes from outside passes here.

    Args:
      arc: ops [6], an array or a sequence of integers.

    Raises:
      InputError: naming the entry, the rule and the value found.
    """
    ops = records.int_row("ops", arc.ops, NUM_EDGES, _WHERE)
    for edge, op in enumerate(ops):
      records.check_range(f"ops[{edge}]", op, len(OPS), _WHERE)
    return NasBench201Arc(ops)

  def size(self) -> int:
    """The number of arcs: 5^6 = 15,625."""
    return len(OPS) ** NUM_EDGES

  def printed_size(self) -> int:
    """What the benchmark prints, which is the count."""
    return self.size()

  def to_tokens(self, arc: NasBench201Arc) -> str:
    """The operations as six integers."""
    return " ".join(str(op) for op in self.validate(arc).ops)

  def from_tokens(self, text: str) -> NasBench201Arc:
    """Parses and checks a token string of `to_tokens`' form.

    Raises:
      InputError: if it is not integers, of another length, or out of range.
    """
    tokens = records.parse_row(text, NUM_EDGES, "a cell of NAS-Bench-201")
    return self.validate(NasBench201Arc(tokens))

  def to_digits(self, arc: NasBench201Arc) -> str:
    """The operations as six digits, as in a table of the benchmark."""
    return "".join(str(op) for op in self.validate(arc).ops)

  def from_digits(self, text: str) -> NasBench201Arc:
    """Parses and checks what `to_digits` writes.

    Raises:
      InputError: if it is not six digits, or one is out of range.
    """
    # Not `\d`, which also takes the digits of other scripts.
    if not re.fullmatch(rf"[0-9]{{{NUM_EDGES}}}", text):
      raise types.InputError(
        f"a cell must be {NUM_EDGES} digits, got {records.brief(text)!r}."
      )
    return self.validate(NasBench201Arc([int(digit) for digit in text]))

  def to_arc_str(self, arc: NasBench201Arc) -> str:
    """The benchmark's own notation: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."""
    named = zip(EDGES, self.validate(arc).ops, strict=True)
    nodes = [""] * NUM_NODES
    for (source, node), op in named:
      nodes[node] += f"{OPS[op]}~{source}|"
    return "+".join("|" + node for node in nodes[1:])

  def from_arc_str(self, text: str) -> NasBench201Arc:
    """Parses and checks what `to_arc_str` writes.

    Raises:
      InputError: saying what of it is not of that form.
    """
    # Without the line breaks of a string that was copied from a page.
    compact = "".join(text.split())
    nodes = compact.split("+")
    if len(nodes) != NUM_NODES - 1:
      raise types.InputError(
        f"an arc string has {NUM_NODES - 1} nodes joined by '+', got"
        f" {len(nodes)}: {records.brief(compact)!r}."
      )
    names: list[str] = []
    for node, part in enumerate(nodes, start=1):
      edges = part[1:-1].split("|") if _ARC_STR.fullmatch(part) else []
      pairs = [edge.rpartition("~") for edge in edges]
      if [source for *_, source in pairs] != [str(i) for i in range(node)]:
        form = "".join(f"op~{source}|" for source in range(node))
        raise types.InputError(
          f"node {node} of an arc string must be '|{form}', got"
          f" {records.brief(part)!r}."
        )
      names += [name for name, *_ in pairs]
    return self.validate(NasBench201Arc(records.op_indices("ops", names, OPS)))

  def to_dict(self, arc: NasBench201Arc) -> dict[str, Any]:
    """A JSON-ready description, with operations by name."""
    arc = self.validate(arc)
    return {
      "space": "nasbench201",
      "ops": [OPS[op] for op in arc.ops],
      "arc_str": self.to_arc_str(arc),
      "tokens": self.to_tokens(arc),
    }

  def from_dict(self, record: Mapping[str, Any]) -> NasBench201Arc:
    """Reads what `to_dict` wrote.

    Raises:
      InputError: if a field is missing, of the wrong kind or out of range.
    """
    return records.of_space(self, *from_dict(record))


def from_dict(
  record: Mapping[str, Any],
) -> tuple[NasBench201Space, NasBench201Arc]:
  """Reads what `NasBench201Space.to_dict` wrote: the space and the arc.

  Raises:
    InputError: if a field is missing, of the wrong kind or out of range.
  """
  records.check_fields(record, "nasbench201", ("space", "ops"))
  space = NasBench201Space()
  ops = records.op_indices("ops", record["ops"], OPS)
  return space, space.validate(NasBench201Arc(ops))


def live(arc: NasBench201Arc) -> NasBench201Arc:
  """The cell with `none` on each edge that is on no way to its output.

  Args:
    arc: the cell, of Python ints: ops [6].
  """
  none = OPS.index("none")
  edges = list(zip(EDGES, arc.ops, strict=True))
  # An edge leads to a later node, so one pass each way is enough.
  reached, leading = {0}, {NUM_NODES - 1}
  # Sorted by source: what leads into a node comes before what leads out of it.
  for (source, node), op in sorted(edges):
    if op != none and source in reached:
      reached.add(node)
  for (source, node), op in sorted(edges, reverse=True):
    if op != none and node in leading:
      leading.add(source)
  return NasBench201Arc(
    tuple(
      op if source in reached and node in leading else none
      for (source, node), op in edges
    )
  )
