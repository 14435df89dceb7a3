"""Searches a recurrent cell on Penn Treebank (Sections 2.1, 2.2 and 3.1).

  python -m experiments.ptb_search --data_dir=DIR --preset=small

Presets: `paper` (a GPU; not yet run to the end), `released`, `small` (about 10
minutes on two CPU cores), `smoke` (about a minute). Without the corpus,
`--dataset=python_docs` needs no download.
"""

import pathlib

from enas_jax import config as config_lib
from enas_jax import language_model, metrics, search
from enas_jax.data import text
from enas_jax.report import cell, html
from enas_jax.spaces import recurrent
from experiments import _cli

_DATA_HELP = (
  "'ptb', 'python_docs' (no download), or 'text:DIR' with files train.txt,"
  " valid.txt and test.txt"
)


def main() -> None:
  """Runs or resumes one search."""
  workdir, saved = _cli.open_workdir("ptb_search")
  config = _cli.resolve_config(saved and saved["config"])
  dataset = _cli.resolve_dataset(saved)
  corpus = text.load(dataset, _cli.data_dir())
  progress = _cli.TerminalProgress()
  progress.line(_describe(corpus))
  task = language_model.LanguageModel(config, len(corpus.vocabulary))
  splits = search.Splits(
    train=task.prepare(corpus.train, "train"),
    valid=task.prepare(corpus.valid, "valid"),
    test=task.prepare(corpus.test, "test"),
  )
  _cli.enable_compilation_cache()
  _cli.write_config(workdir, "ptb_search", config, dataset, saved)
  progress.line(
    f"{task.space.size():.3g} architectures (the paper's formula, 4^N N!, gives"
    f" {task.space.printed_size():.3g}); run in {workdir}"
  )
  run = search.Search(
    config, task, splits, workdir, progress, _cli.SignalCatcher().stop
  )
  if run.finished:
    progress.line("the run is finished; this is what it found")
    result = run.load_result()
  else:
    result = run.run()
  _show(result, config, workdir, progress)


def _describe(corpus: text.TextData) -> str:
  sizes = [f"{len(s):,}" for s in (corpus.train, corpus.valid, corpus.test)]
  return (
    f"{corpus.name}: {' / '.join(sizes)} tokens (train / valid / test),"
    f" vocabulary {len(corpus.vocabulary):,}"
  )


def _show(
  result: search.Result,
  config: config_lib.SearchConfig,
  workdir: pathlib.Path,
  progress: search.Progress,
) -> None:
  """Prints and draws the architecture that was found."""
  drawn = (
    result.arc.prev,
    [recurrent.OPS[op] for op in result.arc.ops],
    config.child.outputs(result.arc),
  )
  record = result.record
  progress.line("\n" + cell.cell_text(*drawn))
  progress.line(f"tokens: {record['arc']['tokens']}")
  chances = [
    f"{record[f'mean_reward_{who}']:.4f}"
    f" +- {record[f'standard_error_{who}']:.4f} ({who})"
    for who in ("policy", "uniform")
  ]
  progress.line(
    f"mean reward {', '.join(chances)}; {record['candidates']} architectures"
    f" each, {config.run.policy} policy"
  )
  progress.line(
    f"best of {record['candidates']} with shared weights: perplexity"
    f" {record['valid_perplexity']:.1f} (validation),"
    f" {record['test_perplexity']:.1f} (test);"
    f" {record['search_seconds']:.0f} s of search"
  )
  svg = cell.cell_svg(*drawn, title="Recurrent cell found by ENAS")
  metrics.write_whole(workdir / "arc.svg", svg)
  html.write_report(workdir)
  progress.line(f"arc.json, arc.svg and report.html are in {workdir}")


if __name__ == "__main__":
  _cli.define_run_flags("ptb", _DATA_HELP)
  _cli.define_config_flags(config_lib.preset("paper"), _cli.NO_SKIPS)
  _cli.run(main)
