"""When a run saves itself, and what it does once its numbers overflow."""

import dataclasses

from enas_jax.config import fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavingConfig:
  """What a run of any kind does not to be lost."""

  checkpoint_every_minutes: float = fields.field(
    "minutes between checkpoints within an epoch, of which each end has one; 0:"
    " none",
    default=15.0,
  )
  max_skipped: int = fields.field(
    "steps in a row that may be skipped, as their loss or gradient is not"
    " finite; after them the run goes back to the last epoch's end",
    default=5,
  )
  max_rollbacks: int = fields.field(
    "how often it goes back, with other random numbers and half the learning"
    " rates each time, before it ends",
    default=3,
  )

  def __post_init__(self) -> None:
    fields.check_positive(self, "", "max_skipped")
    fields.check_not_negative(
      self, "", "max_rollbacks", "checkpoint_every_minutes"
    )
