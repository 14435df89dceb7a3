"""Language modelling as a task: what a batch, a loss and a reward are.

A recurrent network between an embedding and a tied softmax reads a text in B
parallel streams, a window of T steps after another (Section 3.1).
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.data import own, text
from enas_jax.data import synthetic as synthetic_data
from enas_jax.nn import losses
from enas_jax.spaces import base as spaces
from enas_jax.spaces import precision
from enas_jax.tasks import base


class Carry(NamedTuple):
  """What one step hands to the next.

  Attributes:
    state: [B, D] float32, h_t of every stream after the last window.
    position: [] int32, the step of the text at which the next one begins.
  """

  state: types.Array
  position: types.Array


@dataclasses.dataclass(frozen=True)
class LanguageModel:
  """A recurrent network that predicts the next word.

  Attributes:
    config: the whole configuration, of a search or of a training.
    network: the shared network of a space, or that of one architecture.
    vocabulary_size: words, V.
  """

  config: config_lib.AnyConfig
  network: spaces.TextNetwork
  vocabulary_size: int

  metric = "perplexity"
  metric_sign = -1
  batch_axis = 1  # [T, B]
  norms_parts = False

  @property
  def space(self) -> spaces.Space:
    """The search space of the architectures."""
    return self.config.child.space()

  @property
  def gathers(self) -> bool:
    """Whether a child is part of omega only; not of one architecture alone."""
    return self.network.add_to_omega is not None

  @property
  def data_shape(self) -> spaces.DataShape:
    """What the network's weights are made for."""
    return spaces.DataShape(vocabulary_size=self.vocabulary_size)

  @property
  def _computing(self) -> spaces.TextNetwork:
    """The network in the type that the configuration names."""
    return precision.at(self.network, self.config.run.compute_dtype)

  def splits(self, data: text.TextData) -> base.Splits:
    """Lays the three splits of a text out on the device.

    Raises:
      InputError: if a split is too short for one window.
    """
    return base.Splits(
      train=self.prepare(data.train, "train"),
      valid=self.prepare(data.valid, "valid"),
      test=self.prepare(data.test, "test"),
    )

  def with_config(self, config: config_lib.AnyConfig) -> "LanguageModel":
    """The task under a configuration that uses the same data and weights."""
    return dataclasses.replace(self, config=config)

  def changed(
    self, config: config_lib.AnyConfig, train: types.Array, valid: types.Array
  ) -> tuple["LanguageModel", types.Array, types.Array]:
    """The task under another configuration, with its data.

    Raises:
      InputError: if it would lay the text out otherwise, or a window is longer
        than the text.
    """
    if config.data.batch_size != self.config.data.batch_size:
      raise types.InputError(
        "batch_size cannot change: the text is laid out in streams already."
      )
    length, std = config.data.bptt_length, config.data.length_std
    text.num_windows(train, length, "train", std)
    text.num_windows(valid, length, "validation")
    return dataclasses.replace(self, config=config), train, valid

  def prepare(self, tokens: np.ndarray, split: str) -> types.Array:
    """Lays a split out as [steps, B] int32 streams on the device.

    Raises:
      InputError: if the split is too short for one window.
    """
    data = self.config.data
    stream = text.batchify(tokens, data.batch_size)
    std = data.length_std if split == "train" else 0.0  # of training alone
    text.num_windows(stream, data.bptt_length, split, std)
    return jnp.asarray(stream)  # Penn Treebank's is 3.7 MB of int32

  def steps_per_epoch(self, train: types.Array) -> int:
    """Windows of a whole pass, or the configured number if that is less."""
    length = self.config.data.bptt_length
    windows = text.num_windows(train, length, "train")
    return min(self.config.omega.steps or windows, windows)

  def init_omega(self, key: types.PRNGKey) -> types.Omega:
    """The shared weights at the start."""
    return self.network.init(key, self.config.child, self.vocabulary_size)

  def init_carry(self) -> Carry:
    """Zeros: the beginning of the text."""
    shape = (self.config.data.batch_size, self.config.child.hidden_size)
    return Carry(jnp.zeros(shape), jnp.int32(0))

  def start_epoch(self, carry: Carry, key: types.PRNGKey) -> Carry:
    """An epoch reads the whole text; one that stops short is gone on with."""
    del key
    return carry if self.config.omega.steps else self.start_split(carry)

  def start_split(self, carry: Carry) -> Carry:
    """A split is read from its beginning."""
    return jax.tree.map(jnp.zeros_like, carry)

  def measure_carry(self, carry: Carry) -> dict[str, float]:
    """The mean Euclidean norm of the streams' hidden states, [B, D]."""
    norms = np.linalg.norm(np.asarray(carry.state, np.float64), axis=-1)
    return {"hidden_norm": float(norms.mean())}

  def train_batch(
    self,
    train: types.Array,
    carry: Carry,
    step: types.Array,
    key: types.PRNGKey,
  ) -> types.TextBatch:
    """The next window: text is read in order.

    After its end it begins anew, where epochs are of `omega.steps`.

    With `length_std` an epoch still has as many windows as there are full ones
    of T steps; being shorter on average, they leave out the end of the text.
    Where they reach it nevertheless, JAX moves the last ones back, over words
    that were read before.
    """
    del step
    data = self.config.data
    mean, std = data.bptt_length, data.length_std
    longest = text.longest_window(mean, std)
    if self.config.omega.steps:
      # A window also needs the word after it.
      fresh = carry.position + longest >= train.shape[0]
      position = jnp.where(fresh, 0, carry.position)
      batch = text.window(train, position, longest)._replace(fresh=fresh)
    else:
      batch = text.window(train, carry.position, longest)
    if not std:
      return batch
    return batch._replace(length=text.draw_length(key, mean, std))

  def rate_factor(self, batch: types.TextBatch) -> types.Array | float:
    """Factor on the learning rate: a window's length, over T."""
    if batch.length is None:
      return 1.0
    # The loss is a mean over the window: at one rate short windows would count
    # as much as long ones (Merity et al., 2018, Section 4.1; enas_lm).
    return batch.length / self.config.data.bptt_length

  def reward_batch(
    self, valid: types.Array, key: types.PRNGKey
  ) -> types.TextBatch:
    """One validation minibatch: a window drawn uniformly."""
    length = self.config.data.bptt_length
    count = (valid.shape[0] - 1) // length  # the last step is a target alone
    index = jax.random.randint(key, (), 0, count)  # enas_lm goes in order
    return text.window(valid, index * length, length)

  def loss_batch(
    self, split: types.Array, key: types.PRNGKey
  ) -> types.TextBatch:
    """A window like that of a reward: omega's steps have as many words."""
    return self.reward_batch(split, key)

  def child_params(self, omega: types.Omega, arc: types.Arc) -> types.Omega:
    """The weights of one child, gathered from omega."""
    return self.network.child_params(omega, arc, self.config.child)

  def add_to_omega(
    self, omega: types.Omega, arc: types.Arc, update: types.Omega
  ) -> types.Omega:
    """Adds an update of `child_params`' shape to the child's weights."""
    assert self.network.add_to_omega is not None
    return self.network.add_to_omega(omega, arc, update)

  def loss(
    self,
    child: types.Omega,
    arc: types.Arc,
    batch: types.TextBatch,
    carry: Carry,
    key: types.PRNGKey,
  ) -> tuple[types.Array, tuple[dict[str, types.Array], Carry]]:
    """L(m; omega) of Eqn 1 with its penalties, on one training window.

    Returns:
      The loss to minimise, and ("nats": cross-entropy per token; next carry).
    """
    config = self.config
    fresh = batch.fresh
    if fresh is not None:
      carry = jax.tree.map(lambda leaf: jnp.where(fresh, 0, leaf), carry)
    masks = self.network.sample_masks(
      key, config.child, carry.state.shape[0], self.vocabulary_size
    )
    states = self._computing.apply_child(  # [T, B, D], before output dropout
      child, arc, batch.inputs, carry.state, config=config.child, masks=masks
    )
    length = batch.length
    nats = losses.mean_over_steps(
      self._computing.nats(child, states, batch.targets, masks), length
    )
    loss = nats
    omega = config.omega
    if omega.l2_weight:
      penalty = self.network.penalty(child, omega.l2_form)
      loss += omega.l2_weight * penalty
    if omega.slowness_weight:
      slowness = losses.slowness_penalty(states, length)
      loss += omega.slowness_weight * slowness
    if omega.activation_weight:
      squares = losses.mean_over_steps(jnp.square(states), length)
      loss += omega.activation_weight * squares
    steps = states.shape[0] if length is None else length  # those read
    state = lax.stop_gradient(states[steps - 1])  # truncated (Section 2.2)
    return loss, ({"nats": nats}, Carry(state, carry.position + steps))

  def reward(
    self,
    omega: types.Omega,
    arc: types.Arc,
    batch: types.TextBatch,
    carry: Carry,
  ) -> types.Array:
    """R(m, omega) = c / perplexity of the window from a zero state."""
    del carry
    nats, _ = self._nats(omega, arc, batch, self.init_carry())  # as in enas_lm
    scale = base.theta_of(self.config).reward_scale
    return scale * jnp.exp(-jnp.mean(nats))

  def reward_to_metric(self, reward: float) -> float:
    """The perplexity that a reward stands for."""
    # A perplexity beyond all floats has earned 0.
    scale = base.theta_of(self.config).reward_scale
    return scale / reward if reward else math.inf

  def format_metric(self, perplexity: float) -> str:
    """A perplexity as people read it."""
    return f"{perplexity:.1f}"

  def evaluation_chunks(self, split: types.Array) -> int:
    """How many calls of `evaluate_chunk` cover a split."""
    return math.ceil((split.shape[0] - 1) / self.config.data.bptt_length)

  def evaluate_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: types.Array,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """Scores one window of a split; the last may be partly empty.

    Returns:
      Sum of nats, number of tokens, and the next window's carry.
    """
    batch, real = self._window_of(split, index)
    nats, states = self._nats(omega, arc, batch, carry)
    total = jnp.sum(jnp.where(real[:, None], nats, 0.0))  # nats: [T, B]
    carry = carry._replace(state=states[-1])
    return total, jnp.sum(real) * split.shape[1], carry

  def nats_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: types.Array,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """What `evaluate_chunk` sums are nats."""
    return self.evaluate_chunk(omega, arc, split, index, carry)

  def log_probs_chunk(
    self,
    omega: types.Omega,
    arc: types.Arc,
    split: types.Array,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """What an architecture says of the next words of one window.

    Returns:
      [T * B, V] float32, log-probabilities, nats; [T * B] int32, the words, -1
      beyond the end of the text; and the next window's carry.
    """
    batch, real = self._window_of(split, index)
    child, states = self._states(omega, arc, batch, carry)
    log_probs = jax.nn.log_softmax(self._computing.logits(child, states))
    targets = jnp.where(real[:, None], batch.targets, -1)
    carry = carry._replace(state=states[-1])
    vocabulary = log_probs.shape[-1]
    return log_probs.reshape(-1, vocabulary), targets.reshape(-1), carry

  def score_log_probs(
    self, log_probs: types.Array, targets: types.Array
  ) -> types.Array:
    """The sum of nats over the words that count.

    Args:
      log_probs: [n, V] float32, nats.
      targets: [n] int32, the words; -1: the place does not count.

    Returns:
      [] float32.
    """
    return losses.sum_of_nats(log_probs, targets)

  def _window_of(
    self, split: types.Array, index: types.Array
  ) -> tuple[types.TextBatch, types.Array]:
    """A window of an evaluation, and [T] bool: which steps lie in the text."""
    length, steps = self.config.data.bptt_length, split.shape[0]
    # Else JAX would move a last window that is too long back into the text.
    padded = jnp.pad(split, ((0, length), (0, 0)))
    batch = text.window(padded, index * length, length)
    return batch, index * length + jnp.arange(length) < steps - 1

  def finish_evaluation(self, total: float, count: float) -> float:
    """Perplexity of a split from its summed nats and tokens."""
    # `math.exp` raises above 709.
    return math.exp(min(total / count, 700.0))

  def _nats(
    self,
    omega: types.Omega,
    arc: types.Arc,
    batch: types.TextBatch,
    carry: Carry,
  ) -> tuple[types.Array, types.Array]:
    """[T, B] nats per token without dropout, and the states."""
    child, states = self._states(omega, arc, batch, carry)
    return self._computing.nats(child, states, batch.targets), states

  def _states(
    self,
    omega: types.Omega,
    arc: types.Arc,
    batch: types.TextBatch,
    carry: Carry,
  ) -> tuple[types.Omega, types.Array]:
    """The child's weights, and [T, B, D], its states without dropout."""
    child = self.child_params(omega, arc)
    states = self._computing.apply_child(
      child, arc, batch.inputs, carry.state, config=self.config.child
    )
    return child, states

  def scoring(self) -> dict[str, int]:
    """The streams and steps of the windows that scores are taken on."""
    data = self.config.data
    return {
      "scoring_streams": data.batch_size,
      "scoring_steps": data.bptt_length,
    }

  def least_split(self) -> int:
    """Time steps of a text in which one word is predicted."""
    return 2


def load(
  dataset: str,
  data_dir: str | None,
  config: config_lib.AnyConfig | None = None,
) -> text.TextData:
  """The text of that name; nothing of the configuration changes it."""
  del config
  return text.load(dataset, data_dir)


def synthetic(
  config: config_lib.AnyConfig, data: spaces.DataShape, num_batches: int
) -> text.TextData:
  """Random words, enough for so many windows of every stream."""
  count = config.data.batch_size * (num_batches * config.data.bptt_length + 1)
  return synthetic_data.random_words(count, data.vocabulary_size)


def num_batches(config: config_lib.AnyConfig) -> tuple[int, int]:
  """Windows of Penn Treebank's training and validation split."""
  words = config.data.batch_size * config.data.bptt_length
  train, valid = (text.PTB_TOKENS[split] for split in ("train", "valid"))
  return train // words, valid // words


DEFINITION = base.Definition(
  name="language_model",
  metric=LanguageModel.metric,
  metric_sign=LanguageModel.metric_sign,
  create=lambda config, network, data: LanguageModel(
    config, network, len(data.vocabulary)
  ),
  load=load,
  synthetic=synthetic,
  describe=lambda data, config: data.describe(),
  num_batches=num_batches,
  dataset="ptb",
  data_help="'ptb', 'python_docs' (no download), or 'text:DIR' with files"
  " train.txt, valid.txt and test.txt",
  suited=lambda dataset, config: {},
  keep=own.keep_texts,
  has_validation=lambda config: True,
  error_name="perplexity",
  error_of=lambda perplexity: perplexity,
)
