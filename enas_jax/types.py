"""Aliases, batches and the legend of dimensions that docstrings use.

| letter | dimension |
|---|---|
| `B` | batch; in the micro space also the nodes of a cell, as in the paper |
| `T` | time steps of a window |
| `D` | hidden units |
| `V` | words of the vocabulary |
| `H`, `W` | height and width of images, in pixels |
| `C` | channels of images; of a vector of decisions, choices of one arc |
| `F` | filters: channels that a convolution returns |
| `k` | height and width of a convolution's kernel |
| `N` | nodes of a cell; candidates that a macro layer may take |
| `E` | edges, pairs of nodes j < l |
| `K` | operations to choose from |
| `L` | layers |
| `S` | sampled architectures |
| `n` | examples of a data set: images, or words of a text |
| `...` | any dimensions, also none |

Recurrent code is time-major, [T, B, D]; images are [B, H, W, C]; [] is a
scalar. A lower-case `b` or `t` in an exported model is a size that each call
chooses.

Names follow the paper: `omega` are the shared weights of the children,
`theta` those of the controller, an `arc` is one architecture (the paper's m).
Wherever an argument is named `key` it is a typed JAX key that the callee
consumes: the caller does not use it again.
"""

from typing import Any, NamedTuple

import jax

Array = jax.Array  # on the device, or traced; on the host it is an np.ndarray
PRNGKey = jax.Array  # [] typed key, of `jax.random.key`
# The type checker sees `Any` below: a pytree's type is what its owner makes it.
Omega = Any  # dict pytree of float32 arrays: the shared weights
Theta = Any  # dict pytree of float32 arrays: the controller's weights
Arc = Any  # NamedTuple of `Indices`, or of such NamedTuples
# An array of int32 in search; nested tuples of Python ints for a fixed child;
# what may become these until the space's `validate` has seen it.
Indices = Any
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
    fresh: [] bool, whether the text begins here, with a state of zeros; None:
      the state is whatever it was.
  """

  inputs: Array
  targets: Array
  length: Array | None = None
  fresh: Array | None = None


class ImageBatch(NamedTuple):
  """Images with their classes.

  Attributes:
    images: [B, H, W, C] float32, standardised.
    labels: [B] int32, the class of each of `images`.
  """

  images: Array
  labels: Array
