"""The common language of spaces and strategies: a list of decisions."""

import collections
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.config import fields
from enas_jax.nn import ops
from enas_jax.spaces import base

SKIP = ("left out", "taken")  # what a skip may be


def balance_ops(
  space: base.Space,
  arcs: types.Arc,
  key: types.PRNGKey,
  first: types.Array,
) -> types.Arc:
  """Exchanges the operations of arcs so that each occurs equally often.

  Arcs are numbered through a whole run. Of those numbered n * i to n * i + n -
  1, where n is how many operations there are, each takes a different one at
  every decision: a permutation for each i and decision (strict fairness, Chu et
  al., FairNAS, 2021). Each arc alone keeps its distribution.

  Args:
    space: the search space.
    arcs: leaves [S, ...] int32, from `space.sample_uniform`.
    key: a typed key, the same for the whole run and used for nothing else.
    first: [] int32, the number of the first arc.

  Returns:
    Arcs, leaves [S, ...] int32, with indices and skips as they were.
  """
  chex.assert_rank(first, 0)
  choices = space.to_choices(arcs)
  numbers = first + jnp.arange(choices.shape[0], dtype=jnp.int32)
  for size, where in _op_places(space).items():

    def op_of(
      number: types.Array, place: jax.typing.ArrayLike, size: int = size
    ) -> types.Array:
      key_group = jax.random.fold_in(key, number // size)
      order = jax.random.permutation(jax.random.fold_in(key_group, place), size)
      # The numbers of one group read each place of one permutation once.
      return order[number % size]

    # Not over arcs but over numbers: no branch of a network is chosen here.
    ops_of_arc = jax.vmap(op_of, in_axes=(None, 0))
    ops = jax.vmap(ops_of_arc, in_axes=(0, None))(numbers, where)
    choices = choices.at[:, where].set(ops.astype(choices.dtype))
  return space.from_choices(choices)


def sample_weighed(
  space: base.Space,
  key: types.PRNGKey,
  num_arcs: int,
  weights: tuple[float, ...],
) -> types.Arc:
  """Draws uniform arcs, but some operations more often than others.

  Args:
    space: the search space.
    key: consumed; split here once: one half for the uniform arcs, which a
      space may split again, the other for the operations.
    num_arcs: how many arcs to draw, S.
    weights: how often each operation is drawn, in proportion; there are
      decisions between as many.

  Returns:
    Arcs, leaves [S, ...] int32. What is decided between another number of
    operations stays uniform, and so do indices, skips and other vocabularies.
  """
  # Not `fold_in` beside the space's own `split`: fold_in(key, i) is
  # split(key)[i], so operations would be drawn with the key of the skips.
  key_arcs, key_ops = jax.random.split(key)
  choices = space.to_choices(space.sample_uniform(key_arcs, num_arcs))
  # All above 0 (`fields.settle_numbers`); their sum need not be 1.
  log_weights = jnp.log(jnp.asarray(weights, jnp.float32))
  # `check_weights` has seen to it that there are decisions between so many.
  where = _op_places(space, (base.OPERATIONS,))[len(weights)]
  ops = jax.random.categorical(
    key_ops, log_weights, shape=(num_arcs, len(where))
  )
  return space.from_choices(choices.at[:, where].set(ops.astype(choices.dtype)))


def check_weights(
  space: base.Space, weights: Sequence[float], name: str
) -> None:
  """Raises InputError unless `sample_weighed` can use the weights, or none."""
  if not weights:
    return
  # 0 of a space that decides about no operation: no weights fit it.
  count = max(_op_places(space, (base.OPERATIONS,)), default=0)
  fields.check(
    len(weights) == count,
    name,
    f"{count} {fields.NUMBERS}, one for each operation of the space",
    tuple(weights),
  )


def _op_places(
  space: base.Space, vocabularies: Collection[str] = ()
) -> dict[int, np.ndarray]:
  """Where operations are in the flat choices, by how many there are.

  Args:
    space: the search space.
    vocabularies: those that count; empty: all.
  """
  places: dict[int, list[int]] = {}
  place = 0
  for decision in space.decisions():
    known = not vocabularies or decision.vocabulary in vocabularies
    if decision.kind == "op" and known:
      places.setdefault(decision.num_choices, []).append(place)
    place += decision.width
  return {size: np.array(at, np.int32) for size, at in places.items()}


def num_alternatives(decisions: Sequence[base.Decision]) -> np.ndarray:
  """[C] int32: how many values each entry of the choices may take."""
  sizes: list[int] = []
  for decision in decisions:
    skips = decision.kind == "skips"
    sizes += [2 if skips else decision.num_choices] * decision.width
  return np.asarray(sizes, np.int32)


def relax(
  space: base.Space, weights: Sequence[ops.Sampled | types.Array]
) -> types.Arc:
  """A relaxed arc: weights over alternatives in the place of choices.

  Args:
    space: the search space, whose `from_choices` does no more than put choices
      in their places.
    weights: one for each of the C choices: [K] float32 over its K alternatives,
      or `ops.Sampled`. Of a skip, K is 2: to leave it out, and to take it.

  Returns:
    An arc laid out as `space.validate` returns it, each choice replaced by its
    weights, of a skip by that of taking it, [] float32. What nobody decides is
    the Python int 0.

  Raises:
    AssertionError: if a choice has weights of another shape or type (at trace
      time).
  """
  kinds = [d.kind for d in space.decisions() for _ in range(d.width)]
  sizes = num_alternatives(space.decisions())
  entries: list[Any] = [0]
  for kind, size, choice in zip(kinds, sizes, weights, strict=True):
    row = choice.weights if isinstance(choice, ops.Sampled) else choice
    chex.assert_shape(row, (int(size),))
    chex.assert_type(row, float)
    # A bit is a factor: there is no branch that a sample could leave out.
    entries.append(row[1] if kind == "skips" else choice)
  # A strategy relaxes inside `jit`, where the places must be numbers all the
  # same.
  with jax.ensure_compile_time_eval():
    # Each choice's number, from 1; 0 stays where nobody decides.
    places = space.from_choices(jnp.arange(1, len(entries), dtype=jnp.int32))
    places = jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), places)

  def fill(place: Any) -> Any:
    if hasattr(place, "_fields"):
      return type(place)(*map(fill, place))
    # Tuples, as `space.validate` returns them.
    if isinstance(place, list):
      return tuple(map(fill, place))
    return entries[place]

  return fill(places)


def no_mixtures(space: base.Space) -> types.InputError:
  """The error of a space whose network cannot run a relaxed arc."""
  return types.InputError(
    f"the network of the {space.name} space cannot run a mixture of"
    " architectures; choose a --policy that samples them one by one."
  )


def labels(decisions: Sequence[base.Decision]) -> list[str]:
  """What each of the C choices is about, in few characters, all different.

  Nodes are counted from 1, and so are cells where there are several, and the
  second of two alike decisions about a node.
  """
  cells = {decision.cell for decision in decisions}
  names: list[str] = []
  for decision in decisions:
    place = f"{decision.node + 1}"
    if len(cells) > 1:
      place = f"{decision.cell + 1}.{place}"
    if decision.kind == "skips":
      numbers = range(1, decision.num_choices + 1)
      names += [f"skip {other}-{place}" for other in numbers]
    elif decision.kind == "op":
      names.append(f"{decision.vocabulary} {place}")
    else:
      names.append(f"{decision.kind} {place}")
  seen = collections.Counter[str]()
  for index, name in enumerate(names):
    seen[name] += 1
    if seen[name] > 1:
      names[index] = f"{name} ({seen[name]})"
  return names


def one_hot(space: base.Space, arc: types.Arc) -> types.Array:
  """Which alternative each choice is, one after another.

  Args:
    space: the search space.
    arc: an architecture, of arrays [...].

  Returns:
    [F] float32 of zeros and ones, F the alternatives of all choices.
  """
  choices = space.to_choices(arc)
  chex.assert_rank(choices, 1)
  sizes = num_alternatives(space.decisions())
  columns = [
    jax.nn.one_hot(choice, int(size), dtype=jnp.float32)
    for choice, size in zip(choices, sizes, strict=True)
  ]
  return jnp.concatenate(columns)


def frequencies(space: base.Space, arcs: types.Arc) -> list[list[float]]:
  """How often each alternative of each choice occurs.

  Args:
    space: the search space.
    arcs: architectures, leaves [S, ...] int32.

  Returns:
    For each of the C choices the share of the S architectures that have each
    of its alternatives; of a skip: that leave it out, and that take it.
  """
  # [S, C]
  choices = np.asarray(space.to_choices(arcs))
  chex.assert_rank(choices, 2)
  sizes = num_alternatives(space.decisions())
  return [
    (np.bincount(column, minlength=size) / len(column)).tolist()
    for column, size in zip(choices.T, sizes, strict=True)
  ]


def alternatives(
  space: base.Space, vocabularies: Mapping[str, Sequence[str]]
) -> list[tuple[str, tuple[str, ...]]]:
  """What each choice is called, and its alternatives.

  Args:
    space: the search space.
    vocabularies: `Definition.vocabularies`.

  Returns:
    For each of the C choices its label and the names of its alternatives, in
    the order of `frequencies`: words where the space has them, `SKIP`, or else
    their numbers.
  """
  known = space.decisions()
  kinds = [one for one in known for _ in range(one.width)]
  names = []
  for label, decision in zip(labels(known), kinds, strict=True):
    size = decision.num_choices
    words = tuple(vocabularies.get(decision.vocabulary, ()))[:size]
    if decision.kind == "skips":
      words = SKIP
    elif decision.kind != "op" or len(words) < size:
      words = tuple(map(str, range(size)))
    names.append((label, words))
  return names


def as_arrays(arc: types.Arc) -> types.Arc:
  """An architecture to be traced and not compiled in.

  Only NamedTuples are structure. A plain tuple, also a tuple of tuples as
  `validate` returns for a table, is one leaf.

  Args:
    arc: an architecture of Python ints, or of arrays.

  Returns:
    The same with leaves [...] int32.
  """
  if hasattr(arc, "_fields"):
    return type(arc)(*(as_arrays(field) for field in arc))
  return jnp.asarray(arc, jnp.int32)


def nth(arcs: types.Arc, index: int) -> types.Arc:
  """One arc out of arcs with leaves [S, ...]."""
  return jax.tree.map(lambda leaf: leaf[index], arcs)
