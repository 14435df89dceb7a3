"""What an export reads of a training's folder."""

import json
import pathlib

import pytest

from enas_jax import types
from enas_jax.running import trainings


def test_a_run_that_does_not_tell_its_seed_is_named(tmp_path: pathlib.Path):
  words = ("experiment", "init", "dataset", "command")
  saved = {**dict.fromkeys(words, "x"), "arcs": [], "config": {}}
  (tmp_path / "config.json").write_text(json.dumps(saved))
  with pytest.raises(types.InputError, match=r"config.json lacks 'seed'"):
    trainings.read_model(tmp_path)


def test_a_card_leaves_open_what_the_run_does_not_tell():
  saved = {"dataset": "x", "command": "y", "seed": 3}
  card = trainings._card(saved, {"test_accuracy": 0.5, "steps": 9}, 2)
  assert card["metrics"] == {"test_accuracy": 0.5}
  assert (card["seed"], card["epochs"], card["commit"]) == (3, 2, None)


if __name__ == "__main__":
  raise SystemExit(pytest.main([__file__]))
