"""Options of the paper's strategy: an LSTM trained with REINFORCE.

They stand here and not beside the strategy, since the presets of every space
state their numbers (Sections 2.2, 3.1 and 3.2).
"""

import dataclasses
from typing import ClassVar

from enas_jax.config import fields


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
    "subtracted from an index logit, times (l - j)^2; released: 1/6",
    only_for="index",
  )
  tied_ops: bool = fields.field(
    "score operations with their input embeddings (released) instead of with"
    " weights of their own"
  )
  scale_index_input: bool = fields.field(
    "divide the next input by 0.1 + l - j after an index decision (released)",
    only_for="index",
  )
  entropy: str = fields.field(
    "'full': entropy of each decision's softmax; 'sampled': -p log p of the"
    " sampled outcomes alone (released)"
  )
  skip_target: float = fields.field(
    "rho, to which skip probabilities are drawn", only_for="skips"
  )
  skip_kl: str = fields.field(
    "the probability compared with skip_target: 'sampled' with, or 'released':"
    " that of half the log odds",
    only_for="skips",
  )

  def __post_init__(self) -> None:
    fields.check_positive(
      self,
      "controller_",
      *("hidden_size", "temperature", "tanh_constant", "init_range"),
      "op_tanh_reduce",
    )
    fields.check_at_most(self, "controller_", hidden_size=fields.WIDEST)
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
class ReinforceConfig:
  """REINFORCE with a moving-average baseline, by Adam."""

  learns: ClassVar[bool] = True

  controller: ControllerConfig
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
  skip_weight: float = fields.field(
    "weight in the loss of the skips' divergence from controller_skip_target",
    only_for="skips",
  )
  baseline_decay: float = fields.field("decay of the moving-average baseline")
  baseline_debias: bool = fields.field(
    "correct the baseline for its start at 0, as Adam does (released: no)"
  )
  baseline_first: bool = fields.field(
    "move the baseline before it is subtracted (released) instead of after"
  )

  def __post_init__(self) -> None:
    fields.check_not_negative(self, "theta_", "entropy_weight", "skip_weight")
    fields.check_positive(self, "theta_", "learning_rate", "adam_epsilon")
    fields.check_rates(self, "theta_", "baseline_decay", "adam_beta1")
