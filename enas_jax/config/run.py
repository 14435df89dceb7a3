"""The loops of a search and of a training."""

import dataclasses
from typing import Any

from enas_jax.config import fields, saving

COMPUTE_DTYPES = ("float32", "bfloat16")
COSTS = ("", "params", "multiply_adds", "latency")
CHANGES = "options of the network or of minibatches, NAME=VALUE with commas"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AnyRunConfig(saving.SavingConfig):
  """What both loops have."""

  seed: int = fields.field("seed of everything random")
  compute_dtype: str = fields.field(
    "of activations, matrix products and convolutions: 'float32' or 'bfloat16';"
    " weights, statistics of batch norms, losses and softmax are float32",
    default="float32",
  )
  matmul_precision: str = fields.field(
    "of products and convolutions of float32: 'default', the device's, which is"
    " bfloat16 on a TPU and TF32 on a GPU; 'high' or 'highest', float32; a CPU"
    " has float32 alone",
    default="default",
  )
  log_every: int = fields.field("steps between rows of metrics.jsonl")
  loggers: tuple[str, ...] = fields.field(
    "where the run can be followed: 'tensorboard', in the run's folder; 'wandb'"
    " and 'mlflow', whose packages must be installed. Empty: nowhere",
    default=("tensorboard",),
    parse=fields.parse_names,
  )
  heartbeat_every_minutes: float = fields.field(
    "minutes between lines that say how fast the run is, how long its steps"
    " will take and what memory it holds, where no terminal shows a bar; 0:"
    " none",
    default=10.0,
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_positive(self, "", "log_every")
    fields.settle_names(self, "", "loggers")
    fields.check_not_negative(self, "", "heartbeat_every_minutes")
    # JAX would take a larger one modulo 2^32.
    fields.check(0 <= self.seed < 2**32, "seed", "in [0, 2^32)", self.seed)
    fields.check_choice(
      self,
      "",
      compute_dtype=COMPUTE_DTYPES,
      matmul_precision=("default", "high", "highest"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(_AnyRunConfig):
  """The loop around the two phases."""

  num_epochs: int = fields.field(
    "epochs, each one omega phase and one theta phase"
  )
  policy: str = fields.field(
    "the strategy that proposes architectures: 'controller', the paper's;"
    " 'random', uniform and without theta; or another one that is registered"
  )
  eval_arcs: int = fields.field(
    "sampled children evaluated on the whole validation split each epoch"
  )
  derive_arcs: int = fields.field(
    "candidates of the derive step, K (Section 2.2)"
  )
  derive_batches: int = fields.field(
    "validation minibatches that the derive step scores each candidate on"
  )
  derive_scores: tuple[str, ...] = fields.field(
    "what orders the candidates: the sum of their ranks by each of these names,"
    " 'reward' and scores that train nothing, such as multiply_adds and"
    " jacob_cov. Empty: the reward alone (Section 2.2)",
    default=(),
    parse=fields.parse_names,
  )
  derive_draws: int = fields.field(
    "draws of fresh weights and of a minibatch for those of derive_scores that"
    " look at any; their ranks are added",
    default=1,
  )
  derive_uniform: bool = fields.field(
    "the uniform architectures that are scored beside the candidates are"
    " candidates, too",
    default=False,
  )
  cost: str = fields.field(
    "what makes a reward smaller: an architecture's 'params', its"
    " 'multiply_adds', or the 'latency' of its forward pass on this device; the"
    " reward is multiplied by (cost / cost_target)^cost_weight (MnasNet)."
    " Empty: nothing",
    default="",
  )
  cost_target: float = fields.field(
    "the cost at which a reward stays as it is, of latency in milliseconds; 0:"
    " the mean of uniform architectures",
    default=0.0,
  )
  cost_weight: float = fields.field(
    "the exponent, below 0; the larger in magnitude, the more a cost counts"
    " (MnasNet: -0.07)",
    default=-0.07,
  )
  tune_arcs: int = fields.field(
    "candidates, the best by reward, that are each trained alone; the one with"
    " the least cross-entropy on all validation data is kept. 0: none"
  )
  tune_from: str = fields.field(
    "weights that each of them begins with: 'shared', those of the search; or"
    " 'scratch', fresh ones (Section 2.2)"
  )
  tune_changes: tuple[tuple[str, fields.Value], ...] = fields.field(
    "with tune_from=scratch: options of the network and of minibatches that"
    " differ meanwhile, such as num_cells=5,image_size=8. Empty: none",
    parse=fields.parse_changes,
  )
  tune_steps: int = fields.field("steps that each of them is trained")
  tune_rate: float = fields.field(
    "factor on omega_learning_rate and omega_min_learning_rate, between which"
    " it falls by a cosine meanwhile"
  )
  tune_halvings: int = fields.field(
    "how often the worse half of them is dropped, by cross-entropy on all"
    " validation data, and the others go on for twice as many steps, the cosine"
    " anew: successive halving, of at most tune_arcs * tune_steps steps in all."
    " 0: none is dropped"
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_choice(self, "", cost=COSTS)
    fields.check_not_negative(self, "", "cost_target")
    weight = self.cost_weight
    fields.check(-100 <= weight < 0, "cost_weight", "in [-100, 0)", weight)
    fields.check(
      not self.cost_target or bool(self.cost),
      "cost_target",
      "0 without cost",
      self.cost_target,
    )
    fields.check_positive(
      self,
      "",
      *("num_epochs", "eval_arcs", "derive_arcs"),
      *("derive_batches", "derive_draws", "tune_steps", "tune_rate"),
    )
    fields.settle_names(self, "", "derive_scores")
    fields.check_not_negative(self, "", "tune_arcs", "tune_halvings")
    # More halvings would leave none of them.
    halvings, most = self.tune_halvings, self.tune_arcs.bit_length() - 1
    fields.check(
      not self.tune_arcs or halvings <= most,
      "tune_halvings",
      f"at most {most} with tune_arcs={self.tune_arcs}",
      halvings,
    )
    # Else the first round might be of no step; see `search.tune.plan`.
    fields.check(
      not halvings or self.tune_steps > halvings + 2,
      "tune_steps",
      "above tune_halvings + 2",
      self.tune_steps,
    )
    fields.check_choice(self, "", tune_from=("shared", "scratch"))
    # Of a mapping, as JSON has it, the same pairs, which can be hashed.
    pairs: dict[str, Any] = {"": None}
    try:
      pairs = dict(self.tune_changes)
    except (TypeError, ValueError):
      pass  # no pairs
    known = all(isinstance(value, fields.Value) for value in pairs.values())
    fields.check(known, "tune_changes", CHANGES, self.tune_changes)
    changes = tuple(pairs.items())
    object.__setattr__(self, "tune_changes", changes)
    fields.check(
      not changes or self.tune_from == "scratch",
      "tune_changes",
      "empty with --tune_from=shared, whose weights fit one network alone",
      dict(changes),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRunConfig(_AnyRunConfig):
  """The loop that trains one architecture."""

  num_epochs: int = fields.field("epochs")
  average_after: int = fields.field(
    "averaged SGD: from the first epoch whose validation is worse than the best"
    " of all but the last so many, evaluate the running mean of the weights"
    " (released: 10); 0: never"
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.check_positive(self, "", "num_epochs")
    fields.check_not_negative(self, "", "average_after")
