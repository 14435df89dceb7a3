"""Local search on shared weights (White et al., 2021, Algorithm 1).

A climb starts at a uniform architecture, the holder. Its neighbours, one edit
away (`strategies.edits`), challenge it in a random order; the first that is
better takes its place, and its own neighbours follow. The climb ends once
`patience` neighbours in a row have failed, or all of them: the holder is a
local optimum, what Sections 3.1 and 3.2 of ENAS say of the architectures that
it found. Then the holder meets the best of the earlier climbs, and another
climb starts.

Rewards are noisy, as they come from one minibatch. So nothing is compared with
a reward of before: challenger and holder are judged anew, both on the same
minibatches, and the challenger must be strictly better.

What differs from the original: the first better neighbour is taken, and not
the best of all; and the weights under which a climb is judged are trained
meanwhile, so that an optimum may be none any more.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from enas_jax import types
from enas_jax.config import fields
from enas_jax.spaces import decisions
from enas_jax.strategies import base, edits


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalSearchConfig:
  """When a climb ends, and how two architectures are compared."""

  learns: ClassVar[bool] = True

  patience: int = fields.field(
    "local_search: neighbours that fail in a row before a restart from a random"
    " architecture; 0: all that there are",
    default=0,
  )
  contest_batches: int = fields.field(
    "local_search: validation minibatches on which two architectures are"
    " compared, the same for both",
    default=1,
  )

  def __post_init__(self) -> None:
    fields.check_not_negative(self, "theta_", "patience")
    fields.check_positive(self, "theta_", "contest_batches")


class State(NamedTuple):
  """Where a climb is, and the best of those that are over.

  C is the number of choices, E that of edits of one architecture.

  Attributes:
    holder: [C] int32, the best architecture of this climb.
    order: [E] int32, the order in which its edits challenge it.
    failures: [] int32, how many of them have failed.
    best: [C] int32, the best of the climbs that are over.
    climbs: [] int32, how many are over.
    contests: [] int32, comparisons that were made.
  """

  holder: types.Array
  order: types.Array
  failures: types.Array
  best: types.Array
  climbs: types.Array
  contests: types.Array


@dataclasses.dataclass(frozen=True)
class LocalSearch(base.Strategy):
  """Climbs from random architectures, one edit at a time.

  Attributes:
    space: the search space, with at least two architectures.
    options: when a climb ends, and how two architectures are compared.
    num_arcs: S, comparisons a theta step.
  """

  space: Any
  options: LocalSearchConfig
  num_arcs: int

  @property
  def learns(self) -> bool:
    """Yes."""
    return self.options.learns

  @property
  def _sizes(self) -> np.ndarray:
    return decisions.num_alternatives(self.space.decisions())

  def init(self, key: types.PRNGKey) -> State:
    """The start of the first climb."""
    key_holder, key_order = jax.random.split(key)
    holder = self._draw(key_holder)
    return State(
      holder=holder,
      order=self._shuffle(key_order),
      failures=jnp.int32(0),
      # Some architecture, valid but of no worth: the first climb replaces it.
      best=jnp.zeros_like(holder),
      climbs=jnp.int32(0),
      contests=jnp.int32(0),
    )

  def propose(
    self, state: State, key: types.PRNGKey, num_arcs: int
  ) -> types.Arc:
    """Draws holders and neighbours of them: leaves [S, ...] int32.

    Half of them are around the holder of this climb and half around the best of
    earlier ones, once there is one; the architecture itself is as likely as any
    of its neighbours. Before anything has been compared they are uniform, so
    that omega sees more than one neighbourhood.
    """
    sizes, space = self._sizes, self.space
    key_centre, key_edit, key_uniform = jax.random.split(key, 3)
    earlier = jax.random.bernoulli(key_centre, shape=(num_arcs, 1))
    earlier &= state.climbs > 0
    centres = jnp.where(earlier, state.best, state.holder)
    count = edits.count(sizes)
    numbers = jax.random.randint(key_edit, (num_arcs,), 0, count + 1)
    # Not over arcs of a network: no switch is in here.
    edited = jax.vmap(lambda c, n: edits.apply(c, n, sizes))(centres, numbers)
    near = jnp.where((numbers < count)[:, None], edited, centres)
    uniform = space.to_choices(space.sample_uniform(key_uniform, num_arcs))
    choices = jnp.where(state.contests > 0, near, uniform)
    return space.from_choices(choices)

  def update(
    self, state: State, key: types.PRNGKey, judge: base.Judge
  ) -> tuple[State, base.Metrics]:
    """Makes S comparisons, one after another.

    Args:
      state: the state before the step.
      key: for everything random.
      judge: says what an architecture earns.

    Returns:
      The state after it; and metrics, [] float32: those of
      `base.reward_metrics`, of all that was judged; after the step "climbs",
      how many are over, and "failures" of the present one.
    """

    def step(state: State, key: types.PRNGKey) -> tuple[State, types.Array]:
      key_judge, key_next = jax.random.split(key)
      ends = state.failures >= self._patience
      # At its end a climb has no next edit: any one that is there.
      edit = state.order[jnp.minimum(state.failures, state.order.size - 1)]
      neighbour = edits.apply(state.holder, edit, self._sizes)
      # At its end the climb's holder challenges the best of those before.
      challenger = jnp.where(ends, state.holder, neighbour)
      holder = jnp.where(ends, state.best, state.holder)
      pair = jnp.stack([challenger, holder])
      earned = self._judge(pair, key_judge, judge)
      worth = jnp.where(jnp.isfinite(earned), earned, -jnp.inf)
      # Strictly: two that earn the same could take turns without end.
      wins = worth[0] > worth[1]
      # One key serves both: only one comes true. They run no network.
      after = self._restart(state, key_next, wins | (state.climbs == 0))
      within = self._go_on(state, key_next, neighbour, wins)
      state = jax.tree.map(
        lambda there, here: jnp.where(ends, there, here), after, within
      )
      return state, earned

    keys = jax.random.split(key, self.num_arcs)
    state, earned = lax.scan(step, state, keys)
    metrics = base.reward_metrics(earned.ravel()) | {
      "climbs": state.climbs.astype(jnp.float32),
      "failures": state.failures.astype(jnp.float32),
    }
    return state, metrics

  def finish(self, state: State) -> types.Arc:
    """The holder, and the best of earlier climbs if any: leaves [2, ...]."""
    best = jnp.where(state.climbs > 0, state.best, state.holder)
    return self.space.from_choices(jnp.stack([state.holder, best]))

  @property
  def _patience(self) -> int:
    """Failures that end a climb; no architecture has more neighbours."""
    count = edits.count(self._sizes)
    # 0 asks for all of them.
    return min(self.options.patience or count, count)

  def _judge(
    self, choices: types.Array, key: types.PRNGKey, judge: base.Judge
  ) -> types.Array:
    """[2] float32, mean rewards of [2, C] choices on the same minibatches."""
    batches = self.options.contest_batches
    # [2 * batches]: each of the two meets every minibatch.
    keys = jnp.tile(jax.random.split(key, batches), 2)
    arcs = self.space.from_choices(jnp.repeat(choices, batches, axis=0))
    earned = judge.rewards(arcs, keys)
    return jnp.mean(earned.reshape(2, batches), axis=1)

  def _go_on(
    self,
    state: State,
    key: types.PRNGKey,
    neighbour: types.Array,
    wins: types.Array,
  ) -> State:
    """The climb after a neighbour has challenged its holder."""
    order = jnp.where(wins, self._shuffle(key), state.order)
    return state._replace(
      holder=jnp.where(wins, neighbour, state.holder),
      order=order,
      failures=jnp.where(wins, 0, state.failures + 1),
      contests=state.contests + 1,
    )

  def _restart(
    self, state: State, key: types.PRNGKey, wins: types.Array
  ) -> State:
    """The next climb's start; `wins`: the holder is the best of all climbs."""
    key_holder, key_order = jax.random.split(key)
    return State(
      holder=self._draw(key_holder),
      order=self._shuffle(key_order),
      failures=jnp.int32(0),
      best=jnp.where(wins, state.holder, state.best),
      climbs=state.climbs + 1,
      contests=state.contests + 1,
    )

  def _draw(self, key: types.PRNGKey) -> types.Array:
    return self.space.to_choices(self.space.sample_uniform(key, 1))[0]

  def _shuffle(self, key: types.PRNGKey) -> types.Array:
    count = edits.count(self._sizes)
    return jax.random.permutation(key, count).astype(jnp.int32)


DEFINITION = base.Definition("local_search", LocalSearch, LocalSearchConfig)
