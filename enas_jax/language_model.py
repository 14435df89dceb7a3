"""Language modelling as a task: what a batch, a loss and a reward are.

The phases know only the methods of this class (`phases.Task`), so another task
is another class with the same ones.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import config as config_lib
from enas_jax import losses, types
from enas_jax.data import text
from enas_jax.spaces import recurrent as space_lib
from enas_jax.supergraph import recurrent as supergraph


@dataclasses.dataclass(frozen=True)
class LanguageModel:
  """A recurrent cell between an embedding and a tied softmax.

  Attributes:
    config: the whole search's configuration.
    vocabulary_size: V.
  """

  config: config_lib.SearchConfig[
    config_lib.RecurrentConfig, config_lib.TextConfig
  ]
  vocabulary_size: int

  metric = "perplexity"
  gathers = True

  @property
  def space(self) -> space_lib.RecurrentSpace:
    """The space of the cells."""
    return self.config.child.space()

  def prepare(self, tokens: np.ndarray, split: str) -> types.Array:
    """Lays a split out as [steps, B] int32 streams on the device.

    Raises:
      InputError: if the split is too short for one window.
    """
    data = self.config.data
    stream = text.batchify(tokens, data.batch_size)
    text.num_windows(stream, data.bptt_length, split)
    return jnp.asarray(stream)

  def steps_per_epoch(self, train: types.Array) -> int:
    """Windows of a whole pass, or the configured number if that is less."""
    length = self.config.data.bptt_length
    windows = text.num_windows(train, length, "train")
    return min(self.config.omega.steps or windows, windows)

  def init_omega(self, key: types.PRNGKey) -> types.Omega:
    """The shared weights at the start."""
    return supergraph.init(key, self.config.child, self.vocabulary_size)

  def init_carry(self) -> types.Array:
    """h_0 of every stream at the start of an epoch: [B, D] zeros."""
    shape = (self.config.data.batch_size, self.config.child.hidden_size)
    return jnp.zeros(shape)

  def start_epoch(self, carry: types.Array, key: types.PRNGKey) -> types.Array:
    """An epoch reads the text from its beginning: zeros."""
    del key
    return self.start_split(carry)

  def start_split(self, carry: types.Array) -> types.Array:
    """A split is read from its beginning: zeros."""
    return jnp.zeros_like(carry)

  def train_batch(
    self,
    train: types.Array,
    carry: types.Array,
    step: types.Array,
    key: types.PRNGKey,
  ) -> types.TextBatch:
    """The window of that step of the epoch: text is read in order."""
    del carry, key
    return text.window(train, step, self.config.data.bptt_length)

  def reward_batch(
    self, valid: types.Array, key: types.PRNGKey
  ) -> types.TextBatch:
    """One validation minibatch: a window drawn uniformly."""
    length = self.config.data.bptt_length
    count = (valid.shape[0] - 1) // length
    index = jax.random.randint(key, (), 0, count)
    return text.window(valid, index, length)

  def child_params(
    self, omega: types.Omega, arc: space_lib.RecurrentArc
  ) -> types.Omega:
    """The weights of one child, gathered from omega."""
    return supergraph.child_params(omega, arc)

  def add_to_child(
    self,
    omega: types.Omega,
    arc: space_lib.RecurrentArc,
    update: types.Omega,
  ) -> types.Omega:
    """Adds an update of `child_params`' shape to the child's weights."""
    return supergraph.add_to_child(omega, arc, update)

  def loss(
    self,
    child: types.Omega,
    arc: space_lib.RecurrentArc,
    batch: types.TextBatch,
    carry: types.Array,
    key: types.PRNGKey,
  ) -> tuple[types.Array, tuple[dict[str, types.Array], types.Array]]:
    """L(m; omega) of Eqn 1 with its penalties, on one training window.

    Returns:
      The loss to minimise, and ("nats": cross-entropy per token; next carry).
    """
    config = self.config
    masks = supergraph.sample_masks(
      key, config.child, carry.shape[0], self.vocabulary_size
    )
    states = supergraph.apply_child(
      child, arc, batch.inputs, carry, config=config.child, masks=masks
    )
    nats = jnp.mean(
      supergraph.softmax_loss(child, states, batch.targets, masks)
    )
    loss = nats
    omega = config.omega
    if omega.l2_weight:
      penalty = losses.l2_penalty(child, omega.l2_form)
      loss += omega.l2_weight * penalty
    if omega.slowness_weight:
      loss += omega.slowness_weight * losses.slowness_penalty(states)
    if omega.activation_weight:
      loss += omega.activation_weight * jnp.mean(jnp.square(states))
    return loss, ({"nats": nats}, lax.stop_gradient(states[-1]))

  def reward(
    self,
    omega: types.Omega,
    arc: space_lib.RecurrentArc,
    batch: types.TextBatch,
    carry: types.Array,
  ) -> types.Array:
    """R(m, omega) = c / perplexity of the window from a zero state."""
    del carry
    nats, _ = self._nats(omega, arc, batch, self.init_carry())
    return self.config.theta.reward_scale * jnp.exp(-jnp.mean(nats))

  def reward_to_metric(self, reward: float) -> float:
    """The perplexity that a reward stands for."""
    return self.config.theta.reward_scale / reward

  def format_metric(self, perplexity: float) -> str:
    """A perplexity as people read it."""
    return f"{perplexity:.1f}"

  def evaluation_chunks(self, split: types.Array) -> int:
    """How many calls of `evaluate_chunk` cover a split."""
    return math.ceil((split.shape[0] - 1) / self.config.data.bptt_length)

  def evaluate_chunk(
    self,
    omega: types.Omega,
    arc: space_lib.RecurrentArc,
    split: types.Array,
    index: types.Array,
    carry: types.Array,
  ) -> tuple[types.Array, types.Array, types.Array]:
    """Scores one window of a split; the last may be partly empty.

    Returns:
      Sum of nats, number of tokens, and the next window's carry.
    """
    length, steps = self.config.data.bptt_length, split.shape[0]
    padded = jnp.pad(split, ((0, length), (0, 0)))
    batch = text.window(padded, index, length)
    real = index * length + jnp.arange(length) < steps - 1
    nats, states = self._nats(omega, arc, batch, carry)
    total = jnp.sum(jnp.where(real[:, None], nats, 0.0))
    return total, jnp.sum(real) * split.shape[1], states[-1]

  def finish_evaluation(self, total: float, count: float) -> float:
    """Perplexity of a split from its summed nats and tokens."""
    return math.exp(min(total / count, 700.0))

  def _nats(
    self,
    omega: types.Omega,
    arc: space_lib.RecurrentArc,
    batch: types.TextBatch,
    carry: types.Array,
  ) -> tuple[types.Array, types.Array]:
    """[T, B] nats per token without dropout, and the states."""
    child = supergraph.child_params(omega, arc)
    states = supergraph.apply_child(
      child, arc, batch.inputs, carry, config=self.config.child
    )
    return supergraph.softmax_loss(child, states, batch.targets), states
