"""The common language of spaces and the controller: a list of decisions."""

from typing import NamedTuple


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
