"""Trains one recurrent cell on Penn Treebank from scratch (Section 3.1).

  python -m experiments.ptb_train --arc=RUN/arc.json --data_dir=DIR
  python -m experiments.ptb_train --arc=enas_rnn --preset=small --data_dir=DIR

Presets: `paper` and `released` (a GPU; not yet run to the end), `small`
(minutes on two CPU cores), `smoke`. Without the corpus,
`--dataset=python_docs` needs no download.
"""

from typing import Any

from enas_jax import export
from enas_jax.data import text
from enas_jax.search import loop
from enas_jax.tasks import language_model
from experiments import _cli, _terminal, _texts, _training


def main() -> None:
  """Trains, or goes on with a training."""
  job = _training.open_job("ptb_train", ("recurrent",))
  corpus = text.load(job.dataset, _cli.data_dir())
  progress = _terminal.TerminalProgress()
  progress.line(_texts.describe(corpus))

  def build(arc: Any, config: Any) -> tuple[Any, loop.Splits]:
    task = language_model.OneCell(config, len(corpus.vocabulary), arc)
    return task, _texts.splits(task, corpus)

  preprocessing = export.TextPreprocessing(corpus.vocabulary)
  _training.run(job, "ptb_train", build, preprocessing, progress)


if __name__ == "__main__":
  _training.define_flags("ptb", _texts.DATA_HELP, "recurrent")
  _cli.run(main)
