"""Data sets of images, and the searches on them."""

from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.data import images
from enas_jax.search import loop, tune
from enas_jax.spaces import networks
from enas_jax.tasks import image_classifier
from experiments import _cli, _search, _terminal

DATA_HELP = (
  "'cifar10', 'digits' (no download), 'fashion_mnist', 'tfds:NAME', or"
  " 'npz:FILE' with x_train, y_train, x_test and y_test"
)
# By data set, what suits it where no flag is set. A mirrored digit is another
# digit, or none; those of scikit-learn are few and small.
_SUITED: dict[str, dict[str, Any]] = {
  "digits": {"flip": False, "image_size": 0, "num_valid": 300},
  **dict.fromkeys(
    ("tfds:mnist", "tfds:svhn_cropped", "tfds:emnist"), {"flip": False}
  ),
}


def suit(config: Any, dataset: str) -> Any:
  """`config` with what suits the data set, where no flag is set."""
  suited = {
    name: value
    for name, value in _SUITED.get(dataset, {}).items()
    if flags.FLAGS[name].value is None
  }
  return config_lib.override(config, "data", **suited)


def load(config: Any, dataset: str) -> images.ImageData:
  """The data set as the configuration wants it.

  Raises:
    InputError: if it cannot be had.
  """
  return images.load(
    dataset,
    _cli.data_dir(),
    num_valid=config.data.num_valid,
    image_size=config.data.image_size or None,
  )


def splits(
  task: image_classifier.ImageClassifier, data: images.ImageData
) -> loop.Splits:
  """The images on the device; `valid` is None if all are trained on.

  Raises:
    InputError: if a split has too few images for one batch.
  """
  valid = None
  if len(data.valid_images):
    valid = task.prepare(data.valid_images, data.valid_labels, "valid")
  return loop.Splits(
    train=task.prepare(data.train_images, data.train_labels, "train"),
    valid=valid,
    test=task.prepare(data.test_images, data.test_labels, "test"),
  )


def run_search(experiment: str, space: str, title: str) -> _search.Finished:
  """Runs or resumes one search.

  Args:
    experiment: name of the script.
    space: of `registry.SPACES`.
    title: of the drawing of what is found.
  """
  workdir, saved = _cli.open_workdir(experiment)
  config = _cli.resolve_config(space, saved and saved["config"])
  dataset = _cli.resolve_dataset(saved)
  if not saved:
    config = suit(config, dataset)
  if not config.data.num_valid:
    raise types.InputError(
      "--num_valid is 0, but a search needs validation images for its rewards."
    )
  data = load(config, dataset)
  progress = _terminal.TerminalProgress()
  progress.line(describe(data))
  network = networks.SHARED[space]
  task = image_classifier.ImageClassifier.of(config, network, data)
  on_device = splits(task, data)
  # What is refused must leave no folder behind.
  tune.changed(config, task, on_device.train, on_device.valid)
  _cli.enable_compilation_cache()
  _cli.write_config(workdir, experiment, config, dataset, saved)
  progress.line(
    f"{task.space.size():.3g} architectures (the paper's formula gives"
    f" {task.space.printed_size():.3g}); run in {workdir}"
  )
  return _search.run(space, title, config, task, on_device, workdir, progress)


def describe(data: images.ImageData) -> str:
  """A line about a data set."""
  parts = (data.train_images, data.valid_images, data.test_images)
  sizes = " / ".join(f"{len(split):,}" for split in parts)
  height, width, channels = data.train_images.shape[1:]
  return (
    f"{data.name}: {sizes} images (train / valid / test) of {height} x {width}"
    f" pixels, {channels} channels, {data.num_classes} classes"
  )
