"""Numbers that say whether a policy conditions on what it decided.

Adam & Lorraine (2019) look at pictures of a controller's probabilities and
hidden states. These measures need no eye. All take what
`strategies.base.Inspection` holds, as NumPy arrays: S sampled architectures, C
choices, A alternatives.
"""

import dataclasses

import chex
import numpy as np


@dataclasses.dataclass(frozen=True)
class Measures:
  """A policy in numbers.

  Attributes:
    entropy_nats: H(m), of whole architectures, estimated from the samples.
    effective_architectures: exp(H(m)): uniform over so many.
    distinct: different architectures among the samples.
    samples: S.
    certainty: mean probability of the most likely alternative of a choice.
    spread: standard deviation of that probability over the samples, the mean
      over choices: 0 if the probabilities do not depend on what came before.
    mutual_information_nats: what a choice and the earlier ones tell of each
      other, I(a_t; a_1, ..., a_(t-1)), the sum over choices.
    explained: that over the entropy of the choices, each by itself; NaN where
      nothing is left to chance.
    effective_rank: of the last hidden states, centred (Roy & Vetterli, 2007).
  """

  entropy_nats: float
  effective_architectures: float
  distinct: int
  samples: int
  certainty: float
  spread: float
  mutual_information_nats: float
  explained: float
  effective_rank: float


def measure(
  choices: np.ndarray,
  log_prob: np.ndarray,
  probs: np.ndarray,
  hidden: np.ndarray,
) -> Measures:
  """All measures of one policy.

  Args:
    choices: [S, C] int, samples of the policy.
    log_prob: [S] float, their log-probabilities, nats.
    probs: [S, C, A] float, the distribution of each choice.
    hidden: [S, D, H] float, the state at each of the D decisions.
  """
  chex.assert_rank([choices, log_prob, probs, hidden], [2, 1, 3, 3])
  most = most_likely(probs)
  information = mutual_information(probs)
  alone = float(marginal_entropy(probs).sum())
  # H(m) = -E log pi(m), over samples of the policy itself.
  entropy = float(-np.mean(log_prob, dtype=np.float64))
  return Measures(
    entropy_nats=entropy,
    effective_architectures=float(np.exp(entropy)),
    distinct=len(np.unique(choices, axis=0)),
    samples=len(choices),
    certainty=float(most.mean()),
    # Figure 4 in a number: 0 where all samples lie on one line.
    spread=float(most.std(axis=0).mean()),
    mutual_information_nats=float(information.sum()),
    explained=float(information.sum()) / alone if alone else float("nan"),
    effective_rank=effective_rank(hidden[:, -1]),  # as in Figure 3
  )


def most_likely(probs: np.ndarray) -> np.ndarray:
  """[S, C]: the probability of the most likely alternative of each choice.

  Args:
    probs: [S, C, A] float.
  """
  chex.assert_rank(probs, 3)
  return np.max(probs, axis=-1)


def conditional_entropy(probs: np.ndarray) -> np.ndarray:
  """[C] float64: H(a_t | a_1, ..., a_(t-1)), nats, the mean over samples.

  Args:
    probs: [S, C, A] float.
  """
  chex.assert_rank(probs, 3)
  return _entropy(np.asarray(probs, np.float64)).mean(axis=0)


def marginal_entropy(probs: np.ndarray) -> np.ndarray:
  """[C] float64: H(a_t), nats, of the mean distribution of each choice.

  Args:
    probs: [S, C, A] float.
  """
  chex.assert_rank(probs, 3)
  return _entropy(np.asarray(probs, np.float64).mean(axis=0))


def mutual_information(probs: np.ndarray) -> np.ndarray:
  """[C] float64: I(a_t; a_1, ..., a_(t-1)), nats.

  H(a_t) less H(a_t | a_1, ..., a_(t-1)). Both come from distributions and not
  from counts, so that it is 0, and not a little more, where the policy ignores
  the earlier choices.

  Args:
    probs: [S, C, A] float.
  """
  # 0 is what Eqn 2 finds: P(a_t | a_1, ..., a_(t-1)) = P(a_t).
  information = marginal_entropy(probs) - conditional_entropy(probs)
  # Jensen's inequality but for rounding.
  return np.maximum(information, 0.0)


def effective_rank(states: np.ndarray) -> float:
  """E to the entropy of the normalised singular values, at least 1.

  Args:
    states: [S, H] float; their mean is taken off first.

  Returns:
    1 of states that lie on a line, or are all the same; H at most.
  """
  chex.assert_rank(states, 2)
  centred = np.asarray(states, np.float64)
  centred = centred - centred.mean(axis=0)
  values = np.linalg.svd(centred, compute_uv=False)
  total = values.sum()
  # Below float32's rounding of the states, differences mean nothing.
  scale = np.abs(states).max(initial=0.0) * np.sqrt(states.size)
  if total <= np.finfo(np.float32).eps * scale:
    return 1.0
  return float(np.exp(_entropy(values / total)))


def _entropy(probs: np.ndarray) -> np.ndarray:
  """Nats, over the last axis; what has no probability adds nothing."""
  logs = np.log(np.where(probs > 0, probs, 1.0))
  return -np.sum(probs * logs, axis=-1)
