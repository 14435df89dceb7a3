"""A recurrent cell, its embedding and its softmax in plain eager PyTorch."""

import dataclasses

import torch
from torch.nn import functional

from enas_jax import types
from enas_jax.nn import torch_ops as t
from enas_jax.spaces.recurrent import arc as arc_lib
from enas_jax.spaces.recurrent import presets

_Weights = dict[str, torch.Tensor]
_Batch = tuple[torch.Tensor, torch.Tensor]
# In the order of `arc.OPS`.
_ACTIVATIONS = (torch.tanh, torch.relu, lambda x: x, torch.sigmoid)


@dataclasses.dataclass(frozen=True)
class TextChild:
  """One cell; a `spaces.base.TorchChild`.

  Attributes:
    options: the network's options.
    arc: the cell, of Python ints: prev [N] and ops [N].
  """

  options: presets.RecurrentConfig
  arc: arc_lib.RecurrentArc

  def weights(self, child: types.Omega) -> _Weights:
    """Tensors of the weights of a child, or of their gradients."""
    return {name: t.array(leaf) for name, leaf in child.items()}

  def batch(self, batch: types.TextBatch) -> _Batch:
    """Words and the words after them, [T, B] int64 each."""
    return t.array(batch.inputs).long(), t.array(batch.targets).long()

  def loss(
    self, weights: _Weights, batch: _Batch, *, train: bool
  ) -> torch.Tensor:
    """The mean cross-entropy, [] float32, nats; see `TorchChild.loss`."""
    words, targets = batch
    rates, embedding = self.options, weights["embedding"]
    unit = (words.shape[1], self.options.hidden_size)

    def mask(rate: float, shape: tuple[int, ...] = unit) -> torch.Tensor | None:
      # One for all time steps of a window.
      if not train or rate == 0:
        return None
      # 0 or 1 / (1 - rate), as our masks are.
      return functional.dropout(torch.ones(shape), rate)

    x = functional.embedding(words, embedding)
    by_word = mask(rates.drop_word, embedding.shape[:1])
    if by_word is not None:
      x = x * by_word[words][..., None]
    # Two masks in a row, as ours: of the embedded word, and of node 1's input.
    x = _masked(_masked(x, mask(rates.drop_embedding)), mask(rates.drop_x))
    states = self._states(weights, x, mask(rates.drop_state))
    states = _masked(states, mask(rates.drop_output))
    logits = states.flatten(0, 1) @ embedding.t()
    return functional.cross_entropy(logits, targets.flatten())

  def _states(
    self, weights: _Weights, x: torch.Tensor, mask: torch.Tensor | None
  ) -> torch.Tensor:
    """h_1 to h_T, [T, B, D], of embedded words [T, B, D]."""
    outputs = self.options.outputs(self.arc)
    edges = weights["w_edge"].unbind(0)
    state, states = x.new_zeros(x.shape[1:]), []
    # Of all time steps at once.
    for x_in in (x @ weights["w_x"]).unbind(0):
      nodes: list[torch.Tensor] = []
      for row, op in enumerate(self.arc.ops):
        if row == 0:
          source, z = state, x_in + _masked(state, mask) @ weights["w_h"]
        else:
          source = nodes[self.arc.prev[row]]
          z = _masked(source, mask) @ edges[row - 1]
        value, gate = z.chunk(2, dim=-1)
        value = _ACTIVATIONS[op](value)
        nodes.append(source + torch.sigmoid(gate) * (value - source))
      state = torch.stack([nodes[i] for i in outputs]).mean(0)
      if "bn_scale" in weights:
        # True: by the batch's own statistics, as ours in evaluation, too.
        state = functional.batch_norm(
          state, None, None, weights["bn_scale"], weights["bn_offset"], True
        )
      states.append(state)
    return torch.stack(states)


def _masked(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
  return x if mask is None else x * mask
