"""The space of whole networks as the registry hands it over."""

import math

from enas_jax.spaces import base, fixed
from enas_jax.spaces.macro import arc as arc_lib
from enas_jax.spaces.macro import drawing, network, presets

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


def shape(options: presets.MacroConfig, arc: arc_lib.MacroArc) -> base.Shape:
  """The depth and the loose ends of a network.

  Args:
    options: the meaning of a skip, `main_input`.
    arc: the network, of Python ints: ops [L] and skips [L, L].
  """
  _, *layers, softmax = [
    {*reads.main, *reads.joined} for reads in drawing.read_by(options, arc)
  ]
  depths = [0]  # the stem's
  for sources in layers:
    depths.append(1 + max(depths[position] for position in sources))
  read = softmax.union(*layers)
  loose = [layer for layer in range(1, len(depths)) if layer not in read]
  detail = {"depth": depths[-1], "loose_ends": loose}
  return base.Shape(depths[-1], len(loose), detail)


def space_of_count(count: int) -> arc_lib.MacroSpace:
  """The space whose networks have so many tokens, L (L + 1) / 2."""
  return arc_lib.MacroSpace(max(1, (math.isqrt(8 * count + 1) - 1) // 2))


DEFINITION = base.Definition(
  name="macro",
  title="a convolutional network",
  about="a convolutional network with skip connections",
  task="image_classifier",
  options=presets.MacroConfig,
  presets=presets.PRESETS,
  train_presets=presets.TRAIN_PRESETS,
  network=network.NETWORK,
  fixed=lambda options, arc: fixed.fix_image_network(network.NETWORK, arc),
  of_record=arc_lib.from_dict,
  of_count=space_of_count,
  named={
    "enas_macro": base.Named(
      " ".join(_MACRO_FINAL.split()),
      "the network of Figure 7, 24 layers",
      {"main_input": "previous"},
    ),
  },
  draw=drawing.graphs,
  text=drawing.text,
  shape=shape,
  benchmark={"data": {"batch_size": 32, "reward_batch_size": 32}},
)
