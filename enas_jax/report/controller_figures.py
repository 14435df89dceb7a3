"""Figures 1 to 4 of Adam & Lorraine (2019), of any number of searches.

A row of panels for every search. All take plain arrays, so that a table of the
same numbers can be written beside each.
"""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import matplotlib
import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import figure, ticker

# By search, by panel, what the panel shows.
Panels = Mapping[str, Mapping[str, np.ndarray]]
_Value = TypeVar("_Value")

# The paper's figures need four at most; a space of one's own may need more.
_COLORS = (
  *("#1f77b4", "#7f7f7f", "#ff7f0e", "#2ca02c", "#d62728"),
  *("#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf"),
)


def certainty(panels: Panels) -> figure.Figure:
  """Figure 1: how likely the most likely alternative of each choice is.

  Args:
    panels: by search and controller, [S, C] float, of S samples. The mean is a
      line; from 5 to 95 per cent of the samples lie in the band.
  """
  chart, grid = _grid(panels, 1, "choice", "probability")
  for row, (_, lines) in zip(grid, panels.items(), strict=True):
    for color, (name, table) in _colored(lines.items()):
      steps = np.arange(1, table.shape[1] + 1)
      low, high = np.quantile(table, [0.05, 0.95], axis=0)
      row[0].plot(steps, table.mean(axis=0), color=color, label=name)
      row[0].fill_between(steps, low, high, color=color, alpha=0.2)
    row[0].set_ylim(0, 1.02)
    row[0].legend(fontsize="small")
  return chart


def paths(panels: Panels) -> figure.Figure:
  """Figure 4: the same, one line for each architecture.

  Args:
    panels: by search and controller, [S, C] float.
  """

  def draw(panel: axes_lib.Axes, table: np.ndarray) -> None:
    steps = np.arange(1, table.shape[1] + 1)
    panel.plot(steps, table.T, color=_COLORS[0], alpha=0.25, linewidth=0.7)
    panel.set_ylim(0, 1.02)

  return _side_by_side(panels, "choice", "probability", draw)


def hidden_states(panels: Panels) -> figure.Figure:
  """Figure 3: the final hidden state of each architecture, a row each.

  Args:
    panels: by search and controller, [S, H] float in (-1, 1).
  """

  def draw(panel: axes_lib.Axes, table: np.ndarray) -> None:
    # Symmetric, so that white is 0; not empty where all states are 0.
    limit = max(float(np.abs(table).max()), 1e-6)
    shown = panel.imshow(
      table, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit,
      interpolation="nearest",
    )  # fmt: skip
    panel.figure.colorbar(shown, ax=panel)

  return _side_by_side(panels, "unit", "architecture", draw)


def performance(panels: Panels, metric: str) -> figure.Figure:
  """Figure 2: how good sampled architectures are under shared weights.

  Args:
    panels: by search, and by who drew them and whose weights judged, [S] float,
      all finite; of none, as all networks overflowed, nothing is drawn.
    metric: the name of what they hold.
  """
  chart, grid = _grid(panels, 1, f"validation {metric}", "architectures")
  for row, (_, groups) in zip(grid, panels.items(), strict=True):
    # Some architectures are useless under some weights: the tail is cut.
    ends = [np.quantile(v, [0.0, 0.98]) for v in groups.values() if len(v)]
    if not ends:
      continue
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    bins = np.linspace(low, high if high > low else low + 1, 50)
    for color, (name, values) in _colored(groups.items()):
      if not len(values):
        continue
      row[0].hist(
        # What lies beyond is counted in the last bin.
        np.clip(values, bins[0], bins[-1]), bins, color=color, alpha=0.5,
        label=f"{name}: mean {values.mean():.4g}",
      )  # fmt: skip
    row[0].legend(fontsize="small")
  return chart


def entropies(
  panels: Mapping[str, tuple[np.ndarray, np.ndarray]], labels: Sequence[str]
) -> figure.Figure:
  """How undecided each choice is, over the epochs of a search.

  Args:
    panels: by search, [E] epochs and [E, C] nats.
    labels: of the C choices.
  """
  chart, grid = _grid(panels, 1, "epoch", "entropy, nats")
  kinds = list(dict.fromkeys(label.split()[0] for label in labels))
  colors = {kind: color for color, kind in _colored(kinds)}
  for row, (epochs, table) in zip(grid, panels.values(), strict=True):
    for label, column in zip(labels, table.T, strict=True):
      row[0].plot(
        epochs, column, color=colors[label.split()[0]], alpha=0.5, linewidth=0.8
      )
    row[0].plot(epochs, table.mean(axis=1), color="black", label="mean")
    row[0].xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    for kind, color in colors.items():
      # Without points: one entry of the legend for a kind, not for each choice.
      row[0].plot([], [], color=color, label=kind)
    row[0].legend(fontsize="small")
  return chart


def encode(chart: figure.Figure) -> tuple[bytes, bytes]:
  """The figure as PNG and as SVG; the same data make the same bytes."""
  png, svg = io.BytesIO(), io.BytesIO()
  with matplotlib.rc_context({"svg.hashsalt": "enas"}):
    chart.savefig(png, format="png", dpi=110)
    chart.savefig(svg, format="svg", metadata={"Date": None})
  return png.getvalue(), svg.getvalue()


def _colored(values: Iterable[_Value]) -> Iterator[tuple[str, _Value]]:
  """A colour for each value; beyond ten they come again."""
  return zip(itertools.cycle(_COLORS), values, strict=False)


def _side_by_side(
  panels: Panels,
  x_label: str,
  y_label: str,
  draw: Callable[[axes_lib.Axes, np.ndarray], None],
) -> figure.Figure:
  """A panel for every search and controller."""
  width = max(map(len, panels.values()))
  chart, grid = _grid(panels, width, x_label, y_label)
  for row, (search, tables) in zip(grid, panels.items(), strict=True):
    for panel, (name, table) in zip(row, tables.items(), strict=True):
      draw(panel, table)
      panel.set_title(f"{search}: {name}", fontsize="medium")
  return chart


def _grid(
  panels: Mapping[str, object], width: int, x_label: str, y_label: str
) -> tuple[figure.Figure, np.ndarray]:
  """A figure with a row for every search, and its axes [rows, width]."""
  height = len(panels)
  chart = figure.Figure(
    figsize=(6.4 if width == 1 else 4.2 * width, 2.8 * height),
    layout="constrained",
  )
  grid = chart.subplots(height, width, squeeze=False)
  for search, row in zip(panels, grid, strict=True):
    row[0].set_ylabel(y_label)
    row[0].set_title(search, fontsize="medium")
    for panel in row:
      panel.set_xlabel(x_label)
  return chart, grid
