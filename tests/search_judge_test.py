"""How far theta's training is, by hand; more in `strategies_relaxed_test`."""

import types

from absl.testing import absltest, parameterized

from enas_jax.search import judge
from tests import tiny


class ProgressTest(parameterized.TestCase):
  @parameterized.parameters(
    # Theta learns in epochs 1 to 4, of 0 to 4.
    *(
      (5, 1, epoch, done) for epoch, done in enumerate((0, 0, 1 / 3, 2 / 3, 1))
    ),
    (5, 1, 7, 1.0),  # epochs may be added
    (3, 0, 1, 0.5),
    (2, 1, 1, 0.0),  # in one epoch alone
  )
  def test_it_grows_from_the_first_epoch_to_the_last(
    self, num_epochs, warmup_epochs, epoch, expected
  ):
    config = tiny.make_config(
      run={"num_epochs": num_epochs}, theta={"warmup_epochs": warmup_epochs}
    )
    task, state = (
      types.SimpleNamespace(**fields)
      for fields in ({"config": config}, {"epoch": epoch})
    )
    asked = judge.Judge(task, state, None, None)
    self.assertAlmostEqual(float(asked.progress), expected, places=6)


if __name__ == "__main__":
  absltest.main()
