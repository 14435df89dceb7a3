"""Texts as the scripts load and describe them."""

from enas_jax.data import text
from enas_jax.search import loop
from enas_jax.tasks import language_model

DATA_HELP = (
  "'ptb', 'python_docs' (no download), or 'text:DIR' with files train.txt,"
  " valid.txt and test.txt"
)


def describe(corpus: text.TextData) -> str:
  """A line about a text."""
  sizes = [f"{len(s):,}" for s in (corpus.train, corpus.valid, corpus.test)]
  return (
    f"{corpus.name}: {' / '.join(sizes)} tokens (train / valid / test),"
    f" vocabulary {len(corpus.vocabulary):,}"
  )


def splits(
  task: language_model.LanguageModel, corpus: text.TextData
) -> loop.Splits:
  """The text on the device.

  Raises:
    InputError: if a split is too short for one window.
  """
  return loop.Splits(
    train=task.prepare(corpus.train, "train"),
    valid=task.prepare(corpus.valid, "valid"),
    test=task.prepare(corpus.test, "test"),
  )
