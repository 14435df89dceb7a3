"""Options of the micro network that are refused."""

import jax
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.spaces.micro import network
from tests import tiny


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"num_nodes": 2}, "num_nodes must be at least 3"),
    ({"num_layers": 2}, "num_layers must be at least 3, got 2"),
    ({"num_filters": 5}, "num_filters must be even and positive, got 5"),
    ({"reduction": "pool"}, "reduction must be one of strided, factorized"),
    ({"include_inputs": True}, "include_inputs must be false with"),
    (
      {"weight_init": "zero"},
      "weight_init must be one of he, released, got 'zero'",
    ),
    ({"drop_features": 1.0}, r"drop_features must be in \[0, 1\), got 1.0"),
  )
  def test_errors(self, changes, message):
    with self.assertRaisesRegex(types.InputError, message):
      tiny.child_config("micro", "paper", **changes)

  def test_the_auxiliary_head_asks_for_the_size_of_images(self):
    config = tiny.child_config("micro", "paper", aux_head=True)
    for size, message in ((None, "be given"), (16, "be at least 17")):
      with self.assertRaisesRegex(
        types.InputError, f"image_size must {message}"
      ):
        network.init(jax.random.key(0), config, 10, 3, size)


if __name__ == "__main__":
  absltest.main()
