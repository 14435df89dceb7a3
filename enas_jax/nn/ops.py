"""Operations by index, chosen at trace time or at run time.

A Python int picks its branch while tracing, so a fixed child compiles to a
plain network; a traced index becomes `lax.switch`, so one compilation serves
every architecture. Indices are not checked when traced (`lax.switch` clamps):
arcs are validated on the host, by their space. A relaxed choice, weights over
the branches, runs them all and carries a gradient; a sampled one runs a single
branch and has a gradient for all weights.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax


class Sampled(NamedTuple):
  """A relaxed choice of which one branch is run (GDAS, Dong & Yang, 2019).

  Attributes:
    chosen: [] int32, the branch that is run.
    weights: [K] float32, 1 at `chosen` and else 0 in value, with the gradient
      of the probabilities (straight-through).
  """

  chosen: jax.Array
  weights: jax.Array


# [] int32, or relaxed: [K] float32 weights, or `Sampled`.
Index = int | jax.Array | Sampled


def is_static(arc: Any) -> bool:
  """Whether an arc, or a part of one, is of Python ints and not traced.

  Args:
    arc: a pytree, e.g. a NamedTuple of tuples of ints, or of int32 arrays.
  """
  return all(isinstance(leaf, int) for leaf in jax.tree.leaves(arc))


def is_relaxed(arc: Any) -> bool:
  """Whether an arc, or a part of one, holds a relaxed choice.

  Args:
    arc: a pytree of Python ints, int32 arrays or float32 weights.
  """
  return any(
    jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    for leaf in jax.tree.leaves(arc)
  )


def switch(
  index: Index, branches: Sequence[Callable[..., Any]], *operands: Any
) -> Any:
  """`branches[index](*operands)`.

  Args:
    index: which of the K branches: a Python int, a traced [] int32, or a
      relaxed choice, [K] float32 weights over the branches or `Sampled`.
    branches: functions whose outputs are laid out alike; of a relaxed choice,
      float arrays.
    *operands: what the branch is given.

  Returns:
    What the branch returns; of a relaxed choice, the sum of what all of them
    return, each times its weight, with a gradient to the weights. Of `Sampled`
    what the one branch returns times its weight, plus the other weights: these
    are 0, and their gradient is the sum of what comes back, as in GDAS's code.

  Raises:
    IndexError: if a Python int is out of range.
  """
  if isinstance(index, int):
    # Python would take -1 for the last branch, `lax.switch` for the first.
    if not 0 <= index < len(branches):
      raise IndexError(f"branch {index} of {len(branches)}")
    return branches[index](*operands)
  if isinstance(index, Sampled):
    return _weighted_one(
      index, switch(index.chosen, branches, *operands), len(branches)
    )
  if jnp.ndim(index) == 1:
    return _weighted_sum(index, [branch(*operands) for branch in branches])
  if len(branches) == 1:
    return branches[0](*operands)
  return lax.switch(index, branches, *operands)


def _weighted_sum(weights: jax.Array, outputs: Sequence[Any]) -> Any:
  """The sum of pytrees of one layout, each times its weight."""
  chex.assert_shape(weights, (len(outputs),))
  chex.assert_type(weights, float)

  def add(*leaves: jax.Array) -> jax.Array:
    # A float32 weight would make float32 of a branch in bfloat16.
    parts = [
      weights[i].astype(leaf.dtype) * leaf for i, leaf in enumerate(leaves)
    ]
    return sum(parts[1:], start=parts[0])

  return jax.tree.map(add, *outputs)


def _weighted_one(choice: Sampled, output: Any, count: int) -> Any:
  """A branch's output times its weight, plus the weights of the others."""
  chex.assert_shape(choice.weights, (count,))
  scale, others = taken_and_others(choice)
  weigh = lambda leaf: (
    leaf * scale.astype(leaf.dtype) + others.astype(leaf.dtype)
  )
  return jax.tree.map(weigh, output)


def taken_and_others(choice: Sampled) -> tuple[jax.Array, jax.Array]:
  """The weight of the branch that is run, 1, and the sum of the others, 0.

  Args:
    choice: the sampled choice.

  Returns:
    [] float32 each, with the gradient of the weights.
  """
  index, weights = choice
  chex.assert_rank([index, weights], [0, 1])
  chex.assert_type([index, weights], [int, float])
  taken = jnp.arange(weights.shape[0]) == index
  scale = jnp.sum(jnp.where(taken, weights, 0.0))
  return scale, jnp.sum(jnp.where(taken, 0.0, weights))


def pick(index: Index, arrays: Sequence[jax.Array]) -> jax.Array:
  """`arrays[index]`, without stacking the arrays.

  A conditional, since a dynamic slice of a buffer that is written later makes
  XLA on CPU copy the whole buffer at each read.
  """
  branches = [lambda *a, i=i: a[i] for i in range(len(arrays))]
  return switch(index, branches, *arrays)


def activate(op: Index, x: jax.Array) -> jax.Array:
  """Applies tanh, ReLU, identity or sigmoid, by `spaces.recurrent.OPS`."""
  return switch(op, (jnp.tanh, jax.nn.relu, lambda v: v, jax.nn.sigmoid), x)


def activation_grad(op: Index, y: jax.Array) -> jax.Array:
  """The derivative of `activate` at the point where it returned `y`."""
  return switch(
    op,
    (
      lambda y: 1.0 - y * y,  # tanh
      lambda y: (y > 0).astype(y.dtype),  # 0 at 0, as `jax.nn.relu` has it
      jnp.ones_like,  # identity
      lambda y: y * (1.0 - y),  # sigmoid
    ),
    y,
  )
