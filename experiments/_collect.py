"""A table of results from the folders of finished runs."""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from enas_jax import types
from enas_jax.report import results
from enas_jax.search import folder
from experiments import _workdir

_ADVICE = "give --run=DIR, the folder of a finished search or training"
# What tells one run from another.
_IDENTITY = (
  *("experiment", "space", "preset", "dataset"),
  *("policy", "arc", "options", "seed"),
)
# Flags that have a field of their own, or that change no number.
_TOLD = {
  *("m", "preset", "space", "dataset", "policy", "arc", "seed", "resume"),
  *("workdir", "data_dir", "benchmark_table", "compilation_cache_dir"),
}
_SPEC = re.compile(r"\.\df")
_ERROR = "{%s:.3f} +- {%s:.3f}"
_TAU = "{kendall_tau:.2f} [{kendall_tau_low:.2f}, {kendall_tau_high:.2f}]"
_FACTS = (
  results.Column("space", "space"),
  results.Column("policy", "policy", "`{policy}`"),
  results.Column("arc", "`--arc`", "`{arc}`"),
  results.Column("options", "options", "`{options}`"),
  results.Column("seed", "seed"),
)
_NUMBERS = (
  results.Column("params", "parameters", ","),
  results.Column("children_perplexity", "perplexity of children", ".1f"),
  results.Column("children_accuracy", "accuracy of children", ".1%"),
  results.Column(
    "mean_reward_policy",
    "mean reward",
    _ERROR % ("mean_reward_policy", "standard_error_policy"),
  ),
  results.Column(
    "mean_reward_uniform",
    "of uniform ones",
    _ERROR % ("mean_reward_uniform", "standard_error_uniform"),
  ),
  results.Column("valid_perplexity", "validation perplexity", ".1f"),
  results.Column("valid_accuracy", "validation accuracy", ".1%"),
  results.Column("test_perplexity", "test perplexity", ".1f"),
  results.Column("test_accuracy", "test accuracy", ".1%"),
  results.Column("true_accuracy", "true accuracy", "{true_accuracy:.2f}%"),
  results.Column("rank", "rank", ","),
  results.Column("kendall_tau", "Kendall tau", (_TAU, "{kendall_tau:.2f}")),
  results.Column("search_seconds", "seconds", ".0f"),
  results.Column("train_seconds", "seconds", ".0f"),
)


class _Finished(NamedTuple):
  """A finished run.

  Attributes:
    row: the row of a table that it is.
    origin: where the row comes from: the fields of a `results.Table`.
  """

  row: results.Row
  origin: dict[str, Any]


def collect(
  place: pathlib.Path,
  name: str,
  runs: Sequence[pathlib.Path],
  *,
  title: str | None,
  command: str | None,
) -> pathlib.Path:
  """Makes the results file of a table, or adds rows to it.

  Args:
    place: the folder of results files.
    name: the name of the table.
    runs: the runs' folders.
    title: what the table shows; of one that is there, None keeps its own.
    command: the command line of runs that do not tell it.

  Returns:
    The file.

  Raises:
    InputError: if a run is not finished, does not tell where its numbers come
      from, or is in the table already; or if a new table has no title.
  """
  if not re.fullmatch(r"[a-z0-9_]+", name):
    raise types.InputError(
      f"--collect must be a name of a-z, 0-9 and _, got {name!r}."
    )
  if not runs:
    raise types.InputError("--collect needs --run, a finished run's folder.")
  path = place / f"{name}.json"
  first, *rest = [_read(run, command) for run in runs]
  if path.exists():
    table = results.load(path)
    table = dataclasses.replace(table, title=title or table.title)
    rest = [first, *rest]
  elif not title:
    raise types.InputError("--collect needs --title for a new table.")
  else:
    columns = _columns([first.row, *(run.row for run in rest)])
    table = results.Table(
      name=name,
      title=title,
      columns=columns,
      rows=[first.row],
      summary=_summary(columns),
      **first.origin,
    )
  for finished in rest:
    table = _add(table, finished)
  _save(table, path)
  return path


def _save(table: results.Table, path: pathlib.Path) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    results.save(table, path)
  except OSError as error:
    raise types.InputError(
      f"{path} cannot be written: {error.strerror}."
    ) from None


def _read(run: pathlib.Path, command: str | None) -> _Finished:
  saved = folder.read_json(run / folder.CONFIG, _ADVICE)
  record = folder.read_json(run / folder.RESULT, _ADVICE)
  line = saved.get("command") or command
  if not line:
    raise types.InputError(
      f"{run / folder.CONFIG} does not tell its command; give --command."
    )
  origin: dict[str, Any] = {"command": [_workdir.shown_command(line)]}
  for key in ("commit", "device", "versions", "seed", "config"):
    if saved.get(key) is None:
      raise types.InputError(
        f"{run / folder.CONFIG} does not tell its {key}; repeat the run from a"
        " checkout."
      )
  origin |= {key: saved[key] for key in ("commit", "device")}
  origin["versions"] = {k: v for k, v in saved["versions"].items() if v}
  origin["seeds"] = [saved["seed"]]
  row = {
    **_facts(saved, origin["command"][0]),
    "commit": saved["commit"],
    **_numbers(record),
    **_children(run, saved),
  }
  return _Finished(row, origin)


def _columns(rows: Sequence[results.Row]) -> list[results.Column]:
  """Those that something can be said in."""
  known = {key for row in rows for key in row}
  return [column for column in (*_FACTS, *_NUMBERS) if column.key in known]


def _facts(saved: dict[str, Any], command: str) -> results.Row:
  """What was run, of a run's `config.json`."""
  row = {key: saved.get(key) for key in _IDENTITY}
  row["policy"] = saved["config"].get("run", {}).get("policy")
  if row["arc"]:
    row["arc"] = _workdir.shown_value("arc", row["arc"])
  row["options"] = _options(command) or None
  return {key: value for key, value in row.items() if value is not None}


def _options(command: str) -> str:
  """The flags of a command line that no other field of a row tells."""
  kept, telling = [], False
  for word in shlex.split(command):
    if word.startswith("-"):
      telling = word.lstrip("-").partition("=")[0] not in _TOLD
    if telling:
      kept.append(word)
  return shlex.join(kept)


def _numbers(record: dict[str, Any]) -> results.Row:
  """What a run's `result.json` says in single values."""
  row: dict[str, results.Value] = {
    k: v for k, v in record.items() if isinstance(v, str | int | float)
  }
  if interval := record.get("kendall_tau_interval"):
    row["kendall_tau_low"], row["kendall_tau_high"] = interval
  if isinstance(arc := record.get("arc"), dict):
    row["tokens"] = str(arc.get("tokens"))
  return row


def _children(run: pathlib.Path, saved: dict[str, Any]) -> results.Row:
  """How well the policy's children did after the last epoch of a search."""
  if "theta" not in saved["config"]:
    return {}
  path = run / folder.METRICS
  rows = folder.read_rows(path, _ADVICE) if path.exists() else []
  epochs = [row for row in rows if row.get("phase") == "epoch"]
  last = epochs[-1] if epochs else {}
  return {
    f"children_{metric}": last[f"valid/{metric}"]
    for metric in ("perplexity", "accuracy")
    if f"valid/{metric}" in last
  }


def _summary(columns: Iterable[results.Column]) -> results.Summary:
  """Means over the seeds of what was run otherwise alike."""
  keys = [column.key for column in columns]
  cells: dict[str, results.Format] = {"seed": "mean +- sd"}
  for column in _NUMBERS:
    if column.key in keys and column.key not in ("params", "rank"):
      cells[column.key] = _mean(column)
  return results.Summary(
    [c.key for c in _FACTS if c.key in keys and c.key != "seed"], cells
  )


def _mean(column: results.Column) -> str:
  """How a mean is shown, and how far it spreads, in a column."""
  if column.key.endswith("_seconds"):
    return "{mean:.0f}"
  if column.format == ".1%":
    return "{mean:.1p} +- {sd:.1%}"
  spec = _SPEC.search(str(column.format))
  assert spec is not None
  return f"{{mean:{spec[0]}}} +- {{sd:{spec[0]}}}"


def _add(table: results.Table, finished: _Finished) -> results.Table:
  """A table with the row of one run more."""
  row, origin = finished
  versions = table.versions
  if results.NOT_RECORDED in (table.commit, table.device, versions):
    raise types.InputError(
      f"{table.name} does not tell where all of its numbers come from; collect"
      " these into a new table."
    )
  identity = [row.get(key) for key in _IDENTITY]
  if identity in [[old.get(key) for key in _IDENTITY] for old in table.rows]:
    (command,) = origin["command"]
    raise types.InputError(
      f"the table {table.name} has the row of {command!r} already; delete it"
      " first."
    )
  assert not isinstance(versions, str)
  merged = {
    package: _joined(", ", versions.get(package, ""), version)
    for package, version in origin["versions"].items()
  }
  return dataclasses.replace(
    table,
    rows=[*table.rows, row],
    command=list(dict.fromkeys([*table.command, *origin["command"]])),
    commit=_joined(", ", table.commit, origin["commit"]),
    device=_joined("; ", table.device, origin["device"]),
    versions={**versions, **merged},
    seeds=sorted({*table.seeds, *origin["seeds"]}),
  )


def _joined(separator: str, old: str, new: str) -> str:
  """Words that list others, with one more if it is not there yet."""
  words = old.split(separator) if old else []
  return separator.join(dict.fromkeys([*words, new]))
