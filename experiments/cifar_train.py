"""Trains one convolutional network on CIFAR-10 from scratch (Section 3.2).

  python -m experiments.cifar_train --arc=RUN/arc.json --data_dir=DIR
  python -m experiments.cifar_train --arc=enas_micro --preset=small

The architecture is a network of the macro space or a pair of cells. Presets:
`paper` and `released` (a GPU; not yet run to the end), `small` (16 x 16 pixels,
half an hour on one CPU core), `smoke`. Without CIFAR-10, `--dataset=digits`
needs no download.
"""

from typing import Any

from enas_jax import export
from enas_jax.search import loop
from enas_jax.spaces import networks
from enas_jax.tasks import image_classifier
from experiments import _cli, _images, _terminal, _training

_SPACES = ("macro", "micro")


def main() -> None:
  """Trains, or goes on with a training."""
  job = _training.open_job("cifar_train", _SPACES)
  if not job.saved:
    job = job._replace(config=_images.suit(job.config, job.dataset))
  data = _images.load(job.config, job.dataset)
  progress = _terminal.TerminalProgress()
  progress.line(_images.describe(data))

  def build(arc: Any, config: Any) -> tuple[Any, loop.Splits]:
    network = networks.of_arc(job.space, config.child, arc)
    task = image_classifier.ImageClassifier.of(config, network, data)
    return task, _images.splits(task, data)

  preprocessing = export.ImagePreprocessing(
    data.train_images.shape[1:],
    tuple(data.mean.tolist()),
    tuple(data.std.tolist()),
    data.class_names,
  )
  _training.run(job, "cifar_train", build, preprocessing, progress)


if __name__ == "__main__":
  _training.define_flags("cifar10", _images.DATA_HELP, *_SPACES)
  _cli.run(main)
