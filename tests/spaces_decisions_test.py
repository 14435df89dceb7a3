"""Operations drawn equally often, and some more often than others."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.spaces import decisions
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.spaces.recurrent import arc as recurrent

SPACES = {
  "recurrent": recurrent.RecurrentSpace(4),
  "macro": macro.MacroSpace(4),
  "micro": micro.MicroSpace(5),
  "nasbench201": nasbench201.NasBench201Space(),
}


def columns(space, kind):
  """The places of one kind of decision in the flat choices."""
  found, place = [], 0
  for decision in space.decisions():
    if decision.kind == kind:
      found += range(place, place + decision.width)
    place += decision.width
  return found


class FrequenciesTest(absltest.TestCase):
  def test_shares_of_operations_and_of_skips(self):
    space = macro.MacroSpace(2)
    choices = np.array([[5, 0, 1], [5, 2, 0], [5, 2, 0], [1, 2, 0]])
    shares = decisions.frequencies(space, space.from_choices(choices))
    self.assertEqual(
      shares,
      [[0, 0.25, 0, 0, 0, 0.75], [0.25, 0, 0.75, 0, 0, 0], [0.75, 0.25]],
    )


class BalanceOpsTest(parameterized.TestCase):
  @parameterized.parameters(*SPACES)
  def test_every_group_has_every_operation_once(self, name):
    space = SPACES[name]
    size = next(d.num_choices for d in space.decisions() if d.kind == "op")
    arcs = space.sample_uniform(jax.random.key(1), 41 * size + 2)
    # From the middle of a group.
    fair = decisions.balance_ops(space, arcs, jax.random.key(2), 3 * size - 2)
    before, after = (np.asarray(space.to_choices(a)) for a in (arcs, fair))
    where = columns(space, "op")
    groups = after[2:, where].reshape(41, size, len(where))
    expected = np.broadcast_to(np.arange(size)[:, None], (size, len(where)))
    for group in groups:
      np.testing.assert_array_equal(np.sort(group, axis=0), expected)
    # Groups and decisions have orders of their own.
    self.assertGreater(len({group.tobytes() for group in groups}), 30)
    first, second = groups[..., 0], groups[..., 1]
    self.assertGreater(np.sum(np.any(first != second, axis=1)), 30)
    others = sorted(set(range(after.shape[1])) - set(where))
    np.testing.assert_array_equal(after[:, others], before[:, others])
    space.validate(decisions.nth(jax.device_get(fair), 5))

  def test_the_number_decides_and_not_how_many_are_drawn(self):
    space, key = SPACES["nasbench201"], jax.random.key(3)
    arcs = space.sample_uniform(jax.random.key(1), 12)
    whole = decisions.balance_ops(space, arcs, key, 7).ops
    for start in range(0, 12, 3):
      part = nasbench201.NasBench201Arc(arcs.ops[start : start + 3])
      found = decisions.balance_ops(space, part, key, 7 + start).ops
      np.testing.assert_array_equal(found, whole[start : start + 3])


class SampleWeighedTest(parameterized.TestCase):
  @parameterized.parameters(*SPACES)
  def test_operations_are_as_frequent_as_asked(self, name):
    space = SPACES[name]
    (size,) = {d.num_choices for d in space.decisions() if d.kind == "op"}
    weights = tuple(range(1, size + 1))
    key = jax.random.key(2)
    arcs = space.sample_uniform(jax.random.split(key)[0], 2000)
    weighed = decisions.sample_weighed(space, key, 2000, weights)
    before, after = (np.asarray(space.to_choices(a)) for a in (arcs, weighed))
    where = columns(space, "op")
    chances = np.array(weights) / sum(weights)
    # Five standard deviations of a share of 2,000.
    for column in after[:, where].T:
      shares = np.bincount(column, minlength=size) / 2000
      error = np.sqrt(chances * (1 - chances) / 2000)
      np.testing.assert_array_less(np.abs(shares - chances), 5 * error)
    # No operation decides another.
    first, second = after[:, where[0]], after[:, where[-1]]
    self.assertLess(abs(np.corrcoef(first, second)[0, 1]), 5 / np.sqrt(2000))
    others = sorted(set(range(after.shape[1])) - set(where))
    np.testing.assert_array_equal(after[:, others], before[:, others])
    space.validate(decisions.nth(jax.device_get(weighed), 5))


if __name__ == "__main__":
  absltest.main()
