"""Exports a trained architecture, to live without the search.

  python -m experiments.export --run=RUN --to=FOLDER

RUN is the folder of `ptb_train` or `cifar_train`, finished or stopped. FOLDER
gets the weights, the architecture, the preprocessing, a serialized function for
serving, and a README.md that says how to load and to fine-tune it.
"""

import pathlib
from typing import Any

from absl import flags

from enas_jax import export, files, types
from enas_jax.search import checkpoint, folder, runs
from enas_jax.spaces import arcs, registry
from experiments import _cli


def main() -> None:
  """Writes the folder."""
  values = flags.FLAGS
  if values.run is None or values.to is None:
    raise types.InputError(
      "--run, the folder of a training, and --to, the folder to write, must be"
      " given."
    )
  run = files.expand(values.run)
  saved = _read(run, folder.CONFIG)
  if not {"experiment", "arcs", "init"} <= saved.keys():
    raise types.InputError(
      f"--run={values.run} is not the folder of a training, as ptb_train or"
      " cifar_train writes it."
    )
  kinds = {"experiment": str, "init": str, "config": dict, "dataset": str}
  advice = "--run must be the folder of a training"
  folder.check_fields(saved, kinds, run / folder.CONFIG, advice)
  result = _result(run)
  # Of several architectures that were trained, the best on validation data.
  best = result.get("best_rank")
  where = run / f"arc_{best}" if best else run
  loaded = arcs.of_record(_read(where, folder.ARC))
  preset = registry.train_preset("paper", loaded.name)
  config = runs.restore_config(preset, saved["config"])
  state = checkpoint.read_newest(where / folder.CHECKPOINTS)
  averaged = int(state["num_averaged"]) > 0
  preprocessing = export.read_preprocessing(
    loaded.name, _read(run, folder.PREPROCESSING)
  )
  model = export.Model(
    space=loaded.name,
    config=config.child,
    arc=loaded.arc,
    child=state["average" if averaged else "omega"],
    statistics=state["carry"].get("statistics", {}),
    preprocessing=preprocessing,
    card=_card(saved, result, int(state["epoch"])),
  )
  export.save(values.to, model)
  print(f"{values.to}: README.md there says how to load, tune and serve it")


def _card(
  saved: dict[str, Any], result: dict[str, Any], epochs: int
) -> dict[str, Any]:
  return {
    "dataset": saved["dataset"],
    "command": f"python -m experiments.{saved['experiment']}"
    f" --preset={saved['preset']} --dataset={saved['dataset']}"
    f" --arc={saved['arc']} --seed={saved['seed']}",
    "metrics": {
      name: value
      for name, value in result.items()
      if name.startswith(("valid_", "test_")) and value is not None
    },
    "epochs": epochs,
    "seed": saved["seed"],
    "commit": saved["commit"],
    "device": saved["device"],
    "versions": saved["versions"],
  }


def _result(run: pathlib.Path) -> dict[str, Any]:
  """The result of a run; {} of one that was stopped."""
  return _read(run, folder.RESULT) if (run / folder.RESULT).exists() else {}


def _read(run: pathlib.Path, name: str) -> dict[str, Any]:
  return folder.read_json(run / name, "--run must be the folder of a training")


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_string("run", None, "the folder of a training")
  flags.DEFINE_string("to", None, "the folder to write, empty or not there yet")


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
