"""The graphs of the authors' `enas_lm`, and its controller.

What it lays out otherwise than we do: its operations are numbered tanh, ReLU,
sigmoid, identity; a search graph keeps one tensor [K, l, D, 2D] for the edges
into node l, a fixed graph one matrix a node, counted from 0; and the two input
matrices of its first node are the halves of one `w_prev` [2D, 2D].
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.released import controllers, tables
from enas_jax.spaces.recurrent import arc as space_lib
from enas_jax.spaces.recurrent import network as supergraph
from enas_jax.spaces.recurrent.presets import RecurrentConfig

# Our number of each of its operations. Asked of the space, which reads the
# released tokens, so that the numbering is written down in one place.
_ORDER = [
  space_lib.RecurrentSpace(1, "tanh").from_tokens(f"0 {op}").ops[1]
  for op in range(len(space_lib.OPS))
]
_DENSE = (
  tables.Entry("embedding", "embedding/w"),
  # Upper half and lower half, in this order.
  tables.Entry("w_x", "rnn_cell/w_prev"),
  tables.Entry("w_h", "rnn_cell/w_prev"),
)
_CELL = {"first_node": "tanh", "batch_norm": False}


def _search_entries(config: RecurrentConfig) -> Iterator[tables.Entry]:
  yield from _DENSE
  row_of = supergraph.edge_index
  # Edges of one node are neighbours, by the node that they come from.
  edges = {
    row: slice(row_of(row, 0), row_of(row, row))
    for row in range(1, config.num_nodes + 1)
  }
  axes = (tables.reordered(_ORDER), ("row", edges))
  yield tables.Entry("w_edge", "rnn_cell/layer_{row}/w", axes=axes)


def _fixed_entries(config: RecurrentConfig) -> Iterator[tables.Entry]:
  yield from _DENSE
  nodes = {node: node for node in range(config.num_nodes)}
  axes = (("node", nodes),)
  yield tables.Entry("w_edge", "rnn_cell/layer_{node}/w", axes=axes)


def _shapes(
  scope: str, variables: tables.Variables, config: RecurrentConfig
) -> types.Omega:
  words = tables.size(variables, f"{scope}embedding/w", 0)
  return jax.eval_shape(
    lambda key: supergraph.init(key, config, words), jax.random.key(0)
  )


def _fixed_shapes(
  variables: tables.Variables, config: RecurrentConfig
) -> types.Omega:
  """One matrix a node, whatever it reads: "w_edge" is [N, D, 2D]."""
  d = config.hidden_size
  edges = jax.ShapeDtypeStruct((config.num_nodes, d, 2 * d), jnp.float32)
  return {**_shapes("language_model/", variables, config), "w_edge": edges}


SEARCH = tables.Graph(
  scope="child/",
  entries=_search_entries,
  shapes=functools.partial(_shapes, "child/"),
  requires={**_CELL, "weights_per_op": True},
  size="num_nodes",
)
# Its weights are one child's and not omega: they are for `apply_child`.
FIXED = tables.Graph(
  scope="language_model/",
  entries=_fixed_entries,
  shapes=_fixed_shapes,
  requires=_CELL,
  size="num_nodes",
)
CONTROLLER = controllers.enas_lm(_ORDER)
