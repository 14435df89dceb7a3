"""Charts as SVG, and what they leave out."""

from xml.etree import ElementTree

from enas_jax.report import chart

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(drawing):
  texts = ElementTree.fromstring(drawing).iter(f"{_SVG}text")
  return [text.text for text in texts]


def test_plot_draws_the_points():
  lines = {"a": [(0, 0), (50, 5), (100, 10)], "b": [(0, 1)]}
  figure = chart.plot(lines, "step", "loss", log_y=False)
  [axes] = figure.axes
  assert [line.get_xydata().tolist() for line in axes.lines] == [
    [[0, 0], [50, 5], [100, 10]],
    [[0, 1]],
  ]
  assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")
  assert axes.get_yscale() == "linear"
  assert chart.plot(lines, "", "", log_y=True).axes[0].get_yscale() == "log"


def test_a_band_lies_around_its_line():
  lines = {"a": [(0, 1), (1, 2)], "b": [(0, 0)]}
  bands = {"a": [(0, 0.5, 1.5), (1, 1, 4)]}
  [axes] = chart.plot(lines, "", "", False, bands).axes
  [band] = axes.collections
  corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
  assert corners == {(0, 0.5), (0, 1.5), (1, 1), (1, 4)}


def test_line_chart_skips_what_is_not_finite():
  nan, inf = float("nan"), float("inf")
  points = [(0, 0), (1, nan), (nan, 1), (2, inf), (2, 10)]
  drawing = chart.line_chart({"a": points}, x_label="x", y_label="y")
  whole = chart.line_chart({"a": [(0, 0), (2, 10)]}, x_label="x", y_label="y")
  assert drawing == whole  # the same bytes, too
  # 0 has no logarithm.
  log = {"x_label": "x", "y_label": "y", "log_y": True}
  assert chart.line_chart({"a": [(0, 0), (2, 10), (3, 20)]}, **log) == (
    chart.line_chart({"a": [(2, 10), (3, 20)]}, **log)
  )
  assert chart.line_chart({"a": [(0, nan)]}, x_label="", y_label="") == ""
  assert chart.line_chart({}, x_label="x", y_label="y") == ""


def test_line_chart_names_several_series_and_escapes():
  drawing = chart.line_chart(
    {"a<b": [(0, 1)], "c": [(1, 2)]}, x_label="x & y", y_label="<y>"
  )
  texts = _texts(drawing)
  for name in ("x & y", "<y>", "a<b", "c"):
    assert name in texts
