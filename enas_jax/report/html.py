"""Pages about a run, or about several, from the files of their folders.

A page is one file that needs no network, and no script to be read: its charts
are inline SVG, its style is inline, pictures are data URIs. Our one script adds
the values under the pointer and tables that can be sorted.

The files are not to be trusted, as anyone may have sent the folder. So the
template escapes every word of them, pictures stand in an `img`, where a browser
runs no script of an SVG and fetches nothing for it, and the page's policy
(Content-Security-Policy) lets no other script run than ours, by its hash.
"""

import base64
import hashlib
import importlib.resources
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import jinja2

from enas_jax.report import candidates as candidates_lib
from enas_jax.report import run_charts, run_files, verdict
from enas_jax.spaces import registry

Row = run_files.Row

_SVG = "{http://www.w3.org/2000/svg}"
_MOST_OF_EACH = 10  # candidates of each of several runs
_FACTS = ("dataset", "preset", "policy", "seed", "device")
# What the table of candidates has columns of its own for.
_PLACED = ("rank", "arc", "reward", *candidates_lib.COSTS)


class Value(NamedTuple):
  """A value in a table.

  Attributes:
    text: as people read it.
    number: the number to sort by, if it is one.
  """

  text: str
  number: float | None = None


class _Run(NamedTuple):
  """What the files of a folder say.

  Attributes:
    folder: the folder.
    name: what the run is called on the page.
    saved: `config.json`.
    result: `result.json`.
    metrics: the rows of `metrics.jsonl`.
    rewards: those of the policy's samples, and of uniform ones.
    network: the network of the candidates, if it is known.
    candidates: the different candidates, best first.
  """

  folder: pathlib.Path
  name: str
  saved: dict[str, Any]
  result: dict[str, Any]
  metrics: list[Row]
  rewards: dict[str, list[float]]
  network: candidates_lib.Network | None
  candidates: list[candidates_lib.Candidate]

  @property
  def is_training(self) -> bool:
    """Whether one architecture was trained, and none was searched."""
    config = self.saved.get("config")
    return isinstance(config, dict) and "theta" not in config


def write_report(
  workdir: pathlib.Path, path: pathlib.Path | None = None
) -> pathlib.Path:
  """Writes the page about a run.

  It reads `config.json`, `metrics.jsonl`, `policy.jsonl`, `result.json`,
  `rewards.json`, `arc.svg`, `arc.json` and `arcs.jsonl`; the page says which it
  could not read, of those that every run has.

  Args:
    workdir: the run's folder, which must exist.
    path: the page; None for `report.html` in the folder.

  Returns:
    The page's path. The page appears there complete or not at all.
  """
  run = _read(workdir, workdir.resolve().name, candidates_lib.MOST_SHOWN)
  values = _values(run)
  return _write("report.html.j2", values, path or workdir / "report.html")


def write_comparison(
  folders: Sequence[pathlib.Path], path: pathlib.Path
) -> pathlib.Path:
  """Writes one page about several runs.

  Args:
    folders: the runs' folders.
    path: the page.

  Returns:
    Its path. The page appears there complete or not at all.
  """
  runs: list[_Run] = []
  for folder in folders:
    name = folder.resolve().name
    taken = {run.name for run in runs}
    if name in taken:
      name = next(
        new
        # More numbers than there are names, so one is free.
        for n in range(2, len(runs) + 3)
        if (new := f"{name} ({n})") not in taken
      )
    runs.append(_read(folder, name, _MOST_OF_EACH))
  groups = {run.name: run.candidates for run in runs}
  rewards = {
    f"{run.name} {who}".strip(): values
    for run in runs
    for who, values in run.rewards.items()
  }
  values = {
    "title": f"{len(runs)} runs compared",
    "runs": [_summary(run) for run in runs],
    "rewards": verdict.distribution(rewards, {}),
    "trade_offs": _trade_offs(groups),
    "candidates": _table(runs),
    "figures": run_charts.figures({run.name: run.metrics for run in runs}),
  }
  return _write("comparison.html.j2", values, path)


def _write(
  name: str, values: Mapping[str, Any], path: pathlib.Path
) -> pathlib.Path:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("enas_jax.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  folder = importlib.resources.files("enas_jax.report") / "templates"
  style, script = (
    (folder / file).read_text(encoding="utf-8")
    for file in ("page.css", "page.js")
  )
  # Named by the page's policy: a script of other bytes does not run.
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  page = environment.get_template(name).render(
    **values, style=style, script=script, digest=digest
  )
  temporary = path.with_name(path.name + ".tmp")
  # The name of a folder need not be UTF-8.
  temporary.write_text(page, encoding="utf-8", errors="replace", newline="\n")
  os.replace(temporary, path)
  return path


def _read(folder: pathlib.Path, name: str, most: int) -> _Run:
  saved = run_files.read_object(folder / "config.json")
  result = run_files.read_object(folder / "result.json")
  rewards = run_files.read_object(folder / "rewards.json")
  network = candidates_lib.network(saved, result)
  rows, _ = run_files.read_rows(folder / "arcs.jsonl")
  return _Run(
    folder=folder,
    name=name,
    saved=saved,
    result=result,
    metrics=run_files.read_rows(folder / "metrics.jsonl")[0],
    rewards={
      who: values
      for who in ("policy", "uniform")
      if (values := run_files.numbers(rewards.get(who)))
    },
    network=network,
    candidates=candidates_lib.distinct(rows, network, most),
  )


def _values(run: _Run) -> dict[str, Any]:
  """What the template of one run shows; `problem` is "" where all is well."""
  folder = run.folder
  _, problem = run_files.read_rows(folder / "metrics.jsonl")
  figures = run_charts.figures({"": run.metrics})
  if not figures and not problem:
    problem = run_files.missing(folder / "metrics.jsonl", "has nothing to draw")
  return {
    "title": _title(run),
    "config": _config_part(folder / "config.json"),
    "metrics": {"problem": problem, "figures": figures},
    "picture": _picture_part(folder / "arc.svg"),
    "result": _result_part(folder / "result.json"),
    "verdict": verdict.of(run.result, run.rewards),
    "policy": _policy_part(run),
    "rewards": verdict.distribution(run.rewards, _marks(run)),
    "trade_offs": _trade_offs({"candidates": run.candidates}),
    "arc": _arc_part(folder / "arc.json"),
    # A training samples none.
    "arcs": None if run.is_training else _arcs_part(run),
  }


def _title(run: _Run) -> str:
  """What was run, if `config.json` says so, and the run's name."""
  space = run.saved.get("space")
  if not isinstance(space, str) or space not in registry.names():
    return run.name
  work = "Training" if run.is_training else "Search"
  return f"{work} of {registry.get(space).title}: {run.name}"


def _marks(run: _Run) -> dict[str, float]:
  kept = run_files.number(run.result.get("reward"))
  return {} if kept is None else {"kept": kept}


def _summary(run: _Run) -> dict[str, Any]:
  """What the page of several runs says of each."""
  return {
    "name": run.name,
    "title": _title(run),
    "facts": _facts(run.saved),
    "verdict": verdict.of(run.result, run.rewards),
    "rows": _result_rows(run.result),
    "tokens": brief_arc(run.result.get("arc")),
    "picture": _picture_part(run.folder / "arc.svg"),
  }


def _facts(saved: object) -> list[tuple[str, str]]:
  """The settings that tell runs apart at once."""
  leaves = [
    (name, run_files.plain(value)) for name, value in run_files.flat(saved)
  ]
  facts = [(name, _fact(leaves, name)) for name in _FACTS]
  return [(name, value) for name, value in facts if value is not None]


def _config_part(path: pathlib.Path) -> dict[str, Any]:
  config, problem = run_files.read_json(path)
  if problem:
    return {"problem": problem}
  leaves = [
    (name, run_files.plain(value)) for name, value in run_files.flat(config)
  ]
  return {"problem": "", "facts": _facts(config), "settings": leaves}


def _fact(leaves: Iterable[tuple[str, str]], wanted: str) -> str | None:
  """The least nested setting called `wanted` or `wanted.name`, if any."""
  settings = [
    (name.count("."), value)
    for name, value in leaves
    if f".{name}.".endswith((f".{wanted}.", f".{wanted}.name."))
  ]
  return min(settings)[1] if settings else None


def _picture_part(path: pathlib.Path) -> dict[str, str]:
  """The file as a data URI, and its title for those who cannot see it."""
  text = run_files.read_text(path)
  if text is None:
    return {"problem": run_files.missing(path)}
  # Ours declares no type: entities of entities might grow without an end.
  if "<!" in text:
    return {"problem": run_files.missing(path, "is not a drawing of enas_jax")}
  data = text.encode()
  try:
    root = ElementTree.fromstring(data)
  except (ElementTree.ParseError, ValueError):
    return {"problem": run_files.missing(path, "is not XML")}
  if root.tag != f"{_SVG}svg":
    return {"problem": run_files.missing(path, "is not SVG")}
  words = root.findtext(f"{_SVG}title") or "the architecture"
  return {
    "problem": "",
    "source": candidates_lib.as_source(data),
    "words": words,
  }


def _result_part(path: pathlib.Path) -> dict[str, Any]:
  """The architecture's tokens, and what else the result says."""
  result, problem = run_files.read_json(path)
  if not problem and not isinstance(result, dict):
    problem = run_files.missing(path, "is not an object")
  if problem:
    return {"problem": problem}
  tokens = brief_arc(result.get("arc"))
  return {"problem": "", "tokens": tokens, "rows": _result_rows(result)}


def _result_rows(result: Mapping[str, Any]) -> list[tuple[str, Value]]:
  return [
    (key.replace("_", " "), _value(key, value))
    for key, value in result.items()
    if key not in ("arc", "data")
  ]


def _arc_part(path: pathlib.Path) -> dict[str, str]:
  value, problem = run_files.read_json(path)
  return {"problem": problem, "text": json.dumps(value, indent=2)}


def brief_arc(arc: object) -> str:
  """An architecture's tokens if it has them, else all of it."""
  tokens = arc.get("tokens") if isinstance(arc, dict) else None
  return run_files.plain(tokens or arc)


def _policy_part(run: _Run) -> dict[str, Any]:
  """The map of the policy; nothing of a run that has none."""
  path = run.folder / "policy.jsonl"
  if not path.exists():
    return {"problem": "", "drawing": None}
  rows, problem = run_files.read_rows(path)
  space, words = None, None
  if run.network is not None:
    space = run.network.options.space()
    words = run.network.definition.vocabularies
  drawing = run_charts.policy_map(rows, space, words or {})
  if drawing is None and not problem:
    problem = run_files.missing(path, "has nothing to draw")
  return {"problem": problem, "drawing": drawing}


def _trade_offs(
  groups: Mapping[str, Sequence[candidates_lib.Candidate]],
) -> list[dict[str, Any]]:
  """Charts of reward against each cost that differs."""
  costs = dict.fromkeys(
    cost for group in groups.values() for one in group for cost in one.sizes
  )
  drawn = [
    (cost.replace("_", " "), candidates_lib.trade_off(groups, cost))
    for cost in costs
  ]
  return [
    {"title": f"Reward against {cost}", "drawing": drawing}
    for cost, drawing in drawn
    if drawing
  ]


def _arcs_part(run: _Run) -> dict[str, Any]:
  path = run.folder / "arcs.jsonl"
  rows, problem = run_files.read_rows(path)
  if not run.candidates and not problem:
    problem = run_files.missing(path, "has no rewards")
  count = sum(one.times for one in run.candidates)
  return {"problem": problem, "count": count, **_table([run])}


def _table(runs: Sequence[_Run]) -> dict[str, Any]:
  """The best different candidates, with a column for what any row says."""
  several = len(runs) > 1
  most = _MOST_OF_EACH if several else candidates_lib.MOST_SHOWN
  shown = [(run, one) for run in runs for one in run.candidates[:most]]
  names = dict.fromkeys(name for _, one in shown for name in one.row)
  more = [name for name in names if name not in _PLACED]
  sizes = list(dict.fromkeys(name for _, one in shown for name in one.sizes))
  drawn = candidates_lib.thumbnails(
    [(run.candidates[:most], run.network) for run in runs]
  )
  # Run by run, which is the order of `shown`.
  pictures = iter(source for of_run in drawn for source in of_run)
  table = []
  for rank, (run, one) in enumerate(shown, start=1):
    cells = [_value("run", run.name) if several else _value("rank", rank)]
    cells.append(_value("reward", one.reward))
    cells += [_value(name, one.row.get(name)) for name in more]
    cells += [_value(name, one.sizes.get(name)) for name in sizes]
    cells.append(_value("times", one.times))
    arc = brief_arc(one.row.get("arc"))
    table.append({"picture": next(pictures), "cells": cells, "arc": arc})
  columns = ["run" if several else "rank", "reward", *more, *sizes, "times"]
  return {
    "columns": [column.replace("_", " ") for column in columns],
    "rows": table,
    "different": sum(len(run.candidates) for run in runs),
  }


def _value(key: str, value: object) -> Value:
  if value is None:
    return Value("")
  number = run_files.number(value)
  if number is None:
    return Value(run_files.plain(value))
  if run_charts.is_accuracy(key):
    return Value(f"{100 * number:.2f}%", number)
  if number == int(number) and abs(number) >= 10_000:
    return Value(f"{int(number):,}", number)
  shown = f"{value:.6g}" if isinstance(value, float) else str(value)
  return Value(shown, number)
