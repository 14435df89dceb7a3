"""Image classification as a task: what a batch, a loss and a reward are.

The counterpart of `language_model` for the convolutional spaces. The images of
a split lie on the device as they are on disk; a step gathers, standardises and
augments its batch there.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.data import augment, batches, images, own
from enas_jax.nn import losses
from enas_jax.spaces import base as spaces
from enas_jax.spaces import precision
from enas_jax.tasks import base, image_batches, image_data

Carry = dict[str, Any]
Split = batches.Split
# (logits [B, classes], labels [B] int32) -> [B] float32, nats.
_cross_entropies = optax.softmax_cross_entropy_with_integer_labels
_SEARCH = "the search (see tune_changes)"  # where images of a size come from


@dataclasses.dataclass(frozen=True, eq=False)  # == of arrays is no bool
class ImageClassifier:
  """A convolutional network with shared weights.

  The carry of a step holds the epoch's order of training images, "order" [n]
  int32; the batch norms' moving "statistics", {} where there are none; and
  "step" [] int32, the training steps done.

  Attributes:
    config: the whole configuration, of a search or of a training.
    network: the shared network of its space, or that of one architecture.
    num_classes: the classes of the data set.
    image_shape: H, W and C.
    num_train: the number of training images.
    mean: [C] float32, mean of the training images in units of [0, 1].
    std: [C] float32, standard deviation of the training images, same units.
  """

  config: config_lib.AnyConfig
  network: spaces.ImageNetwork
  num_classes: int
  image_shape: tuple[int, int, int]
  num_train: int
  mean: np.ndarray
  std: np.ndarray

  metric = "accuracy"
  metric_sign = 1
  gathers = False  # momentum and decay move all of omega
  batch_axis = 0

  @classmethod
  def of(
    cls,
    config: config_lib.AnyConfig,
    network: spaces.ImageNetwork,
    data: images.ImageData,
  ) -> "ImageClassifier":
    """The task on a data set; `config` and `network` are its attributes."""
    count, height, width, channels = data.train_images.shape
    shape = (height, width, channels)
    return cls(
      config, network, data.num_classes, shape, count, data.mean, data.std
    )

  @property
  def space(self) -> spaces.Space:
    """The search space of the architectures."""
    return self.config.child.space()

  @property
  def data_shape(self) -> spaces.DataShape:
    """What the network's weights are made for."""
    shape, classes = self.image_shape, self.num_classes
    return spaces.DataShape(image_shape=shape, num_classes=classes)

  @property
  def _computing(self) -> spaces.ImageNetwork:
    """The network in the type that the configuration names."""
    return precision.at(self.network, self.config.run.compute_dtype)

  @property
  def _batches(self) -> image_batches.Batches:
    return image_batches.Batches(self.config.data, self.mean, self.std)

  @property
  def norms_parts(self) -> bool:
    """Whether batch norm sees a device's part of a batch alone."""
    return self.config.data.batch_norm_over == "part"

  def splits(self, data: images.ImageData) -> base.Splits:
    """Puts a data set on the device, every split in an order of its own.

    Raises:
      InputError: if a split has too few images for one batch.
    """
    data = batches.shuffled(data)
    valid = None  # of num_valid=0, as in the authors' final trainings
    if len(data.valid_images):
      valid = self.prepare(data.valid_images, data.valid_labels, "valid")
    return base.Splits(
      train=self.prepare(data.train_images, data.train_labels, "train"),
      valid=valid,
      test=self.prepare(data.test_images, data.test_labels, "test"),
    )

  def with_config(self, config: config_lib.AnyConfig) -> "ImageClassifier":
    """The task under a configuration that uses the same data and weights."""
    return dataclasses.replace(self, config=config)

  def changed(
    self, config: config_lib.AnyConfig, train: Split, valid: Split
  ) -> tuple["ImageClassifier", Split, Split]:
    """The task under another configuration, with its data.

    Args:
      config: a search's, of the same space; images are scaled down to the size
        that it names, from the size that they have here.
      train: the training images, as `prepare` made them.
      valid: the validation images, as `prepare` made them.

    Raises:
      InputError: if they cannot be scaled to that size, are too few for one
        batch, or are not those that it would set aside for validation.
    """
    if config.data.num_valid != self.config.data.num_valid:
      raise types.InputError(
        "num_valid cannot change: the validation images are chosen already."
      )
    pixels = [np.asarray(split.images) for split in (train, valid)]
    size = config.data.image_size
    if size and size != self.config.data.image_size:
      pixels = [images.shrink(_SEARCH, split, size) for split in pixels]
    shape, (mean, std) = pixels[0].shape[1:], images.channel_moments(pixels[0])
    task = dataclasses.replace(
      self, config=config, image_shape=shape, mean=mean, std=std
    )
    return (
      task,
      task.prepare(pixels[0], np.asarray(train.labels), "train"),
      task.prepare(pixels[1], np.asarray(valid.labels), "validation"),
    )

  def prepare(
    self, pixels: np.ndarray, labels: np.ndarray, split: str
  ) -> Split:
    """Puts a split on the device.

    Raises:
      InputError: if it has too few images for one batch.
    """
    data = self.config.data
    size = data.batch_size if split == "train" else data.reward_batch_size
    return batches.put(pixels, labels, size, split)

  def steps_per_epoch(self, train: Split) -> int:
    """Batches of a whole pass, or the configured number if that is less."""
    return self._steps_for(len(train.images))

  def _steps_for(self, num_images: int) -> int:
    whole = augment.num_batches(
      num_images, self.config.data.batch_size, "train"
    )
    return min(self.config.omega.steps or whole, whole)  # 0: a whole pass

  def init_omega(self, key: types.PRNGKey) -> types.Omega:
    """The shared weights at the start."""
    return self.network.init(
      key, self.config.child, self.num_classes, self.image_shape
    )

  def init_carry(self) -> Carry:
    """The carry before the first epoch."""
    return {
      "order": jnp.arange(self.num_train, dtype=jnp.int32),  # of no epoch yet
      "statistics": self.network.init_statistics(self.config.child),
      "step": jnp.int32(0),
    }

  def start_epoch(self, carry: Carry, key: types.PRNGKey) -> Carry:
    """Shuffles the training images anew."""
    order = augment.epoch_permutation(key, self.num_train)
    return {**carry, "order": order}

  def start_split(self, carry: Carry) -> Carry:
    """Evaluation reads the statistics, and changes nothing."""
    return carry

  def measure_carry(self, carry: types.Carry) -> dict[str, float]:
    """Nothing: moving statistics are no signal of trouble."""
    del carry
    return {}

  def train_batch(
    self, train: Split, carry: Carry, step: types.Array, key: types.PRNGKey
  ) -> types.ImageBatch:
    """The batch of that step of the epoch, augmented."""
    return self._batches.to_train(train, carry["order"], step, key)

  def rate_factor(self, batch: types.ImageBatch) -> float:
    """The learning rate is the schedule's."""
    del batch
    return 1.0

  def reward_batch(self, valid: Split, key: types.PRNGKey) -> types.ImageBatch:
    """One validation minibatch, drawn without replacement."""
    return self._batches.to_reward(valid, key)

  def loss_batch(self, split: Split, key: types.PRNGKey) -> types.ImageBatch:
    """As many images as omega's step has, or a reward if these are fewer."""
    return self._batches.to_descend(split, key)

  def child_params(self, omega: types.Omega, arc: types.Arc) -> types.Omega:
    """The weights of one fixed child; all of omega for a traced arc."""
    return self.network.child_params(omega, arc, self.config.child)

  def add_to_omega(
    self, omega: types.Omega, arc: types.Arc, update: types.Omega
  ) -> types.Omega:
    """Never asked: momentum and decay act on all of omega."""
    raise AssertionError("a task that does not gather updates all of omega")

  def loss(
    self,
    child: types.Omega,
    arc: types.Arc,
    batch: types.ImageBatch,
    carry: Carry,
    key: types.PRNGKey,
  ) -> tuple[types.Array, tuple[dict[str, types.Array], Carry]]:
    """L(m; omega) of Eqn 1 with its penalties, on one training batch.

    The l2 penalty is on all of omega, as in the authors' code: the weights of
    operations that were not sampled decay, too.

    Returns:
      The loss to minimise, and ("nats": cross-entropy an image, "accuracy";
      next carry).
    """
    config = self.config
    total = config.run.num_epochs * self._steps_for(self.num_train)
    logits, statistics = self._computing.apply_child(
      child,
      carry["statistics"],
      arc,
      batch.images,
      config=config.child,
      train=True,
      key=key,
      progress=(carry["step"] + 1) / total,  # as released: never 0, 1 at last
    )
    nats = jnp.mean(_cross_entropies(logits.main, batch.labels))
    loss = nats
    if logits.aux is not None:
      aux = jnp.mean(_cross_entropies(logits.aux, batch.labels))
      loss += config.child.aux_weight * aux  # in the space of cells alone
    if config.omega.l2_weight:
      weights = self.network.penalised(child, config.child)
      loss += config.omega.l2_weight * losses.sum_of_squares(weights)  # no 1/2
    accuracy = self._accuracy(logits.main, batch.labels)
    metrics = {"nats": nats, "accuracy": accuracy}
    step = carry["step"] + 1
    return loss, (metrics, {**carry, "statistics": statistics, "step": step})

  def reward(
    self,
    omega: types.Omega,
    arc: types.Arc,
    batch: types.ImageBatch,
    carry: Carry,
  ) -> types.Array:
    """R(m, omega): the accuracy on a validation minibatch, or the likelihood.

    The likelihood is the geometric mean over images of what the network gives
    to the right class, times c: the c / perplexity of text.
    """
    logits = self._logits(omega, arc, batch, carry)
    theta = base.theta_of(self.config)
    if theta.reward == "accuracy":
      return self._accuracy(logits, batch.labels)
    nats = jnp.mean(_cross_entropies(logits, batch.labels))
    return theta.reward_scale * jnp.exp(-nats)  # NaN if an image overflowed

  def reward_to_metric(self, reward: float) -> float | None:
    """The accuracy, where that is the reward; a likelihood does not tell it."""
    theta = base.theta_of(self.config)
    return reward if theta.reward == "accuracy" else None

  def format_metric(self, accuracy: float) -> str:
    """An accuracy as people read it."""
    return f"{accuracy:.1%}"

  def evaluation_chunks(self, split: Split) -> int:
    """How many calls of `evaluate_chunk` cover a split."""
    return math.ceil(len(split.images) / self.config.data.reward_batch_size)

  def evaluate_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: Split,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """Scores one batch of a split; no image is counted twice.

    Returns:
      Number of images classified rightly, number of images, and the carry.
    """
    return self._sum_chunk(self.is_right, omega, arc, split, index, carry)

  def nats_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: Split,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """`evaluate_chunk` of the images' cross-entropies, nats."""
    return self._sum_chunk(_cross_entropies, omega, arc, split, index, carry)

  def _sum_chunk(
    self,
    measure: Callable[[types.Array, types.Array], types.Array],
    omega: types.Omega,
    arc: types.Arc,
    split: Split,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """The sum over one batch of `measure`, (logits, labels) -> [B]."""
    batch, fresh = self._batches.to_evaluate(split, index)
    logits = self._logits(omega, arc, batch, carry)
    counted = losses.marked(measure(logits, batch.labels), logits)
    return jnp.sum(jnp.where(fresh, counted, 0.0)), jnp.sum(fresh), carry

  def log_probs_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: Split,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """What an architecture says of one batch of a split.

    Returns:
      [B, classes] float32, log-probabilities, nats; [B] int32, the classes, -1
      of an image that an earlier batch has shown; and the carry.
    """
    batch, fresh = self._batches.to_evaluate(split, index)
    logits = self._logits(omega, arc, batch, carry)
    targets = jnp.where(fresh, batch.labels, -1)
    return jax.nn.log_softmax(logits), targets, carry

  def score_log_probs(
    self, log_probs: types.Array, targets: types.Array
  ) -> types.Array:
    """[] float32, images classified rightly; see `Task.score_log_probs`."""
    chex.assert_rank([log_probs, targets], [2, 1])
    right = losses.marked(self.is_right(log_probs, targets), log_probs)
    return jnp.sum(jnp.where(targets >= 0, right, 0.0))

  def finish_evaluation(self, total: float, count: float) -> float:
    """Accuracy on a split."""
    return total / count

  def is_right(self, logits: types.Array, labels: types.Array) -> types.Array:
    """Which images count as classified rightly.

    Args:
      logits: [B, classes] float32.
      labels: [B] int32.

    Returns:
      [B] bool; the metric and the reward "accuracy" are the mean.
    """
    return jnp.argmax(logits, axis=-1) == labels

  def _accuracy(self, logits: types.Array, labels: types.Array) -> types.Array:
    return jnp.mean(losses.marked(self.is_right(logits, labels), logits))

  def scoring(self) -> dict[str, int]:
    """The size of the batches that scores are taken on, JSON-ready."""
    return {"scoring_batch_size": self.config.data.reward_batch_size}

  def least_split(self) -> int:
    """Images of one batch of an evaluation."""
    return self.config.data.reward_batch_size

  def _logits(
    self,
    omega: types.Omega,
    arc: types.Arc,
    batch: types.ImageBatch,
    carry: Carry,
  ) -> types.Array:
    """[B, classes], without dropout."""
    logits, _ = self._computing.apply_child(  # no statistics move
      self.child_params(omega, arc),
      carry["statistics"],
      arc,
      batch.images,
      config=self.config.child,
      train=False,
      key=None,
    )
    return logits.main


DEFINITION = base.Definition(
  name="image_classifier",
  metric=ImageClassifier.metric,
  metric_sign=ImageClassifier.metric_sign,
  create=ImageClassifier.of,
  load=image_data.load,
  synthetic=image_data.synthetic,
  describe=image_data.describe,
  num_batches=image_data.num_batches,
  dataset="cifar10",
  data_help="'cifar10', 'digits' (no download), 'fashion_mnist', 'tfds:NAME',"
  " 'images:DIR' with a folder of images for each class, or 'npz:FILE' with"
  " x_train, y_train, x_test and y_test",
  suited=image_data.suited,
  keep=own.keep_images,
  has_validation=lambda config: config.data.num_valid > 0,
  error_name="error, %",
  error_of=lambda accuracy: 100.0 * (1.0 - accuracy),
  of_data=("image_size", "num_valid", "flip"),
  ignored=(
    *("omega_l2_form", "omega_slowness_weight", "omega_activation_weight"),
  ),
  # Averaged weights would go with statistics that are not theirs.
  ignored_in_training=("average_after",),
)
