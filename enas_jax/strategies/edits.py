"""Single edits of an architecture: one of its choices takes another value.

The neighbourhood of an architecture is all that one edit makes of it. An entry
of the choices with n alternatives has n - 1 edits; of a decision of kind
"skips" an edit flips one bit. Every edit of a valid architecture is valid, as
the alternatives of a choice do not depend on other choices.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types


def mutate(
  choices: types.Array, key: types.PRNGKey, sizes: np.ndarray
) -> types.Array:
  """Makes one edit: all entries alike, then all other values of it alike.

  Args:
    choices: [C] int32, one architecture.
    key: draws the edit.
    sizes: [C] int, values that each entry may take
      (`spaces.decisions.num_alternatives`). An entry with one is never drawn.

  Returns:
    [C] int32, another architecture.
  """
  chex.assert_rank(choices, 1)
  key_entry, key_value = jax.random.split(key)
  # Known while tracing, so the draw needs no second try.
  free = np.flatnonzero(sizes > 1)
  entry = jax.random.choice(key_entry, jnp.asarray(free))
  size = jnp.asarray(sizes)[entry]
  turn = jax.random.randint(key_value, (), 1, size)
  return _turn(choices, entry, turn, size)


def count(sizes: np.ndarray) -> int:
  """How many edits there are of an architecture, E.

  Args:
    sizes: [C] int, values that each entry of the choices may take.
  """
  return int(np.sum(sizes - 1))


def apply(
  choices: types.Array, number: types.Array, sizes: np.ndarray
) -> types.Array:
  """Makes the edit of a given number.

  Args:
    choices: [C] int32, one architecture.
    number: [] int32, in [0, E); JAX clamps others. Different numbers make
      different architectures.
    sizes: [C] int, values that each entry may take.

  Returns:
    [C] int32, another architecture.
  """
  chex.assert_rank([choices, number], [1, 0])
  # [E] each, on the host: which entry the edit is of, and how far it turns.
  entries = np.repeat(np.arange(len(sizes)), sizes - 1)
  turns = np.concatenate([np.arange(1, size) for size in sizes])
  entry = jnp.asarray(entries, jnp.int32)[number]
  turn = jnp.asarray(turns, jnp.int32)[number]
  return _turn(choices, entry, turn, jnp.asarray(sizes)[entry])


def _turn(
  choices: types.Array,
  entry: types.Array,
  turn: types.Array,
  size: types.Array,
) -> types.Array:
  # Adding less than a whole turn reaches every other value, and never itself.
  return choices.at[entry].set((choices[entry] + turn) % size)
