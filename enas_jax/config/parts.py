"""The parts of a search that every space shares, and the whole."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from enas_jax.config import fields

_OP_WEIGHTS = "positive numbers with commas between them"
_CHANGES = "options of the network or of minibatches, NAME=VALUE with commas"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControllerConfig:
  """The LSTM policy."""

  hidden_size: int = fields.field("units of the LSTM")
  temperature: float = fields.field(
    "divides the logits, before the tanh; 1: none"
  )
  tanh_constant: float = fields.field(
    "logits become tanh_constant * tanh(logits)"
  )
  op_tanh_reduce: float = fields.field(
    "divides tanh_constant in logits of operations; 1: no (released micro: 2.5)"
  )
  init_range: float = fields.field("theta starts uniform in [-x, x]")
  op_bias: float = fields.field(
    "start of a learnt bias in the scores of operations 1 and 2, that of the"
    " others starting at 0; 0: no biases at all (released micro: 10)"
  )
  op_prior: float = fields.field(
    "added to the logits of operations 1 and 2 of the first cell, taken from"
    " those of the others (released micro: 0.25)"
  )
  anchor: str = fields.field(
    "the LSTM's output by which later nodes attend to a node:"
    " 'first_decision': that at its first decision, zero for a cell's inputs;"
    " 'own_step': that at a step of the node's own, which decides its skips or"
    " else only comes before a new start (released CIFAR-10 code)"
  )
  distance_prior: float = fields.field(
    "subtracted from an index logit, times (l - j)^2; released: 1/6"
  )
  tied_ops: bool = fields.field(
    "score operations with their input embeddings (released) instead of with"
    " weights of their own"
  )
  scale_index_input: bool = fields.field(
    "divide the next input by 0.1 + l - j after an index decision (released)"
  )
  entropy: str = fields.field(
    "'full': entropy of each decision's softmax; 'sampled': -p log p of the"
    " sampled outcomes alone (released)"
  )
  skip_target: float = fields.field(
    "rho, to which skip probabilities are drawn"
  )
  skip_kl: str = fields.field(
    "the probability compared with skip_target: 'sampled' with, or 'released':"
    " that of half the log odds"
  )

  def __post_init__(self) -> None:
    fields.check_positive(
      self,
      "controller_",
      *("hidden_size", "temperature", "tanh_constant", "init_range"),
      "op_tanh_reduce",
    )
    fields.check_not_negative(
      self, "controller_", "distance_prior", "op_bias", "op_prior"
    )
    fields.check(
      0 < self.skip_target < 1,
      "controller_skip_target",
      "in (0, 1)",
      self.skip_target,
    )
    fields.check_choice(
      self,
      "controller_",
      anchor=("first_decision", "own_step"),
      entropy=("full", "sampled"),
      skip_kl=("sampled", "released"),
    )


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
  op_weights: str = fields.field(
    "where architectures are uniform but for this: how often each operation is"
    " drawn, in the order of the space's OPS, as numbers with commas between"
    " them, of which only the proportions matter; empty: all alike (paper)"
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
    fields.check(
      not (self.fair_ops and self.op_weights),
      "omega_op_weights",
      "empty with omega_fair_ops",
      self.op_weights,
    )

  def op_chances(self) -> tuple[float, ...]:
    """`op_weights` as numbers.

    Raises:
      InputError: unless they are positive numbers.
    """
    texts = self.op_weights.split(",") if self.op_weights else []
    try:
      found = tuple(float(text) for text in texts)
    except ValueError:
      found = (math.nan,)
    ok = all(math.isfinite(weight) and weight > 0 for weight in found)
    fields.check(ok, "omega_op_weights", _OP_WEIGHTS, self.op_weights)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThetaConfig:
  """The phase that trains the controller (REINFORCE with Adam)."""

  steps: int = fields.field("steps an epoch")
  warmup_epochs: int = fields.field(
    "epochs at the start in which omega learns from uniform architectures and"
    " theta rests"
  )
  num_arcs: int = fields.field(
    "sampled architectures a step, their gradients averaged"
  )
  learning_rate: float = fields.field("of Adam")
  adam_beta1: float = fields.field(
    "Adam's decay of the gradient's mean (released CIFAR-10 code: 0)"
  )
  adam_epsilon: float = fields.field(
    "Adam's epsilon (released CIFAR-10 code: 0.001)"
  )
  entropy_weight: float = fields.field(
    "weight of the entropy added to the reward"
  )
  reward: str = fields.field(
    "'accuracy' on a validation minibatch of images; or 'likelihood', c *"
    " exp(-cross-entropy), in text c / perplexity: it also tells networks apart"
    " that classify the same images rightly"
  )
  reward_scale: float = fields.field("c in the reward 'likelihood'")
  skip_weight: float = fields.field(
    "weight in the loss of the skips' divergence from controller_skip_target"
  )
  baseline_decay: float = fields.field("decay of the moving-average baseline")
  baseline_debias: bool = fields.field(
    "correct the baseline for its start at 0, as Adam does (released: no)"
  )
  baseline_first: bool = fields.field(
    "move the baseline before it is subtracted (released) instead of after"
  )
  population_size: int = fields.field(
    "evolution: architectures alive at once, P of Real et al. (2019)"
  )
  tournament_size: int = fields.field(
    "evolution: members drawn, of which the best becomes a parent"
  )

  def __post_init__(self) -> None:
    fields.check_not_negative(
      self,
      "theta_",
      *("steps", "warmup_epochs", "entropy_weight", "skip_weight"),
    )
    fields.check_positive(
      self,
      "theta_",
      "num_arcs",
      "learning_rate",
      "reward_scale",
      "adam_epsilon",
      "population_size",
      "tournament_size",
    )
    fields.check_rates(self, "theta_", "baseline_decay", "adam_beta1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
  """The loop around the two phases."""

  num_epochs: int = fields.field(
    "epochs, each one omega phase and one theta phase"
  )
  policy: str = fields.field(
    "who proposes architectures: 'controller'; 'random' (uniform, theta"
    " untouched); or 'evolution' (regularised, on shared weights)"
  )
  seed: int = fields.field("seed of everything random")
  log_every: int = fields.field("steps between rows of metrics.jsonl")
  eval_arcs: int = fields.field(
    "sampled children evaluated on the whole validation split each epoch"
  )
  derive_arcs: int = fields.field(
    "candidates of the derive step, K (Section 2.2)"
  )
  derive_batches: int = fields.field(
    "validation minibatches that the derive step scores each candidate on"
  )
  tune_arcs: int = fields.field(
    "candidates, the best by reward, that are each trained alone; the one with"
    " the least cross-entropy on all validation data is kept. 0: none"
  )
  tune_from: str = fields.field(
    "weights that each of them begins with: 'shared', those of the search; or"
    " 'scratch', fresh ones (Section 2.2)"
  )
  tune_changes: str = fields.field(
    "with tune_from=scratch: options of the network and of minibatches that"
    " differ meanwhile, such as num_cells=5,image_size=8. Empty: none"
  )
  tune_steps: int = fields.field("steps that each of them is trained")
  tune_rate: float = fields.field(
    "factor on omega_learning_rate and omega_min_learning_rate, between which"
    " it falls by a cosine meanwhile"
  )

  def __post_init__(self) -> None:
    fields.check_positive(
      self,
      "",
      *("num_epochs", "log_every", "eval_arcs", "derive_arcs"),
      *("derive_batches", "tune_steps", "tune_rate"),
    )
    fields.check_not_negative(self, "", "tune_arcs")
    fields.check_choice(self, "", policy=("controller", "random", "evolution"))
    fields.check_choice(self, "", tune_from=("shared", "scratch"))
    fields.check(
      not self.tune_changes or self.tune_from == "scratch",
      "tune_changes",
      "empty with --tune_from=shared, whose weights fit one network alone",
      self.tune_changes,
    )
    fields.check(0 <= self.seed < 2**32, "seed", "in [0, 2^32)", self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRunConfig:
  """The loop that trains one architecture."""

  num_epochs: int = fields.field("epochs")
  seed: int = fields.field("seed of everything random")
  log_every: int = fields.field("steps between rows of metrics.jsonl")
  average_after: int = fields.field(
    "averaged SGD: from the first epoch whose validation is worse than the best"
    " of all but the last so many, evaluate the running mean of the weights"
    " (released: 10); 0: never"
  )

  def __post_init__(self) -> None:
    fields.check_positive(self, "", "num_epochs", "log_every")
    fields.check_not_negative(self, "", "average_after")
    fields.check(0 <= self.seed < 2**32, "seed", "in [0, 2^32)", self.seed)


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
    controller: the policy.
    omega: the phase that trains the shared weights.
    theta: the phase that trains the controller.
    run: the loop around them.
  """

  child: Child
  data: Data
  controller: ControllerConfig
  omega: OmegaConfig
  theta: ThetaConfig
  run: RunConfig

  def __post_init__(self) -> None:
    fields.check_one_of("theta_reward", self.theta.reward, self.data.rewards)
    uniform = self.run.policy == "random" or self.theta.warmup_epochs > 0
    rule = (
      " unless architectures are uniform (--policy=random or"
      " --theta_warmup_epochs)"
    )
    fair, weights = self.omega.fair_ops, self.omega.op_weights
    fields.check(not fair or uniform, "omega_fair_ops", "false" + rule, fair)
    fields.check(
      not weights or uniform, "omega_op_weights", "empty" + rule, weights
    )
    if weights:
      decisions = self.child.space().decisions()
      ops = [d.num_choices for d in decisions if d.kind == "op"]
      count = max(ops, default=0)
      fields.check(
        len(self.omega.op_chances()) == count,
        "omega_op_weights",
        f"{count} {_OP_WEIGHTS}, one for each operation of the space",
        weights,
      )
    if self.run.tune_changes:
      self.alone()

  def alone(self) -> "SearchConfig[Child, Data]":
    """What candidates are trained by alone: this, with `run.tune_changes`.

    Raises:
      InputError: if a change names no option of the network or of minibatches,
        or its value is not allowed, or it makes another space.
    """
    given = self.run.tune_changes
    changes: dict[str, dict[str, Any]] = {"run": {"tune_changes": ""}}
    for item in filter(None, given.split(",")):
      name, _, text = item.partition("=")
      found = [
        (part, type(value))
        for part in ("child", "data")
        for key, value in vars(getattr(self, part)).items()
        if key == name
      ]
      fields.check(bool(found), "tune_changes", _CHANGES, given)
      part, kind = found[0]
      changes.setdefault(part, {})[name] = fields.parse(kind, text, name)
    config = override_parts(self, changes)
    fields.check(
      config.child.space() == self.child.space(),
      "tune_changes",
      "of options that leave the space as it is",
      given,
    )
    return config

  def to_dict(self) -> dict[str, dict[str, Any]]:
    """Nested dict, ready for JSON."""
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Generic[Child, Data]):
  """Everything that decides the training of one architecture but the data.

  Attributes:
    child: the network.
    data: minibatches.
    omega: how its weights are trained.
    run: the loop.
  """

  child: Child
  data: Data
  omega: OmegaConfig
  run: TrainRunConfig

  def __post_init__(self) -> None:
    one = self.omega.num_arcs == 1
    fields.check(one, "omega_num_arcs", "1 in training", self.omega.num_arcs)
    fair = self.omega.fair_ops
    fields.check(not fair, "omega_fair_ops", "false in training", fair)
    weights = self.omega.op_weights
    fields.check(not weights, "omega_op_weights", "empty in training", weights)

  def to_dict(self) -> dict[str, dict[str, Any]]:
    """Nested dict, ready for JSON."""
    return dataclasses.asdict(self)


Config = TypeVar("Config", bound=SearchConfig | TrainConfig)


def override(config: Config, part: str, **changes: Any) -> Config:
  """`config` with fields of one part replaced; checks them again."""
  return override_parts(config, {part: changes})


def override_parts(
  config: Config, changes: Mapping[str, Mapping[str, Any]]
) -> Config:
  """`config` with fields of its parts replaced at once, then checked again.

  Args:
    config: of a search or a training.
    changes: new values by part and field.

  Raises:
    InputError: if a value is not allowed, or does not go with another.
  """
  parts = {
    part: dataclasses.replace(getattr(config, part), **fields)
    for part, fields in changes.items()
  }
  return dataclasses.replace(config, **parts)
