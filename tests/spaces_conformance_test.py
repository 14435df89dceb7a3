"""What every space of the registry promises, and its shared network."""

import dataclasses
import itertools
import json
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.nn import image_ops, ops
from enas_jax.spaces import base, decisions, records, registry
from enas_jax.strategies import controller as controller_lib
from enas_jax.tasks import registry as tasks
from tests import tiny

# Fields of the options that make a network small, and the space with it.
SMALL = {"recurrent": tiny.FLAGS["child"], **tiny.IMAGE_FLAGS}
# So few architectures that all can be scored.
TINIEST = {
  "recurrent": {"num_nodes": 2}, "macro": {"num_layers": 2},
  "micro": {"num_nodes": 3},
}  # fmt: skip
DATA = {
  "text": {"batch_size": 4, "bptt_length": 5},
  "images": {"batch_size": 8, "reward_batch_size": 8, "pad": 1},
}
# Spaces of other sizes and forms.
FORMS = {
  "recurrent": ({"num_nodes": 5}, {"num_nodes": 5, "first_node": "tanh"}),
  "macro": ({"num_layers": 1}, {"num_layers": 2}, {"num_layers": 6}),
  "micro": ({"num_nodes": 3}, {"num_nodes": 5}),
}
CASES = [
  (name, options)
  for name in registry.names()
  for options in FORMS.get(name, ({},))
]
COUNT = 12


def make_config(name, **options):
  return config_lib.override(registry.preset("smoke", name), "child", **options)


def make_space(name, **options):
  return make_config(name, **options).child.space()


def alternatives(space):
  """How many values each entry of the flat choices may have."""
  for decision in space.decisions():
    skips = decision.kind == "skips"
    yield from [2 if skips else decision.num_choices] * decision.width


def entry_names(before, after):
  """The entries of two arcs that differ, as errors name them."""
  pairs = zip(
    jax.tree_util.tree_leaves_with_path(before),
    jax.tree.leaves(after),
    strict=True,
  )
  return [
    "arc" + jax.tree_util.keystr(path) + "".join(f"[{i}]" for i in place)
    for (path, old), new in pairs
    for place in np.argwhere(np.asarray(old) != np.asarray(new))
  ]


class SpaceTest(parameterized.TestCase):
  @parameterized.parameters(*CASES)
  def test_choices_tokens_and_json_round_trip(self, name, options):
    definition, space = registry.get(name), make_space(name, **options)
    arcs = space.sample_uniform(jax.random.key(3), COUNT)
    choices = space.to_choices(arcs)
    chex.assert_shape(choices, (COUNT, len(list(alternatives(space)))))
    chex.assert_type([choices, *jax.tree.leaves(arcs)], jnp.int32)
    chex.assert_trees_all_equal(space.from_choices(choices), arcs)
    for index in range(COUNT):
      arc = space.validate(decisions.nth(arcs, index))
      self.assertIsInstance(hash(arc), int)  # of Python ints throughout
      self.assertEqual(space.validate(decisions.as_arrays(arc)), arc)
      np.testing.assert_array_equal(space.to_choices(arc), choices[index])
      self.assertEqual(space.from_tokens(space.to_tokens(arc)), arc)
      record = space.to_dict(arc)
      text = records.dumps(record)
      self.assertEqual(json.loads(text), record)
      self.assertEqual(record["space"], name)
      self.assertEqual(record["tokens"], space.to_tokens(arc))
      self.assertEqual(space.from_dict(record), arc)
      self.assertEqual(definition.of_record(records.loads(text)), (space, arc))

  @parameterized.parameters(*CASES)
  def test_size_is_the_product_over_decisions(self, name, options):
    space = make_space(name, **options)
    self.assertEqual(space.name, name)
    self.assertEqual(space.size(), math.prod(alternatives(space)))
    self.assertEqual(hash(space), hash(make_space(name, **options)))

  @parameterized.parameters(*CASES)
  def test_a_bad_entry_is_refused_by_name(self, name, options):
    space = make_space(name, **options)
    arcs = space.sample_uniform(jax.random.key(4), 1)
    choices = np.asarray(space.to_choices(arcs))[0]
    good = space.from_choices(jnp.asarray(choices))
    space.validate(good)
    for entry, size in enumerate(alternatives(space)):
      for value in (size, -1):
        bad = choices.copy()
        bad[entry] = value
        bad = space.from_choices(jnp.asarray(bad))
        (expected,) = entry_names(good, bad)
        with self.assertRaises(types.InputError) as caught:
          space.validate(bad)
        message = str(caught.exception)
        self.assertStartsWith(message, f"{expected} must be ")
        self.assertIn(f", got {value}", message)

  @parameterized.parameters(*registry.names())
  def test_bad_texts_and_records_are_refused(self, name):
    space = make_space(name)
    arc = space.validate(
      decisions.nth(space.sample_uniform(jax.random.key(5), 1), 0)
    )
    tokens, record = space.to_tokens(arc), space.to_dict(arc)
    for text in (tokens.rpartition(" ")[0], f"{tokens} 0", f"{tokens[:-1]}x"):
      with self.assertRaisesRegex(types.InputError, r"tokens"):
        space.from_tokens(text)
    for other in ("none", None):
      with self.assertRaisesRegex(
        types.InputError, f'must have "space": "{name}", got {other!r}'
      ):
        space.from_dict({**record, "space": other})
    with self.assertRaisesRegex(types.InputError, "lacks the field"):
      space.from_dict({"space": name})


class ControllerTest(parameterized.TestCase):
  @parameterized.parameters(*registry.names())
  def test_probabilities_of_all_arcs_sum_to_one(self, name):
    config = make_config(name, **TINIEST.get(name, {}))
    space = config.child.space()
    options = dataclasses.replace(
      config.strategy.controller, hidden_size=6, init_range=1.5
    )
    controller = controller_lib.Controller(space, options)
    choices = np.array(
      list(itertools.product(*map(range, alternatives(space)))), np.int32
    )
    self.assertLen(choices, space.size())

    @jax.jit
    def score(choices):
      theta = controller.init(jax.random.key(0))
      return controller.score(theta, space.from_choices(choices)).log_prob

    probabilities = np.exp(np.asarray(score(choices), np.float64))
    self.assertAlmostEqual(probabilities.sum(), 1.0, places=4)
    self.assertGreater(probabilities.max() / probabilities.min(), 2.0)


class NetworkTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # XLA's own kernels compile several times faster than those for CPU.
    self.enterContext(image_ops.using("plain"))
    chex.clear_trace_counter()

  @parameterized.parameters(*registry.names())
  def test_one_trace_serves_all_and_each_is_its_fixed_child(self, name):
    definition = registry.get(name)
    config = make_config(name)
    config = config_lib.override(
      config, "data", **DATA[definition.network.kind]
    )
    # A penalty on all of omega would have a gradient outside the child.
    config = config_lib.override(config, "omega", l2_weight=0.0)
    task_definition = tasks.get(definition.task)
    data = task_definition.synthetic(
      config, base.DataShape(30, (8, 8, 2), 3), 1
    )
    task = task_definition.create(config, definition.network, data)
    carry = task.init_carry()
    key_omega, key_batch, key_loss = jax.random.split(jax.random.key(6), 3)
    omega = jax.jit(task.init_omega)(key_omega)
    batch = jax.jit(task.train_batch)(
      task.splits(data).train, carry, jnp.int32(0), key_batch
    )

    def loss(child, arc):
      return task.loss(child, arc, batch, carry, key_loss)[0]

    def loss_and_grad(omega, arc):
      of_omega = lambda omega: loss(task.child_params(omega, arc), arc)
      return jax.value_and_grad(of_omega)(omega)

    traced = jax.jit(chex.assert_max_traces(n=1)(loss_and_grad))

    arcs = task.space.sample_uniform(jax.random.key(7), 6)
    found = [traced(omega, decisions.nth(arcs, index)) for index in range(6)]
    # A layer that no later one takes may make no difference.
    self.assertGreater(len({float(value) for value, _ in found}), 3)

    self._check_mixtures(task.space, loss_and_grad, omega, arcs, found)
    arc = task.space.validate(decisions.nth(arcs, 0))
    child = task.child_params(omega, arc)
    step = jax.jit(jax.value_and_grad(lambda child: loss(child, arc)))
    fixed, grads = step(child)
    value, grads_of_omega = found[0]
    np.testing.assert_allclose(value, fixed, rtol=1e-5)
    # Zero outside the child: no more entries than it has, and no more length.
    size = sum(leaf.size for leaf in jax.tree.leaves(child))
    used = sum(map(jnp.count_nonzero, jax.tree.leaves(grads_of_omega)))
    self.assertLessEqual(int(used), size)
    self.assertLess(size, sum(leaf.size for leaf in jax.tree.leaves(omega)))
    squares = lambda tree: sum(
      np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(tree)
    )
    self.assertGreater(squares(grads), 0.0)
    np.testing.assert_allclose(
      squares(grads_of_omega), squares(grads), rtol=1e-3
    )
    self.assertNotIn("cond[", str(jax.make_jaxpr(step)(child)))

  def _check_mixtures(self, space, measure, omega, arcs, known):
    """One-hot weights, and a sample of one branch, are the traced arc."""
    sizes = decisions.num_alternatives(space.decisions())

    def dense(rows):
      return space.relax([row[:n] for row, n in zip(rows, sizes, strict=True)])

    def sampled(rows):
      return space.relax(
        [
          ops.Sampled(jnp.argmax(row[:n]), row[:n])
          for row, n in zip(rows, sizes, strict=True)
        ]
      )

    for relax in (dense, sampled):
      run = jax.jit(
        lambda omega, rows, relax=relax: measure(omega, relax(rows))
      )
      for index in range(2):
        choices = space.to_choices(decisions.nth(arcs, index))
        measured = run(omega, jax.nn.one_hot(choices, max(sizes)))
        chex.assert_trees_all_close(
          measured, known[index], rtol=1e-3, atol=1e-5
        )


if __name__ == "__main__":
  absltest.main()
