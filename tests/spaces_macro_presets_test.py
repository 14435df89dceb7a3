"""Options of the macro network that are refused, and what follows from them."""

from absl.testing import absltest, parameterized

from enas_jax import types
from tests import tiny


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"num_layers": 0}, "num_layers"),
    ({"num_filters": 5}, "num_filters must be even and positive, got 5"),
    ({"drop_features": 1.0}, "drop_features"),
    ({"op_epsilon": 0.0}, "op_epsilon"),
    ({"main_input": "next"}, "main_input must be one of selected, previous"),
  )
  def test_errors(self, changes, pattern):
    with self.assertRaisesRegex(types.InputError, pattern):
      tiny.child_config("macro", "paper", **changes)

  def test_reductions_are_at_the_released_places(self):
    for layers, places in ((12, (3, 7)), (6, (1, 3)), (4, (0, 1)), (2, ())):
      config = tiny.child_config("macro", "paper", num_layers=layers)
      self.assertEqual(config.reductions(), places)


if __name__ == "__main__":
  absltest.main()
