"""Compares the order of architectures by shared weights with the truth.

  python -m experiments.ranking --run=RUN --data_dir=DIR --benchmark_table=FILE
  python -m experiments.ranking --run=RUN --data_dir=DIR --tune_steps=STEPS
  python -m experiments.ranking --run=RUN --data_dir=DIR --truth=DIR_1,DIR_2,...

The run is a search, finished or stopped. For NAS-Bench-201 the truth is the
benchmark's table, and `--num_arcs` cells are drawn from it uniformly. For any
space it may be architectures that were trained alone. With `--tune_steps` they
are drawn uniformly and trained here, each from fresh weights, as a search with
`--tune_from=scratch` trains its candidates; `trained_alone.jsonl` in the run's
folder keeps what is done, so that the same command goes on after a stop and a
larger `--num_arcs` adds to it. `--truth` has files of JSON lines, or folders
with a `result.json`, with "arc" and the accuracy or the perplexity.

Each architecture is scored by the shared weights on `--num_images` validation
images, as the derive step does on fewer. Printed are Kendall's tau-b and
Spearman's rho over all of them and over the truly best tenth, each with a
bootstrap interval of 95%; how far the truth of the 1 and the 10 with the
highest scores lies below the best; those ten; and which operations the scores
and the truth favour. `ranking.json` and `ranking_arcs.jsonl` are written to the
run's folder. `experiments/README.md` has results.
"""

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import benchmark_table, ranking
from enas_jax.config import fields
from enas_jax.search import evaluate, loop, runs
from enas_jax.search import folder as folder_lib
from enas_jax.spaces import decisions
from experiments import _alone, _cli, _table, _terminal

# By field of a record of stand-alone training: 1 where larger is better.
_FIELDS = {
  "accuracy": 1.0,
  "valid_accuracy": 1.0,
  "perplexity": -1.0,
  "valid_perplexity": -1.0,
}
_NUM_FIRST = 10  # architectures shown
_NUM_CELLS = 1000  # of the table
_NUM_TRAINED = 20


class Truth(NamedTuple):
  """Architectures with what they are worth.

  Attributes:
    arcs: leaves [S, ...].
    values: [S] float64, larger is better.
  """

  arcs: Any
  values: np.ndarray


def main() -> None:
  """Scores the architectures and compares the orders."""
  values = flags.FLAGS
  if values.run is None:
    raise types.InputError("--run must be given: the folder of a search.")
  _check_flags()
  folder = pathlib.Path(values.run).expanduser()
  _cli.enable_compilation_cache()
  run = runs.open_search(runs.open_run(values.run), _cli.data_dir())
  # Before architectures are trained: that may take long.
  task, valid = _with_statistics(run), _images_of(run)
  truth = _truth(run, folder)
  record: dict[str, Any] = {
    "run": str(folder),
    "space": run.space,
    "policy": run.config.run.policy,
    "score": values.score,
    "statistics": values.statistics,
    "num_images": values.num_images,
    "seed": values.seed,
  }
  scores = _score(run, task, valid, truth)
  found = ranking.rank_correlation(
    scores, truth.values, bootstrap=values.bootstrap, seed=values.seed
  )
  arcs = _validated(run, truth)
  space = run.task.space
  favoured = ranking.op_preferences(
    [space.to_dict(arc) for arc in arcs], scores, truth.values
  )
  rows = [
    {
      "tokens": space.to_tokens(arc),
      "score": float(score),
      "truth": float(true),
    }
    for arc, score, true in zip(arcs, scores, truth.values, strict=True)
  ]
  record |= {**found.to_dict(), "op_preferences": _json(favoured)}
  text = json.dumps(record, allow_nan=False)
  folder_lib.write(folder / folder_lib.RANKING, text + "\n")
  folder_lib.write_rows(folder / folder_lib.RANKING_ARCS, rows)
  lines = [*_lines(found), *_first_lines(rows), *_op_lines(favoured)]
  print(text if values.json else "\n".join(lines))


def _check_flags() -> None:
  values = flags.FLAGS
  sources = ("benchmark_table", "tune_steps", "truth")
  if sum(bool(values[name].value) for name in sources) != 1:
    raise types.InputError(
      "give one of --benchmark_table, --tune_steps and --truth."
    )
  for name in ("tune_rate", "tune_changes"):
    if values[name].value is not None and values.tune_steps is None:
      raise types.InputError(f"--{name} does nothing without --tune_steps.")
  if values.tune_steps is not None and values.num_arcs in (0, 1):
    raise types.InputError(
      f"--num_arcs must be at least 2 with --tune_steps, got {values.num_arcs}."
    )


def _truth(run: runs.Opened, folder: pathlib.Path) -> Truth:
  """The architectures to score, with what they are worth."""
  values = flags.FLAGS
  if values.benchmark_table:
    return _of_table(run)
  if values.truth:
    return _of_records(run, values.truth, values.num_arcs)
  num_arcs = _NUM_TRAINED if values.num_arcs is None else values.num_arcs
  asked: dict[str, Any] = {
    name: values[name].value
    for name in ("tune_steps", "tune_rate", "tune_changes")
    if values[name].value is not None
  }
  if "tune_changes" in asked:
    asked["tune_changes"] = fields.parse_changes(
      asked["tune_changes"], "tune_changes"
    )
  progress = loop.Progress() if values.json else _terminal.TerminalProgress()
  path = _alone.train(run, folder, num_arcs, values.seed, asked, progress)
  return _of_records(run, [str(path)], num_arcs)


def _of_table(run: runs.Opened) -> Truth:
  """Cells of the benchmark, drawn uniformly without replacement."""
  values = flags.FLAGS
  _table.check_space(run.space, values.run, "; give --truth")
  table = benchmark_table.BenchmarkTable.load(values.benchmark_table)
  num_arcs = _NUM_CELLS if values.num_arcs is None else values.num_arcs
  return Truth(*table.sample(num_arcs, values.seed))


def _of_records(
  run: runs.Opened, paths: Sequence[str], num_arcs: int | None
) -> Truth:
  """What runs of stand-alone training, or lists of them, say."""
  found = [
    _read_record(run, record, place)
    for path in paths
    for record, place in _records(pathlib.Path(path).expanduser())
  ]
  found = found[: num_arcs or None]
  if len(found) < 2:
    raise types.InputError(
      f"--truth has {len(found)} architectures; a ranking needs at least 2."
    )
  arcs = [decisions.as_arrays(arc) for arc, _ in found]
  return Truth(
    jax.tree.map(lambda *leaves: np.stack(leaves), *arcs),
    np.asarray([value for _, value in found]),
  )


def _records(path: pathlib.Path) -> list[tuple[Any, str]]:
  """The JSON objects of a file of lines or of a run, and where they are."""
  try:
    if path.is_dir():
      path = path / folder_lib.RESULT
      return [(json.loads(path.read_text()), str(path))]
    return [
      (json.loads(line), f"{path}, line {number}")
      for number, line in enumerate(path.read_text().splitlines(), start=1)
      if line.strip()
    ]
  except (OSError, ValueError) as error:
    why = getattr(error, "strerror", None) or error
    raise types.InputError(f"--truth: {path} cannot be read: {why}.") from None


def _read_record(
  run: runs.Opened, record: Any, place: str
) -> tuple[Any, float]:
  if not isinstance(record, dict) or not isinstance(record.get("arc"), dict):
    raise types.InputError(f'--truth: {place} has no "arc".')
  if "candidates" in record:
    raise types.InputError(
      f"--truth: {place} is the result of a search: its accuracy is that of"
      " shared weights, not of training alone."
    )
  present = [name for name in _FIELDS if name in record]
  if not present:
    raise types.InputError(
      f"--truth: {place} has none of {', '.join(_FIELDS)}."
    )
  value = record[present[0]]
  if not isinstance(value, int | float) or not math.isfinite(value):
    raise types.InputError(
      f"--truth: {present[0]} of {place} must be a number, got {value!r}."
    )
  arc = run.task.space.from_dict(record["arc"])
  return arc, _FIELDS[present[0]] * value


def _with_statistics(run: runs.Opened) -> Any:
  """The task, evaluating with the batch norm statistics of `--statistics`."""
  asked = flags.FLAGS.statistics
  if asked == "run":
    return run.task
  kept = getattr(run.config.child, "moving_statistics", False)
  if asked == "moving" and not kept:
    raise types.InputError(
      "--statistics=moving needs a search with --moving_statistics, which"
      f" {flags.FLAGS.run} is not."
    )
  if asked == "moving" or not kept:
    return run.task
  config = config_lib.override(run.config, "child", moving_statistics=False)
  return run.task.with_config(config)


def _images_of(run: runs.Opened) -> Any:
  """As much of the validation split as is asked for, or its text."""
  values = flags.FLAGS
  if values.score not in ("nll", run.task.metric):
    raise types.InputError(
      f"--score=accuracy is not defined in the {run.space} space; give nll."
    )
  count = len(jax.tree.leaves(run.splits.valid)[0])
  least = run.task.least_split()
  wanted = values.num_images or count
  if not least <= wanted <= count:
    raise types.InputError(
      f"--num_images must be from {least} to {count} here, or 0 for all, got"
      f" {wanted}."
    )
  return ranking.take(run.splits.valid, wanted)


def _score(run: runs.Opened, task: Any, valid: Any, truth: Truth) -> np.ndarray:
  """[S], larger is better; networks that overflow come last."""
  with tqdm.tqdm(
    total=len(truth.values), unit="arc", leave=False, disable=None
  ) as bar:
    scores = ranking.score_architectures(
      task,
      run.state,
      truth.arcs,
      valid,
      score="nll" if flags.FLAGS.score == "nll" else "metric",
      advance=bar.update,
    )
  return ranking.finite(scores)


def _validated(run: runs.Opened, truth: Truth) -> list[Any]:
  """The architectures, of Python ints."""
  return [
    run.task.space.validate(
      jax.tree.map(np.asarray, evaluate.nth(truth.arcs, index))
    )
    for index in range(len(truth.values))
  ]


def _lines(found: ranking.Ranking) -> list[str]:
  """The numbers for people."""
  names = {
    "Kendall tau": found.kendall_tau,
    "Spearman rho": found.spearman,
    f"Kendall tau, best {found.num_top}": found.kendall_tau_top,
    f"Spearman rho, best {found.num_top}": found.spearman_top,
  }
  wide = max(map(len, names))
  lines = [f"{found.num_arcs} architectures"]
  for name, (value, low, high) in names.items():
    lines.append(f"{name:{wide}}  {value:.3f} [{low:.3f}, {high:.3f}]")
  for k, regret in found.regret.items():
    lines.append(
      f"best of the first {k} by score: {regret:.4g} below the best of all"
    )
  return lines


def _first_lines(rows: list[dict[str, Any]]) -> list[str]:
  """The architectures with the highest scores."""
  first = sorted(rows, key=lambda row: -row["score"])[:_NUM_FIRST]
  lines = ["", f"{'truth':>10} {'score':>10}  the first {len(first)} by score"]
  for row in first:
    lines.append(f"{row['truth']:10.4g} {row['score']:10.4g}  {row['tokens']}")
  return lines


def _op_lines(favoured: dict[str, dict[str, float]]) -> list[str]:
  """Which operations the scores and the truth favour."""
  title = "rho of its count with"
  wide = max(map(len, (title, *favoured)))
  lines = ["", f"{title:{wide}}  the score  the truth"]
  for name, rho in favoured.items():
    lines.append(f"{name:{wide}}  {rho['score']:9.2f}  {rho['truth']:9.2f}")
  return lines


def _json(favoured: dict[str, dict[str, float]]) -> Any:
  """What is not defined is None."""
  return {
    name: {k: v if math.isfinite(v) else None for k, v in rho.items()}
    for name, rho in favoured.items()
  }


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_string("run", None, "the folder of a search")
  flags.DEFINE_string("data_dir", None, "where data sets lie")
  _table.define_table_flag()
  flags.DEFINE_list(
    "truth",
    [],
    "the truth: files of JSON lines, or folders of runs of stand-alone"
    " training, separated by commas",
  )
  flags.DEFINE_integer(
    "tune_steps",
    None,
    "the truth: architectures drawn uniformly and trained so many steps here",
    lower_bound=1,
  )
  flags.DEFINE_float(
    "tune_rate", None, "of that training, as in a search; as the run"
  )
  flags.DEFINE_string(
    "tune_changes", None, "of that training, as in a search; as the run"
  )
  flags.DEFINE_integer(
    "num_arcs",
    None,
    f"architectures; 0: all. By default {_NUM_CELLS} of the table,"
    f" {_NUM_TRAINED} that are trained here, or all of --truth",
    lower_bound=0,
  )
  flags.DEFINE_integer(
    "num_images",
    1000,
    "validation images, or time steps of text; 0: all",
    lower_bound=0,
  )
  flags.DEFINE_enum(
    "score", "nll", ("accuracy", "nll"), "how shared weights judge"
  )
  flags.DEFINE_enum(
    "statistics",
    "run",
    ("run", "batch", "moving"),
    "of batch norm: as in the search, the batch's own, or the moving ones",
  )
  flags.DEFINE_integer(
    "bootstrap", 1000, "resamples of the intervals; 0: none", lower_bound=0
  )
  flags.DEFINE_integer(
    "seed", 0, "of the draw of architectures and of the bootstrap", 0
  )
  flags.DEFINE_boolean("json", False, "print one JSON object")
  flags.DEFINE_string(
    "compilation_cache_dir",
    str(pathlib.Path.home() / ".cache" / "enas_jax"),
    "keeps compiled programs between runs; empty keeps none",
  )


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
