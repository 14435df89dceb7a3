"""Independent NumPy references in float64, written from the paper."""

import numpy as np

OPS = (
  np.tanh,
  lambda x: np.maximum(x, 0.0),
  lambda x: x,
  lambda x: 1.0 / (1.0 + np.exp(-x)),
)
_sigmoid = OPS[3]


def recurrent_states(
  omega, prev, ops, tokens, state, *, output="loose_ends", masks=None
):
  """Runs a cell by Eqs. 3-5, one example and one node at a time.

  `omega` holds w_edge [E, D, 2D] with row l(l-1)/2 + j for nodes counted from
  0, or [K, E, D, 2D]. Returns [T, B, D].
  """
  masks = masks or {}
  one = np.ones(1)
  size = state.shape[1]
  steps, batch = tokens.shape
  count = len(prev)
  loose = [i for i in range(count) if i not in list(prev[1:])]
  used = list(range(1, count)) if output == "all_nodes" else loose
  states = np.zeros((steps, batch, size))
  h_tm1 = np.asarray(state, np.float64)
  mask_state = masks.get("state", np.ones((batch, size)))
  for t in range(steps):
    means = np.zeros((batch, size))
    for b in range(batch):
      word = tokens[t, b]
      x = omega["embedding"][word].astype(np.float64)
      x = x * masks.get("word", np.ones(word + 1))[word]
      x = x * (masks["embedding"][b] if "embedding" in masks else one)
      x = x * (masks["x"][b] if "x" in masks else one)
      nodes = []
      for row in range(count):
        if row == 0:
          source = h_tm1[b]
          z = x @ omega["w_x"] + (source * mask_state[b]) @ omega["w_h"]
        else:
          source = nodes[prev[row]]
          edge = row * (row - 1) // 2 + prev[row]
          w = omega["w_edge"]
          w = w[ops[row], edge] if w.ndim == 4 else w[edge]
          z = (source * mask_state[b]) @ w
        c = _sigmoid(z[size:])
        nodes.append(c * OPS[ops[row]](z[:size]) + (1.0 - c) * source)
      means[b] = sum(nodes[i] for i in used) / len(used)
    if "bn_scale" in omega:
      centred = means - means.mean(axis=0)
      deviation = np.sqrt(means.var(axis=0) + 1e-5)
      means = centred / deviation * omega["bn_scale"] + omega["bn_offset"]
    states[t] = h_tm1 = means
  return states


def cross_entropy(embedding, states, targets):
  """[T, B] nats of each target word under the tied softmax."""
  logits = states @ embedding.astype(np.float64).T
  logits -= logits.max(axis=-1, keepdims=True)
  log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
  return -np.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
