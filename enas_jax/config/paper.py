"""The numbers of the paper that every space begins with.

Those of Sections 2.2 and 3.1, and what the paper leaves open with a word on the
choice. The presets of a space state how theirs differ.
"""

from typing import Any

from enas_jax.config import parts as parts_lib
from enas_jax.config import reinforce
from enas_jax.config import run as run_lib


def parts() -> dict[str, Any]:
  """All parts of a search but the network and the minibatches."""
  return {
    "omega": parts_lib.OmegaConfig(
      steps=0,  # Section 2.2: a whole pass
      num_arcs=1,  # Section 2.2
      fair_ops=False,
      op_weights=(),
      learning_rate=20.0,  # Section 3.1
      momentum=0.0,
      schedule="exponential",
      decay_rate=0.96,  # Section 3.1
      decay_start_epoch=15,  # Section 3.1
      # Those of Section 3.2, should the schedule be changed.
      min_learning_rate=0.001,
      restart_epochs=10,
      restart_factor=2,
      clip_norm=0.25,  # Section 3.1
      l2_weight=1e-7,  # Section 3.1
      l2_form="squares",
      slowness_weight=0.0,
      activation_weight=0.0,
    ),
    "theta": parts_lib.ThetaConfig(
      steps=2000,  # Section 2.2
      warmup_epochs=0,
      num_arcs=1,
      reward="likelihood",  # Section 2.2
      reward_scale=80.0,  # open; enas_lm's
    ),
    "strategy": _strategy(),
    "run": run_lib.RunConfig(
      num_epochs=150,  # Section 3.1
      policy="controller",
      seed=0,
      log_every=50,
      eval_arcs=10,
      derive_arcs=100,  # open
      derive_batches=1,  # Section 2.2: "a single minibatch"
      tune_arcs=0,  # Section 2.2: the best alone is trained from scratch
      tune_from="scratch",  # Section 2.2, of what it leaves for its cost
      tune_changes=(),
      tune_steps=1000,
      tune_rate=1.0,
      tune_halvings=0,
    ),
  }


def _strategy() -> reinforce.ReinforceConfig:
  """REINFORCE with the LSTM controller."""
  return reinforce.ReinforceConfig(
    controller=reinforce.ControllerConfig(
      hidden_size=100,  # Section 2.2
      temperature=5.0,  # Section 3.1
      tanh_constant=2.5,  # Section 3.1
      op_tanh_reduce=1.0,
      init_range=0.1,  # Appendix A
      op_bias=0.0,  # Appendix A: all of theta starts within init_range
      op_prior=0.0,
      anchor="first_decision",  # open; enas_lm's
      distance_prior=0.0,
      tied_ops=False,
      scale_index_input=False,
      entropy="full",
      skip_target=0.4,  # Section 3.2
      skip_kl="sampled",  # Section 3.2
    ),
    learning_rate=0.00035,  # Section 3.1
    adam_beta1=0.9,
    adam_epsilon=1e-8,
    entropy_weight=0.0001,  # Section 3.1
    skip_weight=0.8,  # Section 3.2
    baseline_decay=0.999,  # open; enas_lm's
    baseline_debias=True,
    baseline_first=False,
  )
