"""The table of a comparison on NAS-Bench-201: a row for each method."""

from collections.abc import Mapping
from typing import Any

from enas_jax.analysis import benchmark_table
from enas_jax.report import results
from enas_jax.strategies import registry as strategies

_NOTE = (
  "Accuracies are those of the table, per cent, of the cell that a search"
  " handed over; means over seeds +- standard error. Seconds are those of the"
  " whole search, compilation and evaluation among them. tau: Kendall's,"
  " between the order of uniform cells by shared weights and by the table."
)


def make_table(
  record: Mapping[str, Any], origin: Mapping[str, Any]
) -> results.Table:
  """The table of a `result.json` of a comparison.

  Args:
    record: what the file holds.
    origin: where the numbers come from, as fields of the table.
  """
  rows = [_row(record, method) for method in record["summary"]]
  rows += [
    {"method": f"chance, {name.replace('_', ' ')}", "true_accuracy": value,
     "regret": record["optimum"] - value}
    for name, value in record["chance"].items()
  ]  # fmt: skip
  first, chance = record["compared"], record["chance_method"]
  columns = [
    results.Column("method", "method", "{method}"),
    results.Column(
      "true_accuracy",
      "accuracy",
      ("{true_accuracy:.2f} +- {standard_error:.2f}", "{true_accuracy:.2f}"),
    ),
    results.Column("lowest", "of the seeds", "{lowest:.2f} to {highest:.2f}"),
    results.Column("rank", "rank", ",.0f"),
    results.Column("regret", "regret", ".2f"),
    results.Column("kendall_tau", "tau", ".2f"),
    results.Column("omega_steps", "omega steps", ",.0f"),
    results.Column("theta_steps", "theta steps", ",.0f"),
    results.Column("search_seconds", "seconds", ".0f"),
    results.Column(
      "difference",
      f"{first} minus it",
      ("{difference:+.2f} +- {difference_error:.2f}", "{difference:+.2f}"),
    ),
    results.Column("p_value", "p (Wilcoxon)", ".3f"),
    results.Column("wins", f"beats {chance}", "{wins:g} of {num_seeds}"),
    results.Column("published", "published"),
  ]
  shown = {k for row in rows for k, value in row.items() if value is not None}
  return results.Table(
    name="baselines",
    title="Searches compared on NAS-Bench-201",
    columns=[column for column in columns if column.key in shown],
    # A format may name what only other methods have.
    rows=[dict.fromkeys(sorted(shown)) | row for row in rows],
    seeds=record["seeds"],
    note=_NOTE,
    **origin,
  )


def _row(record: Mapping[str, Any], method: str) -> dict[str, results.Value]:
  """One method as a flat record."""
  mean, runs = record["summary"][method], record["runs"][method]
  accuracies = [run["true_accuracy"] for run in runs]
  row: dict[str, results.Value] = {
    "method": f"`{method}`",
    "num_seeds": mean["num_seeds"],
    "true_accuracy": mean["true_accuracy"],
    "standard_error": mean["true_accuracy_standard_error"],
    "lowest": min(accuracies),
    "highest": max(accuracies),
    # Both are kept among the data, though no column shows them.
    "by_seed": " ".join(f"{value:.2f}" for value in accuracies),
    "cells": " ".join(run["ops"] for run in runs),
  }
  for name in ("rank", "regret", "kendall_tau", "omega_steps", "theta_steps",
               "search_seconds"):  # fmt: skip
    row[name] = mean.get(name)
  if compared := record["comparisons"].get(method):
    row["difference"] = compared["mean_difference"]
    row["difference_error"] = compared["standard_error"]
    row["p_value"] = compared["wilcoxon_p_value"]
  if over := record["over_chance"].get(method):
    # A tie is half a win: the share is the probability to be better.
    row["wins"] = over["wins"] + over["ties"] / 2
  if method in strategies.names():
    published = strategies.get(method).published
    row["published"] = published.get(benchmark_table.SPACE)
  return row
