"""A key is used once: split or folded into, never both.

`fold_in(key, i)` is `split(key)[i]`. Who folds into a key that another function
splits draws two things with one key, and nothing else would show it.
"""

import ast
import pathlib

import jax
import numpy as np
from absl.testing import absltest

import enas_jax
from enas_jax.search import state as state_lib

ROOT = pathlib.Path(enas_jax.__file__).parent
FOLD = "jax.random.fold_in"


def statements(function):
  """The nodes of a function but not of functions within it."""
  for node in ast.iter_child_nodes(function):
    if not isinstance(node, ast.FunctionDef | ast.Lambda):
      yield node
      yield from statements(node)


def faults(source):
  """(function, key) wherever a key is folded into and also handed on."""
  for function in ast.walk(ast.parse(source)):
    if not isinstance(function, ast.FunctionDef):
      continue
    folded, handed = set(), set()
    for call in statements(function):
      if not isinstance(call, ast.Call):
        continue
      given = (*call.args, *(word.value for word in call.keywords))
      names = [ast.unparse(argument) for argument in given]
      if ast.unparse(call.func) == FOLD:
        folded.add(names[0])
      else:
        handed.update(names)
    yield from ((function.name, key) for key in sorted(folded & handed))


class RandomKeysTest(absltest.TestCase):
  def test_why(self):
    key = jax.random.key(3)
    halves = jax.random.key_data(jax.random.split(key))
    for i, half in enumerate(halves):
      folded = jax.random.key_data(jax.random.fold_in(key, i))
      np.testing.assert_array_equal(folded, half)

  def test_no_function_folds_into_a_key_that_it_hands_on(self):
    count = 0
    for path in ROOT.rglob("*.py"):
      source = path.read_text()
      count += source.count(FOLD)
      self.assertEqual(list(faults(source)), [], path)
    self.assertGreater(count, 4)

  def test_no_two_uses_share_a_stream(self):
    numbers = {
      name: number
      for name, number in vars(state_lib).items()
      if name.endswith("_KEYS")
    }
    self.assertGreater(len(numbers), 12)
    self.assertLen(set(numbers.values()), len(numbers), numbers)

  def test_the_fault_is_seen(self):
    bad = """
def draw(space, key):
  arcs = space.sample_uniform(key, 4)
  return arcs, jax.random.categorical(jax.random.fold_in(key, 1), arcs)
"""
    self.assertEqual(list(faults(bad)), [("draw", "key")])
    good = bad.replace("fold_in(key, 1)", "fold_in(key_ops, 1)")
    self.assertEqual(list(faults(good)), [])


if __name__ == "__main__":
  absltest.main()
