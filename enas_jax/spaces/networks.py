"""The networks for images, by space."""

from typing import Any

from enas_jax.spaces import fixed
from enas_jax.spaces.base import Network
from enas_jax.spaces.macro import network as macro
from enas_jax.spaces.micro import final_network as micro_final
from enas_jax.spaces.micro import network as micro
from enas_jax.spaces.nasbench201 import network as nasbench201

SHARED = {
  "macro": macro.NETWORK,
  "micro": micro.NETWORK,
  "nasbench201": nasbench201.NETWORK,
}


def of_arc(space: str, config: Any, arc: Any) -> Network:
  """The network of one architecture, with weights of its own.

  Args:
    space: of `SHARED`.
    config: options of the space and its network.
    arc: of Python ints.
  """
  if space == "micro" and config.cell_output == "concat":
    return micro_final.network(arc)
  shared = SHARED[space]
  alone = fixed.fix(shared, arc)
  if space == "nasbench201":
    # Every operation of the shared network has statistics, and no scale.
    return alone._replace(init_statistics=shared.init_statistics)
  return alone
