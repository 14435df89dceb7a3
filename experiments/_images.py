"""The search on images that `cifar_macro` and `cifar_micro` share."""

from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import image_classifier, search
from enas_jax.data import images
from enas_jax.supergraph import network as network_lib
from experiments import _cli, _search

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


def run_search(
  experiment: str, space: str, network: network_lib.Network, title: str
) -> None:
  """Runs or resumes one search.

  Args:
    experiment: name of the script.
    space: of `config_lib.SPACES`.
    network: the space's shared network.
    title: of the drawing of what is found.
  """
  workdir, saved = _cli.open_workdir(experiment)
  config = _cli.resolve_config(space, saved and saved["config"])
  dataset = _cli.resolve_dataset(saved)
  if not saved:
    suited = {
      name: value
      for name, value in _SUITED.get(dataset, {}).items()
      if flags.FLAGS[name].value is None
    }
    config = config_lib.override(config, "data", **suited)
  data = images.load(
    dataset,
    _cli.data_dir(),
    num_valid=config.data.num_valid,
    image_size=config.data.image_size or None,
  )
  progress = _cli.TerminalProgress()
  progress.line(_describe(data))
  task = image_classifier.ImageClassifier.of(config, network, data)
  splits = search.Splits(
    train=task.prepare(data.train_images, data.train_labels, "train"),
    valid=task.prepare(data.valid_images, data.valid_labels, "valid"),
    test=task.prepare(data.test_images, data.test_labels, "test"),
  )
  _cli.enable_compilation_cache()
  _cli.write_config(workdir, experiment, config, dataset, saved)
  progress.line(
    f"{task.space.size():.3g} architectures (the paper's formula gives"
    f" {task.space.printed_size():.3g}); run in {workdir}"
  )
  _search.run(space, title, config, task, splits, workdir, progress)


def _describe(data: images.ImageData) -> str:
  splits = (data.train_images, data.valid_images, data.test_images)
  sizes = " / ".join(f"{len(split):,}" for split in splits)
  height, width, channels = data.train_images.shape[1:]
  return (
    f"{data.name}: {sizes} images (train / valid / test) of {height} x {width}"
    f" pixels, {channels} channels, {data.num_classes} classes"
  )
