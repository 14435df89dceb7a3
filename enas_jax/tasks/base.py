"""What a search needs of its data and network: one object, a task."""

from typing import Any, Protocol

from enas_jax import types

Metrics = dict[str, types.Array]


class Task(Protocol):
  """A network on data; `language_model.LanguageModel` is the plainest."""

  @property
  def space(self) -> Any: ...  # noqa: D102

  @property
  def gathers(self) -> bool:
    """Whether a traced arc's `child_params` are part of omega only.

    Plain SGD then updates no more than these, by `add_to_child`.
    """
    ...

  def init_omega(self, key: types.PRNGKey) -> types.Omega: ...  # noqa: D102

  def init_carry(self) -> types.Carry: ...  # noqa: D102

  def start_epoch(self, carry: types.Carry, key: types.PRNGKey) -> types.Carry:
    """The carry of an epoch's first step, from that of the last one's."""
    ...

  def train_batch(  # noqa: D102
    self,
    train: Any,
    carry: types.Carry,
    step: types.Array,
    key: types.PRNGKey,
  ) -> Any: ...

  def step_size(self, batch: Any) -> types.Array | float:
    """A factor on the learning rate for this batch."""
    ...

  def reward_batch(self, valid: Any, key: types.PRNGKey) -> Any: ...  # noqa: D102

  def child_params(self, omega: types.Omega, arc: Any) -> types.Omega: ...  # noqa: D102

  def add_to_child(
    self, omega: types.Omega, arc: Any, update: types.Omega
  ) -> types.Omega:
    """Adds an update of the child's weights; asked only of one that gathers."""
    ...

  def loss(
    self,
    child: types.Omega,
    arc: Any,
    batch: Any,
    carry: types.Carry,
    key: types.PRNGKey,
  ) -> tuple[types.Array, tuple[Metrics, types.Carry]]:
    """The loss to minimise; what to report; the next step's carry."""
    ...

  def reward(  # noqa: D102
    self, omega: types.Omega, arc: Any, batch: Any, carry: types.Carry
  ) -> types.Array: ...
