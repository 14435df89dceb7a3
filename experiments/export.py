"""Exports a trained architecture, to live without the search.

  python -m experiments.export --run=RUN --to=FOLDER

RUN is the folder of `ptb_train` or `cifar_train`, finished or stopped. FOLDER
gets the weights, the architecture, the preprocessing, a serialized function for
serving, and a README.md that says how to load and to fine-tune it.
"""

import json
import pathlib
from typing import Any

from absl import flags

from enas_jax import export, types
from enas_jax.search import checkpoint, runs
from enas_jax.spaces import arcs, registry
from experiments import _cli, _training


def main() -> None:
  """Writes the folder."""
  values = flags.FLAGS
  if values.run is None or values.to is None:
    raise types.InputError(
      "--run, the folder of a training, and --to, the folder to write, must be"
      " given."
    )
  run = pathlib.Path(values.run).expanduser()
  saved = _read(run, "config.json")
  if not {"experiment", "arcs", "init"} <= saved.keys():
    raise types.InputError(
      f"--run={values.run} is not the folder of a training, as ptb_train or"
      " cifar_train writes it."
    )
  result = _result(run)
  # Of several architectures that were trained, the best on validation data.
  best = result.get("best_rank")
  folder = run / f"arc_{best}" if best else run
  loaded = arcs.of_record(_read(folder, "arc.json"))
  preset = registry.train_preset("paper", loaded.name)
  config = runs.restore_config(preset, saved["config"])
  state = checkpoint.read_newest(folder / "checkpoints")
  averaged = int(state["num_averaged"]) > 0
  preprocessing = export.read_preprocessing(
    loaded.name, _read(run, _training.PREPROCESSING)
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
  names = [
    f"{split}_{metric}"
    for split in ("valid", "test")
    for metric in ("accuracy", "perplexity")
  ]
  return {
    "dataset": saved["dataset"],
    "command": f"python -m experiments.{saved['experiment']}"
    f" --preset={saved['preset']} --dataset={saved['dataset']}"
    f" --arc={saved['arc']} --seed={saved['seed']}",
    "metrics": {n: result[n] for n in names if result.get(n) is not None},
    "epochs": epochs,
    "seed": saved["seed"],
    "commit": saved["commit"],
    "device": saved["device"],
    "versions": saved["versions"],
  }


def _result(run: pathlib.Path) -> dict[str, Any]:
  """The result of a run; {} of one that was stopped."""
  return _read(run, "result.json") if (run / "result.json").exists() else {}


def _read(folder: pathlib.Path, name: str) -> dict[str, Any]:
  try:
    found = json.loads((folder / name).read_text())
  except (OSError, ValueError) as error:
    why = getattr(error, "strerror", None) or error
    raise types.InputError(
      f"{folder / name} cannot be read: {why}; --run must be the folder of a"
      " training."
    ) from None
  if not isinstance(found, dict):
    raise types.InputError(f"{folder / name} must hold a JSON object.")
  return found


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_string("run", None, "the folder of a training")
  flags.DEFINE_string("to", None, "the folder to write, empty or not there yet")


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
