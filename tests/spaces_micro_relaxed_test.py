"""Mixtures of convolutional cells: against every operation written out."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.nn import batch_norm, image_ops, ops, programs
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.micro import cell as cell_lib
from enas_jax.spaces.micro import cell_weights, drop_path, relaxed_cell

ROWS, FILTERS, BATCH = 2, 2, 3
NUM_OPS = len(micro.OPS)


def make_cell(strided, rows=ROWS):
  """Weights [1, ...], two inputs, and masks [1, rows, 2, B]."""
  specs = cell_weights.cell_specs(
    1, num_nodes=rows + 2, filters=FILTERS, include_inputs=False,
    released_init=False, strided=strided,
  )  # fmt: skip
  leaves, layout = jax.tree.flatten(
    specs, is_leaf=lambda s: hasattr(s, "shape")
  )
  keys = jax.random.split(jax.random.key(0), len(leaves))
  weights = jax.tree.unflatten(
    layout,
    [
      0.3 + jax.random.normal(key, spec.shape)
      for key, spec in zip(keys, leaves, strict=True)
    ],
  )
  inputs = jax.random.normal(jax.random.key(1), (2, BATCH, 4, 4, FILTERS))
  kept = jax.random.bernoulli(jax.random.key(2), 0.6, (1, rows, 2, BATCH))
  return weights, tuple(inputs), kept / 0.6


def draw(rows=ROWS):
  """The weights of a mixture by row and side, and a sample of them."""
  keys = iter(jax.random.split(jax.random.key(3), 8 * rows))
  choose = lambda count: jax.nn.softmax(jax.random.normal(next(keys), (count,)))
  arc = micro.CellArc(
    tuple((choose(r + 2), choose(r + 2)) for r in range(rows)),
    tuple((choose(NUM_OPS), choose(NUM_OPS)) for _ in range(rows)),
  )
  return arc


def sample(arc):
  """The likeliest choice of each, with the gradient of all weights."""

  def one(weights):
    chosen = jnp.argmax(weights).astype(jnp.int32)
    hard = jax.nn.one_hot(chosen, len(weights))
    soft = weights - jax.lax.stop_gradient(weights)
    return ops.Sampled(chosen, hard + soft)

  return jax.tree.map(one, arc)


def run(weights, arc, inputs, masks, strided):
  out, _ = cell_lib.chain(
    weights, [arc], inputs, inputs[0],
    include_inputs=False, strided=strided, masks=masks,
  )  # fmt: skip
  return out[0]


def written_out(weights, arc, inputs, masks, strided):
  """The same without a loop."""
  cell = jax.tree.map(lambda leaf: leaf[0], weights)
  nodes = list(inputs)
  for row in range(len(arc.inputs)):
    total = 0.0
    for side in (0, 1):
      for node, share in enumerate(arc.inputs[row][side]):
        far = strided and node < 2
        rows = dict.fromkeys(
          cell_weights.SEP_CONVS, cell_weights.edge_index(row, node)
        )
        if far:
          rows["identity"] = 2 * row + node
        taken = {
          name: jax.tree.map(operator.itemgetter((side, at)), cell[name])
          for name, at in rows.items()
        }
        branches = cell_lib._branches(2 if far else 1)
        for op, branch in enumerate(branches):
          image, _ = branch(taken, nodes[node])
          image = drop_path.apply(masks[0, row, side], op, image)
          total = total + share * arc.ops[row][side][op] * image
    nodes.append(total)
  loose = relaxed_cell.likely_loose(arc)[2:]
  out = sum(
    share * image_ops.pointwise_conv(jax.nn.relu(node), kernel)
    for share, node, kernel in zip(
      loose, nodes[2:], cell["output"]["kernel"], strict=True
    )
  )
  return batch_norm.normalise(out, cell["output"])[0]


class RelaxedCellTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_every_operation_on_every_node_before(self, strided):
    weights, inputs, masks = make_cell(strided)
    arc = draw()
    some = jax.random.normal(jax.random.key(5), (BATCH, 4, 4, FILTERS))
    some = some[:, :2, :2] if strided else some

    def measure(function, arc, weights):
      out = function(weights, arc, inputs, masks, strided)
      return jnp.vdot(out, some)

    gradients = jax.jit(
      jax.value_and_grad(functools.partial(measure, run), argnums=(0, 1))
    )
    value, (by_arc, by_weights) = gradients(arc, weights)
    # The written out is not differentiated: that compiles for long.
    directions = jax.tree.map(
      lambda leaf: 0.1 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape),
      (arc, weights),
    )

    @jax.jit
    def moved(by):
      at = jax.tree.map(lambda x, d: x + by * d, (arc, weights), directions)
      return measure(written_out, *at)

    np.testing.assert_allclose(value, moved(0.0), rtol=1e-5)
    slope = (moved(0.01) - moved(-0.01)) / 0.02
    along = sum(
      jnp.vdot(a, b)
      for a, b in zip(
        jax.tree.leaves((by_arc, by_weights)),
        jax.tree.leaves(directions),
        strict=True,
      )
    )
    np.testing.assert_allclose(along, slope, rtol=0.01)

  @parameterized.parameters(False, True)
  def test_a_sample_runs_as_the_cell_and_weighs_all(self, strided):
    weights, inputs, masks = make_cell(strided)
    arc = sample(draw())
    chosen = micro.CellArc(
      *(
        jnp.array([[choice.chosen for choice in pair] for pair in leaf])
        for leaf in arc
      )
    )
    same = lambda arc: run(weights, arc, inputs, masks, strided)
    # Batch norm takes out the scale, not the likelihood of loose ends: those
    # that are taken have none, as in the cell.
    np.testing.assert_allclose(
      jax.jit(same)(arc), jax.jit(same)(chosen), atol=1e-5
    )
    # The gradient of a weight that was not sampled is what comes back, summed.
    slopes = jax.jit(
      jax.grad(lambda soft: jnp.sum(same(sample(soft))[0] ** 3))
    )(draw())
    for pair, choices in zip(slopes.ops, arc.ops, strict=True):
      for slope, choice in zip(pair, choices, strict=True):
        others = np.delete(np.asarray(slope), int(choice.chosen))
        np.testing.assert_allclose(others, others[0], rtol=1e-5)

  def test_a_larger_cell_is_no_larger_program(self):
    def size(rows, arc):
      weights, inputs, masks = make_cell(False, rows)
      step = jax.jit(
        jax.grad(lambda w: jnp.sum(run(w, arc, inputs, masks, False)))
      )
      return programs.size(step.trace(weights).jaxpr)

    for change in (lambda arc: arc, sample):
      small, large = size(2, change(draw(2))), size(5, change(draw(5)))
      self.assertLess(large, 1.5 * small)


if __name__ == "__main__":
  absltest.main()
