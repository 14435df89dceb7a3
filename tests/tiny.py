"""Searches small enough for a test."""

import dataclasses
import pathlib

import numpy as np

from enas_jax import config as config_lib
from enas_jax.data import images
from enas_jax.running import options
from enas_jax.spaces import registry
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import image_classifier, language_model
from enas_jax.tasks import registry as tasks

FLAGS = {
  "child": {"num_nodes": 3, "hidden_size": 8, "init_range": 0.1},
  "data": {"batch_size": 4, "bptt_length": 5},
  "strategy": {"controller": {"hidden_size": 8}},
  "omega": {"steps": 6, "learning_rate": 1.0},
  "theta": {"steps": 5},
  "run": {
    "num_epochs": 2,
    "log_every": 4,
    "eval_arcs": 2,
    "derive_arcs": 4,
    "loggers": (),  # which take seconds; tests/loggers_test.py has them
  },
}


def child_config(space, preset="paper", **changes):
  """A preset's options of the space and its network, with fields replaced."""
  child = registry.preset(preset, space).child
  return dataclasses.replace(child, **changes)


def make_config(policy="controller", **changes):
  """The smoke preset with `FLAGS`, then with `part=dict(field=value)`."""
  config = registry.preset("smoke")
  for part, fields in FLAGS.items():
    config = config_lib.override(config, part, **fields)
  config = strategies.with_policy(config, policy)
  for part, fields in changes.items():
    config = config_lib.override(config, part, **fields)
  return config


def command_flags():
  """`FLAGS` as command-line arguments."""
  parts = {**FLAGS, **FLAGS["strategy"]}
  del parts["strategy"]
  arguments = ["--preset=smoke"]
  for part, fields in parts.items():
    prefix = f"{part}_" if part in ("controller", "omega", "theta") else ""
    arguments += [
      f"--{prefix}{name}={options.typed(value)}"
      for name, value in fields.items()
    ]
  return arguments


def write_corpus(folder: pathlib.Path, num_held_out=300):
  """Writes a text in which a word says much about the next one."""
  rng = np.random.default_rng(0)
  words = [f"w{i}" for i in range(30)]
  for split, count in (
    ("train", 4 * num_held_out),
    ("valid", num_held_out),
    ("test", num_held_out),
  ):
    at, tokens = 0, []
    for _ in range(count):
      at = (at + int(rng.integers(1, 4))) % len(words)
      tokens.append(words[at])
    lines = [" ".join(tokens[i : i + 9]) for i in range(0, count, 9)]
    (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
  return f"text:{folder}"


def text_task(config, vocabulary_size, arc=None):
  """A language model of the shared network, or of one cell alone."""
  definition = registry.get("recurrent")
  network = definition.network
  if arc is not None:
    network = definition.fixed(config.child, arc)
  return language_model.LanguageModel(config, network, vocabulary_size)


def make_task(config, dataset):
  """The task and its splits."""
  definition = tasks.get("language_model")
  corpus = definition.load(dataset, None, config)
  network = registry.get("recurrent").network
  task = definition.create(config, network, corpus)
  return task, task.splits(corpus)


# A program of either takes seconds to compile, whatever its shapes.
IMAGE_FLAGS = {
  "macro": {"num_layers": 2, "num_filters": 4},
  "micro": {"num_nodes": 3, "num_layers": 3, "num_filters": 4},
  "nasbench201": {"num_cells": 1, "num_filters": 2},
}
NETWORKS = {name: registry.get(name).network for name in IMAGE_FLAGS}


def make_image_config(space, preset="smoke", policy="controller", **changes):
  """A tiny search on images, then with `part=dict(field=value)`."""
  config = registry.preset(preset, space)
  config = config_lib.override(config, "strategy", **FLAGS["strategy"])
  config = strategies.with_policy(config, policy)
  parts = {
    "child": IMAGE_FLAGS[space],
    "data": {"batch_size": 8, "reward_batch_size": 10, "pad": 1},
    "run": FLAGS["run"],
    "omega": {"steps": 6},
    "theta": {"steps": 5},
    "strategy": {},
  }
  for part, fields in parts.items():
    config = config_lib.override(
      config, part, **{**fields, **changes.get(part, {})}
    )
  return config


def make_images(num_train=50, num_valid=24):
  """Images of 8 x 8 pixels: bright in one channel, in the other, in none."""
  rng = np.random.default_rng(0)
  splits = []
  for count in (num_train, num_valid, num_valid):
    labels = rng.integers(3, size=count).astype(np.int32)
    pixels = rng.integers(100, size=(count, 8, 8, 2)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
      image[..., label : label + 1] += 100
    splits += [pixels, labels]
  mean, std = np.float32([0.3, 0.2]), np.float32([0.25, 0.1])
  return images.ImageData(
    "made up", *splits, num_classes=3, class_names=tuple("abc"), mean=mean,
    std=std,
  )  # fmt: skip


def make_image_task(config, space):
  """The task and its splits."""
  data = make_images()
  task = image_classifier.ImageClassifier.of(config, NETWORKS[space], data)
  return task, task.splits(data)
