r"""Looks into the controller of searches (Adam & Lorraine, 2019).

  python -m experiments.analyze_controller --run=RUN --run=RUN2 \
      --beside=RANDOM --data_dir=DIR --workdir=OUT

A run is a search by a strategy with a controller, in any space, finished or
stopped; all are of one space. Beside each stands the untrained controller that
it began with. `--beside` is a search by `--policy=random` that differs in
nothing else (one for all runs, or one for each): its weights, which have
adapted to no policy, judge the same architectures.

Written to OUT, as PNG, SVG and CSV each:

- `certainty` (Figure 1): the probability of the most likely alternative.
- `performance` (Figure 2): the metric of `--num_arcs` sampled architectures on
  `--num_examples` of the validation data, policy against uniform, under the
  search's own weights and those of `--beside`.
- `hidden` (Figure 3): final hidden states of `--num_pairs_of` architectures.
- `paths` (Figure 4): Figure 1 for each of these.
- `entropy`: of each decision over the epochs, where a run kept `policy.jsonl`.

`table1.csv` has Spearman's correlations of Table 1 with bootstrap intervals,
`measures.csv` the measures that need no eye; `result.json` has all of it. The
same as tables to be kept, with where they come from, are in
`controller_SPACE_NAME.json` (`experiments.results`).
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags

from enas_jax import types
from enas_jax.analysis import controller_study, policy_measures
from enas_jax.report import controller_figures, controller_tables, results
from enas_jax.search import folder as folder_lib
from enas_jax.search import runs
from enas_jax.spaces import decisions
from experiments import _cli, _data, _flags, _workdir

_EXPERIMENT = "analyze_controller"
_DEFAULTS = controller_study.Options()
Rows = list[dict[str, Any]]


def main() -> None:
  """Analyses the controllers and writes what it sees."""
  values = flags.FLAGS
  workdir, _ = _workdir.open_workdir(_EXPERIMENT)
  opened, beside = _open_runs()
  _data.take_folder(_data.read_record(opened[0].folder))
  options = _options(opened)
  names = _names(opened)
  _cli.enable_compilation_cache()
  studies = []
  for run, other, name in zip(opened, beside, names, strict=True):
    # Two policies' samples by one judge or by two, and the first ones of the
    # untrained controller.
    total = options.num_arcs * (4 if other else 2) + options.num_pairs_of
    with tqdm.tqdm(total=total, desc=name, disable=values.json) as bar:
      searches = [
        runs.open_search(some, values.data_dir) if some else None
        for some in (run, other)
      ]
      assert (
        searches[0] is not None
      )  # a run, unlike `--beside`, is always there
      studies.append(
        controller_study.study(
          searches[0], name, options, searches[1], bar.update
        )
      )
    # A program of one run's network is of no use to the next.
    jax.clear_caches()
  # Of the first run: `config.json` has one place, and "runs" names them all.
  config = opened[0].config
  workdir = _workdir.write_config(
    workdir,
    _EXPERIMENT,
    opened[0].space,
    config,
    opened[0].dataset,
    None,
    {"runs": [str(run.folder) for run in opened], "options": vars(options)},
  )
  labels = decisions.labels(config.child.space().decisions())
  record = _record(studies, labels)
  _write_figures(workdir, studies, opened, labels)
  for name in ("table1", "performance_summary", "measures"):
    folder_lib.write_csv(workdir / f"{name}.csv", record[name])
  origin = _workdir.origin() | {"note": values.note or ""}
  for table in controller_tables.tables(record, origin):
    results.save(table, workdir / f"{table.name}.json")
  folder_lib.write_json(workdir / folder_lib.RESULT, record)
  if values.json:
    print(folder_lib.dumps(record))
  else:
    print("\n".join(controller_tables.lines(record)))
    print(f"figures and tables are in {workdir}")


def _open_runs() -> tuple[list[runs.Run], list[runs.Run | None]]:
  """The searches, and for each the one whose weights judge, too.

  Raises:
    InputError: if one cannot be read, or they do not go together.
  """
  values = flags.FLAGS
  if not values.run:
    raise types.InputError("--run must be given: the folder of a search.")
  opened = [runs.open_run(folder) for folder in values.run]
  for run in opened:
    if run.space != opened[0].space:
      raise types.InputError(
        f"the runs must be of one space, but {run.folder} is of {run.space} and"
        f" {opened[0].folder} of {opened[0].space}."
      )
    # Figures and tables have a place for each choice.
    if run.config.child.space() != opened[0].config.child.space():
      raise types.InputError(
        f"the runs must decide about the same, but {run.folder} has a space of"
        f" another size than {opened[0].folder}."
      )
  beside: list[runs.Run | None] = [
    runs.open_run(folder) for folder in values.beside
  ]
  if len(beside) not in (0, 1, len(opened)):
    raise types.InputError(
      f"--beside must be given once, or once for each of {len(opened)} runs,"
      f" got {len(beside)} times."
    )
  beside = beside or [None]
  beside = beside * len(opened) if len(beside) == 1 else beside
  for run, other in zip(opened, beside, strict=True):
    if other:
      controller_study.check_beside(run, other)
  return opened, beside


def _options(opened: Sequence[runs.Run]) -> controller_study.Options:
  values = flags.FLAGS
  if values.num_pairs_of > values.num_arcs:
    raise types.InputError(
      f"--num_pairs_of must be at most --num_arcs, {values.num_arcs}, got"
      f" {values.num_pairs_of}."
    )
  return controller_study.Options(
    num_arcs=values.num_arcs,
    num_pairs_of=values.num_pairs_of,
    num_examples=values.num_examples,
    bootstrap=values.bootstrap,
    seed=values.seed,
  )


def _names(opened: Sequence[runs.Run]) -> list[str]:
  """The names of the folders; whole paths where two are alike."""
  names = [run.folder.resolve().name for run in opened]
  paths = [str(run.folder) for run in opened]
  chosen = names if len(set(names)) == len(names) else paths
  if len(set(chosen)) < len(chosen):
    raise types.InputError("--run names the same folder twice.")
  return chosen


def _record(
  studies: Sequence[controller_study.Study], labels: Sequence[str]
) -> dict[str, Any]:
  table = controller_study.table_rows(studies)
  return {
    "space": studies[0].space,
    "metric": studies[0].metric,
    "table1": table,
    "signs": controller_study.signs(table),
    "performance_summary": [
      row for one in studies for row in controller_study.performance_rows(one)
    ],
    "measures": controller_study.measure_rows(studies),
    "certainty": controller_study.certainty_rows(studies, labels),
  }


def _write_figures(
  workdir: pathlib.Path,
  studies: Sequence[controller_study.Study],
  opened: Sequence[runs.Run],
  labels: Sequence[str],
) -> None:
  """Every figure as PNG and SVG, and its numbers as CSV."""
  count = flags.FLAGS.num_pairs_of
  both = {
    one.name: {c.kind: c for c in (one.trained, one.untrained)}
    for one in studies
  }

  def tables(take: Any) -> controller_figures.Panels:
    return {
      search: {kind: take(controller) for kind, controller in kinds.items()}
      for search, kinds in both.items()
    }

  certainty = tables(lambda c: policy_measures.most_likely(c.probs))
  paths = tables(lambda c: policy_measures.most_likely(c.probs[:count]))
  hidden = tables(lambda c: c.hidden[:count, -1])
  _save(workdir, "certainty", controller_figures.certainty(certainty), [
    {
      "run": search, "controller": kind, "choice": label,
      "mean": float(column.mean()), "low_5": float(np.quantile(column, 0.05)),
      "high_95": float(np.quantile(column, 0.95)),
    }
    for search, kinds in certainty.items()
    for kind, table in kinds.items()
    for label, column in zip(labels, table.T, strict=True)
  ])  # fmt: skip
  _save(workdir, "paths", controller_figures.paths(paths), _long(paths, labels))
  units = [f"unit {i + 1}" for i in range(_width(hidden))]
  chart = controller_figures.hidden_states(hidden)
  _save(workdir, "hidden", chart, _long(hidden, units))
  performance = {
    one.name: {
      f"{one.policy if who == 'policy' else who}, {whose} weights": values
      for (who, whose), values in one.performance.items()
    }
    for one in studies
  }
  finite = {
    # A histogram has no place for what overflowed; the CSV keeps it.
    search: {name: v[np.isfinite(v)] for name, v in groups.items()}
    for search, groups in performance.items()
  }
  metric = studies[0].metric
  chart = controller_figures.performance(finite, metric)
  _save(workdir, "performance", chart, [
    {"run": search, "group": name, "architecture": i, metric: float(value)}
    for search, groups in performance.items()
    for name, values in groups.items()
    for i, value in enumerate(values)
  ])  # fmt: skip
  _write_entropies(workdir, studies, opened, labels)


def _write_entropies(
  workdir: pathlib.Path,
  studies: Sequence[controller_study.Study],
  opened: Sequence[runs.Run],
  labels: Sequence[str],
) -> None:
  """The entropy of each decision by epoch, of the runs that have kept it."""
  panels = {}
  for one, run in zip(studies, opened, strict=True):
    path = run.folder / folder_lib.POLICY
    if not path.exists():
      continue
    advice = "move it away, and its entropies are left out"
    rows = folder_lib.read_rows(path, advice)
    try:
      panels[one.name] = controller_study.entropies(rows)
    except (KeyError, TypeError, ValueError):
      raise types.InputError(f"{path} is damaged: {advice}.") from None
  if panels:
    chart = controller_figures.entropies(panels, labels)
    _save(workdir, "entropy", chart, [
      {"run": search, "epoch": int(epoch), "choice": label, "nats": float(nats)}
      for search, (epochs, table) in panels.items()
      for epoch, row in zip(epochs, table, strict=True)
      for label, nats in zip(labels, row, strict=True)
    ])  # fmt: skip


def _width(panels: controller_figures.Panels) -> int:
  return max(table.shape[1] for t in panels.values() for table in t.values())


def _long(panels: controller_figures.Panels, columns: Sequence[str]) -> Rows:
  """A row for every number of tables [S, columns]."""
  return [
    {
      "run": search,
      "controller": kind,
      "architecture": index,
      "column": column,
      "value": float(value),
    }
    for search, kinds in panels.items()
    for kind, table in kinds.items()
    for index, row in enumerate(table)
    # The columns are those of the widest table; other searches may have fewer.
    for column, value in zip(columns, row, strict=False)
  ]


def _save(workdir: pathlib.Path, name: str, chart: Any, rows: Rows) -> None:
  png, svg = controller_figures.encode(chart)
  folder_lib.write(workdir / f"{name}.png", png)
  folder_lib.write(workdir / f"{name}.svg", svg)
  folder_lib.write_csv(workdir / f"{name}.csv", rows)


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_multi_string("run", [], "the folder of a search; once for each")
  flags.DEFINE_multi_string(
    "beside",
    [],
    "the folder of a search by --policy=random, for all runs or one for each",
  )
  sizes = {
    "num_arcs": ("architectures drawn by each policy", 2),
    "num_pairs_of": ("architectures of which Table 1 compares all pairs", 3),
    "num_examples": (
      "validation images, or time steps of text, for each; 0: 200, or one batch"
      " if that is more",
      0,
    ),
    "bootstrap": ("resamples of the intervals; 0: none", 0),
  }
  for name, (text, least) in sizes.items():
    flags.DEFINE_integer(name, getattr(_DEFAULTS, name), text, least)
  text, default = "of the samples and of the bootstrap", _DEFAULTS.seed
  flags.DEFINE_integer("seed", default, text, 0, _flags.LARGEST_SEED)
  flags.DEFINE_string("note", None, "words to keep with the tables")
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _workdir.define_data_dir_flag()
  _workdir.define_folder_flags()


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
