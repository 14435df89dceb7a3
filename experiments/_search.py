"""Running a search and showing what it found, in every space."""

import pathlib
from typing import Any, NamedTuple

from enas_jax import config as config_lib
from enas_jax.report import html
from enas_jax.search import loop, metrics, search
from enas_jax.search import state as states
from experiments import _drawing, _terminal


class Finished(NamedTuple):
  """A search that has ended, with what is needed to ask its weights again.

  Attributes:
    workdir: the run's folder.
    result: what it found.
    state: at its end.
    task: of `tasks.Task`.
    splits: the data.
  """

  workdir: pathlib.Path
  result: search.Result
  state: states.SearchState
  task: Any
  splits: loop.Splits


def run(
  space: str,
  title: str,
  config: config_lib.SearchConfig,
  task: Any,
  splits: loop.Splits,
  workdir: pathlib.Path,
  progress: loop.Progress,
) -> Finished:
  """Runs or resumes a search and shows the architecture that it found.

  Args:
    space: of `registry.SPACES`.
    title: of the drawing.
    config: of the search.
    task: of `tasks.Task`, with the methods that evaluation needs.
    splits: the data.
    workdir: the run's folder.
    progress: where lines go.
  """
  stop = _terminal.SignalCatcher().stop
  task_search = search.Search(config, task, splits, workdir, progress, stop)
  if task_search.finished:
    progress.line("the run is finished; this is what it found")
    result = task_search.load_result()
  else:
    result = task_search.run()
  show(space, title, config, task, result, workdir, progress)
  return Finished(workdir, result, task_search.state, task, splits)


def show(
  space: str,
  title: str,
  config: config_lib.SearchConfig,
  task: Any,
  result: search.Result,
  workdir: pathlib.Path,
  progress: loop.Progress,
) -> None:
  """Shows what was found, and draws it into the run's folder."""
  drawing = _drawing.draw(space, config.child, result.arc, title)
  progress.line("\n" + drawing.text)
  progress.line(f"tokens: {result.record['arc']['tokens']}")
  _show(result.record, task, progress)
  metrics.write_whole(workdir / "arc.svg", drawing.svg)
  html.write_report(workdir)
  progress.line(f"arc.json, arc.svg and report.html are in {workdir}")


def _show(record: dict[str, Any], task: Any, progress: loop.Progress) -> None:
  chances = [
    f"{record[f'mean_reward_{who}']:.4f}"
    f" +- {record[f'standard_error_{who}']:.4f} ({who})"
    for who in ("policy", "uniform")
  ]
  progress.line(
    f"mean reward {', '.join(chances)}; {record['candidates']} architectures"
    f" each, {record['policy']} policy"
  )
  valid, test = (
    task.format_metric(record[f"{split}_{task.metric}"])
    for split in ("valid", "test")
  )
  best = f"best of {record['candidates']}"
  if "tuned" in record:
    alone = task.format_metric(record[f"tuned_valid_{task.metric}"])
    progress.line(
      f"best of {record['tuned']} trained alone: {task.metric} {alone}"
      f" (validation); number {record['rank_before_tuning']} by reward"
    )
    best = "the same"
  progress.line(
    f"{best} with shared weights: {task.metric} {valid} (validation), {test}"
    f" (test); {record['search_seconds']:.0f} s of search"
  )
