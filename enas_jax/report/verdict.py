"""Whether a search did better than chance, from what it wrote at its end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from enas_jax.report import page_chart, run_charts, run_files

_CLEAR = 2.0  # standard errors


def of(
  result: Mapping[str, Any], rewards: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
  """What was kept, beside the policy's samples and uniform architectures.

  Args:
    result: `result.json`.
    rewards: by "policy" and "uniform", those of `rewards.json`, if known.

  Returns:
    "rows" of a table: who, the reward in words, how many it is of; and
    "sentence", "" where a number is missing.
  """
  kept = run_files.number(result.get("reward"))
  means = {
    who: (
      run_files.number(result.get(f"mean_reward_{who}")),
      run_files.number(result.get(f"standard_error_{who}")),
    )
    for who in ("policy", "uniform")
  }
  rows = []
  if kept is not None:
    rows.append(("kept", f"{kept:.4f}", "the best of all candidates"))
  for who, (mean, error) in means.items():
    if mean is not None:
      spread = "" if error is None else f" ± {error:.4f}"
      rows.append((f"{who}, mean", f"{mean:.4f}{spread}", _count(rewards, who)))
  if rewards.get("uniform"):
    best = max(rewards["uniform"])
    rows.append(("uniform, best", f"{best:.4f}", "what chance would have kept"))
  for key, value in result.items():
    measured = run_files.number(value)
    if key.startswith("test_") and measured is not None:
      shown = f"{measured:.2f}"
      if run_charts.is_accuracy(key):
        shown = f"{100 * measured:.2f}%"
      # A training has no reward: there the weights are its own.
      about = "" if kept is None else "with shared weights"
      rows.append((f"kept, {key.replace('_', ' ')}", shown, about))
  truth = run_files.number(result.get("true_accuracy"))
  mean = run_files.number(result.get("mean_true_accuracy"))
  if truth is not None:
    about = "" if mean is None else f"{mean:.2f}% on average of all candidates"
    rows.append(("kept, true accuracy", f"{truth:.2f}%", about))
  return {"rows": rows, "sentence": _sentence(means)}


def _count(rewards: Mapping[str, Sequence[float]], who: str) -> str:
  known = rewards.get(who)
  return f"{len(known):,} architectures" if known else ""


def _sentence(
  means: Mapping[str, tuple[float | None, float | None]],
) -> str:
  """Whether the two means differ by more than chance explains."""
  # In the order in which `of` names them.
  (policy, policy_error), (uniform, uniform_error) = means.values()
  if None in (policy, policy_error, uniform, uniform_error):
    return ""
  assert policy is not None and uniform is not None
  assert policy_error is not None and uniform_error is not None
  # Of the difference, as if the two means were independent; two of these are
  # about 95 per cent.
  gap, error = policy - uniform, math.hypot(policy_error, uniform_error)
  words = f"{abs(gap):.4f} ± {error:.4f}"
  if abs(gap) <= _CLEAR * error:
    return (
      "The policy's samples and uniform ones cannot be told apart: their mean"
      f" rewards differ by {words}."
    )
  side = "above" if gap > 0 else "below"
  return (
    f"The policy's samples earn {words} {side} uniform ones under the same"
    " weights."
  )


def distribution(
  rewards: Mapping[str, Sequence[float]], marks: Mapping[str, float]
) -> page_chart.Drawing | None:
  """How the rewards are distributed; arguments as `page_chart.histogram`."""
  return page_chart.histogram(rewards, "reward", marks)
