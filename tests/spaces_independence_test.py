"""Every way of drawing architectures decides each thing by itself.

Two decisions drawn with one key look uniform, each alone: only a table of both
shows that one gives away the other.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from enas_jax.spaces import decisions, registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.recurrent import arc as recurrent
from enas_jax.strategies import controller as controller_lib
from enas_jax.strategies import edits, evolution

SPACES = {
  "recurrent": recurrent.RecurrentSpace(5),
  "macro": macro.MacroSpace(5),
  "micro": micro.MicroSpace(4),
  "nasbench201": nasbench201.NasBench201Space(),
}
COUNT = 6000
# A right sampler fails one test in a million: Bonferroni over a test's tables.
LEVEL = 1e-6


def num_ops(space):
  return next(d.num_choices for d in space.decisions() if d.kind == "op")


def op_weights(space):
  return tuple(range(1, num_ops(space) + 1))


# Each draws as one step of a search does, a few architectures with a key of
# their own: only these share the positions of the random bits of a key.


def uniform(space, key):
  return space.to_choices(space.sample_uniform(key, 2))


def weighed(space, key):
  arcs = decisions.sample_weighed(space, key, 2, op_weights(space))
  return space.to_choices(arcs)


def fair(space, key):
  key_arcs, key_run = jax.random.split(key)
  arcs = space.sample_uniform(key_arcs, 2)
  arcs = decisions.balance_ops(space, arcs, key_run, 0)
  # Of one: by design its operations exclude those of the other.
  return space.to_choices(arcs)[:1]


def controller(space, key):
  # So narrow a start that the policy is uniform up to a millionth.
  config = dataclasses.replace(
    registry.preset("paper", space.name).strategy.controller,
    **{"hidden_size": 8, "init_range": 1e-3},
  )
  policy = controller_lib.Controller(space, config)
  key_theta, key_arcs = jax.random.split(key)
  arcs = policy.sample(policy.init(key_theta), key_arcs, 2).arc
  return space.to_choices(arcs)


def population(space, key):
  """Evolution's start, and what it proposes before anything is scored."""
  options = evolution.EvolutionConfig(population_size=2)
  strategy = evolution.Evolution(space, options, 1)
  key_start, key_arcs = jax.random.split(key)
  start = strategy.init(key_start)
  proposed = strategy.propose(start, key_arcs, 1)
  return jnp.concatenate([start.choices, space.to_choices(proposed)])


WAYS = {f.__name__: f for f in (uniform, weighed, fair, controller, population)}


def entries(space):
  """(kind, number of values) of each entry of the flat choices."""
  for decision in space.decisions():
    skips = decision.kind == "skips"
    size = 2 if skips else decision.num_choices
    yield from [(decision.kind, size)] * decision.width


def dependence(choices, sizes):
  """{pair of entries: p-value of the chi-square test on their table}."""
  ends = np.cumsum(sizes)
  marked = np.zeros((len(choices), ends[-1]))
  starts = ends - sizes
  np.put_along_axis(marked, choices + starts, 1.0, axis=1)
  table, counts = marked.T @ marked, marked.sum(axis=0)
  expected = np.outer(counts, counts) / len(choices)
  parts = np.square(table - expected) / expected
  sums = np.add.reduceat(np.add.reduceat(parts, starts, 0), starts, 1)
  freedom = np.outer(sizes - 1, sizes - 1)
  return {
    pair: stats.chi2.sf(sums[pair], freedom[pair])
    for pair in itertools.combinations(np.flatnonzero(sizes > 1).tolist(), 2)
  }


class SamplingTest(parameterized.TestCase):
  @parameterized.product(name=list(SPACES), way=list(WAYS))
  def test_decisions_are_independent_and_as_frequent_as_asked(self, name, way):
    space = SPACES[name]
    keys = jax.random.split(jax.random.key(7), COUNT)
    drawn = jax.jit(jax.vmap(functools.partial(WAYS[way], space)))(keys)
    choices = np.asarray(drawn).reshape(COUNT, -1)
    kinds, sizes = zip(*[*entries(space)] * drawn.shape[1], strict=True)
    p_values = dependence(choices, np.array(sizes))
    pair = min(p_values, key=p_values.get)
    self.assertGreater(
      p_values[pair] * len(p_values),
      LEVEL,
      f"entries {pair}, {[kinds[i] for i in pair]}",
    )
    free = [i for i, size in enumerate(sizes) if size > 1]
    for i in free:
      asked = np.ones(sizes[i])
      if way == "weighed" and kinds[i] == "op":
        asked = np.array(op_weights(space))
      counts = np.bincount(choices[:, i], minlength=sizes[i])
      p = stats.chisquare(counts, COUNT * asked / asked.sum()).pvalue
      self.assertGreater(p * len(free), LEVEL, f"entry {i}, {counts}")


class MutationTest(parameterized.TestCase):
  @parameterized.parameters(*SPACES)
  def test_place_and_value_are_independent_and_uniform(self, name):
    space = SPACES[name]
    sizes = decisions.num_alternatives(space.decisions())
    parent = space.to_choices(space.sample_uniform(jax.random.key(1), 1))[0]
    keys = jax.random.split(jax.random.key(2), COUNT)
    mutate = jax.vmap(lambda key: edits.mutate(parent, key, sizes))
    changes = (np.asarray(jax.jit(mutate)(keys)) - np.asarray(parent)) % sizes
    np.testing.assert_array_equal((changes > 0).sum(axis=1), 1)
    place, turn = changes.argmax(axis=1), changes.max(axis=1)
    free = np.flatnonzero(sizes > 1)
    counts = np.bincount(place, minlength=len(sizes))[free]
    self.assertGreater(stats.chisquare(counts).pvalue, LEVEL)
    # Among entries of as many values, how far one turns tells not which it is.
    for size in sorted(set(sizes[free]) - {2}):
      alike = np.flatnonzero(sizes == size)
      chosen = np.isin(place, alike)
      table = np.zeros((len(sizes), size), int)
      np.add.at(table, (place[chosen], turn[chosen]), 1)
      table = table[alike, 1:]
      self.assertGreater(stats.chisquare(table.sum(axis=0)).pvalue, LEVEL)
      if len(alike) > 1:
        p = stats.chi2_contingency(table).pvalue
        self.assertGreater(p, LEVEL, f"{size} values")


if __name__ == "__main__":
  absltest.main()
