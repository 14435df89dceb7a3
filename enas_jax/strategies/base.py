"""The contract of a strategy: who proposes architectures, and how it learns.

A strategy knows a space and no network. It is a frozen dataclass of three
fields, `(space, options, num_arcs)`, whose methods are pure and are traced:
they hold no arrays, and what they learn is in the state that they hand back.
When omega learns from a strategy's proposals and when theta moves is not the
strategy's concern: that schedule is one for all (`search.steps`).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import chex
import jax.numpy as jnp
from jax import lax

from enas_jax import types

State = Any  # any pytree of arrays; part of `search.state.SearchState`
Metrics = dict[str, types.Array]


class Inspection(NamedTuple):
  """What a policy thinks while it decides.

  C is the number of choices, D that of decisions, A the largest number of
  alternatives (`spaces.decisions`).

  Attributes:
    log_prob: [S] float32, log pi(m; theta), nats, summed over choices.
    probs: [S, C, A] float32, the distribution of each choice given the earlier
      ones, padded with zeros.
    hidden: [S, D, H] float32, the policy's state at each decision.
  """

  log_prob: types.Array
  probs: types.Array
  hidden: types.Array


class Request(NamedTuple):
  """Candidates that a strategy wants trained alone.

  Attributes:
    num_arcs: K, how many.
    num_steps: training steps of each, from the shared weights.
  """

  num_arcs: int
  num_steps: int


class Judge(Protocol):
  """What a theta step may ask about an architecture under the shared weights.

  An arc is of arrays, without a leading axis. Ask about several with `rewards`,
  `lax.map` or `lax.scan`: `vmap` would run every branch of every switch. The
  shared weights are constants: no gradient reaches them.
  """

  @property
  def progress(self) -> types.Array:
    """How much of theta's training is over, [] float32: 0 to 1, by epochs."""
    ...

  def reward(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """The reward on a validation minibatch that `key` draws (Section 2.2).

    Returns:
      [] float32, larger is better; what `theta.reward` names. No gradient is
      meant to be taken.
    """
    ...

  def rewards(self, arcs: types.Arc, keys: types.PRNGKey) -> types.Array:
    """`reward` of several architectures, which several devices may share out.

    Args:
      arcs: the architectures, leaves [S, ...].
      keys: [S], each draws the minibatch of one.

    Returns:
      [S] float32.
    """
    return lax.map(lambda pair: self.reward(*pair), (arcs, keys))

  def loss(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """The cross-entropy on a validation minibatch, as omega's steps have it.

    Args:
      arc: the architecture; its entries may be relaxed, weights [K] float32
        over K alternatives instead of an index (`nn.ops.switch`), in which the
        loss can be differentiated.
      key: draws the minibatch and the dropout.

    Returns:
      [] float32, nats, without penalties on the shared weights.
    """
    ...

  def train_loss(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """`loss` on a minibatch of training data that `key` draws."""
    ...

  def unrolled_loss(self, arc: types.Arc, key: types.PRNGKey) -> types.Array:
    """`loss` after one step of omega on training data (DARTS, Eqns 6 to 8).

    The step is one of plain gradient descent through `arc` at omega's present
    learning rate, its gradient clipped as omega's is; it has no momentum and no
    penalty. That it depends on the arc, too, is in the gradient: the mixed
    second derivative by finite differences of first ones, epsilon 0.01 over the
    norm of the gradient (Eqn 8). The shared weights stay what they are.

    Args:
      arc: the architecture, relaxed.
      key: draws both minibatches and the dropout.

    Returns:
      [] float32, nats. Its gradient in the arc is the one above; it has no
      second one.
    """
    ...


class Strategy(Protocol):
  """Who proposes architectures, and how it learns from what they earn."""

  @property
  def learns(self) -> bool:
    """Whether `update` changes what is proposed; if not, it is not called."""
    ...

  def init(self, key: types.PRNGKey) -> State:
    """The state before the first step."""
    ...

  def propose(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Architectures for the derive step, and for omega's unless it mixes.

    Args:
      state: the strategy's state, only read.
      key: draws them.
      num_arcs: S, known while tracing.

    Returns:
      Arcs with leaves [S, ...] int32, each valid in the space.
    """
    ...

  def train_arcs(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Architectures that omega's steps train; those proposed, unless it mixes.

    Args:
      state: the strategy's state, only read.
      key: draws them.
      num_arcs: S, known while tracing.

    Returns:
      Arcs with leaves [S, ...] int32; of a strategy whose options say `mixes`
      relaxed ones (`Space.relax`), every leaf with a leading axis S.
    """
    return self.propose(state, key, num_arcs)

  def update(
    self, state: State, key: types.PRNGKey, judge: Judge
  ) -> tuple[State, Metrics]:
    """One theta step.

    Args:
      state: the state before it.
      key: for everything random.
      judge: says what architectures are worth.

    Returns:
      The state after it, laid out like the one before; and metrics, [] float32,
      always of the same names: those of `reward_metrics` among them, or "nats"
      of a strategy that asks for losses.
    """
    ...

  def asks(self, epoch: int) -> Request | None:
    """Whether the strategy wants candidates trained alone after an epoch.

    Not traced. If it does, `ask` says which and `tell` what they earned.

    Args:
      epoch: the number of the epoch that is over, from 1, of those in which
        theta moves.

    Returns:
      What it wants; None of a strategy that asks nothing, or not now.
    """
    del epoch
    return None

  def ask(self, state: State, key: types.PRNGKey, judge: Judge) -> types.Arc:
    """The candidates of a request.

    Args:
      state: the strategy's state, only read.
      key: for everything random.
      judge: says what architectures are worth under the shared weights.

    Returns:
      Arcs with leaves [K, ...] int32, each valid in the space.
    """
    del state, key, judge
    raise NotImplementedError("`asks` wants nothing, so nothing is asked")

  def tell(
    self, state: State, arcs: types.Arc, rewards: types.Array
  ) -> tuple[State, Metrics]:
    """Takes in what candidates have earned after being trained alone.

    Args:
      state: the state that `ask` has read.
      arcs: what it returned.
      rewards: [K] float32, larger is better, all on the same validation
        minibatches; not finite where a network overflowed.

    Returns:
      The new state, laid out like the one before; and metrics, [] float32,
      those of `reward_metrics` among them.
    """
    del state, arcs, rewards
    raise NotImplementedError("`asks` wants nothing, so nothing is told")

  def end_epoch(self, state: State, key: types.PRNGKey) -> State:
    """What the strategy does between two epochs, of one that learns.

    Args:
      state: the state after the epoch's last step.
      key: for everything random.

    Returns:
      The state before the next epoch, laid out like the one before.
    """
    del key
    return state

  def inspect(self, state: State, arcs: types.Arc) -> Inspection | None:
    """What the policy thinks as it decides on given architectures.

    Args:
      state: the strategy's state, only read.
      arcs: architectures, leaves [S, ...] int32.

    Returns:
      Its probabilities and states; None of a strategy that has no policy which
      decides one choice after another.
    """
    del state, arcs
    return None

  def finish(self, state: State) -> types.Arc | None:
    """Architectures to score in the derive step beside those proposed there.

    For instance the most likely one, or the best that was ever seen.

    Returns:
      Arcs with leaves [F, ...] int32, or None if there are none to add.
    """
    return None


def reward_metrics(earned: types.Array) -> Metrics:
  """What every strategy reports of the rewards of a step.

  Args:
    earned: [S] float32, rewards; a network that overflowed has earned NaN.

  Returns:
    [] float32 each: "reward", the mean of those that are finite, 0 if none is;
    "rewards_not_finite", how many of the S are not.
  """
  chex.assert_rank(earned, 1)
  known = jnp.isfinite(earned)
  count = jnp.sum(known.astype(jnp.float32))
  # The factor is 1 where all are finite, and leaves their mean as it is.
  mean = jnp.mean(jnp.where(known, earned, 0.0))
  mean *= earned.size / jnp.maximum(count, 1.0)
  return {"reward": mean, "rewards_not_finite": earned.size - count}


class Definition(NamedTuple):
  """All that the package asks of a strategy.

  Attributes:
    name: the strategy's name.
    create: (space, options, num_arcs) -> the strategy.
    options: the class of its options, a frozen dataclass.
    published: by the name of a space, what others report of it there.
  """

  name: str
  create: Callable[[Any, Any, int], Strategy]
  options: type[Any]
  published: Mapping[str, str] = {}
