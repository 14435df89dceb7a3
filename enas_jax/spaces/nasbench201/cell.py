"""The cells of a stage of NAS-Bench-201, one after another.

They are scanned over, so what is compiled does not grow with their number.

Of a traced arc the derivative is written by hand. Autodiff of a `lax.switch` in
a scan keeps, for every edge, all that any of the operations would need, and
stacks it over the cells. Here the nodes alone are kept; the backward pass runs
each operation once more. On CPU that is quicker, as most of what autodiff
keeps is zeros and copies (`experiments/benchmark.py`).
"""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import types
from enas_jax.nn import batch_norm, image_ops, ops
from enas_jax.spaces.nasbench201 import arc as space_lib

CONVS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}  # and the width of their kernels
_Out = tuple[types.Array, types.Statistics]  # [B, H, W, D]


def run(
  weights: types.Omega,
  arc: space_lib.NasBench201Arc,
  x: types.Array,
  num_cells: int,
) -> _Out:
  """N cells, one after another.

  Args:
    weights: by operation w [N, 6, ...]; of a fixed child a row for each edge
      that uses it; and, to be used in place of the batch's, "mean" and
      "variance" [N, 6, D].
    arc: the cell, traced, of Python ints or relaxed.
    x: [B, H, W, D] float32.
    num_cells: N.

  Returns:
    [B, H, W, D] float32; and what the batch norms saw, "mean" and "variance"
    [N, 6, D], which has no gradient. It means nothing where an edge's operation
    has no batch norm.
  """
  chex.assert_rank(x, 4)
  # Without a switch there are no branches that autodiff would keep room for.
  if ops.is_static(arc) or ops.is_relaxed(arc):

    def cell(x: types.Array, weights: types.Omega) -> _Out:
      nodes, seen = _nodes(weights, arc, x)
      return nodes[-1], lax.stop_gradient(seen)

    return lax.scan(cell, x, weights, length=num_cells)
  return _traced_cells(weights, arc, x)


@jax.custom_vjp
def _traced_cells(
  weights: types.Omega, arc: space_lib.NasBench201Arc, x: types.Array
) -> _Out:
  return _forward(weights, arc, x)[0]


def _forward(
  weights: types.Omega, arc: space_lib.NasBench201Arc, x: types.Array
) -> tuple[_Out, tuple[Any, ...]]:
  def cell(
    x: types.Array, weights: types.Omega
  ) -> tuple[types.Array, tuple[Any, ...]]:
    nodes, seen = _nodes(weights, arc, x)
    return nodes[-1], (seen, nodes[:-1])

  x, (seen, nodes) = lax.scan(cell, x, weights)
  return (x, seen), (weights, arc, nodes)


def _backward(
  kept: tuple[Any, ...], grads: _Out
) -> tuple[types.Omega, None, types.Array]:
  """Gradients of `_traced_cells`, in the order of its arguments."""
  weights, arc, nodes = kept

  def cell(
    d_x: types.Array, now: tuple[types.Omega, list[types.Array]]
  ) -> tuple[types.Array, types.Omega]:
    weights, nodes = now
    d_nodes: dict[int, types.Array] = {space_lib.NUM_NODES - 1: d_x}
    d_edges = []
    # Backwards, a node's gradient is whole before an edge into it asks for it.
    for edge in reversed(range(space_lib.NUM_EDGES)):
      source, target = space_lib.EDGES[edge]
      edge_weights = jax.tree.map(lambda leaf, i=edge: leaf[i], weights)
      d_edge, d_source = _traced_pull(
        arc.ops[edge],
        edge_weights,
        nodes[source],
        d_nodes[target],
        image_ops.chosen(),
      )
      d_edges.append(d_edge)
      if source in d_nodes:
        d_source = d_nodes[source] + d_source
      d_nodes[source] = d_source
    stack = lambda *leaves: jnp.stack(leaves[::-1])
    return d_nodes[0], jax.tree.map(stack, *d_edges)

  # The gradient of what batch norms saw is left out: `run` says it has none.
  d_x, d_weights = lax.scan(cell, grads[0], (weights, nodes), reverse=True)
  return d_weights, None, d_x


_traced_cells.defvjp(_forward, _backward)


def _nodes(
  weights: types.Omega,
  arc: space_lib.NasBench201Arc,
  x: types.Array,
) -> tuple[list[types.Array], types.Statistics]:
  """The nodes of one cell.

  Args:
    weights: arrays [6, ...]; of a fixed child a row for each edge that uses
      them.
    arc: the cell, traced or of Python ints.
    x: [B, H, W, D] float32.

  Returns:
    Four of [B, H, W, D] float32; and what the batch norms saw, [6, D].
  """
  nodes, seen = [x], []
  for node in range(1, space_lib.NUM_NODES):
    terms = []
    for edge, (source, target) in enumerate(space_lib.EDGES):
      if target == node:
        y, moments = _edge(weights, arc, edge, nodes[source])
        terms.append(y)
        seen.append(moments)
    nodes.append(functools.reduce(jnp.add, terms))
  mean, variance = map(jnp.stack, zip(*seen, strict=True))
  return nodes, {"mean": mean, "variance": variance}


def _edge(
  weights: types.Omega,
  arc: space_lib.NasBench201Arc,
  edge: int,
  x: types.Array,
) -> tuple[types.Array, tuple[types.Array, types.Array]]:
  """An edge's operation on x, and the mean and the variance of its batch norm.

  They are zero for an operation without.
  """
  op, edge_weights = arc.ops[edge], {}
  for name, conv in weights.items():
    row = edge
    if ops.is_static(op):
      if space_lib.OPS[op] != name:
        continue
      # The child has the weights of those edges alone that use them.
      row = arc.ops[:edge].count(op)
    edge_weights[name] = {"w": conv["w"][row]}
    if "mean" in conv:
      # A child's statistics have a row for every edge, other than its weights.
      moments = {part: conv[part][edge] for part in ("mean", "variance")}
      edge_weights[name] |= moments
  run = _switch if ops.is_static(op) else _traced
  return run(op, edge_weights, x, image_ops.chosen())


def _operate(
  name: str, weights: types.Omega, x: types.Array
) -> tuple[types.Array, tuple[types.Array, types.Array]]:
  """One of `spaces.nasbench201.OPS`."""
  nothing = (jnp.zeros(x.shape[-1:]),) * 2
  if name == "none":
    return jnp.zeros_like(x), nothing
  if name == "skip_connect":
    return x, nothing
  if name == "avg_pool_3x3":
    return image_ops.avg_pool(x), nothing
  conv, width = weights[name], x.shape[-1]
  y = _convolve(jax.nn.relu(x), conv["w"])
  plain = {**conv, "scale": jnp.ones(width), "offset": jnp.zeros(width)}
  y, seen = batch_norm.normalise(y, plain)
  return y, (seen["mean"], seen["variance"])


def _switch(
  op: ops.Index,
  weights: types.Omega,
  x: types.Array,
  form: image_ops.Form | None,
) -> tuple[types.Array, tuple[types.Array, types.Array]]:
  del form  # `image_ops` knows it; a trace of one is not taken for another's
  # New ones each time: JAX keeps the traces of branches, too.
  branches = [functools.partial(_operate, name) for name in space_lib.OPS]
  return ops.switch(op, branches, weights, x)


def _pull(
  op: ops.Index,
  weights: types.Omega,
  x: types.Array,
  grad: types.Array,
  form: image_ops.Form | None,
) -> tuple[types.Omega, types.Array]:
  """Gradients for an edge's weights and for x, from that of its output."""
  del form  # as in `_switch`

  def branch(
    name: str, weights: types.Omega, x: types.Array, grad: types.Array
  ) -> Any:
    operate = lambda *of: _operate(name, *of)[0]
    return jax.vjp(operate, weights, x)[1](grad)

  branches = [functools.partial(branch, name) for name in space_lib.OPS]
  return ops.switch(op, branches, weights, x, grad)


# Six edges of a stage are traced as one, and so are their derivatives.
_traced = jax.jit(_switch, static_argnums=3)
_traced_pull = jax.jit(_pull, static_argnums=4)


def _convolve(x: types.Array, kernel: types.Array) -> types.Array:
  if kernel.shape[0] == 1:
    return image_ops.pointwise_conv(x, kernel[0, 0])
  return image_ops.conv(x, kernel)
