"""The colours of operations, in pictures and in Graphviz source.

An operation that the table does not name has one of four colours to spare.
"""

from collections.abc import Iterable

Color = tuple[str, str]  # fill and outline

GREY = "#6b7280"
PLAIN: Color = ("#ffffff", GREY)
# A family of operations has a hue.
_COLORS: dict[str, Color] = {
  "tanh": ("#dbeafe", "#2563eb"),
  "relu": ("#ffedd5", "#ea580c"),
  "sigmoid": ("#dcfce7", "#16a34a"),
  "conv_3x3": ("#dbeafe", "#2563eb"),
  "conv_5x5": ("#c7d2fe", "#4338ca"),
  "nor_conv_1x1": ("#ede9fe", "#7c3aed"),
  "nor_conv_3x3": ("#dbeafe", "#2563eb"),
  "sep_conv_3x3": ("#dcfce7", "#16a34a"),
  "sep_conv_5x5": ("#a7f3d0", "#047857"),
  "max_pool_3x3": ("#ffedd5", "#ea580c"),
  "avg_pool_3x3": ("#fef9c3", "#ca8a04"),
  "identity": ("#f3f4f6", GREY),
  "skip_connect": ("#f3f4f6", GREY),
}
_OTHER_COLORS = (
  ("#ede9fe", "#7c3aed"),
  ("#fce7f3", "#db2777"),
  ("#ccfbf1", "#0d9488"),
  ("#fef9c3", "#ca8a04"),
)


def of_ops(ops: Iterable[str]) -> dict[str, Color]:
  """The colours of operations, known ones first, then the others by name.

  Args:
    ops: names, with repetitions; "" has no colour.
  """
  in_use = sorted(set(ops) - {""})
  known = {op: color for op, color in _COLORS.items() if op in in_use}
  others = [op for op in in_use if op not in known]
  count = len(_OTHER_COLORS)
  return known | {op: _OTHER_COLORS[i % count] for i, op in enumerate(others)}
