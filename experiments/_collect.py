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
  results.Column("params", "parameters", ","),
)
_REWARDS = (
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
)
_NUMBERS = (
  results.Column("true_accuracy", "true accuracy", "{true_accuracy:.2f}%"),
  results.Column("rank", "rank", ","),
  results.Column("kendall_tau", "Kendall tau", (_TAU, "{kendall_tau:.2f}")),
  results.Column("search_seconds", "seconds of search", ".0f"),
  results.Column("train_seconds", "seconds of training", ".0f"),
)
# What a task's metric is measured on, and the words for it.
_SPLITS = {
  "children": "{} of children",
  "valid": "validation {}",
  "test": "test {}",
}
_METRIC = re.compile(f"({'|'.join(_SPLITS)})_(.+)")


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
  finished = [_read(run, command) for run in runs]
  if path.exists():
    table = _add(results.load(path), finished)
    table = dataclasses.replace(table, title=title or table.title)
  elif title:
    table = _new(name, title, finished)
  else:
    raise types.InputError("--collect needs --title for a new table.")
  save(table, path)
  return path


def _new(name: str, title: str, finished: Sequence[_Finished]) -> results.Table:
  """A table that shows what there is, with means over the seeds."""
  first, *rest = finished
  # Columns twice: a table is checked whenever it is made, and later runs may
  # have more to tell than the first.
  columns = _columns([first.row])
  table = results.Table(
    name=name, title=title, columns=columns, rows=[first.row], **first.origin
  )
  table = _add(table, rest)
  columns = _columns(table.rows)
  return dataclasses.replace(
    table, columns=columns, summary=_summary(columns, table.rows)
  )


def save(table: results.Table, path: pathlib.Path) -> None:
  """Writes a table, and its folder if that is not there yet.

  Raises:
    InputError: if it cannot be written.
  """
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
  if not isinstance(line, str) or not line or not _is_shell(line):
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
  kinds: dict[str, type] = {"seed": int}
  kinds |= {"commit": str, "device": str, "versions": dict, "config": dict}
  folder.check_fields(saved, kinds, run / folder.CONFIG, _ADVICE)
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


def _is_shell(line: str) -> bool:
  try:
    return bool(shlex.split(line))
  except ValueError:  # a quotation without its end
    return False


def _columns(rows: Sequence[results.Row]) -> list[results.Column]:
  """Those that something can be said in."""
  known = list(dict.fromkeys(key for row in rows for key in row))
  metrics = [
    _metric_column(match) for match in map(_METRIC.fullmatch, known) if match
  ]
  # Children first, test data last.
  metrics.sort(
    key=lambda column: list(_SPLITS).index(column.key.partition("_")[0])
  )
  columns = (*_FACTS, *_REWARDS, *metrics, *_NUMBERS)
  return [column for column in columns if column.key in known]


def _metric_column(match: re.Match[str]) -> results.Column:
  """The column of a task's metric: accuracies are fractions."""
  split, metric = match.groups()
  heading = _SPLITS[split].format(metric.replace("_", " "))
  form = ".1%" if metric.endswith("accuracy") else ".1f"
  return results.Column(match[0], heading, form)


def _facts(saved: dict[str, Any], command: str) -> results.Row:
  """What was run, of a run's `config.json`."""
  row = {key: saved.get(key) for key in _IDENTITY}
  row["policy"] = saved["config"].get("run", {}).get("policy")
  for flag in ("arc", "dataset"):
    row[flag] = _workdir.shown_value(flag, row[flag] or "") or None
  row["options"] = _options(command) or None
  return {key: value for key, value in row.items() if value is not None}


def _options(command: str) -> str:
  """The flags of a command line that no other field of a row tells."""
  kept, telling = [], False
  for word in shlex.split(command):
    if word.startswith("-"):
      # A word without a dash is the value of the flag before it, and shares its
      # lot.
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
  return {
    key.replace("valid/", "children_"): value
    for key, value in (epochs[-1] if epochs else {}).items()
    if key.startswith("valid/") and not key.startswith("valid/reward_")
  }


def _summary(
  columns: Sequence[results.Column], rows: Sequence[results.Row]
) -> results.Summary:
  """Means over the seeds of what was run otherwise alike."""
  known = {key for row in rows for key in row}
  keys = [key for key in _IDENTITY if key in known and key != "seed"]
  cells: dict[str, results.Format] = {"seed": "mean +- sd"}
  for column in columns:
    if column not in _FACTS and column.key != "rank":
      cells[column.key] = _mean(column)
  return results.Summary(keys, cells)


def _mean(column: results.Column) -> str:
  """How a mean is shown, and how far it spreads, in a column."""
  if column.key.endswith("_seconds"):
    return "{mean:.0f}"
  if column.format == ".1%":
    # One sign of per cent for both.
    return "{mean:.1p} +- {sd:.1%}"
  spec = _SPEC.search(str(column.format))
  assert spec is not None
  unit = "%" if str(column.format).endswith("}%") else ""
  return f"{{mean:{spec[0]}}} +- {{sd:{spec[0]}}}{unit}"


def _add(table: results.Table, finished: Iterable[_Finished]) -> results.Table:
  """A table with the rows of more runs."""
  for run in finished:
    _check_new(table, run)
    versions = table.versions
    # `_check_new` has refused it.
    assert not isinstance(versions, str)
    merged = {
      package: _joined(", ", versions.get(package, ""), version)
      for package, version in run.origin["versions"].items()
    }
    table = dataclasses.replace(
      table,
      rows=[*table.rows, run.row],
      command=list(dict.fromkeys([*table.command, *run.origin["command"]])),
      commit=_joined(", ", table.commit, run.origin["commit"]),
      device=_joined("; ", table.device, run.origin["device"]),
      versions={**versions, **merged},
      seeds=sorted({*table.seeds, *run.origin["seeds"]}),
    )
  return table


def _check_new(table: results.Table, run: _Finished) -> None:
  """Raises InputError unless a run may join a table."""
  if results.NOT_RECORDED in (table.commit, table.device, table.versions):
    raise types.InputError(
      f"{table.name} does not tell where all of its numbers come from; collect"
      " these into a new table."
    )
  identity = [run.row.get(key) for key in _IDENTITY]
  if identity in [[old.get(key) for key in _IDENTITY] for old in table.rows]:
    (command,) = run.origin["command"]
    raise types.InputError(
      f"the table {table.name} has the row of {command!r} already; delete it"
      " first."
    )


def _joined(separator: str, old: str, new: str) -> str:
  """Words that list others, with one more if it is not there yet."""
  words = old.split(separator) if old else []
  return separator.join(dict.fromkeys([*words, new]))
