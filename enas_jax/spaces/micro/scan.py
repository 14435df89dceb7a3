"""A traced cell's branches, one after another, and their derivative.

The derivative is written by hand. Autodiff of a `lax.switch` in a scan keeps,
for every branch, all that any of the operations would need, and passes a
gradient of all nodes through every step. Here the nodes alone are kept: a node
is complete before a branch takes it, so that what they are in the end is what
every branch saw. The backward pass runs each operation once more and adds its
gradient in place. On CPU that is faster than to keep what lies inside a
separable convolution (`experiments/benchmark.py`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from enas_jax import types
from enas_jax.nn import image_ops, ops
from enas_jax.spaces.micro import arc as space_lib

Branch = Callable[..., types.Array]
Buffers = tuple[types.Array, ...]
_Step = tuple[types.Omega, tuple[Any, ...]]  # a branch's weights and its plan


class Plan(NamedTuple):
  """What the S branches of a cell do; traced integers.

  Attributes:
    sources: [S] int32, the node that a branch takes.
    ops: [S] int32, its operation.
    targets: [S] int32, the node that it is added to, later than its source.
    loose: [K] bool, which of the last K nodes are loose ends.
    masks: [S, B] float32, what to multiply a branch's output by for each image
      (`drop_path`); None for nothing.
  """

  sources: types.Array
  ops: types.Array
  targets: jax.typing.ArrayLike
  loose: types.Array
  masks: types.Array | None = None

  def steps(self) -> tuple[jax.typing.ArrayLike | None, ...]:
    """What a scan over the branches reads, leading axis S."""
    return self.sources, self.ops, self.targets, self.masks


def start(
  inputs: tuple[types.Array, types.Array], count: int, strided: bool
) -> Buffers:
  """A cell's nodes before anything is added to them.

  Strided cells have their inputs beside the nodes, being too big; their places
  among the nodes are not used.

  Args:
    inputs: two arrays [B, H, W, F].
    count: N, nodes with the two inputs.
    strided: whether operations on the inputs halve them.

  Returns:
    [N, B, H', W', F]; and of a strided cell the inputs, [2, B, H, W, F].
  """
  chex.assert_rank(inputs, 4)
  chex.assert_equal_shape(inputs)
  batch, height, width, filters = inputs[0].shape
  stacked = jnp.stack(inputs)
  if strided:
    size = (batch, -(-height // 2), -(-width // 2), filters)
    return jnp.zeros((count, *size), stacked.dtype), stacked
  empty = jnp.zeros((count - len(inputs), *inputs[0].shape), stacked.dtype)
  return (jnp.concatenate([stacked, empty]),)


def at_stride(
  branches: types.Array, sources: types.Array, count: int
) -> types.Array:
  """The branches of a strided cell: those on its inputs come after the others.

  Args:
    branches: [S] int32, in [0, count).
    sources: [S] int32, the nodes that they take.
    count: the branches on nodes, and those on inputs.

  Returns:
    [S] int32, in [0, 2 count).
  """
  # On an input an operation has stride 2: it is a branch of its own there.
  return branches + count * (sources < space_lib.NUM_INPUTS)


_Kept = tuple[Plan, types.Omega, types.Array, Buffers]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def run(
  branches: tuple[Branch, ...],
  plan: Plan,
  weights: types.Omega,
  kernel: types.Array,
  buffers: Buffers,
) -> types.Array:
  """The loose ends of a cell through ReLU and a 1x1 convolution.

  Args:
    branches: the operations, each a function of a branch's weights and of
      what lies at its source in every buffer.
    plan: what to do; it has no gradient.
    weights: arrays [S, ...] float32, a row for each branch.
    kernel: [K, F, D] float32, the 1x1 convolution of the last K nodes.
    buffers: the nodes as they start, [N, B, H, W, F] float32; then other arrays
      that branches read, by the same indices, cut off at an array's end.

  Returns:
    [B, H, W, D] float32.

  Raises:
    AssertionError: if an array has another rank (at trace time).
  """
  return _forward(branches, plan, weights, kernel, buffers)[0]


def _forward(
  branches: tuple[Branch, ...],
  plan: Plan,
  weights: types.Omega,
  kernel: types.Array,
  buffers: Buffers,
) -> tuple[types.Array, _Kept]:
  """`run`'s value, and what its derivative needs: the nodes at the end."""
  # Here and not in `run`, which is not traced where a gradient is taken.
  chex.assert_rank([plan.sources, plan.ops, plan.loose, kernel], [1, 1, 1, 3])
  chex.assert_rank(buffers, 5)
  nodes, *others = buffers

  def step(nodes: types.Array, now: _Step) -> tuple[types.Array, None]:
    branch_weights, (source, op, target, mask) = now
    taken = _read((nodes, *others), source)
    out = _masked(mask, ops.switch(op, branches, branch_weights, *taken))
    return _add(nodes, target, out), None

  nodes, _ = lax.scan(step, nodes, (weights, plan.steps()))

  def join(
    total: types.Array, now: tuple[types.Array, ...]
  ) -> tuple[types.Array, None]:
    loose, *part = now
    # A node that another one takes costs no product.
    add = lambda total, *part: total + _joined(*part)
    return lax.cond(loose, add, lambda total, *_: total, total, *part), None

  nothing = jnp.zeros((*nodes.shape[1:-1], kernel.shape[-1]), nodes.dtype)
  last = nodes[-kernel.shape[0] :]
  out, _ = lax.scan(join, nothing, (plan.loose, last, kernel))
  return out, (plan, weights, kernel, (nodes, *others))


def _backward(
  branches: tuple[Branch, ...], kept: _Kept, grad: types.Array
) -> tuple[None, types.Omega, types.Array, Buffers]:
  """Gradients of `run`, in the order of its arguments."""
  plan, weights, kernel, buffers = kept
  last = buffers[0][-kernel.shape[0] :]

  def unjoin(
    _: None, now: tuple[types.Array, ...]
  ) -> tuple[None, tuple[types.Array, ...]]:
    loose, *part = now
    zeros = lambda grad, *part: tuple(map(jnp.zeros_like, part))
    return None, lax.cond(loose, _pull(_joined), zeros, grad, *part)

  _, (d_last, d_kernel) = lax.scan(unjoin, None, (plan.loose, last, kernel))
  nodes, *others = (jnp.zeros_like(buffer) for buffer in buffers)
  # Backwards, what takes a node comes before what adds to it: its gradient is
  # whole by then, and stays what it is for the node as it started.
  grads = (nodes.at[-kernel.shape[0] :].set(d_last), *others)
  pulls = [_pull(branch) for branch in branches]

  def step(grads: Buffers, now: _Step) -> tuple[Buffers, types.Omega]:
    branch_weights, (source, op, target, mask) = now
    taken = _read(buffers, source)
    grad = _masked(mask, _read(grads[:1], target)[0])
    d_branch, *d_taken = ops.switch(op, pulls, grad, branch_weights, *taken)
    pairs = zip(grads, d_taken, strict=True)
    return tuple(_add(total, source, part) for total, part in pairs), d_branch

  grads, d_weights = lax.scan(
    step, grads, (weights, plan.steps()), reverse=True
  )
  return None, d_weights, d_kernel, grads


run.defvjp(_forward, _backward)


def _joined(node: types.Array, kernel: types.Array) -> types.Array:
  """A loose end's part in the cell's output."""
  return image_ops.pointwise_conv(jax.nn.relu(node), kernel)


def _masked(mask: types.Array | None, x: types.Array) -> types.Array:
  """A branch's output, or its gradient, with what is dropped left out."""
  return x if mask is None else mask[:, None, None, None].astype(x.dtype) * x


def _pull(function: Callable[..., types.Array]) -> Callable[..., Any]:
  """From an output's gradient and the arguments, the arguments' gradients.

  XLA drops what of the function itself the gradient does not need.
  """
  return lambda grad, *args: jax.vjp(function, *args)[1](grad)


# An index beyond the end is cut off by dynamic slices and their updates alike.


def _read(buffers: Buffers, at: types.Array) -> Buffers:
  return tuple(
    lax.dynamic_index_in_dim(buffer, at, keepdims=False) for buffer in buffers
  )


def _add(buffer: types.Array, at: types.Array, x: types.Array) -> types.Array:
  total = lax.dynamic_index_in_dim(buffer, at, keepdims=False) + x
  return lax.dynamic_update_index_in_dim(buffer, total, at, axis=0)
