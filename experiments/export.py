"""Exports a trained architecture, to live without the search.

  python -m experiments.export --run=RUN --to=FOLDER

RUN is the folder of `ptb_train` or `cifar_train`, finished or stopped. FOLDER
gets the weights, the architecture, the preprocessing, a serialized function for
serving, and a README.md that says how to load and to fine-tune it. With
`--push=USER/NAME` it goes to Hugging Face's hub, too, and is loaded from there
by `enas_jax.load_exported("hub:USER/NAME")`.
"""

from absl import flags

from enas_jax import export, files, types
from enas_jax.running import trainings
from experiments import _cli


def main() -> None:
  """Writes the folder."""
  values = flags.FLAGS
  if values.run is None or values.to is None:
    raise types.InputError(
      "--run, the folder of a training, and --to, the folder to write, must be"
      " given."
    )
  model = trainings.read_model(files.expand(values.run), values.license)
  export.save(values.to, model)
  print(f"{values.to}: README.md there says how to load, tune and serve it")
  if values.push is not None:
    print(export.push(values.to, values.push, private=values.private))


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_string("run", None, "the folder of a training")
  flags.DEFINE_string("to", None, "the folder to write, empty or not there yet")
  flags.DEFINE_string(
    "license", "apache-2.0", "of the model, as Hugging Face's hub names it"
  )
  flags.DEFINE_string(
    "push", None, "also put it on that hub: USER/NAME; needs 'enas_jax[hub]'"
  )
  flags.DEFINE_boolean("private", False, "with --push: for you alone")


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
