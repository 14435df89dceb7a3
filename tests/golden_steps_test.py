"""Gradients beyond a step of a ReLU or a max pool, and those that are wrong."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.nn import image_ops
from tests.golden import steps, vectors

Named = dict[str, np.ndarray]


def compared(
  golden: Named, ours: Named, step: Callable[[Any], Any], inputs: Named
) -> list[vectors.Comparison]:
  """What `steps.compare` says of two gradients, with float64's to decide."""
  group = mock.Mock(spec=vectors.Arrays, take_all=lambda _: dict(golden))
  checks = vectors.Checks(mock.Mock(grads=group, stem="a"))
  write = lambda tree: jax.tree.map(np.asarray, tree)
  steps.compare(checks, ours, steps.Exact(step, inputs, write))
  assert [done.name for done in checks.done] == [f"grad/{n}" for n in golden]
  return checks.done


class TestOneReLU:
  """The sum of c * relu(x @ w + offset)."""

  X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
  C = np.array([1.0, 2.0], np.float32)

  def gradient(self, weights: Named) -> Named:
    """By hand: a float32 of the release or of ours."""
    inputs = self.X @ weights["w"] + weights["offset"]
    passed = (inputs > 0) * self.C
    return {"w": self.X.T @ passed, "offset": passed.sum(axis=0)}

  def step(self, weights: Any) -> Any:
    def loss(weights: Any) -> jax.Array:
      x = jax.nn.relu(self.X @ weights["w"] + weights["offset"])
      return jnp.sum(x * self.C)

    return jax.grad(loss)(weights)

  def weights(self, near: float) -> Named:
    """Such that one input of channel 1 is that near to 0."""
    weights = {
      "w": np.array([[0.3, -0.8], [0.5, 0.4], [-1.0, 0.7]], np.float32),
      "offset": np.zeros(2, np.float32),
    }
    weights["offset"][1] = near - (self.X @ weights["w"])[7, 1]
    return weights

  def compare(self, golden: Named, ours: float) -> list[vectors.Comparison]:
    given = self.weights(ours)
    return compared(golden, self.gradient(given), self.step, given)

  @pytest.mark.parametrize(("theirs", "ours"), [(-2e-6, 2e-6), (2e-6, -2e-6)])
  def test_a_step_that_rounding_crosses(
    self, theirs: float, ours: float
  ) -> None:
    golden = self.gradient(self.weights(theirs))
    for done in self.compare(golden, ours):
      assert done.ok
      assert "in float64, steps crossed: 1 by it, 0 by us" in str(done)
      assert str(done).endswith("OK")

  def test_the_same_side(self) -> None:
    golden = self.gradient(self.weights(2e-6))
    for done in self.compare(golden, 2e-6):
      assert done.ok
      assert not done.note

  def test_a_step_that_no_rounding_crosses(self) -> None:
    golden = self.gradient(self.weights(-1e-3))
    assert not any(done.ok for done in self.compare(golden, 1e-3))

  @pytest.mark.parametrize("name", ["w", "offset"])
  @pytest.mark.parametrize("error", ["one per cent", "sign", "exchanged"])
  def test_a_step_and_an_error(self, name: str, error: str) -> None:
    golden = self.gradient(self.weights(-2e-6))
    if error == "one per cent":
      golden[name].ravel()[0] += 0.01 * np.linalg.norm(golden[name])
    elif error == "sign":
      golden[name] = -golden[name]
    else:
      golden[name] = golden[name][..., ::-1]
    for done in self.compare(golden, 2e-6):
      assert done.ok == (done.name != f"grad/{name}")

  def test_an_error_of_ours_alone(self) -> None:
    golden = self.gradient(self.weights(-2e-6))
    given = self.weights(2e-6)
    # Float64 agrees with the release, but our float32 is of another network.
    ours = self.gradient(given)
    ours["w"] = ours["w"] * 1.01
    done = compared(golden, ours, self.step, given)
    assert [each.ok for each in done] == [False, True]


def test_a_number_is_on_one_side_in_all_relus_that_read_it() -> None:
  z = np.linspace(-1.0, 1.0, 51, dtype=np.float32)[:, None]
  z[20] = 2e-6

  def step(inputs: Any) -> Any:
    read = lambda z: jax.nn.relu(z).sum() + 2 * jax.nn.relu(3 * z / 3).sum()
    return jax.grad(lambda inputs: read(inputs["z"]))(inputs)

  ours = {"z": 3.0 * (z > 0)}
  for there, agrees in ((0.0, True), (1.0, False), (2.0, False)):
    golden = {"z": ours["z"].copy()}
    golden["z"][20] = there
    (done,) = compared(golden, ours, step, {"z": z})
    assert done.ok == agrees, there


@pytest.mark.parametrize("nearer", [0, 20])
def test_a_number_that_helps_by_chance_goes_back(nearer: int) -> None:
  """The release is beyond the steps of rows 0 and 1, and of row 2 is not."""
  # Each row's number is its first entry, and its step the rest of it.
  rows = np.zeros((40, 5), np.float32)
  rows[:3, 1:] = [
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    # The one step that comes nearest to the sum of the two.
    [0.45, 0.45, 0.5, 0.0],
  ]
  rows[:3, 0] = [-5e-6, -6e-6, -4e-6]
  rows[3:, 0] = np.linspace(0.5, 1.5, 37)
  rows[3:, 4] = 1.0
  # These roundings cross more easily. Their steps lead elsewhere.
  rows[3 : 3 + nearer, 0] = 1e-7 * np.arange(1, nearer + 1)
  w = np.array([1.0, 0.0, 0.0, 0.0, 0.0], np.float32)

  def step(inputs: Any) -> Any:
    loss = lambda w: jax.nn.relu(inputs["rows"] @ w[:, None]).sum()
    return {"w": jax.grad(loss)(inputs["w"])}

  ours = {"w": rows[3:].sum(axis=0)}
  golden = {"w": ours["w"] + rows[0] + rows[1]}
  (done,) = compared(golden, ours, step, {"rows": rows, "w": w})
  assert done.ok
  assert done.error < 1e-6
  assert done.note == "in float64, steps crossed: 2 by it, 0 by us"


@pytest.mark.parametrize(("taker", "agrees"), [((0, 0), True), ((0, 1), False)])
def test_a_max_pool_whose_largest_are_nearly_equal(
  taker: tuple[int, int], agrees: bool
) -> None:
  """Of four windows the middle pixel is the largest; in one but just so."""
  image = np.linspace(0.1, 0.5, 9, dtype=np.float32).reshape(3, 3)
  image[1, 1], image[0, 0] = 1.0, 1 - 1e-6
  weights = {"image": image[None, ..., None]}
  c = np.array([1.0, 2.0, 3.0, 4.0], np.float32).reshape(1, 2, 2, 1)

  def step(weights: Any) -> Any:
    pooled = lambda w: jnp.sum(image_ops.max_pool(w["image"], 2) * c)
    return jax.grad(pooled)(weights)

  ours, golden = (np.zeros((1, 3, 3, 1)) for _ in range(2))
  ours[0, 1, 1] = 10.0
  golden[0, 1, 1], golden[(0, *taker)] = 9.0, 1.0
  (done,) = compared({"image": golden}, {"image": ours}, step, weights)
  assert done.ok == agrees
  assert ("steps crossed: 1 by it, 0 by us" in done.note) == agrees
