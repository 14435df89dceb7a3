"""The space of recurrent cells as the registry hands it over."""

from enas_jax.spaces import base, fixed, perturbations
from enas_jax.spaces.recurrent import arc as arc_lib
from enas_jax.spaces.recurrent import drawing, network, presets


def shape(
  options: presets.RecurrentConfig, arc: arc_lib.RecurrentArc
) -> base.Shape:
  """The depth and the loose ends of a cell.

  Args:
    options: the space.
    arc: the cell, of Python ints: prev [N] and ops [N].
  """
  depth = max(drawing.depths(arc.prev))
  loose = [node + 1 for node in options.space().output_nodes(arc)]
  return base.Shape(depth, len(loose), {"depth": depth, "loose_ends": loose})


def space_of_count(count: int) -> arc_lib.RecurrentSpace:
  """The space whose cells have so many tokens."""
  # Without a first operation to sample, tokens come in pairs.
  first = "sampled" if count % 2 else "tanh"
  return arc_lib.RecurrentSpace((count + 1) // 2, first)


_SCALE = "24 million parameters, Penn Treebank, 150 epochs"
_TANH, _RELU, _IDENTITY, _SIGMOID = range(len(arc_lib.OPS))
_PERTURBATIONS = {
  "identity_or_sigmoid": base.Perturbation(
    perturbations.change_ops(
      dict.fromkeys((_TANH, _RELU), (_IDENTITY, _SIGMOID)), share=0.25
    ),
    "a quarter of the tanh and ReLU nodes become identity or sigmoid",
    drawn=True,
    says="some nodes become identity or sigmoid: the perplexity increases up to"
    " 8 points",
    published=base.Published(8.0, "Section 3.1, at most", _SCALE),
  ),
  "relu_or_tanh": base.Perturbation(
    perturbations.change_ops({_RELU: [_TANH], _TANH: [_RELU]}, share=0.25),
    "a quarter of the tanh and ReLU nodes become ReLU and tanh",
    drawn=True,
    says="some ReLU nodes become tanh or vice versa: up to 3 points",
    published=base.Published(3.0, "Section 3.1, at most", _SCALE),
  ),
  "all_tanh": base.Perturbation(
    perturbations.change_ops({_RELU: [_TANH]}),
    "all ReLU nodes become tanh",
    drawn=False,
  ),
  "all_relu": base.Perturbation(
    perturbations.change_ops({_TANH: [_RELU]}),
    "all tanh nodes become ReLU",
    drawn=False,
  ),
}


def in_torch(
  options: presets.RecurrentConfig, arc: arc_lib.RecurrentArc
) -> base.TorchChild:
  """The architecture in PyTorch; see `Definition.torch_child`."""
  from enas_jax.spaces.recurrent import torch_child  # PyTorch is an extra

  return torch_child.TextChild(options, arc)


DEFINITION = base.Definition(
  name="recurrent",
  title="a recurrent cell",
  about="a recurrent cell between a word embedding and a softmax that share"
  " their weights",
  task="language_model",
  options=presets.RecurrentConfig,
  presets=presets.PRESETS,
  train_presets=presets.TRAIN_PRESETS,
  network=network.NETWORK,
  fixed=lambda options, arc: fixed.fix_text_network(network.NETWORK, arc),
  of_record=arc_lib.from_dict,
  of_count=space_of_count,
  # Tokens of a network, being mostly 0 and 1, are valid ones of a huge cell.
  most_tokens=30,
  named={
    "enas_rnn": base.Named(
      "0 0 0 1 1 2 1 2 0 2 0 5 1 1 0 6 1 8 1 8 1 8 1",
      "the cell of Figure 6, 12 nodes",
    ),
    "enas_rnn_lm": base.Named(
      "0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2",
      "the cell of enas_lm, 8 nodes after a tanh node",
      {"output": "all_nodes"},
    ),
  },
  vocabularies={"op": arc_lib.OPS},
  draw=drawing.graphs,
  text=drawing.text,
  shape=shape,
  benchmark={"child": {"hidden_size": 200}},
  perturbations=_PERTURBATIONS,
  published={
    "reference": base.Published(55.8, "Table 1", _SCALE),
    "random": base.Published(81.2, "Section 3.3", _SCALE),
    "no_sharing": base.Published(
      62.4, "Table 1, NAS", "54 million parameters, Penn Treebank"
    ),
  },
  torch_child=in_torch,
)
