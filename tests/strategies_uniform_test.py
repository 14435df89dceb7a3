"""Candidates of random search, alike or with weighed operations."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces import decisions
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.strategies import registry, uniform
from tests import tiny

SPACE = nasbench201.NasBench201Space()


def draw(op_weights, count):
  options = uniform.UniformConfig(op_weights=op_weights)
  strategy = uniform.Uniform(SPACE, options)
  return strategy.propose((), jax.random.key(0), count)


class UniformTest(parameterized.TestCase):
  def test_operations_are_as_frequent_as_asked(self):
    shares = decisions.frequencies(SPACE, draw((1, 1, 3, 3, 2), 4000))
    # Three standard errors of a share of 0.3 are 0.022.
    np.testing.assert_allclose(
      shares, [[0.1, 0.1, 0.3, 0.3, 0.2]] * 6, atol=0.03
    )

  def test_without_weights_they_are_those_of_the_space(self):
    expected = SPACE.sample_uniform(jax.random.key(0), 50)
    np.testing.assert_array_equal(draw((), 50).ops, expected.ops)

  def test_json_gives_the_same_options_back(self):
    config = tiny.make_image_config("nasbench201", policy="random")
    config = config_lib.override(config, "strategy", op_weights=(1, 1, 3, 3, 1))
    kept = config.to_dict()
    kept["strategy"]["op_weights"] = [1, 1, 3, 3, 1]  # as JSON has it
    plain = tiny.make_image_config("nasbench201")
    self.assertEqual(registry.restore_config(plain, kept), config)

  @parameterized.parameters(
    ((1, 2), "theta_op_weights must be 5 positive numbers"),
    ((1, 1, 0, 1, 1), "theta_op_weights must be positive numbers"),
  )
  def test_other_weights_are_refused(self, weights, words):
    with self.assertRaisesRegex(types.InputError, words):
      draw(weights, 1)


if __name__ == "__main__":
  absltest.main()
