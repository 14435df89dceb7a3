"""A bandit for each decision, without an LSTM (Williams, 1992).

The probabilities of every entry of the choices are the softmax of logits of its
own, moved by the gradient of the expected reward.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from enas_jax.config import fields
from enas_jax.strategies import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class BanditConfig:
  """Options of the bandits."""

  learns: ClassVar[bool] = True

  bandit_rate: float = fields.field("step of the logits", default=0.5)

  def __post_init__(self):
    fields.check_positive(self, "theta_", "bandit_rate")


class BanditState(NamedTuple):
  logits: Any  # [C, most alternatives] float32
  mean: Any  # [] float32, of the rewards so far
  count: Any  # [] int32, rewards so far


@dataclasses.dataclass(frozen=True)
class Bandit(base.Strategy):
  space: Any
  options: BanditConfig
  num_arcs: int

  @property
  def learns(self):
    return True

  def init(self, key):
    del key
    sizes = [
      2 if decision.kind == "skips" else decision.num_choices
      for decision in self.space.decisions()
      for _ in range(decision.width)
    ]
    known = jnp.arange(max(sizes))[None] < jnp.array(sizes)[:, None]
    logits = jnp.where(known, 0.0, -jnp.inf)
    return BanditState(logits, jnp.float32(0), jnp.int32(0))

  def propose(self, state, key, num_arcs):
    shape = (num_arcs, state.logits.shape[0])
    choices = jax.random.categorical(key, state.logits, shape=shape)
    return self.space.from_choices(choices)

  def update(self, state, key, judge):
    key_arcs, key_rewards = jax.random.split(key)
    arcs = self.propose(state, key_arcs, self.num_arcs)
    keys = jax.random.split(key_rewards, self.num_arcs)
    rewards = judge.rewards(arcs, keys)
    taken = jax.nn.one_hot(self.space.to_choices(arcs), state.logits.shape[1])
    step = (rewards - state.mean)[:, None, None] * (
      taken - jax.nn.softmax(state.logits)
    )
    count = state.count + self.num_arcs
    mean = state.mean + jnp.sum(rewards - state.mean) / count
    logits = state.logits + self.options.bandit_rate * jnp.mean(step, axis=0)
    return BanditState(logits, mean, count), {"reward": jnp.mean(rewards)}

  def finish(self, state):
    """The most likely architecture."""
    return self.space.from_choices(jnp.argmax(state.logits, axis=-1)[None])


DEFINITION = base.Definition("bandit", Bandit, BanditConfig)
