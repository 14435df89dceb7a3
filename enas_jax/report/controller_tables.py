"""The analysis of controllers as tables, to be kept and for a terminal."""

from collections.abc import Mapping
from typing import Any

from enas_jax.report import results

_Columns = list[results.Column]
_Part = tuple[str, _Columns, list[dict[str, Any]]]  # a title; columns; rows
_column = results.Column


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
  number = {"perplexity": ".1f"}.get(metric, ".4f")  # accuracies are fractions
  drawn = results.Figure(
    "lines", "choice", "probability", "controller", "low_5", "high_95"
  )
  parts: dict[str, _Part] = {
    **_likeness(record),
    "measures": ("Controllers in numbers", _measures(), record["measures"]),
    "performance": (
      f"Validation {metric} of sampled architectures, under shared weights",
      _performance(number),
      record["performance_summary"],
    ),
    "certainty": (
      "Probability of the most likely alternative of each choice",
      _certainty(),
      record["certainty"],
    ),
  }
  return [
    results.Table(
      f"controller_{space}_{name}", title, columns, rows,
      figure=drawn if name == "certainty" else None, **kept,
    )
    for name, (title, columns, rows) in parts.items()
  ]  # fmt: skip


def _likeness(record: Mapping[str, Any]) -> dict[str, _Part]:
  """Adam & Lorraine's Table 1, and the signs of its columns."""
  words = _words(record)
  return {
    "table1": (
      "Distance of final hidden states against likeness, Spearman's rho",
      [_column("run", "run"), _column("controller", "controller")]
      + [_column(name, text, _estimate(name)) for name, text in words.items()],
      record["table1"],
    ),
    "signs": (
      "The same, mean over runs, beside Table 1 of Adam & Lorraine (2019)",
      [
        _column("controller", "controller"),
        _column("column", "correlation with"),
        _column("mean", "mean +- sd", ("{mean:+.3f} +- {sd:.3f}", "+.3f")),
        _column("runs", "runs with one"),
        _column("same_sign", "of these with the published sign"),
        _column("published", "published", "+.3f"),
      ],
      [
        row | {"column": words[row["column"]]}
        for row in record["signs"]
        if row["runs"] or row["published"] is not None
      ],
    ),
  }


def _measures() -> _Columns:
  return [
    _column("run", "run"),
    _column("controller", "controller"),
    _column("certainty", "mean of the likeliest", ".3f"),
    _column("spread", "its spread", ".4f"),
    _column("mutual_information_nats", "mutual information, nats", ".4f"),
    _column("explained", "of the entropy", ".1%"),
    _column("effective_rank", "effective rank", ".2f"),
    _column("entropy_nats", "entropy, nats", ".2f"),
    _column("distinct", "distinct", "{distinct:,} of {samples:,}"),
  ]


def _performance(number: str) -> _Columns:
  spread = f"{{low_5:{number}}} to {{high_95:{number}}}"
  return [
    _column("run", "run"),
    _column("drawn_by", "drawn by"),
    _column("weights", "weights"),
    _column("mean", "mean", number),
    _column("sd", "sd", number),
    _column("median", "median", number),
    _column("low_5", "5 to 95%", spread),
  ]


def _certainty() -> _Columns:
  return [
    _column("controller", "controller"),
    _column("choice", "choice"),
    _column("label", "decides"),
    _column("probability", "probability", ".3f"),
    _column("low_5", "5 to 95%", "{low_5:.3f} to {high_95:.3f}"),
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
