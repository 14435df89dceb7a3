"""One page about a run, written from the files of its work directory.

The page needs no network and no script: its charts are inline SVG, its style is
inline, and the picture of the architecture is a data URI. The files are not to
be trusted, as anyone may have sent the directory. So the template escapes every
word of them, and the picture stands in an `img`: there a browser runs no script
of an SVG and fetches nothing for it, which no filter of ours could promise.
"""

import base64
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import jinja2

from enas_jax import files, types
from enas_jax.spaces import registry

Row = dict[str, Any]
Points = Sequence[tuple[float, float]]

_SVG = "{http://www.w3.org/2000/svg}"
_TOP_ARCS = 10
_FACTS = ("dataset", "preset", "seed", "device")


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
      f"{metric}, %" if _is_accuracy(metric) else metric,
      log_y=not _is_accuracy(metric),
    )
    for metric in metrics
  )
  return (*_OF_OMEGA, *validation, *_OF_THETA, _REWARDS)


class _Value(NamedTuple):
  """A value in a table."""

  text: str
  number: bool = False


def write_report(workdir: pathlib.Path) -> pathlib.Path:
  """Writes `report.html` into a run's directory.

  It reads `config.json`, `metrics.jsonl`, `result.json`, `arc.svg`, `arc.json`
  and `arcs.jsonl` there; the page says which of them it could not read.

  Args:
    workdir: the directory, which must exist.

  Returns:
    The page's path. The page appears there complete or not at all.
  """
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("enas_jax.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  template = environment.get_template("report.html.j2")
  page = template.render(_values(workdir))
  path = workdir / "report.html"
  temporary = workdir / "report.html.tmp"
  temporary.write_text(page, encoding="utf-8", errors="replace")
  os.replace(temporary, path)
  return path


def _values(workdir: pathlib.Path) -> dict[str, Any]:
  """What the template shows; `problem` is "" where all is well."""
  trained = _is_training(_saved(workdir))
  return {
    "title": _title(workdir),
    "config": _config_part(workdir / "config.json"),
    "metrics": _metrics_part(workdir / "metrics.jsonl"),
    "picture": _picture_part(workdir / "arc.svg"),
    "result": _result_part(workdir / "result.json"),
    "arc": _arc_part(workdir / "arc.json"),
    # A training samples none.
    "arcs": None if trained else _arcs_part(workdir / "arcs.jsonl"),
  }


def _saved(workdir: pathlib.Path) -> dict[str, Any]:
  """What `config.json` says; {} if it cannot be read."""
  config, _ = _read_json(workdir / "config.json")
  return config if isinstance(config, dict) else {}


def _is_training(saved: dict[str, Any]) -> bool:
  """Whether one architecture was trained, and none was searched."""
  config = saved.get("config")
  return isinstance(config, dict) and "theta" not in config


def _title(workdir: pathlib.Path) -> str:
  """What was run, if `config.json` says so, and the folder's name."""
  saved, name = _saved(workdir), workdir.resolve().name
  space = saved.get("space")
  if not isinstance(space, str) or space not in registry.names():
    return name
  work = "Training" if _is_training(saved) else "Search"
  return f"{work} of {registry.get(space).title}: {name}"


def _read(path: pathlib.Path) -> str | None:
  try:
    content = files.read_bytes(path, files.MOST_JSON)
  except types.InputError:
    return None
  return content.decode("utf-8", errors="replace")


def _missing(path: pathlib.Path, why: str = "is not there") -> str:
  return f"{path.name} {why}."


def _read_json(path: pathlib.Path) -> tuple[Any, str]:
  """The value in a file and ""; or None and a sentence that says why not."""
  text = _read(path)
  if text is None:
    return None, _missing(path)
  try:
    return files.parse_json(text, finite=False), ""
  except types.InputError:
    return None, _missing(path, "is not JSON")


def _read_rows(path: pathlib.Path) -> tuple[list[Row], str]:
  """The objects in a file of lines, and a sentence if anything is wrong.

  A last line without its end is what a run is writing just now, or what it was
  writing when it was killed: it is left out without a word.
  """
  text = _read(path)
  if text is None:
    return [], _missing(path)
  *lines, rest = text.split("\n")
  rows = [row for line in lines if (row := _parse(line)) is not None]
  wrong = sum(bool(line.strip()) for line in lines) - len(rows)
  last = _parse(rest)
  if last is not None:
    rows.append(last)
  why = f"has {wrong} bad line{'s' if wrong > 1 else ''}"
  return rows, _missing(path, why) if wrong else ""


def _parse(line: str) -> Row | None:
  try:
    row = files.parse_json(line, finite=False)
  except types.InputError:
    return None
  return row if isinstance(row, dict) else None


def _number(value: object) -> float | None:
  """The value if it is a finite number."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  try:
    number = float(value)
  except OverflowError:
    return None
  return number if math.isfinite(number) else None


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
  """Yields the leaves of nested objects with their dotted names."""
  if isinstance(value, dict) and value:
    for key, below in value.items():
      yield from _flat(below, f"{name}.{key}" if name else key)
  else:
    yield name, value


def _plain(value: object) -> str:
  return value if isinstance(value, str) else json.dumps(value)


def _config_part(path: pathlib.Path) -> dict[str, Any]:
  config, problem = _read_json(path)
  if problem:
    return {"problem": problem}
  leaves = [(name, _plain(value)) for name, value in _flat(config)]
  facts = [(name, _fact(leaves, name)) for name in _FACTS]
  return {
    "problem": "",
    "facts": [fact for fact in facts if fact[1] is not None],
    "settings": leaves,
  }


def _fact(leaves: Iterable[tuple[str, str]], wanted: str) -> str | None:
  """The least nested setting called `wanted` or `wanted.name`, if any."""
  settings = [
    (name.count("."), value)
    for name, value in leaves
    if f".{name}.".endswith((f".{wanted}.", f".{wanted}.name."))
  ]
  return min(settings)[1] if settings else None


def _metrics_part(path: pathlib.Path) -> dict[str, Any]:
  rows, problem = _read_rows(path)
  figures = [
    figure for chart in _charts(rows) if (figure := _figure(chart, rows))
  ]
  if not figures and not problem:
    problem = _missing(path, "has nothing to draw")
  return {"problem": problem, "figures": figures}


def _figure(chart: _Chart, rows: Sequence[Row]) -> dict[str, Any] | None:
  """A chart with its title and captions; None if there is nothing to draw."""
  series = {key: _series(rows, chart.x, key) for key in chart.keys}
  series = {key: points for key, points in series.items() if points}
  if not series:
    return None
  # Matplotlib is slow to load, and a run without metrics needs none.
  from enas_jax.report import chart as chart_lib

  drawing = chart_lib.line_chart(
    series, x_label=chart.x_label, y_label=chart.y_label, log_y=chart.log_y
  )
  if not drawing:
    return None
  return {
    "title": chart.title,
    "drawing": drawing,
    "captions": [(key, _caption(key, chart.x, series[key])) for key in series],
  }


def _series(rows: Iterable[Row], x_key: str, key: str) -> Points:
  """The finite points (row[x_key], row[key]), in the order of x.

  Accuracies are in percent.
  Of rows with the same x the last counts: a run that was resumed writes again
  what came after its checkpoint.
  """
  last: dict[float, float] = {}
  for row in rows:
    x, y = _number(row.get(x_key)), _number(row.get(key))
    if x is not None and y is not None:
      last[x] = 100 * y if _is_accuracy(key) else y
  return sorted(last.items())


def _is_accuracy(key: str) -> bool:
  """Whether the values of a key are fractions to be shown as percent."""
  # That of a benchmark's table is in per cent already.
  return key.endswith("accuracy") and key != "true_accuracy"


def _caption(key: str, x_key: str, points: Points) -> str:
  lowest = min(points, key=lambda point: point[1])
  highest = max(points, key=lambda point: point[1])
  unit = "%" if _is_accuracy(key) else ""
  named = (("last", points[-1]), ("lowest", lowest), ("highest", highest))
  return ", ".join(
    f"{word} {y:.6g}{unit} at {x_key} {x:.10g}" for word, (x, y) in named
  )


def _picture_part(path: pathlib.Path) -> dict[str, str]:
  """The file as a data URI, and its title for those who cannot see it."""
  text = _read(path)
  if text is None:
    return {"problem": _missing(path)}
  # Ours declares no type: entities of entities might grow without an end.
  if "<!" in text:
    return {"problem": _missing(path, "is not a drawing of enas_jax")}
  data = text.encode()
  try:
    root = ElementTree.fromstring(data)
  except (ElementTree.ParseError, ValueError):
    return {"problem": _missing(path, "is not XML")}
  if root.tag != f"{_SVG}svg":
    return {"problem": _missing(path, "is not SVG")}
  source = f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"
  words = root.findtext(f"{_SVG}title") or "the architecture"
  return {"problem": "", "source": source, "words": words}


def _result_part(path: pathlib.Path) -> dict[str, Any]:
  """The architecture's tokens, and what else the result says."""
  result, problem = _read_json(path)
  if not problem and not isinstance(result, dict):
    problem = _missing(path, "is not an object")
  if problem:
    return {"problem": problem}
  rows = [
    (key.replace("_", " "), _value(key, value))
    for key, value in result.items()
    if key != "arc"
  ]
  tokens = _brief_arc(result.get("arc"))
  return {"problem": "", "tokens": tokens, "rows": rows}


def _arc_part(path: pathlib.Path) -> dict[str, str]:
  value, problem = _read_json(path)
  return {"problem": problem, "text": json.dumps(value, indent=2)}


def _brief_arc(arc: object) -> str:
  """An architecture's tokens if it has them, else all of it."""
  tokens = arc.get("tokens") if isinstance(arc, dict) else None
  return _plain(tokens or arc)


def _arcs_part(path: pathlib.Path) -> dict[str, Any]:
  """The best rows: their rewards, other plain values, and architectures."""
  rows, problem = _read_rows(path)
  ranked = [row for row in rows if _number(row.get("reward")) is not None]
  ranked.sort(key=lambda row: -float(row["reward"]))
  if not ranked and not problem:
    problem = _missing(path, "has no rewards")
  best = ranked[:_TOP_ARCS]
  columns = ["reward"]
  for row in best:
    columns += [key for key in row if key not in (*columns, "rank", "arc")]
  shown = [
    {
      "cells": [_value(key, row.get(key)) for key in columns],
      "arc": _brief_arc(row.get("arc")),
    }
    for row in best
  ]
  return {
    "problem": problem,
    "count": len(ranked),
    "columns": columns,
    "rows": shown,
  }


def _value(key: str, value: object) -> _Value:
  if value is None:
    return _Value("")
  number = _number(value)
  if number is None:
    return _Value(_plain(value))
  if _is_accuracy(key):
    return _Value(f"{100 * number:.2f}%", True)
  shown = f"{value:.6g}" if isinstance(value, float) else str(value)
  return _Value(shown, True)
