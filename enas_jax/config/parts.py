"""The parts of a search that every space shares, and the whole."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from enas_jax.config import fields
from enas_jax.config import run as run_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class OmegaConfig:
  """The phase that trains the shared weights (SGD)."""

  steps: int = fields.field(
    "steps an epoch; 0 is a whole pass over the training data (paper)"
  )
  num_arcs: int = fields.field("architectures a step, M in Eqn 1")
  fair_ops: bool = fields.field(
    "where architectures are uniform, draw their operations so that of every n"
    " successive ones, n the number of operations, each uses another operation"
    " at the same place (FairNAS; within a step if num_arcs is a multiple of n)"
  )
  op_weights: tuple[float, ...] = fields.field(
    "where architectures are uniform but for this: how often each operation is"
    " drawn, in the order of the space's OPS, as numbers with commas between"
    " them, of which only the proportions matter; empty: all alike (paper)",
    parse=fields.parse_numbers,
  )
  learning_rate: float = fields.field("of SGD, at the start")
  momentum: float = fields.field("Nesterov momentum; 0: none")
  schedule: str = fields.field(
    "of the learning rate: 'exponential', decayed every epoch; 'cosine', with"
    " restarts; 'cosine_epochs', the same but constant within an epoch"
    " (released)"
  )
  decay_rate: float = fields.field("exponential: learning-rate factor an epoch")
  decay_start_epoch: int = fields.field(
    "exponential: the epoch, from 1, after which decay starts"
  )
  min_learning_rate: float = fields.field(
    "cosine: the learning rate before a restart, l_min"
  )
  restart_epochs: int = fields.field("cosine: epochs to the first restart, T_0")
  restart_factor: int = fields.field(
    "cosine: each time to a restart over the one before, T_mul"
  )
  clip_norm: float = fields.field(
    "bound on the global norm of the gradient; 0: none"
  )
  l2_weight: float = fields.field("weight of the l2 penalty")
  l2_form: str = fields.field(
    "'squares': sum of squares, of all the child's weights in text, of all of"
    " omega in images (paper); 'released': half the sum of fourth powers of the"
    " recurrent matrices but the first sampled node's"
  )
  slowness_weight: float = fields.field(
    "weight of the mean of (h_t - h_(t-1))^2 (released: 1)"
  )
  activation_weight: float = fields.field("weight of the mean of h_t^2")

  def __post_init__(self) -> None:
    fields.check_not_negative(
      self,
      "omega_",
      *("steps", "l2_weight", "slowness_weight", "activation_weight"),
      *("decay_start_epoch", "clip_norm", "min_learning_rate"),
    )
    fields.check_positive(
      self,
      "omega_",
      *("num_arcs", "learning_rate", "decay_rate"),
      *("restart_epochs", "restart_factor"),
    )
    fields.check_rates(self, "omega_", "momentum")
    fields.check_choice(
      self,
      "omega_",
      l2_form=("squares", "released"),
      schedule=("exponential", "cosine", "cosine_epochs"),
    )
    weights = fields.settle_numbers(self, "omega_", "op_weights")
    fields.check(
      not (self.fair_ops and weights),
      "omega_op_weights",
      "empty with omega_fair_ops",
      weights,
    )

  def slowed(self, factor: float) -> dict[str, float]:
    """The learning rates, multiplied, as changes for `override_parts`."""
    return {
      "learning_rate": factor * self.learning_rate,
      "min_learning_rate": factor * self.min_learning_rate,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThetaConfig:
  """The phase that trains the strategy, whichever it is."""

  steps: int = fields.field("steps an epoch")
  warmup_epochs: float = fields.field(
    "epochs at the start in which omega learns from uniform architectures and"
    " theta rests; a number below 1 is that share of all epochs, rounded down"
  )
  num_arcs: int = fields.field(
    "architectures a step, S; of the controller, their gradients averaged"
  )
  reward: str = fields.field(
    "'accuracy' on a validation minibatch of images; or 'likelihood', c *"
    " exp(-cross-entropy), in text c / perplexity: it also tells networks apart"
    " that classify the same images rightly"
  )
  reward_scale: float = fields.field("c in the reward 'likelihood'")

  def __post_init__(self) -> None:
    fields.check_not_negative(self, "theta_", "steps", "warmup_epochs")
    fields.check_at_most(self, "theta_", warmup_epochs=fields.MOST)
    fields.check_positive(self, "theta_", "num_arcs", "reward_scale")
    epochs = self.warmup_epochs
    whole = epochs < 1 or epochs == int(epochs)
    fields.check(whole, "theta_warmup_epochs", "whole, or below 1", epochs)


class StrategyOptions(Protocol):
  """Options of a strategy, a frozen dataclass in the strategy's file.

  Attributes:
    learns: whether theta steps change what the strategy proposes.
    mixes: whether omega learns from relaxed architectures; may be left out of
      one that does not.
    descends: whether theta descends a loss and earns no rewards; may be left
      out of one that mixes, or does not.
  """

  learns: ClassVar[bool]


class _Rewarding(Protocol):
  rewards: ClassVar[tuple[str, ...]]


class _Spanning(Protocol):
  def space(self) -> Any: ...


Child = TypeVar("Child", bound=_Spanning)
Data = TypeVar("Data", bound=_Rewarding)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(Generic[Child, Data]):
  """Everything that decides a search but the data.

  Attributes:
    child: the space and its shared network; has a method `space()`.
    data: minibatches; has the `rewards` that they can give.
    omega: the phase that trains the shared weights.
    theta: the phase that trains the strategy.
    strategy: the options of the strategy that `run.policy` names; the two
      change together, by `strategies.registry.with_policy`.
    run: the loop around them.
  """

  child: Child
  data: Data
  omega: OmegaConfig
  theta: ThetaConfig
  strategy: StrategyOptions
  run: run_lib.RunConfig

  def __post_init__(self) -> None:
    fields.check_one_of("theta_reward", self.theta.reward, self.data.rewards)
    warmup, epochs = self.warmup_epochs, self.run.num_epochs
    fields.check(
      not self.strategy.learns or warmup < epochs,
      "theta_warmup_epochs",
      f"below num_epochs, {epochs}, or the strategy never learns",
      warmup,
    )
    uniform = not self.strategy.learns or (warmup > 0 and not self.mixes)
    rule = (
      " unless architectures are uniform (--policy=random or"
      " --theta_warmup_epochs)"
    )
    descends = getattr(self.strategy, "descends", self.mixes)
    fields.check(
      not (self.run.cost and descends),
      "cost",
      "empty with a policy that earns no rewards but descends a loss",
      self.run.cost,
    )
    fair, weights = self.omega.fair_ops, self.omega.op_weights
    fields.check(not fair or uniform, "omega_fair_ops", "false" + rule, fair)
    fields.check(
      not weights or uniform, "omega_op_weights", "empty" + rule, weights
    )
    if weights:
      # As `spaces.decisions.check_weights`, which imports this package.
      operations = [
        decision.num_choices
        for decision in self.child.space().decisions()
        if decision.kind == decision.vocabulary == "op"
      ]
      count = max(operations, default=0)
      fields.check(
        len(weights) == count,
        "omega_op_weights",
        f"{count} {fields.NUMBERS}, one for each operation of the space",
        weights,
      )
    # Refused now, and not after the time of a search.
    if self.run.tune_changes:
      self.alone()

  @property
  def mixes(self) -> bool:
    """Whether omega learns from relaxed architectures, in the warm-up, too."""
    return getattr(self.strategy, "mixes", False)

  @property
  def warmup_epochs(self) -> int:
    """`theta.warmup_epochs`, counted."""
    epochs = self.theta.warmup_epochs
    if epochs >= 1:
      return int(epochs)
    # In binary 0.29 of 100 are just below 29.
    return int(epochs * self.run.num_epochs + 1e-6)

  def settled(self) -> "SearchConfig[Child, Data]":
    """The same search with its warm-up in epochs.

    A run keeps this, so that resuming it for more epochs changes none of those
    that are done.
    """
    return override(self, "theta", warmup_epochs=self.warmup_epochs)

  def slowed(self, factor: float) -> "SearchConfig[Child, Data]":
    """The same search with all its learning rates multiplied."""
    changes = {"omega": self.omega.slowed(factor)}
    if (rate := getattr(self.strategy, "learning_rate", None)) is not None:
      changes["strategy"] = {"learning_rate": factor * rate}
    return override_parts(self, changes)

  def alone(self) -> "SearchConfig[Child, Data]":
    """What candidates are trained by alone: this, with `run.tune_changes`.

    Raises:
      InputError: if a change names no option of the network or of minibatches,
        or its value is not allowed, or it makes another space.
    """
    given = dict(self.run.tune_changes)
    # Without changes of its own: their check, in `__post_init__`, comes here.
    changes: dict[str, dict[str, Any]] = {"run": {"tune_changes": ()}}
    for name, value in given.items():
      olds = [
        (part, vars(getattr(self, part))[name])
        for part in ("child", "data")
        if name in vars(getattr(self, part))
      ]
      fields.check(bool(olds), "tune_changes", run_lib.CHANGES, given)
      part, old = olds[0]
      typed = fields.of_type(type(old), value, name)
      changes.setdefault(part, {})[name] = typed
    config = override_parts(self, changes)
    fields.check(
      config.child.space() == self.child.space(),
      "tune_changes",
      "of options that leave the space as it is",
      given,
    )
    return config

  def to_dict(self) -> dict[str, dict[str, Any]]:
    """Nested dict, ready for JSON; `override_parts` reads it back."""
    record = dataclasses.asdict(self)
    record["run"]["tune_changes"] = dict(self.run.tune_changes)
    return record


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Generic[Child, Data]):
  """Everything that decides the training of one architecture but the data.

  Attributes:
    child: the network.
    data: minibatches.
    omega: the training of its weights.
    run: the loop around it.
  """

  child: Child
  data: Data
  omega: OmegaConfig
  run: run_lib.TrainRunConfig

  def __post_init__(self) -> None:
    one = self.omega.num_arcs == 1
    fields.check(one, "omega_num_arcs", "1 in training", self.omega.num_arcs)
    fair = self.omega.fair_ops
    fields.check(not fair, "omega_fair_ops", "false in training", fair)
    weights = self.omega.op_weights
    fields.check(not weights, "omega_op_weights", "empty in training", weights)

  def slowed(self, factor: float) -> "TrainConfig[Child, Data]":
    """The same training with its learning rates multiplied."""
    return override_parts(self, {"omega": self.omega.slowed(factor)})

  def to_dict(self) -> dict[str, dict[str, Any]]:
    """Nested dict, ready for JSON."""
    return dataclasses.asdict(self)


AnyConfig = SearchConfig | TrainConfig
Config = TypeVar("Config", bound=AnyConfig)


def override(config: Config, part: str, **changes: Any) -> Config:
  """`config` with fields of one part replaced; checks them again."""
  return override_parts(config, {part: changes})


def override_parts(
  config: Config, changes: Mapping[str, Mapping[str, Any]]
) -> Config:
  """`config` with fields of its parts replaced at once, then checked again.

  Args:
    config: the configuration of a search or of a training.
    changes: new values by part and field; of a field that holds options, such
      as the strategy's controller, a mapping of the fields to be replaced.

  Raises:
    InputError: if a value is not allowed, or does not go with another.
  """
  parts = {
    part: _replace(getattr(config, part), values)
    for part, values in changes.items()
  }
  return dataclasses.replace(config, **parts)


def _replace(options: Any, changes: Mapping[str, Any]) -> Any:
  new = {}
  kinds = {field.name: field.type for field in dataclasses.fields(options)}
  for name, value in changes.items():
    old, kind = getattr(options, name, None), kinds.get(name)
    if dataclasses.is_dataclass(old) and isinstance(value, Mapping):
      new[name] = _replace(old, value)
    elif kind in (bool, int, float, str):
      new[name] = fields.of_type(kind, value, name)
    else:
      new[name] = value
  return dataclasses.replace(options, **new)
