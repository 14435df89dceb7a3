"""Minibatches of text."""

import dataclasses
from typing import ClassVar

from enas_jax.config import fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
  """Minibatches of text."""

  rewards: ClassVar[tuple[str, ...]] = ("likelihood",)

  batch_size: int = fields.field("streams of text side by side, B")
  bptt_length: int = fields.field("time steps of back-propagation, T")
  length_std: float = fields.field(
    "standard deviation of a training window's length around T, or around T / 2"
    " in one window of twenty; the learning rate follows the length (released:"
    " 5); 0: T"
  )

  def __post_init__(self) -> None:
    fields.check_positive(self, "", "batch_size", "bptt_length")
    fields.check_not_negative(self, "", "length_std")
    fields.check_at_most(
      self,
      "",
      batch_size=fields.WIDEST,
      bptt_length=fields.WIDEST,
      # A window may be longer by twice as much.
      length_std=self.bptt_length,
    )
