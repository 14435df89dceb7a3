r"""Places what searches kept among architectures that were trained alone.

  python -m experiments.ranking --run=TABLE --tune_steps=STEPS --num_arcs=100 \
      --data_dir=DIR
  python -m experiments.place --table=TABLE --run=RUN_1 --run=RUN_2 \
      --data_dir=DIR

For spaces of which no table of true accuracies exists: the paper's. The first
command draws architectures uniformly and trains each alone, in the folder TABLE
of any search; these are the table. The second one trains what every RUN kept,
its `arc.json`, in just the same way, and says how many of the table it beats.
`placed.jsonl` beside the table keeps what is done: the same command goes on
after a stop, and no architecture is trained twice.

Beside the searches stand the mean of the table, the expected best of as many
draws as the table's run had candidates, which is random search that may look up
the truth, and the architecture of the table with the most multiply-adds, where
they differ.

`--to=FILE` writes the table of results as `experiments.results` shows it.
`docs/ranking.md` has results.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from enas_jax import files, types
from enas_jax.analysis import placing, trained_alone
from enas_jax.analysis import truth as truth_lib
from enas_jax.report import results
from enas_jax.running import progress as progress_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import loop, runs, zero_cost
from experiments import _cli, _collect, _data, _workdir

_ADVICE = "give --run=DIR, the folder of a finished search"
_FIELDS: Mapping[str, type] = {"arc": dict, "policy": str, "seed": int}
_LARGEST = "multiply_adds"


class _Kept(NamedTuple):
  """What a search kept.

  Attributes:
    policy: the strategy.
    seed: the search's seed.
    arc: the architecture, of Python ints.
    seconds: what the search took; None if it does not say.
  """

  policy: str
  seed: int
  arc: types.Arc
  seconds: float | None


def main() -> None:
  """Trains what is missing and shows the places."""
  values = flags.FLAGS
  if values.table is None:
    raise types.InputError(
      "--table must be given: the folder of a search with"
      f" {folder_lib.TRAINED_ALONE}."
    )
  if not values.run:
    raise types.InputError("--run must be given: the folder of a search.")
  to = None if values.to is None else files.expand(values.to)
  # Before architectures are trained: that may take long.
  if to is not None and not to.parent.is_dir():
    raise types.InputError(f"--to={values.to} is in no folder that is there.")
  kept_run = runs.open_run(values.table)
  folder = kept_run.folder
  _data.take_folder(_data.read_record(folder))
  _workdir.hold(folder)
  _cli.enable_compilation_cache()
  run = runs.open_search(kept_run, values.data_dir)
  kept = [_read(run, name) for name in values.run]
  progress = loop.Progress() if values.json else progress_lib.TerminalProgress()
  worth = trained_alone.train_alike(
    run, folder, [one.arc for one in kept], progress, devices_lib.of()
  )
  truth = truth_lib.read(run.task, [str(folder / folder_lib.TRAINED_ALONE)])
  table = _table(run, kept, worth, truth)
  if to is not None:
    _collect.save(table, to)
  if values.json:
    print(folder_lib.dumps(results.to_dict(table)))
  else:
    print(f"{table.title}\n\n{results.to_markdown(table)}\n\n{table.note}")


def _read(run: runs.Opened, name: str) -> _Kept:
  """What the search in a folder kept.

  Raises:
    InputError: if it is not a finished search of the table's space.
  """
  folder = files.expand(name)
  space, _, _ = runs.read_config(folder)
  if space != run.space:
    raise types.InputError(
      f"--run={name} is a search of {space}, and the table is of {run.space}."
    )
  path = folder / folder_lib.RESULT
  record = folder_lib.read_json(path, _ADVICE)
  folder_lib.check_fields(record, _FIELDS, path, _ADVICE)
  arc = run.task.space.from_dict(record["arc"])
  seconds = record.get("search_seconds")
  return _Kept(
    record["policy"],
    record["seed"],
    arc,
    float(seconds) if isinstance(seconds, int | float) else None,
  )


def _table(
  run: runs.Opened,
  kept: Sequence[_Kept],
  worth: Mapping[types.Arc, float],
  truth: truth_lib.Truth,
) -> results.Table:
  """A row for every search, means of every policy, and what chance reaches."""
  rows = _rows(run, kept, worth, truth)
  shown = {key for row in rows for key in row}
  metric, count = f"valid_{run.task.metric}", len(truth.values)
  unit = ".1%" if metric.endswith("accuracy") else ".1f"
  spread = f"{{mean:{unit}}} +- {{standard_error:{unit}}}"
  return results.Table(
    name=f"placed_{run.space}",
    title=f"What searches of the {run.space} space kept, trained alone",
    columns=[
      results.Column("method", "kept by"),
      results.Column("seed", "seed"),
      results.Column(metric, run.task.metric, unit),
      results.Column("place", f"place among {count}"),
      results.Column("beaten", "beats", ".0%"),
      results.Column("regret", "behind the best", unit),
      results.Column("search_seconds", "seconds of search", ".0f"),
    ],
    # A column may name what only other rows have.
    rows=[dict.fromkeys(sorted(shown)) | row for row in rows],
    seeds=sorted({one.seed for one in kept}),
    note=(
      f"The table is {count} architectures drawn uniformly. All are trained"
      " alone from the same fresh weights on the same batches; what one is"
      " worth is measured on the whole validation split. Means +- standard"
      " error over seeds."
    ),
    summary=results.Summary(
      group_by=["method"],
      cells={
        "seed": "mean",
        metric: spread,
        "place": "{mean:.0f}",
        "beaten": "{mean:.0%}",
        "regret": f"{{mean:{unit}}}",
        "search_seconds": "{mean:.0f}",
      },
    ),
    **_workdir.origin(),
  )


def _rows(
  run: runs.Opened,
  kept: Sequence[_Kept],
  worth: Mapping[types.Arc, float],
  truth: truth_lib.Truth,
) -> list[dict[str, Any]]:
  # The truth is larger where it is better; `worth` and the table of results
  # have the metric as it is.
  space, sign = run.task.space, run.task.metric_sign

  def row(name: str, value: float) -> dict[str, Any]:
    where = placing.place(value, truth.values)._asdict()
    return {"method": name, f"valid_{run.task.metric}": sign * value, **where}

  rows = [
    row(f"`{one.policy}`", sign * worth[one.arc])
    | {
      "seed": one.seed,
      "tokens": space.to_tokens(one.arc),
      "search_seconds": one.seconds,
    }
    for one in kept
  ]
  arcs = truth.validated(space)
  # A size looks at no weights: no draw is needed.
  subject = zero_cost.Subject.of(run.config, run.task, run.splits.train, [])
  sizes = zero_cost.score_architectures(_LARGEST, subject, arcs)
  # As many candidates as the table's own run had.
  num_arcs = run.config.run.derive_arcs
  best = placing.expected_best_of(truth.values, num_arcs)
  rows += [
    row("one of the table", float(np.mean(truth.values))),
    row(f"best of {num_arcs} by the truth", best),
  ]
  # Of cells of one size, as those for text, none is the largest.
  if np.ptp(sizes):
    largest = int(np.argmax(sizes))
    value = float(truth.values[largest])
    tokens = space.to_tokens(arcs[largest])
    rows.append(row("most multiply-adds", value) | {"tokens": tokens})
  return rows


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_string(
    "table",
    None,
    "the folder of a search, in which experiments.ranking --tune_steps has"
    " trained architectures alone",
  )
  flags.DEFINE_multi_string("run", [], "the folder of a finished search")
  _workdir.define_data_dir_flag()
  flags.DEFINE_string("to", None, "a file for the table of results, JSON")
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _cli.define_cache_flag()


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
