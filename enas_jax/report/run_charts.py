"""What the rows of `metrics.jsonl` and `policy.jsonl` look like as charts."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from enas_jax.report import page_chart, run_files
from enas_jax.spaces import base, decisions

Row = run_files.Row
Points = Sequence[tuple[float, float]]
Figure = dict[str, Any]  # "title", "drawing" and "captions" of the template

_MOST_CELLS = 12000  # of the map of the policy, or the page grows large


@dataclasses.dataclass(frozen=True)
class _Chart:
  """What a chart shows: the values of `keys` against that of `x`."""

  title: str
  keys: tuple[str, ...]
  x: str
  x_label: str
  y_label: str
  log_y: bool = False


_REWARDS = _Chart(
  "Sampled against uniform architectures",
  ("valid/reward_policy", "valid/reward_uniform"),
  "epoch",
  "epoch",
  "mean reward",
)
_COSTS = _Chart(
  "Cost of sampled and of uniform architectures",
  ("cost/policy", "cost/uniform"),
  "epoch",
  "epoch",
  "mean cost",
)
_OF_OMEGA = (
  _Chart(
    "Training loss",
    ("omega/loss_nats",),
    "step",
    "step of omega",
    "nats per prediction",  # of a token, or of an image's class
  ),
  _Chart(
    "Training accuracy",
    ("omega/accuracy",),
    "step",
    "step of omega",
    "accuracy, %",
  ),
  _Chart(
    "Learning rate",
    ("omega/learning_rate", "omega/lr"),
    "step",
    "step of omega",
    "learning rate",
  ),
)
_OF_THETA = (
  _Chart(
    "Reward of the policy",
    ("theta/reward", "theta/baseline"),
    "theta_step",
    "step of theta",
    "reward",
  ),
  _Chart(
    "Loss of the policy",  # of gradient methods, which earn no rewards
    ("theta/loss_nats",),
    "theta_step",
    "step of theta",
    "nats per prediction",
  ),
  _Chart(
    "Entropy of the policy",
    ("theta/entropy_nats",),
    "theta_step",
    "step of theta",
    "nats",
  ),
)


def figures(rows: Mapping[str, Sequence[Row]]) -> list[Figure]:
  """The charts of the metrics of one run, or of several.

  Args:
    rows: by the name of a run, its rows; of one run alone its name is "".
  """
  every = [row for of_run in rows.values() for row in of_run]
  drawn = (_figure(chart, rows) for chart in _charts(every))
  return [figure for figure in drawn if figure]


def _charts(rows: Iterable[Row]) -> tuple[_Chart, ...]:
  """What is shown: the task's metric on validation data among it."""
  keys = dict.fromkeys(key for row in rows for key in row)
  metrics = [
    key.removeprefix("valid/")
    for key in keys
    if key.startswith("valid/") and key not in _REWARDS.keys
  ]
  validation = tuple(
    _Chart(
      f"Validation {metric.replace('_', ' ')}",
      (f"valid/{metric}",),
      "epoch",
      "epoch",
      f"{metric}, %" if is_accuracy(metric) else metric,
      log_y=not is_accuracy(metric),
    )
    for metric in metrics
  )
  return (_REWARDS, _COSTS, *validation, *_OF_THETA, *_OF_OMEGA)


def _figure(chart: _Chart, rows: Mapping[str, Sequence[Row]]) -> Figure | None:
  """A chart with its title and captions; None if there is nothing to draw."""
  series = {
    f"{run} {key}".strip(): points
    for run, of_run in rows.items()
    for key in chart.keys
    if (points := _series(of_run, chart.x, key))
  }
  drawing = page_chart.lines(series, chart.x_label, chart.y_label, chart.log_y)
  if not drawing:
    return None
  unit = "%" if is_accuracy(chart.keys[0]) else ""
  return {
    "title": chart.title,
    "drawing": drawing,
    "captions": [
      (name, _caption(points, chart.x, unit)) for name, points in series.items()
    ],
  }


def _series(rows: Iterable[Row], x_key: str, key: str) -> Points:
  """The finite points (row[x_key], row[key]), in the order of x.

  Accuracies are in percent.
  Of rows with the same x the last counts: a run that was resumed writes again
  what came after its checkpoint.
  """
  last: dict[float, float] = {}
  for row in rows:
    x, y = run_files.number(row.get(x_key)), run_files.number(row.get(key))
    if x is not None and y is not None:
      last[x] = 100 * y if is_accuracy(key) else y
  return sorted(last.items())


def is_accuracy(key: str) -> bool:
  """Whether the values of a key are fractions to be shown as percent."""
  # Those of a benchmark's table are in per cent already.
  return key.endswith("accuracy") and not key.endswith("true_accuracy")


def _caption(points: Points, x_key: str, unit: str) -> str:
  lowest = min(points, key=lambda point: point[1])
  highest = max(points, key=lambda point: point[1])
  named = (("last", points[-1]), ("lowest", lowest), ("highest", highest))
  return ", ".join(
    f"{word} {y:.6g}{unit} at {x_key} {x:.10g}" for word, (x, y) in named
  )


def policy_map(
  rows: Iterable[Row],
  space: base.Space | None,
  vocabularies: Mapping[str, Sequence[str]],
) -> page_chart.Drawing | None:
  """How likely each alternative of each decision was, over the epochs.

  Args:
    rows: of `policy.jsonl`. Of a skip only how often it is taken is shown, and
      of more epochs than a page can bear every second, say.
    space: the search space; None if it is not known.
    vocabularies: `Definition.vocabularies`.

  Returns:
    The drawing; None if there is nothing to draw.
  """
  table = policy_table(rows)
  if not table:
    return None
  layout = [len(choice) for choice in next(iter(table.values()))]
  names = _alternatives(layout, space, vocabularies)
  places = [
    (choice, number)
    for choice, alternatives in enumerate(names)
    for number, name in enumerate(alternatives)
    if name
  ]
  # Epochs: at least 10 of a large space, and no more than 200 of a small one.
  most = min(max(_MOST_CELLS // len(places), 10), 200)
  every = -(-len(table) // most)  # rounded up
  epochs = sorted(table)[::-1][::every][::-1]  # the last is among them
  shown = {
    names[choice][number]: [table[epoch][choice][number] for epoch in epochs]
    for choice, number in places
  }
  breaks = [
    row
    for row, (choice, _) in enumerate(places)
    if row and choice != places[row - 1][0]
  ]
  return page_chart.heat_map(shown, epochs, "epoch", breaks)


def policy_table(rows: Iterable[Row]) -> dict[float, list[list[float]]]:
  """The frequencies of alternatives by epoch, of choices by alternatives.

  Args:
    rows: of `policy.jsonl`.

  Returns:
    The table; {} unless all epochs have the same choices, each with as many
    alternatives.
  """
  table: dict[float, list[list[float]]] = {}
  for row in rows:
    epoch, listed = run_files.number(row.get("epoch")), row.get("frequencies")
    if epoch is not None and isinstance(listed, list):
      # Of rows of one epoch the last counts, as in `_series`.
      table[epoch] = [run_files.numbers(choice) for choice in listed]
  layouts = {tuple(map(len, listed)) for listed in table.values()}
  return table if len(layouts) == 1 and any(layouts.pop()) else {}


def _alternatives(
  layout: Sequence[int],
  space: base.Space | None,
  vocabularies: Mapping[str, Sequence[str]],
) -> list[list[str]]:
  """What the alternatives of each choice are called; "": not shown."""
  numbered = [
    [f"choice {choice}: {number}" for number in range(size)]
    for choice, size in enumerate(layout, start=1)
  ]
  if space is None:
    return numbered
  known = decisions.alternatives(space, vocabularies)
  if [len(words) for _, words in known] != list(layout):
    return numbered
  return [
    ["", label]
    if tuple(words) == decisions.SKIP
    else [f"{label}: {word}" for word in words]
    for label, words in known
  ]
