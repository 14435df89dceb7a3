"""The space of recurrent cells as the registry hands it over."""

from enas_jax.spaces import base, fixed
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
  draw=drawing.graphs,
  text=drawing.text,
  shape=shape,
  benchmark={"child": {"hidden_size": 200}},
)
