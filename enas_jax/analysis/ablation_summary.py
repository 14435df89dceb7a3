"""Numbers of ablations: errors over seeds, and what a change costs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from enas_jax.analysis import ablation_lab, paired
from enas_jax.spaces import base as spaces
from enas_jax.tasks import base as tasks

Trials = Sequence[ablation_lab.Trial]


def summarise(
  definition: spaces.Definition,
  task: tasks.Definition,
  trials: Trials,
  baselines: Sequence[str],
) -> list[dict[str, Any]]:
  """A record for each variant of one study, JSON-ready.

  Errors are what the task's tables show: perplexity, or error in per cent. A
  trial that diverged has none, and no seconds, and is counted apart.

  Args:
    definition: the space, with the paper's figures.
    task: the space's task.
    trials: the trials of all seeds, those of one seed together.
    baselines: the variants that each other one is compared with.

  Returns:
    Of each variant "variant", "num_seeds", "num_trials" and "diverged"; the
    mean and, of more than one, the standard deviation over trials of
    "valid_error" and "test_error"; the mean "params" and "seconds";
    "options"; "rises", by baseline what `rise` says; and "published", what the
    paper prints, or None.
  """
  by_variant: dict[str, list[ablation_lab.Trial]] = {}
  for trial in trials:
    by_variant.setdefault(trial.variant, []).append(trial)
  rows = []
  for variant, of_variant in by_variant.items():
    row: dict[str, Any] = {
      "variant": variant,
      "num_seeds": len({trial.seed for trial in of_variant}),
      "num_trials": len(of_variant),
      "diverged": sum(not math.isfinite(trial.test) for trial in of_variant),
    }
    for split in ("valid", "test"):
      errors = _finite(_errors(task, of_variant, split))
      row[f"{split}_error"] = statistics.fmean(errors) if errors else None
      row[f"{split}_error_sd"] = (
        statistics.stdev(errors) if len(errors) > 1 else None
      )
    seconds = _finite([trial.seconds for trial in of_variant])
    row |= {
      # Draws of one variant differ in size.
      "params": round(statistics.fmean(t.params for t in of_variant)),
      "seconds": statistics.fmean(seconds) if seconds else None,
      # Fitted for changes in which chance has no part: one stands for all.
      "options": dict(of_variant[0].options),
      "rises": {
        baseline: {
          split: rise(task, of_variant, by_variant[baseline], split)
          for split in ("valid", "test")
        }
        for baseline in baselines
        if baseline in by_variant
        # The reference is what is compared with, even where it is not the only
        # baseline.
        and variant not in (baseline, ablation_lab.REFERENCE)
      },
      "published": published(definition, variant),
    }
    rows.append(row)
  return rows


def rise(
  task: tasks.Definition, first: Trials, second: Trials, split: str
) -> dict[str, Any]:
  """How much larger the error of one variant is than that of another.

  The means over the draws of a seed are paired by seed.

  Args:
    task: the task, which says what an error is.
    first: the trials of the one variant.
    second: the trials of the other.
    split: the split, "valid" or "test".

  Returns:
    "mean" of first minus second, in the error's unit; "low" and "high", the
    ends of Student's interval of 95%; "num_pairs", the seeds on which both have
    an error. None where a number is not defined.
  """
  means = [_by_seed(task, trials, split) for trials in (first, second)]
  # Whole pairs alone: a seed on which either diverged is left out.
  seeds = [seed for seed in means[0] if seed in means[1]]
  if not seeds:
    return {"mean": None, "low": None, "high": None, "num_pairs": 0}
  pairs = ([mean[seed] for seed in seeds] for mean in means)
  compared = paired.compare(*pairs)
  # One pair has no spread, and so no interval.
  ends = [e if math.isfinite(e) else None for e in compared.interval()]
  return {
    "mean": compared.mean_difference,
    "low": ends[0],
    "high": ends[1],
    "num_pairs": compared.num_pairs,
  }


def published(
  definition: spaces.Definition, variant: str
) -> dict[str, Any] | None:
  """What the paper prints of a variant, JSON-ready, or None.

  Returns:
    "error", None where only a rise is printed; "rise" over the reference, None
    for the reference itself; "source" and "scale".
  """
  perturbation = definition.perturbations.get(variant)
  if perturbation is not None:
    printed = perturbation.published
    if printed is None:
      return None
    # Of a change the paper prints how much the error rises, and not the error.
    error, over = None, printed.error
  else:
    printed = definition.published.get(variant)
    if printed is None:
      return None
    reference = definition.published[ablation_lab.REFERENCE].error
    error, over = printed.error, printed.error - reference
  return {
    "error": error,
    "rise": None if variant == ablation_lab.REFERENCE else over,
    "source": printed.source,
    "scale": printed.scale,
  }


def _errors(task: tasks.Definition, trials: Trials, split: str) -> list[float]:
  return [task.error_of(getattr(trial, split)) for trial in trials]


def _finite(values: Sequence[float]) -> list[float]:
  return [value for value in values if math.isfinite(value)]


def _by_seed(
  task: tasks.Definition, trials: Trials, split: str
) -> Mapping[int, float]:
  """The mean error over the draws of each seed that has one."""
  errors: dict[int, list[float]] = {}
  for trial, error in zip(trials, _errors(task, trials, split), strict=True):
    if math.isfinite(error):
      errors.setdefault(trial.seed, []).append(error)
  return {seed: float(np.mean(values)) for seed, values in errors.items()}
