"""Aliases, batches and the legend of dimensions that docstrings use.

Dimensions: `B` batch, `T` time, `D` hidden units, `V` vocabulary, `N` nodes,
`E` edges (pairs of nodes j < l), `K` operations, `S` sampled architectures,
`C` choices of one architecture (its decisions as one vector). Recurrent code
is time-major, `[T, B, D]`.

Names follow the paper: `omega` are the shared weights of the children,
`theta` those of the controller, an `arc` is one architecture (the paper's m).
Wherever an argument is named `key` it is a typed JAX key that the callee
consumes: the caller does not use it again.
"""

from typing import Any, NamedTuple

import jax

Array = jax.Array
PRNGKey = jax.Array
Omega = Any  # dict pytree of float32 arrays: the shared weights
Theta = Any  # dict pytree of float32 arrays: the controller's weights
Arc = Any  # NamedTuple of int32 arrays, or of Python ints for a fixed child
Statistics = Any  # dict pytree of the batch norms' moving statistics, or {}
Carry = Any  # what one omega step hands to the next: hidden state, or ()


class InputError(ValueError):
  """Something the user gave is wrong; its message is one line that says how.

  The command line prints it after `error:` and exits with status 2.
  """


class TextBatch(NamedTuple):
  """A window of text.

  Attributes:
    inputs: [T, B] int32, token ids.
    targets: [T, B] int32, the token that follows each of `inputs`.
    length: [] int32, how many of the T steps count; None: all.
  """

  inputs: Array
  targets: Array
  length: Array | None = None


class ImageBatch(NamedTuple):
  """Images with their classes.

  Attributes:
    images: [B, H, W, C] float32, standardised.
    labels: [B] int32, the class of each of `images`.
  """

  images: Array
  labels: Array
