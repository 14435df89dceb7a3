"""Two layers, each with an operation and a width: a space in one file."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.config import fields
from enas_jax.config import images as images_config
from enas_jax.nn import image_ops, ops
from enas_jax.spaces import base, decisions, fixed, graph, records

OPS, WIDTHS, LAYERS = ("dense", "blur", "identity"), (1, 2, 4), 2
WHERE = "(WidthSpace)."


class WidthArc(NamedTuple):
  ops: Any  # [2] int32, index into `OPS`, or a tuple of Python ints
  widths: Any  # [2] int32, index into `WIDTHS`


@dataclasses.dataclass(frozen=True)
class WidthSpace:
  name: ClassVar[str] = "widths"

  def decisions(self):
    return tuple(
      decision
      for layer in range(LAYERS)
      for decision in (
        base.Decision("op", layer, len(OPS)),
        base.Decision("op", layer, len(WIDTHS), vocabulary="width"),
      )
    )

  def from_choices(self, choices):
    choices = choices.astype(jnp.int32)
    return WidthArc(choices[..., 0::2], choices[..., 1::2])

  def to_choices(self, arc):
    pairs = [jnp.asarray(arc.ops), jnp.asarray(arc.widths)]
    flat = jnp.stack(pairs, axis=-1)
    return flat.reshape((*flat.shape[:-2], -1)).astype(jnp.int32)

  def relax(self, weights):
    return decisions.relax(self, weights)

  def sample_uniform(self, key, num_arcs):
    shape = (num_arcs, 2 * LAYERS)
    return self.from_choices(jax.random.randint(key, shape, 0, 3))

  def validate(self, arc):
    rows = []
    for name, known in (("ops", OPS), ("widths", WIDTHS)):
      row = records.int_row(name, getattr(arc, name), LAYERS, WHERE)
      if not all(0 <= choice < len(known) for choice in row):
        raise types.InputError(
          f"arc.{name} must be in [0, {len(known)}), got {row} {WHERE}"
        )
      rows.append(row)
    return WidthArc(*rows)

  def size(self):
    return (len(OPS) * len(WIDTHS)) ** LAYERS

  printed_size = size

  def to_tokens(self, arc):
    choices = self.to_choices(self.validate(arc))
    return " ".join(str(token) for token in choices.tolist())

  def from_tokens(self, text):
    tokens = records.parse_tokens(text)
    return self.validate(WidthArc(tokens[0::2], tokens[1::2]))

  def to_dict(self, arc):
    arc = self.validate(arc)
    return {
      "space": self.name,
      "ops": [OPS[op] for op in arc.ops],
      "widths": [WIDTHS[width] for width in arc.widths],
      "tokens": self.to_tokens(arc),
    }

  def from_dict(self, record):
    records.check_fields(record, self.name, ("ops", "widths"))
    ops_of = records.op_indices("ops", record["ops"], OPS)
    widths = records.op_indices("widths", record["widths"], WIDTHS)
    return self.validate(WidthArc(ops_of, widths))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WidthConfig:
  num_filters: int = fields.field("channels at full width")

  # What an exported network must have: the batch norms are none.
  moving_statistics: ClassVar[bool] = True

  def space(self):
    return WidthSpace()


def init(key, options, num_classes, shape):
  f, channels = options.num_filters, shape[-1]
  sizes = {"stem": (channels, f), "out": (f, num_classes)}
  sizes |= {f"dense_{layer}": (f, f) for layer in range(LAYERS)}
  keys = jax.random.split(key, len(sizes))
  return {
    name: image_ops.he_normal(k, size, fan_in=size[0])
    for k, (name, size) in zip(keys, sizes.items(), strict=True)
  }


def child_params(omega, arc, options):
  del options
  if not isinstance(arc.ops, tuple):
    return omega  # traced: which weights it needs is not known yet
  unused = {f"dense_{layer}" for layer, op in enumerate(arc.ops) if op != 0}
  return {name: w for name, w in omega.items() if name not in unused}


def narrow(x, width):
  """The first of the channels of [B, H, W, F], the others zero."""
  kept = jnp.arange(x.shape[-1]) < x.shape[-1] * width // max(WIDTHS)
  return x * kept


def apply_child(
  child, statistics, arc, images, *, config, train, key=None, progress=None
):
  del config, train, key, progress
  x = image_ops.pointwise_conv(images, child["stem"])
  for layer in range(LAYERS):
    branches = [
      lambda x, w: jax.nn.relu(image_ops.pointwise_conv(x, w)),
      lambda x, w: image_ops.avg_pool(x),
      lambda x, w: x,
    ]
    x = ops.switch(arc.ops[layer], branches, x, child.get(f"dense_{layer}"))
    widths = [functools.partial(narrow, width=width) for width in WIDTHS]
    x = ops.switch(arc.widths[layer], widths, x)
  logits = image_ops.global_average_pool(x) @ child["out"]
  return base.Logits(logits), statistics


NETWORK = base.ImageNetwork(
  init=init,
  init_statistics=lambda options: {},
  child_params=child_params,
  apply_child=apply_child,
  penalised=lambda child, options: child,
)


def search_preset():
  config = config_lib.SearchConfig(
    child=WidthConfig(num_filters=8), **images_config.small_parts(num_epochs=2)
  )
  config = images_config.shorten(config)
  config = config_lib.override(
    config, "data", batch_size=16, reward_batch_size=32, pad=1, image_size=0
  )
  config = config_lib.override(config, "omega", steps=20)
  config = config_lib.override(config, "theta", steps=10)
  return config_lib.override(config, "run", num_epochs=2, derive_arcs=8)


def train_preset():
  config = config_lib.TrainConfig(
    child=WidthConfig(num_filters=8),
    **images_config.small_training(num_epochs=2),
  )
  config = images_config.shorten_training(config)
  config = config_lib.override(config, "data", image_size=0, pad=1)
  return config_lib.override(config, "omega", steps=20)


def shape(options, arc):
  del options, arc
  return base.Shape(LAYERS, 0, {"depth": LAYERS, "loose_ends": []})


def labels(arc):
  return [
    f"{OPS[op]}, {WIDTHS[width]}/{max(WIDTHS)}"
    for op, width in zip(arc.ops, arc.widths, strict=True)
  ]


def draw(options, arc):
  """One chain of boxes."""
  del options
  boxes = [
    graph.Node(f"layer_{layer}", label, layer + 1, op=OPS[arc.ops[layer]])
    for layer, label in enumerate(labels(arc))
  ]
  nodes = [
    graph.Node("in", "images", 0, "input"),
    *boxes,
    graph.Node("out", "classes", LAYERS + 1, "output"),
  ]
  edges = [
    graph.Edge(one.name, other.name)
    for one, other in zip(nodes, nodes[1:], strict=False)
  ]
  return (graph.Graph(tuple(nodes), tuple(edges)),)


DEFINITION = base.Definition(
  name="widths",
  title="a network of two layers",
  options=WidthConfig,
  about="a network of two layers of chosen width",
  task="top2",
  presets={"paper": search_preset, "smoke": search_preset},
  train_presets={"paper": train_preset, "smoke": train_preset},
  network=NETWORK,
  fixed=lambda options, arc: fixed.fix_image_network(NETWORK, arc),
  of_record=lambda record: (WidthSpace(), WidthSpace().from_dict(record)),
  of_count=lambda count: WidthSpace(),
  draw=draw,
  text=lambda options, arc: "\n".join(labels(arc)),
  shape=shape,
)
