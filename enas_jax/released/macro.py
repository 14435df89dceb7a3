"""The macro search graph of the authors' CIFAR-10 code, and its controller.

A branch there is an operation, numbered as in `spaces.macro.arc.RELEASED_OPS`.
"""

import jax

from enas_jax import types
from enas_jax.released import controllers, tables
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro import network as supergraph
from enas_jax.spaces.macro.presets import MacroConfig

_ENTRIES = (
  *tables.unit("stem", "stem_conv"),
  tables.Entry("classifier/w", "fc/w"),
  *tables.unit("skip_{l}", "layer_{l}/skip"),
  *tables.unit("reduction_{l}/node_{i}", "layer_{l}/pool_at_{l}/from_{i}"),
  *tables.unit("layer_{l}/conv_3x3/in", "layer_{l}/branch_0/inp_conv_1"),
  *tables.unit("layer_{l}/conv_3x3/out", "layer_{l}/branch_0/out_conv_3"),
  *tables.unit("layer_{l}/sep_conv_3x3/in", "layer_{l}/branch_1/inp_conv_1"),
  *tables.unit(
    # Here the release has a row for each output channel, [D, C].
    "layer_{l}/sep_conv_3x3/out",
    "layer_{l}/branch_1/out_conv_3",
    pointwise=tables.TRANSPOSED,
  ),
  *tables.unit("layer_{l}/conv_5x5/in", "layer_{l}/branch_2/inp_conv_1"),
  *tables.unit("layer_{l}/conv_5x5/out", "layer_{l}/branch_2/out_conv_5"),
  *tables.unit("layer_{l}/sep_conv_5x5/in", "layer_{l}/branch_3/inp_conv_1"),
  *tables.unit(
    "layer_{l}/sep_conv_5x5/out",
    "layer_{l}/branch_3/out_conv_5",
    pointwise=tables.TRANSPOSED,
  ),
  *tables.unit("layer_{l}/avg_pool_3x3/in", "layer_{l}/branch_4/conv_1"),
  *tables.unit("layer_{l}/max_pool_3x3/in", "layer_{l}/branch_5/conv_1"),
)


def _shapes(variables: tables.Variables, config: MacroConfig) -> types.Omega:
  classes = tables.size(variables, "child/fc/w", -1)
  channels = tables.size(variables, "child/stem_conv/w", -2)
  return jax.eval_shape(
    lambda key: supergraph.init(key, config, classes, channels),
    jax.random.key(0),
  )


SEARCH = tables.Graph(
  scope="child/",
  entries=lambda config: _ENTRIES,
  shapes=_shapes,
  requires={
    "main_input": "previous",
    "skip_combination": "sum",
    "conv_order": "conv_bn_relu",
  },
  size="num_layers",
)
CONTROLLER = controllers.cifar10(
  map(space_lib.OPS.index, space_lib.RELEASED_OPS), op_bias=False
)
