"""What strategies share that follow the gradient of a relaxed architecture.

Every choice has weights alpha of its own; a mixture of architectures is made of
them, and a validation loss of the mixture is differentiated. A choice does not
depend on another one. Candidates are samples of the policy that alpha stands
for, and the most likely choice everywhere. "none" of NAS-Bench-201 competes
like any other operation, as in the benchmark's own searches.

Defaults of the optimiser are those of Liu et al. (DARTS, 2019), Section 3.1.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from enas_jax import types
from enas_jax.config import fields
from enas_jax.nn import ops
from enas_jax.spaces import decisions
from enas_jax.strategies import base

_START = 1e-3  # the authors' code: alpha starts normal, of this deviation
_BETA2 = 0.999  # Adam's, of the gradient's square


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelaxedConfig:
  """How alpha is trained."""

  learns: ClassVar[bool] = True
  mixes: ClassVar[bool] = True
  descends: ClassVar[bool] = True

  learning_rate: float = fields.field("of Adam", default=3e-4)
  adam_beta1: float = fields.field(
    "Adam's decay of the gradient's mean (released CIFAR-10 code: 0)",
    default=0.5,
  )

  def __post_init__(self) -> None:
    fields.check_positive(self, "theta_", "learning_rate")
    fields.check_rates(self, "theta_", "adam_beta1")

  @property
  def decay(self) -> float:
    """The weight of alpha that is added to its gradient."""
    return 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecayedConfig(RelaxedConfig):
  """The same with weight decay."""

  alpha_decay: float = fields.field(
    "weight decay of the architecture's weights alpha, added to their gradient",
    default=1e-3,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_not_negative(self, "theta_", "alpha_decay")

  @property
  def decay(self) -> float:
    """The weight of alpha that is added to its gradient."""
    return self.alpha_decay


class State(NamedTuple):
  """What such a strategy has learnt.

  Attributes:
    alpha: [C, A] float32, a row for each choice; what is beyond a choice's
      alternatives stays 0 and is not used.
    opt: Adam's state.
    progress: [] float32, how much of theta's training was over at the last
      step; see `base.Judge`. Kept for omega's steps, which have no judge.
  """

  alpha: types.Array
  opt: optax.OptState
  progress: types.Array


@dataclasses.dataclass(frozen=True)
class Relaxed(base.Strategy):
  """A gradient method on alpha; subclasses say how alpha is mixed.

  Attributes:
    space: the search space.
    options: how alpha is trained.
    num_arcs: S, mixtures a theta step, their gradients averaged.
  """

  space: Any
  options: Any
  num_arcs: int

  def __post_init__(self) -> None:
    """Raises InputError if the space's network runs no mixtures."""
    # Traced alone: a space that refuses does so before anything is compiled.
    shape = jax.ShapeDtypeStruct(self.known.shape, jnp.float32)
    jax.eval_shape(lambda weights: self.arc_of(weights), shape)

  @property
  def learns(self) -> bool:
    """Yes."""
    return self.options.learns

  @property
  def sizes(self) -> np.ndarray:
    """[C] int32, the alternatives of each choice."""
    return decisions.num_alternatives(self.space.decisions())

  @property
  def known(self) -> np.ndarray:
    """[C, A] bool, which entries of alpha are alternatives."""
    return np.arange(max(self.sizes))[None] < self.sizes[:, None]

  def log_probs(self, alpha: types.Array) -> types.Array:
    """The policy: [C, A] float32, nats, -inf beyond the alternatives."""
    return jax.nn.log_softmax(jnp.where(self.known, alpha, -jnp.inf))

  def weigh(
    self, alpha: types.Array, key: types.PRNGKey, progress: types.Array
  ) -> types.Array | ops.Sampled:
    """The weights of a mixture.

    Args:
      alpha: [C, A] float32.
      key: for everything random.
      progress: [] float32, how much of theta's training is over.

    Returns:
      [C, A] float32, differentiable in alpha, 0 beyond the alternatives; or
      `ops.Sampled` of [C] int32 and such weights.
    """
    raise NotImplementedError

  def measure(
    self, alpha: types.Array, arc: types.Arc, key: types.PRNGKey,
    judge: base.Judge,
  ) -> types.Array:  # fmt: skip
    """What a theta step descends: [] float32, nats, of a mixture of alpha."""
    del alpha
    return judge.loss(arc, key)

  def arc_of(self, weights: types.Array | ops.Sampled) -> types.Arc:
    """The relaxed arc of weights as `weigh` returns them."""
    rows = weights.weights if isinstance(weights, ops.Sampled) else weights
    chex.assert_shape(rows, self.known.shape)
    # Of each choice its [K] alternatives, without the padding.
    cut = [rows[place, :size] for place, size in enumerate(self.sizes)]
    if not isinstance(weights, ops.Sampled):
      return self.space.relax(cut)
    return self.space.relax(
      [ops.Sampled(weights.chosen[place], row) for place, row in enumerate(cut)]
    )

  def init(self, key: types.PRNGKey) -> State:
    """Weights of nearly the same size, as the authors of DARTS start."""
    alpha = _START * jax.random.normal(key, self.known.shape)
    # Padding stays 0: it has no gradient, and 0 does not decay.
    alpha = jnp.where(self.known, alpha, 0.0)
    opt = make_optimizer(self.options).init(alpha)
    return State(alpha, opt, jnp.float32(0.0))

  def propose(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Samples of the policy, leaves [S, ...] int32."""
    log_probs = self.log_probs(state.alpha)
    shape = (num_arcs, len(self.sizes))
    return self.space.from_choices(
      jax.random.categorical(key, log_probs, shape=shape)
    )

  def train_arcs(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Mixtures, drawn as a theta step draws them; leaves [S, ...]."""
    if not self.options.mixes:
      return self.propose(state, key, num_arcs)
    mix = lambda key: self.arc_of(self.weigh(state.alpha, key, state.progress))
    # Over weights alone: no network is run here.
    return jax.vmap(mix)(jax.random.split(key, num_arcs))

  def update(
    self, state: State, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[State, base.Metrics]:
    """A step of Adam on the mean gradient of S mixtures.

    Args:
      state: the state before the step.
      key: for everything random.
      judge: says what a mixture loses.

    Returns:
      The state after the step; and metrics, [] float32: "nats", the mean of
      what the step descends; "entropy_nats" of the policy before it; and
      "grad_norm", that of the mean gradient in alpha without its decay.
    """
    progress = judge.progress

    def loss_of(alpha: types.Array, key: types.PRNGKey) -> types.Array:
      key_mix, key_batch = jax.random.split(key)
      arc = self.arc_of(self.weigh(alpha, key_mix, progress))
      return self.measure(alpha, arc, key_batch, judge)

    # Not `vmap`, for a sampled mixture's sake: it would run every branch.
    nats, grads = lax.map(
      lambda key: jax.value_and_grad(loss_of)(state.alpha, key),
      jax.random.split(key, self.num_arcs),
    )
    grads = jnp.mean(grads, axis=0)  # [C, A]
    updates, opt = make_optimizer(self.options).update(
      grads, state.opt, state.alpha
    )
    log_probs = self.log_probs(state.alpha)
    finite = jnp.where(self.known, log_probs, 0.0)  # 0 times -inf is NaN
    metrics = {
      "nats": jnp.mean(nats),
      "entropy_nats": -jnp.sum(jnp.exp(log_probs) * finite),
      "grad_norm": optax.tree.norm(grads),
    }
    alpha = optax.apply_updates(state.alpha, updates)
    return State(alpha, opt, progress), metrics

  def inspect(self, state: State, arcs: types.Arc) -> base.Inspection:
    """The policy's probabilities; it has no state, so `hidden` is [S, D, 0]."""
    log_probs = self.log_probs(state.alpha)
    choices = self.space.to_choices(arcs)
    taken = jnp.take_along_axis(log_probs, choices.T, axis=1)  # [C, S]
    probs = jnp.broadcast_to(
      jnp.exp(log_probs), (len(choices), *log_probs.shape)
    )
    hidden = jnp.zeros((len(choices), len(self.space.decisions()), 0))
    return base.Inspection(jnp.sum(taken, axis=0), probs, hidden)

  def finish(self, state: State) -> types.Arc:
    """The most likely alternative of every choice, leaves [1, ...]."""
    choices = jnp.argmax(self.log_probs(state.alpha), axis=-1)
    return self.space.from_choices(choices[None])


def make_optimizer(options: RelaxedConfig) -> optax.GradientTransformation:
  """Adam with the decay in the gradient, as PyTorch has it."""
  adam = optax.adam(options.learning_rate, b1=options.adam_beta1, b2=_BETA2)
  return optax.chain(optax.add_decayed_weights(options.decay), adam)


def falling(start: float, end: float, progress: types.Array) -> types.Array:
  """[] float32: from `start` at progress 0 to `end` at 1, linearly."""
  return start + (end - start) * progress
