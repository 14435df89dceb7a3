"""What children in plain eager PyTorch share: those that classify images.

`Definition.torch_child` hands such a child over. It is written the way that one
would write one architecture by hand: a loop over layers or cells that runs what
the architecture has and nothing else, no compilation. `experiments.benchmark
--against=torch` times it, and a test holds its loss and gradients against ours.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from enas_jax import types
from enas_jax.nn import torch_ops
from enas_jax.spaces.base import Options

Weights = Any  # nested dicts and lists of tensors
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class ImageChild:
  """A convolutional child; a `spaces.base.TorchChild`.

  Attributes:
    options: the space's options.
    convert: a child's weights, or gradients of them, as nested dicts and lists
      of tensors; "classifier" is left to this class.
    features: (weights, images [B, C, H, W]) -> [B, D], pooled.
  """

  options: Options
  convert: Callable[[types.Omega], Weights]
  features: Callable[[Weights, torch.Tensor], torch.Tensor]

  def weights(self, child: types.Omega) -> Weights:
    """Tensors of the weights of a child, or of their gradients."""
    # "fc" is the micro network's, an array by itself.
    name = "classifier" if "classifier" in child else "fc"
    last = child[name] if isinstance(child[name], dict) else {"w": child[name]}
    # `functional.linear` wants [classes, D].
    classifier = {"w": torch_ops.array(np.transpose(last["w"]))}
    if "bias" in last:
      classifier["bias"] = torch_ops.array(last["bias"])
    return {**self.convert(child), "classifier": classifier}

  def batch(self, batch: types.ImageBatch) -> Batch:
    """Images [B, C, H, W] in channels_last, and labels [B] int64."""
    labels = torch_ops.array(batch.labels)
    return torch_ops.images(batch.images), labels.long()

  def loss(
    self, weights: Weights, batch: Batch, *, train: bool
  ) -> torch.Tensor:
    """The mean cross-entropy, [] float32, nats; see `TorchChild.loss`."""
    images, labels = batch
    x = self.features(weights, images)
    if train and self.options.drop_features > 0:
      x = functional.dropout(x, self.options.drop_features)
    last = weights["classifier"]
    logits = functional.linear(x, last["w"], last.get("bias"))
    return functional.cross_entropy(logits, labels)


def refuse(options: Options, *names: str) -> None:
  """Raises InputError if one of these options is on."""
  for name in names:
    value = getattr(options, name)
    if value:
      raise types.InputError(
        f"{name} must be off against PyTorch, whose children lack it, got"
        f" {value}."
      )
