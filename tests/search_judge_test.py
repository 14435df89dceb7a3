"""How far theta's training is, and a step of omega on, by hand."""

import types

import jax
import jax.numpy as jnp
import numpy as np
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


class UnrollTest(parameterized.TestCase):
  @parameterized.parameters(
    # The slope of training is 2 - 1: omega comes to 2 - 0.5, the loss to half
    # its square, and one more of the weight would bring omega up by 0.5.
    (0.0, 1.125, 0.75),
    (2.0, 1.125, 0.75),  # a bound that is not reached
    # Bound to a quarter, the slope counts as at a rate of 0.125.
    (0.25, 0.5 * 1.875**2, 0.125 * 1.875),
  )
  def test_one_step_on_a_parabola(self, clip_norm, value, slope):
    half_square = lambda x: 0.5 * jnp.sum(jnp.square(x))

    @jax.jit
    def loss(weights):
      return judge.unroll(
        lambda omega, arc: half_square(omega["w"] - arc["op"][0]),
        lambda omega, arc: half_square(omega["w"]),
        {"w": jnp.float32(2.0)},
        {"op": weights, "prev": jnp.int32(3)},
        jnp.float32(0.5),
        *([clip_norm] if clip_norm else []),
      )

    found, grad = jax.value_and_grad(loss)(jnp.array([1.0, 0.0]))
    self.assertAlmostEqual(float(found), value, places=5)
    np.testing.assert_allclose(grad, [slope, 0.0], rtol=1e-3)


if __name__ == "__main__":
  absltest.main()
