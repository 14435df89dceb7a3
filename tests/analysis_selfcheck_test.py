"""A device against itself: what is compared, and what would be noticed."""

import math
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from enas_jax import config as config_lib
from enas_jax.analysis import selfcheck
from enas_jax.spaces import registry
from tests import tiny


def small(preset, space):
  config = _preset(preset, space)
  parts = {part: tiny.FLAGS[part] for part in ("child", "data", "strategy")}
  return config_lib.override_parts(config, parts)


_preset = registry.preset


class SelfcheckTest(absltest.TestCase):
  def test_gaps_are_relative_and_nan_is_none(self):
    measured = lambda loss, *grads: selfcheck._Measured(
      np.float32(loss), {"w": np.float32(grads)}
    )
    loss, gradient = selfcheck._gaps(measured(2.2, 3, 5), measured(2.0, 3, 4))
    self.assertAlmostEqual(loss, 0.1, places=6)
    self.assertAlmostEqual(gradient, 0.2, places=6)  # 1 of a norm of 5
    self.assertTrue(selfcheck.Check("s", "w", 0.1, 0.1).ok)
    self.assertFalse(selfcheck.Check("s", "w", 0.2, 0.1).ok)
    self.assertFalse(selfcheck.Check("s", "w", math.nan, 0.1).ok)

  def test_a_wrong_derivative_is_noticed(self):
    with mock.patch.object(registry, "preset", small):
      subject = selfcheck.Subject("recurrent", "smoke")
      traced, static = subject.measure(), subject.measure(static=True)
    loss, gradient = selfcheck._gaps(traced, static)
    self.assertLess(loss, 1e-5)
    self.assertLess(gradient, 1e-4)
    wrong = static._replace(
      grads=jax.tree.map(lambda g: g * np.float32(1.1), static.grads)
    )
    self.assertGreater(selfcheck._gaps(wrong, static)[1], 0.09)

  def test_a_search_that_goes_on_otherwise_is_noticed(self):
    """Without compiling one: what is written decides."""
    folder = pathlib.Path(tempfile.mkdtemp())
    rows = [{"omega/loss_nats": 2.0}, {"phase": "epoch"}]
    ends = iter([(rows, [b"ab"]), (rows, []), (rows, [b"ac"]),
                 ([{"omega/loss_nats": 2.1}], [])])  # fmt: skip
    with mock.patch.object(
      selfcheck, "_run_search", lambda *a, **k: next(ends)
    ):
      bits, half = selfcheck.check_search("recurrent", folder, "smoke")
    self.assertFalse(bits.ok)
    self.assertTrue(half.ok)
    self.assertAlmostEqual(half.gap, 0.05)
    stop = selfcheck._stop_after(3)
    self.assertEqual([stop() for _ in range(4)], [0, 0, 15, 15])


if __name__ == "__main__":
  absltest.main()
