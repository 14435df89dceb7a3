"""The controller: an LSTM policy over the decisions of a space (Section 2.2).

It knows nothing of networks: a space lists its decisions, and the controller
samples or scores choices for them, each decision's choice being the input of
the next step. Operations are scored by a softmax classifier. Earlier nodes are
scored by attention over the states in which they were decided; the paper says
only "softmax classifiers", the authors' code does this. Skip connections are
scored in the same way, each earlier node with a yes or no of its own.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.spaces import base
from enas_jax.strategies import policy


class Sample(NamedTuple):
  """Architectures with what the policy says of them.

  C is the number of choices, D that of decisions: one choice for each
  decision, but as many as there are bits for one of the kind "skips".

  Attributes:
    arc: the architectures, leaves [S, ...] int32.
    log_prob: [S] float32, log pi(m; theta), nats, summed over choices.
    entropy: [S] float32, nats, summed over choices; see
      `ControllerConfig.entropy`.
    step_log_probs: [S, C] float32, the log-probability of each choice, nats.
    step_probs: [S, C, max choices] float32, each choice's softmax, padded
      with zeros.
    hidden: [S, D, H] float32, the LSTM's output at each decision.
    skip_kl: [S] float32, nats, how far the skip probabilities are from
      `ControllerConfig.skip_target`: the divergence of each, summed over the
      skips of a layer, the mean over layers that have any; 0 in a space
      without skips. To be minimised, weighted, with the loss.
  """

  arc: types.Arc
  log_prob: types.Array
  entropy: types.Array
  step_log_probs: types.Array
  step_probs: types.Array
  hidden: types.Array
  skip_kl: types.Array


@dataclasses.dataclass(frozen=True)
class Controller:
  """The policy of one space. Every method is pure and may be jitted.

  Attributes:
    space: lists its `decisions()` and maps choices to arcs and back.
    config: the LSTM's options.
  """

  space: base.Space
  config: config_lib.ControllerConfig

  def init(self, key: types.PRNGKey) -> types.Theta:
    """Initialises theta uniformly in [-init_range, init_range] (Appendix A).

    But for the biases of operations, see `ControllerConfig.op_bias`.

    Args:
      key: consumed.

    Returns:
      A dict of float32 arrays, with H units and K operations: "lstm" [2H, 4H],
      "start" [H], "op_embedding" [K, H], "attend_key" and "attend_query"
      [H, H], "attend_v" [H]; "op_softmax" [H, K] and "op_bias" [K] by options;
      and the same of other vocabularies, such as "width_embedding".
    """
    width = sum(d.width for d in self.space.decisions())
    # All of theta is declared in `setup`: any architecture shows it.
    choices = jnp.zeros((1, width), jnp.int32)
    return self._module().init(key, choices, None, 1)["params"]

  def sample(
    self, theta: types.Theta, key: types.PRNGKey, num_arcs: int
  ) -> Sample:
    """Samples architectures from pi(m; theta) (Section 2.2).

    Args:
      theta: arrays as `init` lays them out.
      key: consumed.
      num_arcs: how many architectures, S.

    Returns:
      The S architectures, [S, ...], and what the policy says of them.
    """
    choices, rest = self._module().apply({"params": theta}, None, key, num_arcs)
    # `rest` is in the order of the fields.
    return Sample(self.space.from_choices(choices), *rest)

  def score(self, theta: types.Theta, arc: types.Arc) -> Sample:
    """Scores given architectures; `score` of a sample's arc is that sample.

    Args:
      theta: arrays as `init` lays them out.
      arc: the architectures, leaves [S, ...] int32.

    Returns:
      The same S architectures, and what the policy says of them.

    Raises:
      AssertionError: if there is no axis S (at trace time).
    """
    choices = self.space.to_choices(arc)
    chex.assert_rank(choices, 2)
    _, rest = self._module().apply(
      {"params": theta}, choices, None, choices.shape[0]
    )
    return Sample(arc, *rest)

  def _module(self) -> policy.Policy:
    return policy.Policy(decisions=self.space.decisions(), config=self.config)
