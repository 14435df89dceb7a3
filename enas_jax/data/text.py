"""Text as token ids, and the windows that truncated BPTT walks over.

`load` reads a corpus, `batchify` folds one split into `[steps, B]`, and
`window` cuts batches of one shape out of that, so that one compiled step
serves them all.
"""

import collections
import itertools
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import files, types
from enas_jax.data import prepared

_EOS = "<eos>"
_UNK = "<unk>"
_SPLITS = ("train", "valid", "test")

# With an `<eos>` for each line.
PTB_TOKENS = {"train": 929_589, "valid": 73_760, "test": 82_430}
_PTB_VOCABULARY = 10_000

_DOCS_VOCABULARY = 10_000
_DOCS_ROUND = 40  # paragraphs in a round: 32 train, then 4 valid, then 4 test
_DOCS_VALID = 32
_DOCS_TEST = 36

# Lengths of training windows in enas_lm, as in Section 4.1 of Merity et al.
# (2018): with one length the same words would always lose their past.
_HALF_WINDOWS = 0.05
_MOST_STDS = 2.0

_NO_DOWNLOAD = "--dataset=python_docs needs no download"


class TextData(NamedTuple):
  """A corpus as token ids.

  Attributes:
    name: the dataset as the user named it.
    train: [n] int32, ids of the training split, each in [0, V).
    valid: [n] int32, ids of the validation split.
    test: [n] int32, ids of the test split.
    vocabulary: V distinct words in sorted order; the id is the position.
  """

  name: str
  train: np.ndarray
  valid: np.ndarray
  test: np.ndarray
  vocabulary: tuple[str, ...]

  def describe(self) -> str:
    """A line about the text."""
    sizes = [f"{len(s):,}" for s in (self.train, self.valid, self.test)]
    return (
      f"{self.name}: {' / '.join(sizes)} tokens (train / valid / test),"
      f" vocabulary {len(self.vocabulary):,}"
    )


def load(dataset: str, data_dir: str | None) -> TextData:
  """Reads a corpus.

  Args:
    dataset: `ptb`, the Penn Treebank as Mikolov preprocessed it, whose counts
      are verified; `text:DIR`, a folder with one train, one valid and one test
      file, each named `train.txt` or `*.train.txt`; or `python_docs`, the help
      texts of the running Python, which differ between its versions. Files are
      split at whitespace, and each newline is the word `<eos>`.
    data_dir: folder where `ptb` lies: its files are looked for there and in
      `ptb`, `data` and `simple-examples/data` below it. Without it, in
      `data/ptb` and `data` below the current folder and in
      `~/tensorflow_datasets/ptb`. The other datasets do not use it.

  Returns:
    The splits as ids, [n] int32 each. A word that the train split lacks is
    `<unk>`.

  Raises:
    InputError: if the dataset is unknown, or its files are missing, unreadable,
      not UTF-8, too short, or not those of the Penn Treebank.
  """
  if dataset == "ptb":
    return _load_ptb(data_dir)
  if dataset == "python_docs":
    return _load_python_docs()
  if dataset.startswith("text:"):
    return _load_folder(dataset)
  raise types.InputError(
    f"unknown dataset {dataset!r}: it is one of ptb, text:DIR, python_docs"
  )


def batchify(tokens: np.ndarray, batch_size: int) -> np.ndarray:
  """Folds a text into parallel streams.

  Args:
    tokens: [n] integer ids.
    batch_size: B, the number of streams.

  Returns:
    [n // B, B] int32, time-major: column b is the b-th contiguous stretch of
    the text. The last n % B tokens are left out.

  Raises:
    InputError: if the batch size is not positive, or fewer than 2 steps result.
  """
  chex.assert_rank(tokens, 1)
  chex.assert_type(tokens, int)
  if batch_size < 1:
    raise types.InputError(f"batch size is {batch_size}; it must be at least 1")
  steps = len(tokens) // batch_size
  if steps < 2:
    raise types.InputError(
      f"{len(tokens)} tokens at batch size {batch_size} give streams of length"
      f" {steps}, and at least 2 is needed: lower the batch size or use a"
      " longer text"
    )
  # Streams must be contiguous text, or the hidden state handed from window to
  # window would belong to other words.
  streams = tokens[: steps * batch_size].reshape(batch_size, steps)
  return np.ascontiguousarray(streams.T, dtype=np.int32)


def num_windows(
  stream: np.ndarray | types.Array,
  bptt_length: int,
  split: str,
  length_std: float = 0.0,
) -> int:
  """Counts the windows of one epoch.

  Only full windows count, so that one shape compiles: at the end of the stream
  fewer than `bptt_length` steps are left out of every epoch. A target must
  follow the last input, hence (steps - 1) // bptt_length.

  Args:
    stream: [steps, B] int32, from `batchify`; only its shape is read.
    bptt_length: T, the steps of a window.
    split: name of the split, for the message.
    length_std: standard deviation of the windows' lengths in steps, of which
      the longest one must fit, too.

  Returns:
    The number of windows of T steps, at least 1.

  Raises:
    InputError: if `bptt_length` is not positive or a window does not fit.
  """
  if bptt_length < 1:
    raise types.InputError(
      f"bptt length is {bptt_length}; it must be at least 1"
    )
  steps, batch_size = stream.shape
  count = (steps - 1) // bptt_length
  if count < 1:
    raise types.InputError(
      f"the {split} split has {steps} steps at batch size {batch_size}, too few"
      f" for one window of bptt length {bptt_length} (it takes"
      f" {bptt_length + 1}): lower the batch size or the bptt length"
    )
  longest = longest_window(bptt_length, length_std)
  # What is traced cuts out the longest one, however short the one drawn is.
  if steps <= longest:
    raise types.InputError(
      f"the {split} split has {steps} steps at batch size {batch_size}, too few"
      f" for the longest window of bptt length {bptt_length} and length std"
      f" {length_std:g} (it takes {longest + 1}): lower one of the three"
    )
  return count


def window(
  stream: types.Array, start: types.Array, length: int
) -> types.TextBatch:
  """Cuts one window out of a stream; for use under `jax.jit`.

  Args:
    stream: [steps, B] int32, from `batchify`.
    start: [] int32, the first step. Not checked: beyond the end, JAX moves the
      window back to the last place where it fits.
    length: T, static.

  Returns:
    Steps [start, start + T) as inputs, each followed by its target; both
    [T, B] int32.
  """
  chex.assert_rank([stream, start], [2, 0])
  chex.assert_type(stream, int)
  # One slice of T + 1 steps and not two: a target is the next step's input.
  both = jax.lax.dynamic_slice_in_dim(stream, start, length + 1)
  return types.TextBatch(inputs=both[:-1], targets=both[1:])


def longest_window(bptt_length: int, length_std: float) -> int:
  """The most steps that `draw_length` can return.

  Args:
    bptt_length: mean length in steps.
    length_std: standard deviation in steps.
  """
  return int(bptt_length + _MOST_STDS * length_std)


def draw_length(
  key: types.PRNGKey, bptt_length: int, length_std: float
) -> types.Array:
  """Draws the length of a training window as the authors' `enas_lm` does.

  It is normal around `bptt_length`, or in one window of twenty around half of
  it, cut off at two standard deviations and rounded down, at least 1.

  Args:
    key: PRNG key of the draw.
    bptt_length: mean length in steps.
    length_std: standard deviation in steps.

  Returns:
    [] int32, steps, at most `longest_window`.
  """
  key_half, key_length = jax.random.split(key)
  half = jax.random.bernoulli(key_half, _HALF_WINDOWS)
  mean = jnp.where(half, bptt_length / 2, bptt_length)
  normal = jax.random.truncated_normal(key_length, -_MOST_STDS, _MOST_STDS)
  return jnp.maximum(jnp.int32(mean + length_std * normal), 1)


def _load_ptb(data_dir: str | None) -> TextData:
  """Reads the Penn Treebank and verifies that it is Mikolov's."""
  paths = _find_ptb(_ptb_places(data_dir))
  words = {split: _read_words(paths[split]) for split in _SPLITS}
  for split in _SPLITS:
    _check_ptb_count(
      paths[split], "tokens", PTB_TOKENS[split], len(words[split])
    )
  distinct = len(set(words["train"]))
  _check_ptb_count(paths["train"], "distinct words", _PTB_VOCABULARY, distinct)
  return _encode("ptb", words, _train_vocabulary(words))


def _ptb_places(data_dir: str | None) -> list[pathlib.Path]:
  """Lists the folders where the Penn Treebank may lie, best first."""
  if data_dir is None:
    here = pathlib.Path.cwd() / "data"
    home = prepared.home("tensorflow_datasets/ptb")
    return [here / "ptb", here, home]
  base = files.expand(data_dir)
  return [base, base / "ptb", base / "data", base / "simple-examples" / "data"]


def _find_ptb(places: list[pathlib.Path]) -> dict[str, pathlib.Path]:
  """Finds the three files, all in one folder."""
  # The plain names may belong to another corpus, so they come second everywhere
  for prefix, place in itertools.product(("ptb.", ""), places):
    paths = {split: place / f"{prefix}{split}.txt" for split in _SPLITS}
    # Not Path.is_file: before Python 3.14 it raises where a folder is closed.
    if all(os.path.isfile(path) for path in paths.values()):
      return paths
  raise types.InputError(
    "the Penn Treebank is missing: no folder with ptb.train.txt, ptb.valid.txt"
    f" and ptb.test.txt (or train.txt, ...); looked in"
    f" {', '.join(map(_describe_place, places))}; they are in the data folder"
    " of simple-examples.tgz, from the page of Mikolov's RNNLM toolkit: pass"
    f" the folder that holds them as --data_dir; {_NO_DOWNLOAD}"
  )


def _describe_place(place: pathlib.Path) -> str:
  """Names a folder, with what it lacks where it holds a part of the files."""
  names = [f"ptb.{split}.txt" for split in _SPLITS]
  absent = [name for name in names if not os.path.isfile(place / name)]
  if 0 < len(absent) < len(names):
    return f"{place} (which lacks {' and '.join(absent)})"
  return str(place)


def _check_ptb_count(
  path: pathlib.Path, unit: str, expected: int, count: int
) -> None:
  """Raises if a count is not the Penn Treebank's."""
  if count != expected:
    raise types.InputError(
      f"{path} is not Mikolov's Penn Treebank: expected {expected:,} {unit},"
      f" found {count:,}; for another corpus pass --dataset=text:DIR"
    )


def _load_folder(dataset: str) -> TextData:
  """Reads the corpus of `text:DIR`."""
  given = dataset.removeprefix("text:")
  folder = files.expand(given)
  if not given or not os.path.isdir(folder):
    raise types.InputError(
      f"--dataset={dataset}: looked for a folder {given!r}, which is missing;"
      " text:DIR takes a folder with train.txt, valid.txt and test.txt;"
      f" {_NO_DOWNLOAD}"
    )
  words = {split: _read_words(_find_split(folder, split)) for split in _SPLITS}
  return _encode(dataset, words, _train_vocabulary(words))


def _find_split(folder: pathlib.Path, split: str) -> pathlib.Path:
  """Finds the one file of a split in a folder."""
  # Hidden files are left out: some archives carry a `._ptb.train.txt`.
  paths = sorted(
    folder / name
    for name in _list_folder(folder)
    if not name.startswith(".") and f".{name}".endswith(f".{split}.txt")
  )
  if len(paths) == 1:
    return paths[0]
  wanted = f"{split}.txt or one *.{split}.txt"
  if paths:
    names = ", ".join(path.name for path in paths)
    raise types.InputError(
      f"{folder} has {len(paths)} files for the {split} split ({names}): leave"
      f" {wanted}"
    )
  raise types.InputError(
    f"the {split} split is missing: looked for {wanted} in {folder};"
    f" {_NO_DOWNLOAD}"
  )


def _list_folder(folder: pathlib.Path) -> list[str]:
  """Lists the names in a folder."""
  try:
    return os.listdir(folder)
  except OSError as error:
    raise types.InputError(
      f"cannot read {folder}: {error.strerror or error}"
    ) from error


def _read_words(path: pathlib.Path) -> list[str]:
  """Reads the words of a file, with `<eos>` for each newline."""
  # Text mode would turn a carriage return into a newline, which is a word here.
  text = files.read_text(path)
  # As the scripts for the Penn Treebank do: a line ends in a word of its own.
  words = text.replace("\n", f" {_EOS} ").split()
  if not words:
    raise types.InputError(f"{path} is empty")
  if len(words) < 2:
    raise types.InputError(
      f"{path} is too short: it has 1 token, and at least 2 are needed"
    )
  return words


def _train_vocabulary(words: dict[str, list[str]]) -> tuple[str, ...]:
  """Collects the train words, with `<unk>` if another split needs it."""
  known = set(words["train"])
  if not known.issuperset(words["valid"] + words["test"]):
    known.add(_UNK)
  return tuple(sorted(known))


def _encode(
  name: str, words: dict[str, list[str]], vocabulary: tuple[str, ...]
) -> TextData:
  """Maps words to ids; a word outside the vocabulary needs `<unk>` in it."""
  index = {word: number for number, word in enumerate(vocabulary)}
  # Without `<unk>` in the vocabulary every word is in it: -1 is never used.
  unknown = index.get(_UNK, -1)
  ids = {
    split: np.fromiter(
      (index.get(word, unknown) for word in words[split]),
      dtype=np.int32,
      count=len(words[split]),
    )
    for split in _SPLITS
  }
  return TextData(name, ids["train"], ids["valid"], ids["test"], vocabulary)


def _load_python_docs() -> TextData:
  """Reads the help texts of the running Python.

  The paragraphs of all topics, in the order of the topics' names, are dealt
  out in rounds: 32 to train, 4 to valid, 4 to test. So the three splits speak
  of the same subjects, and still hold stretches that are longer than a window.
  """
  try:
    from pydoc_data import topics
  except ImportError as error:
    raise types.InputError(
      "this Python lacks its help texts (pydoc_data.topics), which"
      " --dataset=python_docs reads; pass --dataset=text:DIR"
    ) from error
  texts = [topics.topics[name] for name in sorted(topics.topics)]
  words: dict[str, list[str]] = {split: [] for split in _SPLITS}
  for number, paragraph in enumerate(_distinct_paragraphs(texts)):
    words[_docs_split(number)].extend(paragraph)
  vocabulary = _frequent_vocabulary(words["train"], _DOCS_VOCABULARY)
  return _encode("python_docs", words, vocabulary)


def _docs_split(number: int) -> str:
  """Says to which split the paragraph with this number goes."""
  place = number % _DOCS_ROUND
  if place < _DOCS_VALID:
    return "train"
  return "valid" if place < _DOCS_TEST else "test"


def _distinct_paragraphs(texts: Iterable[str]) -> Iterator[tuple[str, ...]]:
  """Yields the paragraphs of the texts as words, each closed by `<eos>`.

  Words are lowercase, a punctuation mark is a word, and the line breaks within
  a paragraph are spaces.
  """
  seen: set[tuple[str, ...]] = set()
  for text in texts:
    for paragraph in re.split(r"\n\s*\n", text.lower()):
      # Four marks or more in a row underline a title or rule a table.
      prose = re.sub(r"([^\w\s])\1{3,}", " ", paragraph)
      words = (*re.findall(r"\w+|[^\w\s]", prose), _EOS)
      # Topics quote each other at length. A paragraph in train and again in
      # valid would make the validation loss meaningless.
      if len(words) > 1 and words not in seen:
        seen.add(words)
        yield words


def _frequent_vocabulary(words: list[str], limit: int) -> tuple[str, ...]:
  """Keeps the `limit` most frequent words, with `<eos>` and `<unk>` besides.

  Ties are broken by the alphabet. A word that occurs once is left out, so that
  `<unk>` occurs in train and its probability can be learnt.
  """
  counts = collections.Counter(words)
  del counts[_EOS]
  repeated = (word for word, count in counts.items() if count > 1)
  ranked = sorted(repeated, key=lambda word: (-counts[word], word))
  return tuple(sorted([*ranked[:limit], _EOS, _UNK]))
