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


class ManyTest(absltest.TestCase):
  """More lines than the figures of the paper have."""

  def test_choices_of_many_kinds(self):
    labels = [f"kind{number} 1" for number in range(12)]
    panels = {"a": (np.arange(2), np.ones((2, 12)))}
    (axes,) = controller_figures.entropies(panels, labels).axes
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    self.assertLen(shown, 13)  # and the mean
    colors = [line.get_color() for line in axes.lines[:10]]
    self.assertLen(set(colors), 10)

  def test_many_controllers(self):
    names = [f"controller {number}" for number in range(5)]
    tables = {"a": {name: np.ones((3, 2)) for name in names}}
    values = {"a": {name: np.arange(3.0) for name in names}}
    for chart in (
      controller_figures.certainty(tables),
      controller_figures.performance(values, "loss"),
    ):
      self.assertLen(chart.axes[0].get_legend().get_texts(), 5)


if __name__ == "__main__":
  absltest.main()
