"""The table of the ablations: a row for each variant of each study."""

from collections.abc import Mapping
from typing import Any

from enas_jax.report import results

# Of a single training there is no deviation: then the second form counts.
_ERRORS = {
  split: (
    f"{{{split}_error:.2f}} +- {{{split}_error_sd:.2f}}",
    f"{{{split}_error:.2f}}",
  )
  for split in ("valid", "test")
}
_NOTE = (
  "Means over trainings +- standard deviation. In brackets Student's interval"
  " of 95% over seeds, of differences paired by seed."
)
_PAPER = (
  " The paper's figures are of networks, data and trainings of another scale,"
  " which the last column names: compare the signs."
)


def make_table(
  record: Mapping[str, Any], origin: Mapping[str, Any]
) -> results.Table:
  """The table of a `result.json` of the ablations.

  Args:
    record: what the file holds.
    origin: where the numbers come from, as fields of the table.
  """
  rows = [
    _row(study, variant)
    for study, of_study in record["studies"].items()
    for variant in of_study["variants"]
  ]
  error = record["error"]
  columns = [
    results.Column("study", "study"),
    results.Column("variant", "variant"),
    results.Column("num_trials", "trainings"),
    results.Column("num_seeds", "seeds"),
    results.Column("diverged", "diverged"),
    results.Column("valid_error", f"validation {error}", _ERRORS["valid"]),
    results.Column("test_error", f"test {error}", _ERRORS["test"]),
    *(
      results.Column(
        f"over_{baseline}",
        f"test, over {baseline}",
        (
          f"{{over_{baseline}:+.2f}} [{{low_{baseline}:+.2f}},"
          f" {{high_{baseline}:+.2f}}]",
          f"{{over_{baseline}:+.2f}}",
        ),
      )
      for baseline in _baselines(record)
    ),
    results.Column("params", "parameters", ","),
    results.Column("seconds", "seconds", ".0f"),
    results.Column(
      "paper_source",
      "paper: test",
      (
        # The reference rises over nothing, and of a change only the rise is
        # printed.
        "{paper_error:.2f} ({paper_rise:+.2f}; {paper_source})",
        "{paper_error:.2f} ({paper_source})",
        "{paper_rise:+.2f} ({paper_source})",
      ),
    ),
    results.Column("paper_scale", "paper: scale"),
  ]
  present = {k for row in rows for k, value in row.items() if value is not None}
  kept = [column for column in columns if column.key in present]
  if not any(row["diverged"] for row in rows):
    kept = [column for column in kept if column.key != "diverged"]
  return results.Table(
    name=f"ablations_{record['space']}_{record['preset']}",
    title=f"Ablations of the {record['space']} space, preset"
    f" {record['preset']}, {record['dataset']}",
    columns=kept,
    rows=[
      # A format may name what only other variants have.
      dict.fromkeys(sorted({key for row in rows for key in row})) | row
      for row in rows
    ],
    seeds=record["seeds"],
    note=_NOTE + _PAPER * ("paper_scale" in present),
    **origin,
  )


def _baselines(record: Mapping[str, Any]) -> list[str]:
  """The variants that others are compared with, each once."""
  return list(
    dict.fromkeys(
      baseline
      for of_study in record["studies"].values()
      for variant in of_study["variants"]
      for baseline in variant["rises"]
    )
  )


def _row(study: str, variant: Mapping[str, Any]) -> dict[str, results.Value]:
  """One variant as a flat record."""
  kept = ("variant", "num_trials", "num_seeds", "diverged", "params", "seconds")
  row: dict[str, results.Value] = {"study": study}
  row |= {name: variant[name] for name in kept}
  for split in _ERRORS:
    for name in (f"{split}_error", f"{split}_error_sd"):
      row[name] = variant[name]
  for baseline, rises in variant["rises"].items():
    # Not of validation data, by which some studies choose among samples.
    rise = rises["test"]
    row |= {
      f"over_{baseline}": rise["mean"],
      f"low_{baseline}": rise["low"],
      f"high_{baseline}": rise["high"],
    }
  paper = variant["published"] or {}
  for name in ("error", "rise", "source", "scale"):
    row[f"paper_{name}"] = paper.get(name)
  # Kept among the data, though no column shows them.
  row |= {name: value for name, value in variant["options"].items()}
  return row
