"""The space of whole networks as the registry hands it over."""

import math

import jax
import jax.numpy as jnp

from enas_jax import types
from enas_jax.spaces import base, fixed, perturbations
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
  # Sets of positions: the stem, which reads nothing, then layers 1 to L.
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
  # The largest L of no more tokens; in integers nothing is rounded.
  return arc_lib.MacroSpace(max(1, (math.isqrt(8 * count + 1) - 1) // 2))


def features(
  options: presets.MacroConfig, arc: arc_lib.MacroArc
) -> types.Array:
  """Operations, skips, and which layers take any skip.

  A layer that takes none may do without the convolution that joins its inputs.

  Args:
    options: the network's options, of which none matters.
    arc: the network, of arrays: ops [L] and skips [L, L] int32.

  Returns:
    [F] float32 of zeros and ones.
  """
  del options
  size = arc.ops.shape[0]
  chosen = jax.nn.one_hot(arc.ops, len(arc_lib.OPS), dtype=jnp.float32)
  # [L (L - 1) / 2]: above the diagonal nothing can be taken.
  taken = arc.skips[jnp.tril_indices(size, -1)]
  joined = jnp.any(arc.skips > 0, axis=1)
  parts = (chosen.ravel(), taken, joined)
  return jnp.concatenate([part.astype(jnp.float32) for part in parts])


_SCALE = "21.3 million parameters, CIFAR-10, 310 epochs"
_SEARCHED = "the network of the search, CIFAR-10"  # open: no size is printed
_NORMAL = {
  arc_lib.OPS.index(f"sep_{name}"): [arc_lib.OPS.index(name)]
  for name in ("conv_3x3", "conv_5x5")
}
_PERTURBATIONS = {
  "normal_convolutions": base.Perturbation(
    perturbations.change_ops(_NORMAL),
    "all separable convolutions become normal ones, with filters for as many"
    " parameters",
    drawn=False,
    says="replace all separable convolutions with normal convolutions, and then"
    " adjust the model size so that the number of parameters stay the same: the"
    " test error increases by 1.7%",
    published=base.Published(1.7, "Section 3.2", _SCALE),
    same_params="num_filters",
  ),
  "connections": base.Perturbation(
    perturbations.change_connections("skips", share=0.1),
    "a tenth of the possible skip connections are made or cut",
    drawn=True,
  ),
}


def in_torch(
  options: presets.MacroConfig, arc: arc_lib.MacroArc
) -> base.TorchChild:
  """The architecture in PyTorch; see `Definition.torch_child`."""
  from enas_jax.spaces.macro import torch_child  # PyTorch is an extra

  return torch_child.make(options, arc)


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
      # Its bits mean what the authors' code takes them for.
      {"main_input": "previous"},
    ),
  },
  vocabularies={"op": arc_lib.OPS},
  features=features,
  draw=drawing.graphs,
  text=drawing.text,
  shape=shape,
  benchmark={"data": {"batch_size": 32, "reward_batch_size": 32}},
  perturbations=_PERTURBATIONS,
  published={
    "reference": base.Published(4.23, "Table 2", _SCALE),
    "random": base.Published(5.86, "Section 3.3", _SCALE),
    "sampled": base.Published(8.92, "Section 3.3", _SEARCHED),
    "ensemble": base.Published(5.49, "Section 3.3", f"{_SEARCHED}; 250"),
    "no_sharing": base.Published(
      4.47, "Table 2, NAS", "7.1 million parameters, CIFAR-10"
    ),
  },
  torch_child=in_torch,
)
