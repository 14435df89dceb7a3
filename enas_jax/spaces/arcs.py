"""Architectures that a user names: files, token strings, the authors' own."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from enas_jax import files, types
from enas_jax.config import fields
from enas_jax.spaces import base, records, registry

_RANDOM = "random:"
# Looser than `records.parse_tokens`: what is nearly a string of tokens is then
# told as one, and not as a file that is missing.
_TOKENS = re.compile(r"[-0-9\s,/]*[0-9][-0-9\s,/]*")


class Architecture(NamedTuple):
  """An architecture with its space.

  Attributes:
    name: the name of the space.
    space: the space itself.
    arc: the architecture, of Python ints.
    options: fields of the space's options that come with it.
  """

  name: str
  space: Any
  arc: types.Arc
  options: Mapping[str, Any] = {}


def load_arc(
  text: str, name: str | None = None, drawn: Any = None
) -> Architecture:
  """Reads an architecture that a user has named.

  Args:
    text: a name of `registry.named()`; a token string of the released code; a
      notation of one space, such as the arc string of NAS-Bench-201;
      `random:SEED`; or the path of a run's `arc.json`.
    name: the space that it must be of; None takes what the text says, and of a
      token string the one space that it fits. It is not taken for a recurrent
      cell of more than 15 nodes.
    drawn: the space that `random:SEED` draws from uniformly.

  Raises:
    InputError: if it is none of these, or not valid.
  """
  text = text.strip()
  if name is not None:
    fields.check_one_of("space", name, registry.names())
  architecture = _read(text, name, drawn)
  # A name or a file says its own space, whichever was asked for.
  if name not in (None, architecture.name):
    raise types.InputError(
      f"the architecture {records.brief(text)!r} is of the"
      f" {architecture.name} space, not of the {name} space."
    )
  return architecture


def cut(loaded: Architecture, space: base.Space) -> Architecture:
  """The first nodes or layers of an architecture, as many as a space has.

  Args:
    loaded: the architecture.
    space: a space whose decisions are some of the architecture's.

  Returns:
    The part, in that space; the whole if the space decides something else.
  """
  places: dict[base.Decision, list[int]] = {}
  place = 0
  for decision in loaded.space.decisions():
    # A list: the two inputs of a node in the micro space are equal decisions.
    places.setdefault(decision, []).append(place)
    place += decision.width
  kept: list[int] = []
  for decision in space.decisions():
    if not places.get(decision):
      return loaded
    first = places[decision].pop(0)
    kept += range(first, first + decision.width)
  choices = loaded.space.to_choices(loaded.arc)[np.array(kept)]
  arc = space.validate(jax.device_get(space.from_choices(choices)))
  return loaded._replace(space=space, arc=arc)


def _read(text: str, name: str | None, drawn: Any) -> Architecture:
  named = registry.named()
  if text in named:
    definition, value = named[text]
    architecture = _of_tokens(value.tokens, definition.name)
    return architecture._replace(options=value.options)
  if text.startswith(_RANDOM):
    return _random(text, name, drawn)
  # Before tokens: six digits of a table are a single token, too.
  for other in registry.names():
    read = registry.get(other).read(text)
    if read is not None:
      return Architecture(other, *read)
  if _TOKENS.fullmatch(text):
    return _of_tokens(text, name)
  return _of_file(text)


def _random(text: str, name: str | None, drawn: Any) -> Architecture:
  seed = text.removeprefix(_RANDOM)
  # JAX's seeds have 32 bits; a longer one would be cut off without a word.
  if not re.fullmatch(r"[0-9]{1,10}", seed) or int(seed) >= 2**32:
    raise types.InputError(
      f"random:SEED needs an integer in [0, 2^32) as seed, got {seed!r}."
    )
  if name is None or drawn is None:
    raise types.InputError(
      f"random:SEED needs a space; give one of {', '.join(registry.names())}."
    )
  arcs = drawn.sample_uniform(jax.random.key(int(seed)), 1)
  first = jax.tree.map(lambda leaf: jax.device_get(leaf)[0], arcs)
  return Architecture(name, drawn, drawn.validate(first))


def _of_file(text: str) -> Architecture:
  path = files.expand(text)
  if not files.exists(path):
    raise types.InputError(
      f"no architecture {records.brief(text)!r}: it is no file, no token"
      f" string, not random:SEED, and none of {', '.join(registry.named())}."
    )
  content = files.read_text(path, files.MOST_JSON)
  try:
    return of_record(records.loads(content))
  except types.InputError as error:
    raise types.InputError(f"{records.brief(text)}: {error}") from None


def of_record(record: Mapping[str, Any]) -> Architecture:
  """Reads what a space's `to_dict` wrote, of whichever space.

  Raises:
    InputError: if it is not a valid architecture.
  """
  name, names = record.get("space"), registry.names()
  if not isinstance(name, str) or name not in names:
    raise types.InputError(
      f'"space" must be one of {", ".join(names)}, got {records.brief(name)}.'
    )
  return Architecture(name, *registry.get(name).of_record(record))


def _of_tokens(text: str, name: str | None) -> Architecture:
  """Reads tokens of one space, or of whichever space they fit."""
  # A slash may stand between the two cells of the micro space.
  count = len(records.parse_tokens(text.replace("/", " ")))
  if name is not None:
    space = registry.get(name).of_count(count)
    return Architecture(name, space, space.from_tokens(text))
  fits = []
  for definition in map(registry.get, registry.names()):
    if definition.most_tokens and count > definition.most_tokens:
      continue
    try:
      # `of_count` raises as well: cells of the 2,080 tokens of 64 layers would
      # have more nodes than any space has.
      space = definition.of_count(count)
      arc = space.from_tokens(text)
    except types.InputError:
      continue
    fits.append(Architecture(definition.name, space, arc))
  if len(fits) == 1:
    return fits[0]
  names = ", ".join(architecture.name for architecture in fits)
  raise types.InputError(
    f"these {count} tokens are an architecture of"
    f" {f'several spaces ({names})' if fits else 'no space'}; give the space"
    f" {'that is meant' if fits else 'to learn what is wrong'}:"
    f" {records.brief(text)!r}."
  )
