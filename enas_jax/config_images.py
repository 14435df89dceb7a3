"""Options of the networks for images.

Like `config`, whose search does not know them yet: frozen, checked when made,
and each field says in its metadata what the command line should.
"""

import dataclasses
from typing import Any

from enas_jax import types
from enas_jax.spaces import macro

# Fields that name a form: the paper's first, then the released one.
_FORMS = {
  "main_input": ("selected", "previous"),
  "skip_combination": ("concat", "sum"),
  "conv_order": ("relu_conv_bn", "conv_bn_relu"),
}


def _field(default: Any, help_text: str) -> Any:
  return dataclasses.field(default=default, metadata={"help": help_text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class MacroConfig:
  """The space of entire networks and the shared network.

  Defaults are the paper's; what it leaves open, the number of filters and the
  dropout rate, is the release's. `released_macro_config` is its search graph.
  """

  num_layers: int = _field(12, "layers the controller decides about, L")
  num_filters: int = _field(36, "channels of every image in the network, F")
  main_input: str = _field(
    "selected",
    "a layer reads: 'selected', the layers it takes, joined, or the stem where"
    " it takes none (paper); 'previous', the layer before, and what it takes"
    " joins its output (released)",
  )
  skip_combination: str = _field(
    "concat",
    "outputs are joined: 'concat', in depth, then 1x1 convolution, batch norm"
    " and ReLU (paper); 'sum', then batch norm (released)",
  )
  conv_order: str = _field(
    "relu_conv_bn",
    "within a layer: 'relu_conv_bn' (paper) or 'conv_bn_relu' (released)",
  )
  op_epsilon: float = _field(
    1e-5,
    "added to the variance in the batch norm after a layer's 3x3 or 5x5"
    " convolution (released: 1e-3)",
  )
  moving_statistics: bool = _field(
    False,
    "evaluate with batch norm statistics averaged over training steps"
    " (released) instead of with the batch's own",
  )
  drop_features: float = _field(
    0.1, "dropout rate of the pooled features into the classifier"
  )

  def __post_init__(self) -> None:
    self.space()
    f = self.num_filters
    # A reduction has two paths of F / 2 channels each.
    _check(f > 0 and f % 2 == 0, "num_filters", "even and positive", f)
    _check(self.op_epsilon > 0, "op_epsilon", "positive", self.op_epsilon)
    rate = self.drop_features
    _check(0 <= rate < 1, "drop_features", "in [0, 1)", rate)
    for name, known in _FORMS.items():
      value = getattr(self, name)
      _check(value in known, name, f"one of {', '.join(known)}", value)

  def space(self) -> macro.MacroSpace:
    """The space these options describe."""
    return macro.MacroSpace(self.num_layers)

  def reductions(self) -> tuple[int, ...]:
    """The layers, counted from 0, after which height and width halve."""
    third = self.num_layers // 3
    return (third - 1, 2 * third - 1) if third else ()


def released_macro_config(**changes: Any) -> MacroConfig:
  """The authors' search graph, with fields replaced."""
  options: dict[str, Any] = {
    name: released for name, (_, released) in _FORMS.items()
  }
  options |= {"op_epsilon": 1e-3, "moving_statistics": True}
  return MacroConfig(**{**options, **changes})


def _check(ok: bool, name: str, rule: str, value: Any) -> None:
  if not ok:
    raise types.InputError(f"{name} must be {rule}, got {value!r}.")
