"""One page about a run, written from the files of its work directory.

The page needs no network: its charts are inline SVG and its style is inline.
"""

import dataclasses
import html
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

from enas_jax.report import chart as chart_lib

Row = dict[str, Any]

_TOP_ARCS = 10
_FACTS = ("dataset", "preset", "seed", "device")
_TITLES = {
  "ptb_search": "Search of a recurrent cell",
  "cifar_macro": "Search of a convolutional network",
  "cifar_micro": "Search of convolutional cells",
  "nasbench201": "Search of a cell of NAS-Bench-201",
  "derive": "Architectures derived again",
  "ptb_train": "Training of a recurrent cell",
  "cifar_train": "Training of a convolutional network",
}
_TRAININGS = ("ptb_train", "cifar_train")

_STYLE = """
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,sans-serif;
color:#1f2937;background:#fff;max-width:1320px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.5rem}h2{font-size:1.2rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0}
th,td{border-bottom:1px solid #e5e7eb;padding:.25rem .75rem;text-align:left}
td.number{text-align:right;font-variant-numeric:tabular-nums}
code,pre{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
td code{overflow-wrap:anywhere}
pre{background:#f9fafb;padding:.75rem;overflow-x:auto;white-space:pre-wrap}
summary{cursor:pointer}.missing{color:#6b7280}
.charts{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}
figcaption{font-size:13px;color:#4b5563;max-width:640px}
.charts svg{max-width:100%;height:auto}.cell{overflow-x:auto}
"""


@dataclasses.dataclass(frozen=True)
class _Chart:
  """What a chart shows: the values of `keys` against that of `x`."""

  title: str
  keys: tuple[str, ...]
  x: str
  x_label: str
  y_label: str
  log_y: bool = False


_CHARTS = (
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
  _Chart(
    "Validation perplexity",
    ("valid/perplexity",),
    "epoch",
    "epoch",
    "perplexity",
    log_y=True,
  ),
  _Chart(
    "Validation accuracy",
    ("valid/accuracy",),
    "epoch",
    "epoch",
    "accuracy, %",
  ),
  _Chart(
    "Reward of the controller",
    ("theta/reward", "theta/baseline"),
    "theta_step",
    "step of theta",
    "reward",
  ),
  _Chart(
    "Entropy of the controller",
    ("theta/entropy_nats",),
    "theta_step",
    "step of theta",
    "nats",
  ),
  _Chart(
    "Sampled against uniform architectures",
    ("valid/reward_policy", "valid/reward_uniform"),
    "epoch",
    "epoch",
    "mean reward",
  ),
)


def write_report(workdir: pathlib.Path) -> pathlib.Path:
  """Writes `report.html` into a run's directory.

  It reads `config.json`, `metrics.jsonl`, `result.json`, `arc.svg`, `arc.json`
  and `arcs.jsonl` there; the page says which of them it could not read.

  Args:
    workdir: the directory, which must exist.

  Returns:
    The page's path. The page appears there complete or not at all.
  """
  name = html.escape(_title(workdir))
  body = [
    f"<h1>{name}</h1>",
    *_config_part(workdir / "config.json"),
    *_charts_part(workdir / "metrics.jsonl"),
    *_arc_part(workdir),
    # A training samples none.
    *(
      _arcs_part(workdir / "arcs.jsonl")
      if _experiment(workdir) not in _TRAININGS
      else ()
    ),
  ]
  page = "\n".join(
    [
      '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
      f"<title>{name}</title><style>{_STYLE}</style></head><body>",
      *body,
      "</body></html>\n",
    ]
  )
  path = workdir / "report.html"
  temporary = workdir / "report.html.tmp"
  temporary.write_text(page, encoding="utf-8", errors="replace")
  os.replace(temporary, path)
  return path


def _experiment(workdir: pathlib.Path) -> str | None:
  """The script that was run, if `config.json` says so."""
  config, _ = _read_json(workdir / "config.json")
  experiment = config.get("experiment") if isinstance(config, dict) else None
  return experiment if isinstance(experiment, str) else None


def _title(workdir: pathlib.Path) -> str:
  """What was run, if `config.json` says so, and the folder's name."""
  known = _TITLES.get(_experiment(workdir) or "")
  name = workdir.resolve().name
  return f"{known}: {name}" if known else name


def _read(path: pathlib.Path) -> str | None:
  try:
    return path.read_text(encoding="utf-8", errors="replace")
  except OSError:
    return None


def _missing(path: pathlib.Path, why: str = "is not there") -> str:
  return f'<p class="missing">{html.escape(path.name)} {html.escape(why)}.</p>'


def _read_json(path: pathlib.Path) -> tuple[Any, str]:
  """The value in a file; or None, and a paragraph that says what is wrong."""
  text = _read(path)
  if text is None:
    return None, _missing(path)
  try:
    return json.loads(text), ""
  except ValueError:
    return None, _missing(path, "is not JSON")


def _read_rows(path: pathlib.Path) -> tuple[list[Row], str]:
  """The objects in a file of lines, and a paragraph if anything is wrong.

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
    row = json.loads(line)
  except ValueError:
    return None
  return row if isinstance(row, dict) else None


def _number(value: Any) -> float | None:
  """The value if it is a finite number."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  try:
    number = float(value)
  except OverflowError:
    return None
  return number if math.isfinite(number) else None


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
  """Yields the leaves of nested objects with their dotted names."""
  if isinstance(value, dict) and value:
    for key, below in value.items():
      yield from _flat(below, f"{name}.{key}" if name else key)
  else:
    yield name, value


def _plain(value: Any) -> str:
  """A value as HTML text."""
  text = value if isinstance(value, str) else json.dumps(value)
  return html.escape(text)


def _config_part(path: pathlib.Path) -> Iterator[str]:
  config, problem = _read_json(path)
  if problem:
    yield problem
    return
  leaves = list(_flat(config))
  facts = [_fact(leaves, name) for name in _FACTS]
  yield f"<p>{' &nbsp; '.join(filter(None, facts))}</p>"
  yield "<details><summary>Configuration</summary><table>"
  for name, value in leaves:
    yield f"<tr><th>{html.escape(name)}</th><td>{_plain(value)}</td></tr>"
  yield "</table></details>"


def _fact(leaves: Iterable[tuple[str, Any]], wanted: str) -> str:
  """The least nested setting called `wanted` or `wanted.name`, if any."""
  found = [
    (name.count("."), _plain(value))
    for name, value in leaves
    if f".{name}.".endswith((f".{wanted}.", f".{wanted}.name."))
  ]
  return f"<b>{wanted}</b> {min(found)[1]}" if found else ""


def _charts_part(path: pathlib.Path) -> Iterator[str]:
  rows, problem = _read_rows(path)
  yield "<h2>Metrics</h2>"
  yield problem
  figures = [figure for chart in _CHARTS if (figure := _figure(chart, rows))]
  if not figures and not problem:
    yield _missing(path, "has nothing to draw")
  yield f'<div class="charts">{"".join(figures)}</div>'


def _figure(chart: _Chart, rows: Iterable[Row]) -> str:
  """A chart with its title and caption; empty if there is nothing to draw."""
  rows = list(rows)
  series = {key: _series(rows, chart.x, key) for key in chart.keys}
  series = {key: points for key, points in series.items() if points}
  drawing = chart_lib.line_chart(
    series, x_label=chart.x_label, y_label=chart.y_label, log_y=chart.log_y
  )
  if not drawing:
    return ""
  captions = [_caption(key, chart.x, series[key]) for key in series]
  return (
    f"<figure><h3>{html.escape(chart.title)}</h3>{drawing}"
    f"<figcaption>{'<br>'.join(captions)}</figcaption></figure>\n"
  )


def _series(rows: Iterable[Row], x_key: str, key: str) -> chart_lib.Points:
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


def _caption(key: str, x_key: str, points: chart_lib.Points) -> str:
  lowest = min(points, key=lambda point: point[1])
  highest = max(points, key=lambda point: point[1])
  unit = "%" if _is_accuracy(key) else ""
  parts = [
    f"{word} {y:.6g}{unit} at {html.escape(x_key)} {x:.10g}"
    for word, (x, y) in (
      ("last", points[-1]),
      ("lowest", lowest),
      ("highest", highest),
    )
  ]
  return f"<code>{html.escape(key)}</code>: {', '.join(parts)}"


def _arc_part(workdir: pathlib.Path) -> Iterator[str]:
  yield "<h2>Architecture</h2>"
  yield _picture(workdir / "arc.svg")
  result, problem = _read_json(workdir / "result.json")
  if not problem and not isinstance(result, dict):
    problem = _missing(workdir / "result.json", "is not an object")
  if problem:
    yield problem
  else:
    yield from _result_table(result)
  value, problem = _read_json(workdir / "arc.json")
  if problem:
    yield problem
  else:
    shown = html.escape(json.dumps(value, indent=2))
    yield f"<details><summary>arc.json</summary><pre>{shown}</pre></details>"


def _result_table(result: Row) -> Iterator[str]:
  """The architecture's tokens, and what else the result says."""
  yield f"<p>Tokens: <code>{_brief_arc(result.get('arc'))}</code></p><table>"
  for key, value in result.items():
    if key != "arc":
      name = html.escape(key.replace("_", " "))
      yield f"<tr><th>{name}</th>{_cell(key, value)}</tr>"
  yield "</table>"


def _brief_arc(arc: Any) -> str:
  """An architecture's tokens if it has them, else all of it."""
  tokens = arc.get("tokens") if isinstance(arc, dict) else None
  return _plain(tokens or arc)


def _picture(path: pathlib.Path) -> str:
  """The SVG element in a file, without what stands before it."""
  text = _read(path)
  if text is None:
    return _missing(path)
  try:
    root = ElementTree.fromstring(text.encode())
  except (ElementTree.ParseError, ValueError):
    return _missing(path, "is not XML")
  start = text.find("<svg")
  if root.tag != "{http://www.w3.org/2000/svg}svg" or start < 0:
    return _missing(path, "is not SVG")
  return f'<div class="cell">{text[start:]}</div>'


def _arcs_part(path: pathlib.Path) -> Iterator[str]:
  rows, problem = _read_rows(path)
  yield "<h2>Best architectures sampled</h2>"
  yield problem
  ranked = [row for row in rows if _number(row.get("reward")) is not None]
  ranked.sort(key=lambda row: -float(row["reward"]))
  if ranked:
    yield from _arcs_table(ranked[:_TOP_ARCS])
    yield f"<p>{len(ranked)} were evaluated.</p>"
  elif not problem:
    yield _missing(path, "has no rewards")


def _arcs_table(rows: Sequence[Row]) -> Iterator[str]:
  """A table of rows: their rewards, other plain values, and architectures."""
  columns = ["reward"]
  for row in rows:
    columns += [key for key in row if key not in (*columns, "rank", "arc")]
  names = "".join(f"<th>{html.escape(key)}</th>" for key in columns)
  yield f"<table><tr><th>rank</th>{names}<th>arc</th></tr>"
  for rank, row in enumerate(rows, 1):
    cells = [_cell("rank", rank)]
    cells += [_cell(key, row.get(key)) for key in columns]
    arc = _brief_arc(row.get("arc"))
    yield f"<tr>{''.join(cells)}<td><code>{arc}</code></td></tr>"
  yield "</table>"


def _cell(key: str, value: Any) -> str:
  if value is None:
    return "<td></td>"
  number = _number(value)
  if number is None:
    return f"<td>{_plain(value)}</td>"
  shown = f"{value:.6g}" if isinstance(value, float) else str(value)
  if _is_accuracy(key):
    shown = f"{100 * number:.2f}%"
  return f'<td class="number">{shown}</td>'
