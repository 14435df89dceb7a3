"""Candidates of a search for people: the different ones, their pictures, sizes.

What a row of `arcs.jsonl` says is shown as it is; an architecture is drawn and
measured only if its space takes it for one of its own.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.report import drawing, page_chart, run_files
from enas_jax.spaces import base, describe, registry

Row = run_files.Row

MOST_SHOWN = 20
_MOST_DRAWN = 600_000  # bytes of pictures on one page
_SIZES = ("params", "multiply_adds")
COSTS = (*_SIZES, "latency_ms")
_MOST = 10**6  # of a vocabulary, or of what else the data are made of


class Network(NamedTuple):
  """The network whose architectures a run's candidates are.

  Attributes:
    definition: its space.
    options: the options of the space and its network.
    data: what the weights are made for.
  """

  definition: base.Definition
  options: base.Options
  data: base.DataShape


class Candidate(NamedTuple):
  """A candidate, once for all the times that it was sampled.

  Attributes:
    row: what `arcs.jsonl` says of it.
    reward: its reward.
    times: how often it is there.
    arc: the architecture, of Python ints; None if it is none of the space.
    sizes: by name, its parameters and multiply-adds, and what else `row` says
      that it costs; {} where they are not known.
  """

  row: Row
  reward: float
  times: int
  arc: types.Arc | None
  sizes: dict[str, float]


def network(
  saved: Mapping[str, Any], result: Mapping[str, Any]
) -> Network | None:
  """The network that a run's `config.json` and `result.json` tell of.

  Returns:
    The network; None if they tell of none that this version knows.
  """
  name, config = saved.get("space"), saved.get("config")
  if name not in registry.names() or not isinstance(config, dict):
    return None
  try:
    # Of the preset no more is left than what the file's `child` does not say.
    preset = registry.preset("paper", name)
    whole = config_lib.override_parts(preset, {"child": config["child"]})
  # Of another version, or made up.
  except (types.InputError, KeyError, TypeError, AttributeError, ValueError):
    return None
  return Network(registry.get(name), whole.child, _data(result.get("data")))


def _data(value: object) -> base.DataShape:
  """What `network.setting` wrote; a benchmark's where it says nothing."""
  known = base.DataShape()
  if not isinstance(value, dict):
    return known
  image = run_files.numbers(value.get("image_shape"))
  height, width, channels = (
    map(_size, image) if len(image) == 3 else known.image_shape
  )
  classes = run_files.number(value.get("num_classes"))
  words = run_files.number(value.get("vocabulary_size"))
  return base.DataShape(
    _size(words) if words else known.vocabulary_size,
    (height, width, channels),
    _size(classes) if classes else known.num_classes,
  )


def _size(value: float) -> int:
  return int(min(max(value, 1), _MOST))


def distinct(
  rows: Iterable[Row], network: Network | None, most: int = MOST_SHOWN
) -> list[Candidate]:
  """The different candidates that have a reward, best first.

  Args:
    rows: of `arcs.jsonl`.
    network: the network; None if it is not known.
    most: of how many, at most, sizes are found.
  """
  times: dict[str, int] = {}
  best: dict[str, tuple[float, Row]] = {}
  for row in rows:
    reward = run_files.number(row.get("reward"))
    if reward is not None:
      # The order of fields makes no other architecture.
      known = json.dumps(row.get("arc"), sort_keys=True)
      times[known] = times.get(known, 0) + 1
      if known not in best or reward > best[known][0]:
        best[known] = (reward, row)
  # Stable: of equal rewards the one that the file has first. Sizes cost a trace
  # of the network each, so those that are not shown go without.
  ranked = sorted(best.items(), key=lambda item: -item[1][0])
  return [
    _candidate(reward, row, times[known], network if rank < most else None)
    for rank, (known, (reward, row)) in enumerate(ranked)
  ]


def _candidate(
  reward: float, row: Row, times: int, network: Network | None
) -> Candidate:
  sizes = {
    name: value
    for name in COSTS
    if (value := run_files.number(row.get(name))) is not None
  }
  arc = _read_arc(row.get("arc"), network) if network else None
  if arc is not None and network and not sizes.keys() >= set(_SIZES):
    # Dead parts cost nothing, as where a search asks what one costs.
    live = network.definition.live(network.options, arc)
    record = describe.describe(
      network.definition.name, network.options, live, network.data
    )
    sizes |= {name: record[name] for name in _SIZES}
  return Candidate(row, reward, times, arc, sizes)


def _read_arc(record: object, network: Network) -> types.Arc | None:
  """The architecture that a record describes, if it is one of the space."""
  if not isinstance(record, dict):
    return None
  try:
    return network.options.space().from_dict(record)
  except types.InputError:
    return None


def thumbnails(
  groups: Sequence[tuple[Sequence[Candidate], Network | None]],
) -> list[list[str]]:
  """Pictures of the candidates of a page, those of each run together.

  Args:
    groups: of each run its candidates, best first, and their network.

  Returns:
    Data URIs, "" where there is no picture: once the page has enough of them.
  """
  sources, total = [[""] * len(shown) for shown, _ in groups], 0
  # The best of every run come before the second of any.
  order = sorted(
    (place, run)
    for run, (shown, _) in enumerate(groups)
    for place in range(len(shown))
  )
  for place, run in order:
    shown, network = groups[run]
    arc = shown[place].arc
    if network is None or arc is None or total >= _MOST_DRAWN:
      continue
    svg = drawing.draw_arc(
      network.definition.name, network.options, arc, ""
    ).svg
    sources[run][place] = as_source(svg.encode())
    total += len(sources[run][place])
  return sources


def as_source(svg: bytes) -> str:
  """A picture as a data URI: in an `img` a browser runs no script of it."""
  return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def trade_off(
  groups: Mapping[str, Sequence[Candidate]], cost: str
) -> page_chart.Drawing | None:
  """Rewards against a cost, and the Pareto front of all candidates.

  Args:
    groups: by the name of a run, its candidates.
    cost: one of the names in `sizes`.

  Returns:
    The drawing; None if fewer than two costs are known.
  """
  points = {
    name: [(one.sizes[cost], one.reward) for one in group if cost in one.sizes]
    for name, group in groups.items()
  }
  every = [point for group in points.values() for point in group]
  if len({x for x, _ in every}) < 2:
    return None
  label = cost.replace("_", "-" if cost == "multiply_adds" else " ")
  return page_chart.scatter(points, pareto_front(every), label, "reward")


def pareto_front(
  points: Iterable[tuple[float, float]],
) -> list[tuple[float, float]]:
  """The points that no other surpasses: cheaper, or better at that price.

  Args:
    points: cost, less being better, and reward, more being better.

  Returns:
    The front, in the order of the cost; of equal points one.
  """
  # Of equal costs the best comes first, so that one pass finds the front.
  front: list[tuple[float, float]] = []
  for cost, reward in sorted(points, key=lambda point: (point[0], -point[1])):
    if not front or reward > front[-1][1]:
      front.append((cost, reward))
  return front
