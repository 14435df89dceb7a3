"""The analysis of controllers as tables, to be kept and for a terminal."""

from collections.abc import Mapping
from typing import Any

from enas_jax.report import results


def tables(
  record: Mapping[str, Any], origin: Mapping[str, Any]
) -> list[results.Table]:
  """The analysis as tables to be kept, named "controller_SPACE_NAME".

  Args:
    record: what `experiments.analyze_controller` writes to `result.json`.
    origin: fields of the tables that say where the numbers come from.
  """
  kept: dict[str, Any] = dict(origin)
  kept["seeds"] = sorted({row["seed"] for row in record["table1"]})
  space, metric = record["space"], record["metric"]
  column = results.Column
  number = {"perplexity": ".1f"}.get(metric, ".4f")  # accuracies are fractions
  words = _words(record)
  tables = {
    "table1": (
      "Distance of final hidden states against likeness, Spearman's rho",
      [column("run", "run"), column("controller", "controller")]
      + [column(name, text, _estimate(name)) for name, text in words.items()],
      record["table1"],
    ),
    "signs": (
      "The same, mean over runs, beside Table 1 of Adam & Lorraine (2019)",
      [
        column("controller", "controller"),
        column("column", "correlation with"),
        column("mean", "mean +- sd", ("{mean:+.3f} +- {sd:.3f}", "+.3f")),
        column("runs", "runs with one"),
        column("same_sign", "of these with the published sign"),
        column("published", "published", "+.3f"),
      ],
      [
        row | {"column": words[row["column"]]}
        for row in record["signs"]
        if row["runs"] or row["published"] is not None
      ],
    ),
    "measures": (
      "Controllers in numbers",
      [
        column("run", "run"),
        column("controller", "controller"),
        column("certainty", "mean of the likeliest", ".3f"),
        column("spread", "its spread", ".4f"),
        column("mutual_information_nats", "mutual information, nats", ".4f"),
        column("explained", "of the entropy", ".1%"),
        column("effective_rank", "effective rank", ".2f"),
        column("entropy_nats", "entropy, nats", ".2f"),
        column("distinct", "distinct", "{distinct:,} of {samples:,}"),
      ],
      record["measures"],
    ),
    "performance": (
      f"Validation {metric} of sampled architectures, under shared weights",
      [
        column("run", "run"),
        column("drawn_by", "drawn by"),
        column("weights", "weights"),
        column("mean", "mean", number),
        column("sd", "sd", number),
        column("median", "median", number),
        column(
          "low_5", "5 to 95%", f"{{low_5:{number}}} to {{high_95:{number}}}"
        ),
      ],
      record["performance_summary"],
    ),
  }
  certainty = results.Table(
    f"controller_{space}_certainty",
    "Probability of the most likely alternative of each choice",
    [
      column("controller", "controller"),
      column("choice", "choice"),
      column("label", "decides"),
      column("probability", "probability", ".3f"),
      column("low_5", "5 to 95%", "{low_5:.3f} to {high_95:.3f}"),
    ],
    record["certainty"],
    figure=results.Figure(
      "lines", "choice", "probability", "controller", "low_5", "high_95"
    ),
    **kept,
  )
  return [
    *(
      results.Table(f"controller_{space}_{name}", title, columns, rows, **kept)
      for name, (title, columns, rows) in tables.items()
    ),
    certainty,
  ]


def _words(record: Mapping[str, Any]) -> dict[str, str]:
  """The columns of Table 1 as people read them, by name."""
  names = dict.fromkeys(row["column"] for row in record["signs"])
  return {name: name.replace("_", " ") for name in names}


def _estimate(name: str) -> str:
  """The format of a correlation with its interval."""
  return f"{{{name}:+.3f}} [{{{name}_low:+.3f}}, {{{name}_high:+.3f}}]"


def lines(record: Mapping[str, Any]) -> list[str]:
  """The analysis for people."""
  text = [
    "Spearman's correlation with the distance of final hidden states, mean over"
    " runs (sd); the published one",
    f"{'controller':12}"
    + "".join(f"{words:>26}" for words in _words(record).values()),
  ]
  kinds = dict.fromkeys(row["controller"] for row in record["signs"])
  for kind in kinds:
    cells = [
      f"{_signed(row['mean'])} ({_plain(row['sd'])});"
      f" {_signed(row['published'])}"
      for row in record["signs"]
      if row["controller"] == kind
    ]
    text.append(f"{kind:12}" + "".join(f"{cell:>26}" for cell in cells))
  text += [
    "",
    f"{'run':24}{'controller':>12}{'certainty':>10}{'spread':>8}"
    f"{'MI, nats':>10}{'explained':>10}{'rank':>7}{'effective':>11}"
    f"{'distinct':>9}",
  ]
  for row in record["measures"]:
    text.append(
      f"{row['run']:24}{row['controller']:>12}{row['certainty']:10.3f}"
      f"{row['spread']:8.4f}{row['mutual_information_nats']:10.4f}"
      f"{_plain(row['explained']):>10}{row['effective_rank']:7.2f}"
      f"{row['effective_architectures']:11.4g}{row['distinct']:9d}"
    )
  text += ["", f"validation {record['metric']} of sampled architectures"]
  for row in record["performance_summary"]:
    text.append(
      f"{row['run']:24}{row['drawn_by']:>12}, {row['weights']:6} weights:"
      f" mean {_plain(row['mean'])}, median {_plain(row['median'])}, from 5 to"
      f" 95 per cent {_plain(row['low_5'])} to {_plain(row['high_95'])}"
    )
  return text


def _plain(value: float | None) -> str:
  return "-" if value is None else f"{value:.4g}"


def _signed(value: float | None) -> str:
  return "-" if value is None else f"{value:+.3f}"
