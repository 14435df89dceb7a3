"""Searches a recurrent cell on Penn Treebank (Sections 2.1, 2.2 and 3.1).

  python -m experiments.ptb_search --data_dir=DIR --preset=small

Presets: `paper` (a GPU; not yet run to the end), `released`, `small` (about 10
minutes on two CPU cores), `smoke` (about a minute). Without the corpus,
`--dataset=python_docs` needs no download.
"""

from enas_jax.data import text
from enas_jax.search import tune
from enas_jax.tasks import language_model
from experiments import _cli, _search, _terminal, _texts


def main() -> None:
  """Runs or resumes one search."""
  workdir, saved = _cli.open_workdir("ptb_search")
  config = _cli.resolve_config("recurrent", saved and saved["config"])
  dataset = _cli.resolve_dataset(saved)
  corpus = text.load(dataset, _cli.data_dir())
  progress = _terminal.TerminalProgress()
  progress.line(_texts.describe(corpus))
  task = language_model.LanguageModel(config, len(corpus.vocabulary))
  splits = _texts.splits(task, corpus)
  # What is refused must leave no folder behind.
  tune.changed(config, task, splits.train, splits.valid)
  _cli.enable_compilation_cache()
  _cli.write_config(workdir, "ptb_search", config, dataset, saved)
  progress.line(
    f"{task.space.size():.3g} architectures (the paper's formula, 4^N N!, gives"
    f" {task.space.printed_size():.3g}); run in {workdir}"
  )
  title = "Recurrent cell found by ENAS"
  _search.run("recurrent", title, config, task, splits, workdir, progress)


if __name__ == "__main__":
  _cli.define_run_flags("ptb", _texts.DATA_HELP)
  _cli.define_config_flags("recurrent")
  _cli.run(main)
