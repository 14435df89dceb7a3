"""What a shared network for images offers to the task that trains it.

A search space for images is a module of this folder with these functions, put
together as its `NETWORK`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from enas_jax import types


class Logits(NamedTuple):
  """What the network says of each class.

  Attributes:
    main: [B, classes] float32.
    aux: [B, classes] float32 of the auxiliary head, or None.
  """

  main: types.Array
  aux: types.Array | None = None


class Network(NamedTuple):
  """The functions of a shared network; `config` is of its space.

  Attributes:
    init: (key, config, num_classes, image shape (H, W, C)) -> omega.
    init_statistics: (config) -> the moving statistics before the first step.
    child_params: (omega, arc, config) -> the weights that the child uses; all
      of omega for a traced arc.
    apply_child: (child, statistics, arc, images, *, config, train, key,
      progress) -> (Logits, statistics). `progress` [] float32 in (0, 1] is how
      much of the training is over, 1 if left out; only drop path reads it.
    penalised: (child, config) -> the weights under the l2 penalty.
  """

  init: Callable[..., types.Omega]
  init_statistics: Callable[[Any], types.Statistics]
  child_params: Callable[..., types.Omega]
  apply_child: Callable[..., tuple[Logits, types.Statistics]]
  penalised: Callable[..., types.Omega]
