"""The space of entire convolutional networks (Section 2.3).

A network has L layers. Each has one of six operations and any set of earlier
nodes as skip connections. Code counts layers and nodes from 0; text for
people counts from 1, as the paper does.

What "node i" of a skip is, the supergraph says, not the arc. In the paper it
is layer i, and the layer reads nothing but the nodes taken. In the released
code it is entry i of a list that begins with the stem, so node 0 is the stem
and node i is layer i - 1, and every layer reads the layer before it whatever
its skips are. Both have l candidates for layer l.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import ops as ops_lib
from enas_jax.spaces import base, decisions, records

OPS = (
  "conv_3x3",
  "conv_5x5",
  "sep_conv_3x3",
  "sep_conv_5x5",
  "max_pool_3x3",
  "avg_pool_3x3",
)
# The released code's numbering of them, in tokens and in its weights.
RELEASED_OPS = (
  "conv_3x3",
  "sep_conv_3x3",
  "conv_5x5",
  "sep_conv_5x5",
  "avg_pool_3x3",
  "max_pool_3x3",
)


class MacroArc(NamedTuple):
  """One network.

  Leaves are arrays in search, where one compilation serves every arc, or
  tuples of Python ints for a fixed child (see `MacroSpace.validate`).

  Attributes:
    ops: [L] int32, index into `OPS`.
    skips: [L, L] int32, 1 where layer l (the row) takes node i < l (the
      column), else 0; so zero on and above the diagonal.
  """

  ops: types.Indices
  skips: types.Indices


@dataclasses.dataclass(frozen=True)
class MacroSpace:
  """All networks of `num_layers` layers.

  Attributes:
    num_layers: L; the stem and the classifier are not counted.
    skip_prob: the probability of each skip connection in `sample_uniform`. At
      0.5 all arcs are equally likely; Section 3.3's random networks have 0.4,
      the prior that the controller is drawn to.
  """

  name: ClassVar[str] = "macro"

  num_layers: int
  # Not compared: however arcs are drawn, the space they belong to is the same.
  skip_prob: float = dataclasses.field(default=0.5, compare=False)

  def __post_init__(self) -> None:
    if not 0.0 <= self.skip_prob <= 1.0:
      raise types.InputError(
        f"skip_prob must be in [0, 1], got {self.skip_prob}."
      )
    records.check_size("num_layers", self.num_layers)
    if self.num_layers < 1:
      raise types.InputError(
        f"num_layers must be at least 1, got {self.num_layers}."
      )

  def decisions(self) -> tuple[base.Decision, ...]:
    """What the controller decides, layer by layer: operation, then skips.

    Layer 0 has no earlier node, so no skips.
    """
    steps = []
    for layer in range(self.num_layers):
      steps.append(base.Decision("op", layer, len(OPS)))
      if layer > 0:
        steps.append(base.Decision("skips", layer, num_choices=layer))
    return tuple(steps)

  def from_choices(self, choices: jax.Array) -> MacroArc:
    """Reads an arc off the controller's choices.

    Args:
      choices: [..., L(L+1)/2] int32, in the order of `decisions()`.

    Returns:
      An arc whose leaves are [..., L] and [..., L, L] int32.
    """
    choices = choices.astype(jnp.int32)
    at_ops, at_skips, lower = self._layout()
    chex.assert_axis_dimension(choices, -1, len(at_ops) + len(at_skips))
    square = (*choices.shape[:-1], self.num_layers, self.num_layers)
    skips = jnp.zeros(square, jnp.int32)
    return MacroArc(
      ops=choices[..., at_ops],
      skips=skips.at[..., *lower].set(choices[..., at_skips]),
    )

  def to_choices(self, arc: MacroArc) -> jax.Array:
    """The inverse of `from_choices`.

    Args:
      arc: leaves [..., L] and [..., L, L] int32, or a fixed arc of this space.

    Returns:
      [..., L(L+1)/2] int32.
    """
    ops = jnp.asarray(arc.ops, jnp.int32)
    skips = jnp.asarray(arc.skips, jnp.int32)
    chex.assert_shape(skips, (*ops.shape, self.num_layers))
    at_ops, at_skips, lower = self._layout()
    flat = jnp.zeros((*ops.shape[:-1], len(at_ops) + len(at_skips)), jnp.int32)
    flat = flat.at[..., at_ops].set(ops)
    return flat.at[..., at_skips].set(skips[..., *lower])

  def relax(self, weights: Sequence[ops_lib.Sampled | jax.Array]) -> MacroArc:
    """A mixture of architectures.

    Args:
      weights: for each choice [K] float32, or `ops.Sampled`; see
        `decisions.relax`.
    """
    return decisions.relax(self, weights)

  def sample_uniform(self, key: types.PRNGKey, num_arcs: int) -> MacroArc:
    """Samples arcs: operations uniformly, each skip with `skip_prob`.

    Args:
      key: PRNG key of the draw.
      num_arcs: S, static.

    Returns:
      An arc whose leaves are [S, L] and [S, L, L] int32.
    """
    key_ops, key_skips = jax.random.split(key)
    size = self.num_layers
    square = (num_arcs, size, size)
    ops = jax.random.randint(key_ops, (num_arcs, size), 0, len(OPS), jnp.int32)
    # Bits above the diagonal are drawn and dropped: one shape, no loop.
    taken = jax.random.bernoulli(key_skips, self.skip_prob, square)
    return MacroArc(ops, jnp.tril(taken.astype(jnp.int32), k=-1))

  def validate(self, arc: MacroArc) -> MacroArc:
    """Checks an arc on the host and returns it as Python ints.

    JAX clamps indices that are out of range without a word, so every arc that
    comes from outside passes here.

    Args:
      arc: leaves [L] and [L, L], arrays or nested sequences of integers.

    Raises:
      InputError: naming the entry, the rule and the value found.
    """
    size = self.num_layers
    where = f"(MacroSpace, num_layers={size})."
    ops = records.int_row("ops", arc.ops, size, where)
    skips = records.int_table("skips", arc.skips, (size, size), where)
    for layer, op in enumerate(ops):
      records.check_range(f"ops[{layer}]", op, len(OPS), where)
    # Bits that no layer reads must be 0: otherwise one network would be many
    # arcs, which no set or dictionary of arcs would take for the same.
    for layer, row in enumerate(skips):
      for node, bit in enumerate(row):
        _check_skip(layer, node, bit, where)
    return MacroArc(ops, skips)

  def size(self) -> int:
    """The number of arcs: 6^L 2^(L(L-1)/2), 1.6e29 for L = 12."""
    # Python's integers: the count does not fit 64 bits.
    pairs = self.num_layers * (self.num_layers - 1) // 2
    return len(OPS) ** self.num_layers * 2**pairs

  def printed_size(self) -> int:
    """What Section 2.3 prints, which is the count."""
    return self.size()

  def to_tokens(self, arc: MacroArc) -> str:
    """The released code's token string: each layer's operation, then skips.

    Operations are numbered as in `RELEASED_OPS`.
    """
    arc = self.validate(arc)
    tokens: list[int] = []
    for layer, (op, row) in enumerate(zip(arc.ops, arc.skips, strict=True)):
      # The rest of the row is zeros by `validate`.
      tokens += [RELEASED_OPS.index(OPS[op]), *row[:layer]]
    return " ".join(str(t) for t in tokens)

  def from_tokens(self, text: str) -> MacroArc:
    """Parses and checks a token string of `to_tokens`' form.

    Line breaks are white space: the released scripts have a line a layer.

    Raises:
      InputError: if it is not integers, of another length, or out of range.
    """
    at_ops, at_skips, lower = self._layout()
    tokens = records.parse_row(
      text,
      len(at_ops) + len(at_skips),
      f"an architecture of {self.num_layers} layers",
    )
    # What is out of range stays so, for `validate` to name it.
    known = range(len(OPS))
    ops = [tokens[at] for at in at_ops]
    ops = [OPS.index(RELEASED_OPS[o]) if o in known else o for o in ops]
    skips = [[0] * self.num_layers for _ in range(self.num_layers)]
    for layer, node, at in zip(*lower, at_skips, strict=True):
      skips[layer][node] = tokens[at]
    return self.validate(MacroArc(ops, skips))

  def to_dict(self, arc: MacroArc) -> dict[str, Any]:
    """A JSON-ready description, with operations by name."""
    arc = self.validate(arc)
    return {
      "space": "macro",
      "num_layers": self.num_layers,
      "ops": [OPS[op] for op in arc.ops],
      "skips": [list(row) for row in arc.skips],
      "tokens": self.to_tokens(arc),
    }

  def from_dict(self, record: Mapping[str, Any]) -> MacroArc:
    """Reads what `to_dict` wrote for this space.

    Raises:
      InputError: if a field is missing, of the wrong kind or out of range, or
        if the architecture is of another space.
    """
    return records.of_space(self, *from_dict(record))

  def _layout(
    self,
  ) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Where choices, and tokens, lie: layer l's start at l(l + 1)/2.

    Returns:
      [L] positions of the operations, [L(L-1)/2] positions of the skips, and
      the rows and columns of those skips in the arc.
    """
    layers = np.arange(self.num_layers)
    at_ops = layers * (layers + 1) // 2
    rows, columns = np.tril_indices(self.num_layers, k=-1)
    return at_ops, at_ops[rows] + 1 + columns, (rows, columns)


def from_dict(record: Mapping[str, Any]) -> tuple[MacroSpace, MacroArc]:
  """Reads what `MacroSpace.to_dict` wrote: the space and the arc.

  Raises:
    InputError: if a field is missing, of the wrong kind or out of range.
  """
  records.check_fields(record, "macro", ("num_layers", "ops", "skips"))
  space = MacroSpace(records.integer(record, "num_layers"))
  ops = records.op_indices("ops", record["ops"], OPS)
  return space, space.validate(MacroArc(ops, record["skips"]))


def _check_skip(layer: int, node: int, bit: int, where: str) -> None:
  """Raises unless a bit is 0 or 1 below the diagonal, and 0 elsewhere."""
  if node < layer and bit not in (0, 1):
    raise types.InputError(
      f"arc.skips[{layer}][{node}] must be 0 or 1, got {bit} {where}"
    )
  if node >= layer and bit != 0:
    raise types.InputError(
      f"arc.skips[{layer}][{node}] must be 0 (a layer takes only nodes before"
      f" it), got {bit} {where}"
    )
