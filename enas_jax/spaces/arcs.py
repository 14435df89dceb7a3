"""Architectures that a user names: files, token strings, the authors' own.

`NAMED` has the architectures that the paper draws (Figures 6 to 8) as the
authors' scripts write them, and the cell of `enas_lm`. The network of Figure 7
comes with the released meaning of a skip, the cell with the mean of all nodes.
"""

import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from enas_jax import types
from enas_jax.spaces import records
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.recurrent import arc as recurrent

_RANDOM = "random:"
# Tokens of a network, being mostly 0 and 1, are valid ones of a huge cell too.
_MOST_NODES = 15
_TOKENS = re.compile(r"[-\d\s,/]*\d[-\d\s,/]*")
# A cell as in a table of NAS-Bench-201.
_DIGITS = re.compile(r"[0-4]{6}")
_MODULES: Mapping[str, Any] = {
  "recurrent": recurrent,
  "macro": macro,
  "micro": micro,
  "nasbench201": nasbench201,
}
SPACES = tuple(_MODULES)

# melodyguan/enas, scripts/cifar10_macro_final.sh: a line a layer.
_MACRO_FINAL = """
  0
  3 0
  0 1 0
  2 0 0 1
  2 0 0 0 0
  3 1 1 0 1 0
  2 0 0 0 0 0 1
  2 0 1 1 0 1 1 1
  1 0 1 1 1 0 1 0 1
  0 0 0 0 0 0 0 0 0 0
  2 0 0 0 0 0 1 0 0 0 0
  0 1 0 0 1 1 0 0 0 0 1 1
  2 0 1 0 0 0 0 0 1 0 1 1 0
  1 0 0 1 0 0 0 1 1 1 0 1 0 1
  0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
  2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
  2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
  2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
  3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
  3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
  0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
  3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
  0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
  0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0
"""


class Named(NamedTuple):
  """An architecture with a name.

  Attributes:
    space: of `SPACES`.
    tokens: in the form of the released code.
    source: what it is, in words.
    options: of its network, which its authors meant: fields of the child's
      configuration.
  """

  space: str
  tokens: str
  source: str
  options: Mapping[str, Any] = {}


NAMED: Mapping[str, Named] = {
  "enas_rnn": Named(
    "recurrent",
    "0 0 0 1 1 2 1 2 0 2 0 5 1 1 0 6 1 8 1 8 1 8 1",
    "the cell of Figure 6, 12 nodes",
  ),
  "enas_rnn_lm": Named(
    "recurrent",
    "0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2",
    "the cell of enas_lm, 8 nodes after a tanh node",
    {"output": "all_nodes"},
  ),
  "enas_macro": Named(
    "macro",
    " ".join(_MACRO_FINAL.split()),
    "the network of Figure 7, 24 layers",
    {"main_input": "previous"},
  ),
  "enas_micro": Named(
    "micro",
    "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1"
    " 1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1",
    "the cells of Figure 8, 7 nodes",
  ),
}


class Loaded(NamedTuple):
  """An architecture with its space.

  Attributes:
    name: of the space, one of `SPACES`.
    space: the space object, as large as the architecture.
    arc: of Python ints.
    options: of its network, where these belong to it: of one with a name.
  """

  name: str
  space: Any
  arc: Any
  options: Mapping[str, Any] = {}


def load_arc(text: str, name: str | None = None, drawn: Any = None) -> Loaded:
  """Reads an architecture that a user has named.

  Args:
    text: a name of `NAMED`; a token string of the released code; an arc string
      of NAS-Bench-201, |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, or six digits;
      `random:SEED`; or the path of a run's `arc.json`.
    name: the space that it must be of; None takes what the text says, and of a
      token string the one space that it fits. It is not taken for a recurrent
      cell of more than 15 nodes.
    drawn: the space that `random:SEED` draws from uniformly.

  Raises:
    InputError: if it is none of these, or not valid.
  """
  text = text.strip()
  if name is not None and name not in SPACES:
    raise types.InputError(
      f"space must be one of {', '.join(SPACES)}, got {name!r}."
    )
  if text in NAMED:
    named = NAMED[text]
    found = _of_tokens(named.tokens, named.space)
    found = found._replace(options=named.options)
  elif text.startswith(_RANDOM):
    found = _random(text, name, drawn)
  elif text.startswith("|"):
    cells = nasbench201.NasBench201Space()
    found = Loaded("nasbench201", cells, cells.from_arc_str(text))
  elif _DIGITS.fullmatch(text):
    cells = nasbench201.NasBench201Space()
    found = Loaded("nasbench201", cells, cells.from_digits(text))
  elif _TOKENS.fullmatch(text):
    found = _of_tokens(text, name)
  else:
    found = _of_file(text)
  if name not in (None, found.name):
    raise types.InputError(
      f"the architecture {records.brief(text)!r} is of the {found.name} space,"
      f" not of the {name} space."
    )
  return found


def _random(text: str, name: str | None, drawn: Any) -> Loaded:
  seed = text.removeprefix(_RANDOM)
  # JAX's seeds have 32 bits; a longer one would be cut off without a word.
  if not re.fullmatch(r"[0-9]{1,10}", seed) or int(seed) >= 2**32:
    raise types.InputError(
      f"random:SEED needs an integer in [0, 2^32) as seed, got {seed!r}."
    )
  if name is None or drawn is None:
    raise types.InputError(
      f"random:SEED needs a space; give one of {', '.join(SPACES)}."
    )
  arcs = drawn.sample_uniform(jax.random.key(int(seed)), 1)
  first = jax.tree.map(lambda leaf: jax.device_get(leaf)[0], arcs)
  return Loaded(name, drawn, drawn.validate(first))


def _of_file(text: str) -> Loaded:
  path = pathlib.Path(text).expanduser()
  try:
    content = path.read_text()
  except FileNotFoundError:
    raise types.InputError(
      f"no architecture {records.brief(text)!r}: it is no file, no token"
      f" string, not random:SEED, and none of {', '.join(NAMED)}."
    ) from None
  except (OSError, ValueError) as error:
    why = getattr(error, "strerror", None) or error
    raise types.InputError(
      f"the architecture's file {records.brief(text)} cannot be read: {why}."
    ) from None
  try:
    return of_record(records.loads(content))
  except types.InputError as error:
    raise types.InputError(f"{records.brief(text)}: {error}") from None


def of_record(record: Mapping[str, Any]) -> Loaded:
  """Reads what a space's `to_dict` wrote, of whichever space.

  Raises:
    InputError: if it is not a valid architecture.
  """
  name = record.get("space")
  if not isinstance(name, str) or name not in SPACES:
    raise types.InputError(
      f'"space" must be one of {", ".join(SPACES)}, got {records.brief(name)}.'
    )
  return Loaded(name, *_MODULES[name].from_dict(record))


def _of_tokens(text: str, name: str | None) -> Loaded:
  """Reads tokens of one space, or of whichever space they fit."""
  tokens = records.parse_tokens(text.replace("/", " "))
  if name is not None:
    space = _space_of(name, len(tokens))
    return Loaded(name, space, space.from_tokens(text))
  fits = []
  for other in SPACES:
    space = _space_of(other, len(tokens))
    if other == "recurrent" and space.num_nodes > _MOST_NODES:
      continue
    try:
      fits.append(Loaded(other, space, space.from_tokens(text)))
    except types.InputError:
      continue
  if len(fits) == 1:
    return fits[0]
  names = ", ".join(found.name for found in fits)
  raise types.InputError(
    f"these {len(tokens)} tokens are an architecture of"
    f" {f'several spaces ({names})' if fits else 'no space'}; give the space"
    f" {'that is meant' if fits else 'to learn what is wrong'}:"
    f" {records.brief(text)!r}."
  )


def _space_of(name: str, count: int) -> Any:
  """The space whose architectures have so many tokens."""
  if name == "recurrent":
    # Without a first operation to sample, tokens come in pairs.
    first = "sampled" if count % 2 else "tanh"
    return recurrent.RecurrentSpace((count + 1) // 2, first)
  if name == "macro":
    # L(L + 1)/2 tokens; of another count the error is the space's own.
    return macro.MacroSpace(max(1, (math.isqrt(8 * count + 1) - 1) // 2))
  if name == "nasbench201":
    return nasbench201.NasBench201Space()
  rows = max(1, round(count / 8))  # four tokens a node, two cells
  return micro.MicroSpace(rows + micro.NUM_INPUTS)
