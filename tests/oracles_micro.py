"""An independent NumPy reference of the micro network, in float64.

Written layer by layer from Section 2.4 and Appendix B, and for the released
search graph from what its authors' code does; it shares no code with ours but
the layout of omega.
"""

import numpy as np

SEP_CONV_3, SEP_CONV_5, AVG_POOL, MAX_POOL, IDENTITY = range(5)


def _taps(x, window, stride, fill=0.0):
  """[k * k, B, H', W', C]: what each tap of a window sees, padded as SAME."""
  height, width = x.shape[1:3]
  spans = []
  for size, extent in ((height, window[0]), (width, window[1])):
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    spans.append((total // 2, total - total // 2))
  padded = np.pad(x, ((0, 0), *spans, (0, 0)), constant_values=fill)
  rows, columns = -(-height // stride), -(-width // stride)
  return np.stack(
    [
      padded[
        :,
        i : i + (rows - 1) * stride + 1 : stride,
        j : j + (columns - 1) * stride + 1 : stride,
      ]
      for i in range(window[0])
      for j in range(window[1])
    ]
  )


def relu(x):
  return np.maximum(x, 0.0)


def norm(x, group):
  mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
  return (x - mean) / np.sqrt(variance + 1e-5) * group["scale"] + group[
    "offset"
  ]


def conv(x, kernel):
  taps = _taps(x, kernel.shape[:2], 1)
  return np.einsum(
    "tbhwc,tcd->bhwd", taps, kernel.reshape(-1, *kernel.shape[2:])
  )


def max_pool(x, stride):
  return _taps(x, (3, 3), stride, -np.inf).max(axis=0)


def avg_pool(x, stride):
  inside = _taps(np.ones_like(x), (3, 3), stride)
  return _taps(x, (3, 3), stride).sum(axis=0) / inside.sum(axis=0)


def halve(x, group):
  """Even pixels through one 1x1 convolution, odd ones through another."""
  odd = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1::2, 1::2]
  even = x[:, ::2, ::2]
  odd = odd[:, : even.shape[1], : even.shape[2]]
  return norm(
    np.concatenate([even @ group["w1"], odd @ group["w2"]], axis=-1), group
  )


def fit(x, group):
  return norm(relu(x) @ group["kernel"], group)


def sep_conv(x, group, at, stride):
  """ReLU, depthwise, 1x1, batch norm; twice. `at` is (side, edge)."""
  for application in range(2):
    one = {k: v[(*at, application)] for k, v in group.items()}
    width = one["depthwise"].shape[0]
    taps = _taps(relu(x), (width, width), stride if application == 0 else 1)
    x = np.einsum(
      "tbhwc,tc->bhwc", taps, one["depthwise"].reshape(width**2, -1)
    )
    x = norm(x @ one["pointwise"], one)
  return x


def operation(cell, op, x, row, side, node, stride):
  # Weights of row 0's two candidates come first, then of row 1's three, ...
  edge = sum(r + 2 for r in range(row)) + node
  if op in (SEP_CONV_3, SEP_CONV_5):
    name = "sep_conv_3x3" if op == SEP_CONV_3 else "sep_conv_5x5"
    return sep_conv(x, cell[name], (side, edge), stride)
  if op == AVG_POOL:
    return avg_pool(x, stride)
  if op == MAX_POOL:
    return max_pool(x, stride)
  if stride == 1:
    return x
  return halve(
    x, {k: v[side, 2 * row + node] for k, v in cell["identity"].items()}
  )


def run_cell(cell, arc, inputs, *, strided, include_inputs):
  """One cell; `arc` has `inputs` and `ops`, rows of two."""
  nodes, read = list(inputs), set()
  for row, (taken, ops) in enumerate(zip(arc.inputs, arc.ops, strict=True)):
    halves = [
      operation(
        cell,
        ops[side],
        nodes[taken[side]],
        row,
        side,
        taken[side],
        2 if strided and taken[side] < 2 else 1,
      )
      for side in range(2)
    ]
    read |= set(taken)
    nodes.append(halves[0] + halves[1])
  first = 0 if include_inputs else 2
  total = sum(
    relu(nodes[n]) @ cell["output"]["kernel"][n - first]
    for n in range(first, len(nodes))
    if n not in read
  )
  return norm(total, cell["output"])


def _cell_of(cells, at):
  return {
    name: {k: v[at] for k, v in group.items()} for name, group in cells.items()
  }


def aux_logits(head, x):
  x = relu(x)
  count = (x.shape[1] - 5) // 3 + 1
  x = np.stack(
    [
      np.stack(
        [
          x[:, 3 * i : 3 * i + 5, 3 * j : 3 * j + 5].mean(axis=(1, 2))
          for j in range(count)
        ],
        axis=1,
      )
      for i in range(count)
    ],
    axis=1,
  )
  x = relu(norm(x @ head["narrow"]["kernel"], head["narrow"]))
  x = relu(norm(conv(x, head["wide"]["kernel"]), head["wide"]))
  return x.mean(axis=(1, 2)) @ head["fc"]


def logits(omega, arc, images, *, num_layers, reduction, include_inputs):
  """Logits of the classifier and, if omega has one, of the auxiliary head."""
  third, strided = num_layers // 3, reduction == "strided"
  first_layers = [0, third, 2 * third + 1]  # of the three stages
  options = {"include_inputs": include_inputs}
  stem = norm(conv(images, omega["stem"]["kernel"]), omega["stem"])
  before, last, aux, stage = stem, stem, None, -1
  for layer in range(num_layers + 2):
    if layer in first_layers:
      stage += 1
    weights = omega[f"stage_{stage}"]
    place = layer - first_layers[stage]
    if place == 0 and stage > 0 and strided:
      inputs = (
        fit(before, weights["reduction_0"]),
        fit(last, weights["reduction_1"]),
      )
      out = run_cell(
        _cell_of(weights["reduction"], 0),
        arc.reduction,
        inputs,
        strided=True,
        **options,
      )
      before, last = last, out
      continue
    cell = arc.normal
    if place == 0 and stage > 0:
      cell = arc.reduction
      before, last = last, halve(last, weights["first_1"])
    x, y = before, last
    if x.shape[1] != y.shape[1]:
      x = halve(relu(x), weights["first_0"])
    elif (
      x.shape[-1]
      != omega[f"stage_{stage}"]["cells"]["output"]["scale"].shape[-1]
    ):
      x = fit(x, weights["first_0" if place == 0 else "second_0"])
    if stage == 0 and place == 0:
      y = fit(y, weights["first_1"])
    at = place - (1 if strided and stage > 0 else 0)
    out = run_cell(
      _cell_of(weights["cells"], at), cell, (x, y), strided=False, **options
    )
    before, last = last, out
    if layer == first_layers[2] + 1 and "aux_head" in omega:
      aux = aux_logits(omega["aux_head"], out)
  return relu(last).mean(axis=(1, 2)) @ omega["fc"], aux
