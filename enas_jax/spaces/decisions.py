"""The common language of spaces and the controller: a list of decisions."""

from typing import Any, NamedTuple

import jax.numpy as jnp


class Decision(NamedTuple):
  """One softmax decision about one node.

  Attributes:
    kind: "op": which operation, scored by a classifier over `num_choices`
      operations. "index": which earlier node, scored by attention over the
      nodes decided so far.
    node: the node that is decided about, counted from 0.
    num_choices: how many alternatives there are.
  """

  kind: str
  node: int
  num_choices: int


def as_arrays(arc: Any) -> Any:
  """`arc` with int32 arrays as leaves, to be traced and not compiled in."""
  if hasattr(arc, "_fields"):
    return type(arc)(*(as_arrays(field) for field in arc))
  return jnp.asarray(arc, jnp.int32)
