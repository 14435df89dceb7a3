"""Drawings of an architecture, in every space."""

import types
from typing import Any

from enas_jax.report import drawing
from enas_jax.spaces.macro import drawing as macro
from enas_jax.spaces.micro import drawing as micro
from enas_jax.spaces.nasbench201 import drawing as nasbench201
from enas_jax.spaces.recurrent import drawing as recurrent

_SPACES: dict[str, types.ModuleType] = {
  "recurrent": recurrent,
  "macro": macro,
  "micro": micro,
  "nasbench201": nasbench201,
}


def draw(space: str, config: Any, arc: Any, title: str) -> drawing.Drawing:
  """Draws an architecture.

  Args:
    space: one of `registry.SPACES`.
    config: options of the space and its network, `SearchConfig.child`.
    arc: the architecture, of Python ints.
    title: a line above the picture.
  """
  module = _SPACES[space]
  return drawing.draw(
    module.graphs(config, arc), module.text(config, arc), title
  )
