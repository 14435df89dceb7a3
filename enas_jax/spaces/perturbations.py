"""Changes of an architecture that any space can make (Sections 3.1 and 3.2).

The paper holds that what ENAS finds is a local optimum: changes of it make it
worse. How many nodes or connections were changed it does not say. A space says
which share of them its own changes concern.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.spaces import base, decisions


def perturb(
  space: base.Space,
  arc: types.Arc,
  perturbation: base.Perturbation,
  rng: np.random.Generator,
) -> types.Arc:
  """The changed architecture, of Python ints; the same if nothing can change.

  Args:
    space: the architecture's space.
    arc: the architecture, of Python ints.
    perturbation: the change.
    rng: the source of chance.

  Raises:
    InputError: if what comes out is not valid in the space.
  """
  # [C]
  choices = np.array(space.to_choices(arc))
  changed = perturbation.change(space, choices, rng)
  return space.validate(
    jax.device_get(space.from_choices(jnp.asarray(changed)))
  )


def change_ops(
  to: Mapping[int, Sequence[int]], share: float = 1.0
) -> base.Change:
  """Operations become others.

  Args:
    to: by operation, those of which it becomes one, all alike; an operation
      that is not among the keys stays.
    share: the share of the places with such an operation that change, at least
      one place.
  """

  def change(
    space: base.Space, choices: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    changed = choices.copy()
    able = np.flatnonzero(operations(space) & np.isin(choices, list(to)))
    for place in _some(able, share, rng):
      changed[place] = rng.choice(to[int(choices[place])])
    return changed

  return change


def change_connections(kind: str, share: float) -> base.Change:
  """Some connections lead elsewhere, or are made or cut.

  Args:
    kind: the kind of `Decision` that connects: "index" or "skips".
    share: the share of them that change, at least one; each takes another
      value, all other values alike.
  """

  def change(
    space: base.Space, choices: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    sizes = decisions.num_alternatives(space.decisions())
    changed = choices.copy()
    # A node with one node before it has no other to read.
    able = np.flatnonzero((kinds(space) == kind) & (sizes > 1))
    for place in _some(able, share, rng):
      # Less than a whole turn reaches every other value, and never itself.
      turn = rng.integers(1, sizes[place])
      changed[place] = (choices[place] + turn) % sizes[place]
    return changed

  return change


def operations(space: base.Space) -> np.ndarray:
  """[C] bool: which choices are between operations."""
  # A kind and a vocabulary of one name: decisions of another vocabulary, such
  # as widths, are of that kind and about no operation.
  decided = [
    [d.kind == d.vocabulary == base.OPERATIONS] * d.width
    for d in space.decisions()
  ]
  return np.concatenate(decided)


def kinds(space: base.Space) -> np.ndarray:
  """[C] text: the kind of decision that each entry of choices is of."""
  return np.array(
    [d.kind for d in space.decisions() for _ in range(d.width)], dtype=str
  )


def _some(
  places: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
  """A share of places, different ones; none of none, else at least one."""
  if not len(places):
    return places
  count = max(1, round(share * len(places)))
  return rng.choice(places, size=count, replace=False)
