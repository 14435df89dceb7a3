"""A search small enough for a test: 30 words, 3 nodes, 8 units."""

import pathlib

import numpy as np

from enas_jax import config as config_lib
from enas_jax import language_model, search
from enas_jax.data import text

FLAGS = {
  "child": {"num_nodes": 3, "hidden_size": 8, "init_range": 0.1},
  "data": {"batch_size": 4, "bptt_length": 5},
  "controller": {"hidden_size": 8},
  "omega": {"steps": 6, "learning_rate": 1.0},
  "theta": {"steps": 5},
  "run": {
    "num_epochs": 2,
    "log_every": 4,
    "eval_arcs": 2,
    "derive_arcs": 4,
  },
}


def make_config(**changes):
  """The smoke preset with `FLAGS`, then with `part=dict(field=value)`."""
  config = config_lib.preset("smoke")
  for part, fields in FLAGS.items():
    config = config_lib.override(config, part, **fields)
  for part, fields in changes.items():
    config = config_lib.override(config, part, **fields)
  return config


def command_flags():
  """`FLAGS` as command-line arguments."""
  found = ["--preset=smoke"]
  for part, fields in FLAGS.items():
    prefix = f"{part}_" if part in ("controller", "omega", "theta") else ""
    found += [f"--{prefix}{name}={value}" for name, value in fields.items()]
  return found


def write_corpus(folder: pathlib.Path):
  """Writes a text in which a word says much about the next one."""
  rng = np.random.default_rng(0)
  words = [f"w{i}" for i in range(30)]
  for split, count in (("train", 1200), ("valid", 300), ("test", 300)):
    at, tokens = 0, []
    for _ in range(count):
      at = (at + int(rng.integers(1, 4))) % len(words)
      tokens.append(words[at])
    lines = [" ".join(tokens[i : i + 9]) for i in range(0, count, 9)]
    (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
  return f"text:{folder}"


def make_task(config, dataset):
  """The task and its splits."""
  corpus = text.load(dataset, None)
  task = language_model.LanguageModel(config, len(corpus.vocabulary))
  splits = search.Splits(
    *(
      task.prepare(getattr(corpus, split), split)
      for split in ("train", "valid", "test")
    )
  )
  return task, splits
