"""Operations by index, chosen at trace time or at run time.

A Python int picks its branch while tracing, so a fixed child compiles to a
plain network; a traced index becomes `lax.switch`, so one compilation serves
every architecture. Indices are not checked when traced (`lax.switch` clamps):
arcs are validated on the host, by their space.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Index = int | jax.Array


def is_static(arc: Any) -> bool:
  """Whether an arc, or a part of one, is of Python ints and not traced.

  Args:
    arc: a pytree, e.g. a NamedTuple of tuples of ints, or of int32 arrays.
  """
  return all(isinstance(leaf, int) for leaf in jax.tree.leaves(arc))


def switch(
  index: Index, branches: Sequence[Callable[..., Any]], *operands: Any
) -> Any:
  """`branches[index](*operands)`.

  Raises:
    IndexError: if a Python int is out of range.
  """
  if isinstance(index, int):
    if not 0 <= index < len(branches):
      raise IndexError(f"branch {index} of {len(branches)}")
    return branches[index](*operands)
  if len(branches) == 1:
    return branches[0](*operands)
  return lax.switch(index, branches, *operands)


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
      lambda y: 1.0 - y * y,
      lambda y: (y > 0).astype(y.dtype),
      jnp.ones_like,
      lambda y: y * (1.0 - y),
    ),
    y,
  )
