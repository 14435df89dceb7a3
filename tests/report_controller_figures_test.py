"""Figures of controllers where there is little to draw."""

import numpy as np
from absl.testing import absltest

from enas_jax.report import controller_figures


class PerformanceTest(absltest.TestCase):
  def test_groups_whose_networks_all_overflowed(self):
    none, some = np.zeros(0), np.array([1.0, 2.0])
    chart = controller_figures.performance(
      {"a": {"uniform": none, "policy": some}, "b": {"uniform": none}}, "loss"
    )
    first, second = chart.axes
    labels = [text.get_text() for text in first.get_legend().get_texts()]
    self.assertEqual(labels, ["policy: mean 1.5"])
    self.assertIsNone(second.get_legend())


if __name__ == "__main__":
  absltest.main()
