"""Language modelling as a task: what a batch, a loss and a reward are.

The phases know only the methods of this class (`tasks.Task`), so another task
is another class with the same ones.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.data import text
from enas_jax.nn import losses
from enas_jax.spaces.recurrent import arc as space_lib
from enas_jax.spaces.recurrent import network as supergraph


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
  """A recurrent cell between an embedding and a tied softmax.

  Attributes:
    config: the whole configuration, of a search or of a training.
    vocabulary_size: V.
  """

  config: Any
  vocabulary_size: int

  metric = "perplexity"
  gathers = True

  @property
  def space(self) -> space_lib.RecurrentSpace:
    """The space of the cells."""
    return self.config.child.space()

  def changed(
    self, config: Any, train: types.Array, valid: types.Array
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
    for stream, split in ((train, "train"), (valid, "validation")):
      text.num_windows(stream, config.data.bptt_length, split)
    return dataclasses.replace(self, config=config), train, valid

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

  def init_carry(self) -> Carry:
    """Zeros: the beginning of the text."""
    shape = (self.config.data.batch_size, self.config.child.hidden_size)
    return Carry(jnp.zeros(shape), jnp.int32(0))

  def start_epoch(self, carry: Carry, key: types.PRNGKey) -> Carry:
    """An epoch reads the text from its beginning."""
    del key
    return self.start_split(carry)

  def start_split(self, carry: Carry) -> Carry:
    """A split is read from its beginning."""
    return jax.tree.map(jnp.zeros_like, carry)

  def train_batch(
    self,
    train: types.Array,
    carry: Carry,
    step: types.Array,
    key: types.PRNGKey,
  ) -> types.TextBatch:
    """The next window: text is read in order.

    With `length_std` an epoch still has as many windows as there are full ones
    of T steps; being shorter on average, they leave out the end of the text.
    """
    del step
    data = self.config.data
    mean, std = data.bptt_length, data.length_std
    longest = text.longest_window(mean, std)
    batch = text.window(train, carry.position, longest)
    if not std:
      return batch
    return batch._replace(length=text.draw_length(key, mean, std))

  def step_size(self, batch: types.TextBatch) -> types.Array | float:
    """Factor on the learning rate: a window's length, over T."""
    if batch.length is None:
      return 1.0
    return batch.length / self.config.data.bptt_length

  def reward_batch(
    self, valid: types.Array, key: types.PRNGKey
  ) -> types.TextBatch:
    """One validation minibatch: a window drawn uniformly."""
    length = self.config.data.bptt_length
    count = (valid.shape[0] - 1) // length
    index = jax.random.randint(key, (), 0, count)
    return text.window(valid, index * length, length)

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
    carry: Carry,
    key: types.PRNGKey,
  ) -> tuple[types.Array, tuple[dict[str, types.Array], Carry]]:
    """L(m; omega) of Eqn 1 with its penalties, on one training window.

    Returns:
      The loss to minimise, and ("nats": cross-entropy per token; next carry).
    """
    config = self.config
    masks = supergraph.sample_masks(
      key, config.child, carry.state.shape[0], self.vocabulary_size
    )
    states = supergraph.apply_child(
      child, arc, batch.inputs, carry.state, config=config.child, masks=masks
    )
    length = batch.length
    nats = losses.mean_over_steps(
      supergraph.softmax_loss(child, states, batch.targets, masks), length
    )
    loss = nats
    omega = config.omega
    if omega.l2_weight:
      penalty = losses.l2_penalty(child, omega.l2_form)
      loss += omega.l2_weight * penalty
    if omega.slowness_weight:
      slowness = losses.slowness_penalty(states, length)
      loss += omega.slowness_weight * slowness
    if omega.activation_weight:
      squares = losses.mean_over_steps(jnp.square(states), length)
      loss += omega.activation_weight * squares
    steps = states.shape[0] if length is None else length
    state = lax.stop_gradient(states[steps - 1])
    return loss, ({"nats": nats}, Carry(state, carry.position + steps))

  def reward(
    self,
    omega: types.Omega,
    arc: space_lib.RecurrentArc,
    batch: types.TextBatch,
    carry: Carry,
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
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """Scores one window of a split; the last may be partly empty.

    Returns:
      Sum of nats, number of tokens, and the next window's carry.
    """
    length, steps = self.config.data.bptt_length, split.shape[0]
    padded = jnp.pad(split, ((0, length), (0, 0)))
    batch = text.window(padded, index * length, length)
    real = index * length + jnp.arange(length) < steps - 1
    nats, states = self._nats(omega, arc, batch, carry)
    total = jnp.sum(jnp.where(real[:, None], nats, 0.0))
    carry = carry._replace(state=states[-1])
    return total, jnp.sum(real) * split.shape[1], carry

  def nats_chunk(
    self,
    omega: types.Omega,
    arc: space_lib.RecurrentArc,
    split: types.Array,
    index: types.Array,
    carry: Carry,
  ) -> tuple[types.Array, types.Array, Carry]:
    """What `evaluate_chunk` sums are nats."""
    return self.evaluate_chunk(omega, arc, split, index, carry)

  def finish_evaluation(self, total: float, count: float) -> float:
    """Perplexity of a split from its summed nats and tokens."""
    return math.exp(min(total / count, 700.0))

  def _nats(
    self,
    omega: types.Omega,
    arc: space_lib.RecurrentArc,
    batch: types.TextBatch,
    carry: Carry,
  ) -> tuple[types.Array, types.Array]:
    """[T, B] nats per token without dropout, and the states."""
    child = self.child_params(omega, arc)
    states = supergraph.apply_child(
      child, arc, batch.inputs, carry.state, config=self.config.child
    )
    return supergraph.softmax_loss(child, states, batch.targets), states


@dataclasses.dataclass(frozen=True)
class OneCell(LanguageModel):
  """A language model whose cell is fixed, with weights of its own.

  Its omega is what the shared network's `child_params` returns for that cell,
  and it is that cell whichever arc its methods are given.

  Attributes:
    arc: of Python ints.
  """

  arc: Any

  gathers = False

  def init_omega(self, key: types.PRNGKey) -> types.Omega:
    """The cell's weights at the start."""
    return supergraph.child_params(super().init_omega(key), self.arc)

  def child_params(self, omega: types.Omega, arc: Any) -> types.Omega:
    """All of omega."""
    del arc
    return omega

  def loss(self, child: Any, arc: Any, *args: Any) -> Any:
    """`LanguageModel.loss` of the cell."""
    del arc
    return super().loss(child, self.arc, *args)

  def _nats(self, omega: Any, arc: Any, *args: Any) -> Any:
    del arc
    return super()._nats(omega, self.arc, *args)
