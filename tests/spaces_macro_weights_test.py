"""The macro network's weights: how many, and how far they are spread."""

import jax
import numpy as np
from absl.testing import absltest

from enas_jax.spaces.macro import network
from tests import tiny


class InitTest(absltest.TestCase):
  def test_he_initialisation(self):
    config = tiny.child_config(
      "macro", "released", num_layers=1, num_filters=16
    )
    omega = network.init(jax.random.key(0), config, 10, 3)
    for weights, fan_in in (
      (omega["layer_0"]["conv_5x5"]["out"]["w"], 25 * 16),
      (omega["layer_0"]["sep_conv_5x5"]["out"]["depthwise"], 25 * 16),
      (omega["layer_0"]["avg_pool_3x3"]["in"]["w"], 16),
    ):
      spread = float(np.std(weights)) / np.sqrt(2 / fan_in)
      self.assertBetween(spread, 0.85, 1.15)
    released = tiny.child_config(
      "macro", "released", num_layers=6, num_filters=8
    )
    init = lambda key: network.init(key, released, 10, 3)
    leaves = jax.tree.leaves(jax.eval_shape(init, jax.random.key(0)))
    # `num_trainable` of the golden case.
    self.assertEqual(sum(leaf.size for leaf in leaves), 19752)


if __name__ == "__main__":
  absltest.main()
