"""The common language of spaces and the controller: a list of decisions."""

from typing import Any, NamedTuple

import jax.numpy as jnp


class Decision(NamedTuple):
  """One step of the controller: what it decides about one node.

  The choices of one architecture are one flat vector: the entries of every
  decision, `width` of them each, in the order of the space's `decisions()`.

  Attributes:
    kind: "op": which operation, scored by a classifier over `num_choices`
      operations. "index": which earlier node, scored by attention over the
      nodes decided so far. "skips": for each of the nodes 0 to
      `num_choices` - 1 whether this node takes it, 0 or 1; the bits are
      independent given the one LSTM step that scores them all.
    node: the node that is decided about, counted from 0.
    num_choices: how many alternatives there are; of "skips", how many bits.
    cell: which cell the node belongs to, where an architecture has several:
      nodes are counted, and attended to, within their cell.
  """

  kind: str
  node: int
  num_choices: int
  cell: int = 0

  @property
  def width(self) -> int:
    """How many entries of the flat choices vector this decision takes."""
    return self.num_choices if self.kind == "skips" else 1


def as_arrays(arc: Any) -> Any:
  """`arc` with int32 arrays as leaves, to be traced and not compiled in.

  Only NamedTuples are structure. A plain tuple, also a tuple of tuples as
  `validate` returns for a table, is one leaf.
  """
  if hasattr(arc, "_fields"):
    return type(arc)(*(as_arrays(field) for field in arc))
  return jnp.asarray(arc, jnp.int32)
