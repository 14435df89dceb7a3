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
with a `result.json`, with "arc" and the task's metric, such as accuracy.

Each architecture is scored by the shared weights on `--num_images` validation
images, as the derive step does on fewer: `--score=nll`, or the task's metric.
Other scores cost no training (`search/zero_cost.py`): of a network of fresh
weights like the run's `naswot`, `synflow`, `jacob_cov`, `grad_norm` and `snip`;
of its size `params` and `multiply_adds`, without what is dead. Of several, with
commas between them, ranks are added; and with `--num_draws` those by several
draws of the fresh weights.

Printed are Kendall's tau-b and Spearman's rho over all of them and over the
truly best (`--num_top`), each with a bootstrap interval of 95%; nDCG; how far
the truth of the 1 and the 10 with the highest scores lies below the best, and
how many of them are truly the best; those ten; and which operations the scores
and the truth favour. `ranking.json` and `ranking_arcs.jsonl` are written to the
run's folder. `docs/ranking.md` and `docs/study.md` have results.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.analysis import ranking, trained_alone
from enas_jax.analysis import truth as truth_lib
from enas_jax.config import fields
from enas_jax.running import progress as progress_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import loop, runs, zero_cost
from enas_jax.spaces import registry as spaces
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks
from experiments import _cli, _data, _flags, _table, _workdir

_NUM_FIRST = 10  # architectures shown
_NUM_CELLS = 1000  # of the table
_NUM_TRAINED = 20
_NUM_IMAGES = 1000
_NLL = "nll"  # the score that every task has


def main() -> None:
  """Scores the architectures and compares the orders."""
  values = flags.FLAGS
  if values.run is None:
    raise types.InputError("--run must be given: the folder of a search.")
  _check_flags()
  folder = files.expand(values.run)
  _cli.enable_compilation_cache()
  kept = runs.open_run(values.run)
  _data.take_folder(_data.read_record(kept.folder))
  # Meanwhile no search goes on here, and no other ranking.
  _workdir.hold(folder)
  run = runs.open_search(kept, values.data_dir)
  # Before architectures are trained: that may take long.
  names = _score_names(run)
  task, valid = _with_statistics(run), _images_of(run)
  truth = _truth(run, folder)
  if values.live:
    truth = _live(run, truth)
  scores = _score(run, task, valid, truth, names)
  order = ranking.rank_correlation(
    scores,
    truth.values,
    num_top=values.num_top,
    bootstrap=values.bootstrap,
    seed=values.seed,
  )
  space = run.task.space
  arcs = truth.validated(space)
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
  record: dict[str, Any] = {
    "run": str(folder),
    "space": run.space,
    "policy": run.config.run.policy,
    "score": ",".join(names),
    "statistics": values.statistics,
    "num_images": len(jax.tree.leaves(valid)[0]),
    "num_draws": values.num_draws,
    "live": values.live,
    "seed": values.seed,
    **order.to_dict(),
    "op_preferences": favoured,
  }
  text = folder_lib.dumps(record)
  folder_lib.write(folder / folder_lib.RANKING, text + "\n")
  folder_lib.write_rows(folder / folder_lib.RANKING_ARCS, rows)
  lines = [*_lines(order), *_first_lines(rows), *_op_lines(favoured)]
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
  fresh = set(zero_cost.SCORES) - set(zero_cost.SIZES)
  if values.num_draws > 1 and not fresh & set(values.score):
    raise types.InputError(
      "--num_draws does nothing without a --score of fresh weights, one of"
      f" {', '.join(sorted(fresh))}."
    )
  if values.tune_steps is not None and values.num_arcs in (0, 1):
    raise types.InputError(
      f"--num_arcs must be at least 2 with --tune_steps, got {values.num_arcs}."
    )


def _truth(run: runs.Opened, folder: pathlib.Path) -> truth_lib.Truth:
  """The architectures to score, with what they are worth."""
  values = flags.FLAGS
  given = values.num_arcs
  if values.benchmark_table:
    _table.check_space(run.space, values.run, "; give --truth")
    table = _table.load()
    num_cells = _NUM_CELLS if given is None else given
    return truth_lib.Truth(*table.sample(num_cells, values.seed))
  if values.truth:
    return truth_lib.read(run.task, values.truth, given)
  num_arcs = _NUM_TRAINED if given is None else given
  changes = _flags.set_values("tune_steps", "tune_rate", "tune_changes")
  if "tune_changes" in changes:
    changes["tune_changes"] = fields.parse_changes(
      changes["tune_changes"], "tune_changes"
    )
  progress = loop.Progress() if values.json else progress_lib.TerminalProgress()
  path = trained_alone.train(
    run, folder, num_arcs, values.seed, changes, progress, devices_lib.of()
  )
  return truth_lib.read(run.task, [str(path)], num_arcs)


def _live(run: runs.Opened, truth: truth_lib.Truth) -> truth_lib.Truth:
  """Those architectures alone of which no part is dead.

  Raises:
    InputError: if there are fewer than two.
  """
  definition = spaces.get(run.space)
  alive = np.array(
    [
      definition.live(run.config.child, arc) == arc
      for arc in truth.validated(run.task.space)
    ]
  )
  if alive.sum() < 2:
    raise types.InputError(
      f"--live leaves {alive.sum()} of {len(alive)} architectures, of which no"
      " part is dead; give a larger --num_arcs."
    )
  arcs = jax.tree.map(lambda leaf: np.asarray(leaf)[alive], truth.arcs)
  return truth_lib.Truth(arcs, truth.values[alive])


def _with_statistics(run: runs.Opened) -> tasks_base.Task:
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
  # Without moving ones the batch's own are all that there are.
  if asked == "moving" or not kept:
    return run.task
  config = config_lib.override(run.config, "child", moving_statistics=False)
  return run.task.with_config(config)


def _images_of(run: runs.Opened) -> tasks_base.Split:
  """As much of the validation split as is asked for, or its text."""
  values = flags.FLAGS
  count = len(jax.tree.leaves(run.splits.valid)[0])
  # Fewer make no whole batch.
  least = run.task.least_split()
  given = values.num_images
  # A flag of 0 asks for all.
  wanted = min(_NUM_IMAGES, count) if given is None else given or count
  if not least <= wanted <= count:
    raise types.InputError(
      f"--num_images must be from {least} to {count} here, or 0 for all, got"
      f" {wanted}."
    )
  return ranking.take(run.splits.valid, wanted)


def _score_names(run: runs.Opened) -> list[str]:
  """The scores of `--score`.

  Raises:
    InputError: if one is unknown here or comes twice.
  """
  names = list(flags.FLAGS.score)
  known = (_NLL, run.task.metric, *zero_cost.SCORES)
  unknown = [name for name in names if name not in known]
  if unknown or not names or len(set(names)) < len(names):
    raise types.InputError(
      f"--score must be different ones of {', '.join(known)} in the {run.space}"
      f" space, got {','.join(names)!r}."
    )
  return names


def _score(
  run: runs.Opened,
  task: tasks_base.Task,
  valid: tasks_base.Split,
  truth: truth_lib.Truth,
  names: Sequence[str],
) -> np.ndarray:
  """[S] float64, larger is better; networks that overflow come last."""
  values = flags.FLAGS
  free = [name for name in names if name in zero_cost.SCORES]
  # Sizes look at no weights, so none are drawn for them.
  num_draws = values.num_draws if set(free) - set(zero_cost.SIZES) else 0
  keys = [jax.random.key(values.seed + draw) for draw in range(num_draws)]
  subject = zero_cost.Subject.of(run.config, run.task, run.splits.train, keys)
  columns = []
  arcs = truth.validated(run.task.space)
  with tqdm.tqdm(
    total=len(names) * len(truth.values), unit="arc", leave=False, disable=None
  ) as bar:
    for name in names:
      if name in free:
        columns.append(
          zero_cost.score_architectures(name, subject, arcs, bar.update)
        )
        continue
      columns.append(
        ranking.score_architectures(
          task,
          run.state,
          truth.arcs,
          valid,
          score=_NLL if name == _NLL else "metric",
          advance=bar.update,
        )
      )
  return zero_cost.rank_sum([zero_cost.finite(column) for column in columns])


def _lines(order: ranking.Ranking) -> list[str]:
  """The numbers for people."""
  names = {
    "Kendall tau": order.kendall_tau,
    "Spearman rho": order.spearman,
    f"Kendall tau, best {order.num_top}": order.kendall_tau_top,
    f"Spearman rho, best {order.num_top}": order.spearman_top,
  }
  wide = max(map(len, names))
  lines = [f"{order.num_arcs} architectures"]
  for name, (value, low, high) in names.items():
    lines.append(f"{name:{wide}}  {value:.3f} [{low:.3f}, {high:.3f}]")
  lines.append(f"{'nDCG':{wide}}  {order.ndcg:.3f}")
  for k, regret in order.regret.items():
    lines.append(
      f"best of the first {k} by score: {regret:.4g} below the best of all;"
      f" {order.precision[k]:.0%} of them among the truly best {k}"
    )
  return lines


def _first_lines(rows: list[dict[str, Any]]) -> list[str]:
  """The architectures with the highest scores."""
  first = sorted(rows, key=lambda row: -row["score"])[:_NUM_FIRST]
  lines = ["", f"{'truth':>10} {'score':>10}  the first {len(first)} by score"]
  for row in first:
    lines.append(f"{row['truth']:10.4g} {row['score']:10.4g}  {row['tokens']}")
  return lines


def _op_lines(favoured: Mapping[str, Mapping[str, float]]) -> list[str]:
  """Which operations the scores and the truth favour."""
  title = "rho of its count with"
  wide = max(map(len, (title, *favoured)))
  lines = ["", f"{title:{wide}}  the score  the truth"]
  for name, rho in favoured.items():
    lines.append(f"{name:{wide}}  {rho['score']:9.2f}  {rho['truth']:9.2f}")
  return lines


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_string("run", None, "the folder of a search")
  _workdir.define_data_dir_flag()
  _table.define_table_flag()
  _define_truth_flags()
  _define_judge_flags()
  flags.DEFINE_integer(
    "num_top",
    0,
    "architectures that are the truly best; 0: a tenth of all",
    lower_bound=0,
  )
  flags.DEFINE_boolean(
    "live", False, "only architectures of which no part is dead"
  )
  flags.DEFINE_integer(
    "bootstrap", 1000, "resamples of the intervals; 0: none", lower_bound=0
  )
  flags.DEFINE_integer(
    "seed",
    0,
    "of the draw of architectures and of the bootstrap",
    0,
    _flags.LARGEST_SEED,
  )
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _cli.define_cache_flag()


def _define_truth_flags() -> None:
  """What is true of an architecture, and of how many."""
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
    None,
    "validation images, or time steps of text; 0: all. By default"
    f" {_NUM_IMAGES:,}, or all if there are fewer",
    lower_bound=0,
  )


def _define_judge_flags() -> None:
  """What ranks them."""
  metrics = {tasks.get(name).metric for name in tasks.names()}
  judges = (_NLL, *sorted(metrics), *zero_cost.SCORES)
  flags.DEFINE_list(
    "score",
    [_NLL],
    f"what ranks the architectures, of {', '.join(judges)}; of several the sum"
    " of their ranks",
  )
  flags.DEFINE_integer(
    "num_draws",
    1,
    "of scores that look at fresh weights: draws of the weights and of the"
    " minibatch, with seeds from --seed on, whose ranks are added",
    lower_bound=1,
  )
  flags.DEFINE_enum(
    "statistics",
    "run",
    ("run", "batch", "moving"),
    "of batch norm: as in the search, the batch's own, or the moving ones",
  )


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
