import base64
import json
import re
from html import parser
from xml.etree import ElementTree

from enas_jax.report import chart, drawing
from enas_jax.report import html as report
from enas_jax.spaces import graph as graph_lib

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(drawing):
  texts = ElementTree.fromstring(drawing).iter(f"{_SVG}text")
  return [text.text for text in texts]


def _jsonl(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_run(workdir):
  config = {
    "experiment": "ptb_search",
    "space": "recurrent",
    "run": {"dataset": "ptb<1>", "seed": 7},
    "preset": "paper",
  }
  (workdir / "config.json").write_text(json.dumps(config))
  rows = [
    {"phase": "omega", "step": 10 * i, "epoch": 1, "omega/loss_nats": 9.0 - i}
    for i in range(4)
  ]
  for i in range(3):
    rows.append(
      {
        "phase": "theta",
        "theta_step": i,
        "theta/reward": 0.5 + i,
        "theta/baseline": 0.25,
        "theta/entropy_nats": 15.25 - i,
        "theta/loss_nats": 3.5 - i,
      }
    )
  for epoch, perplexity in ((1, 812.5), (2, 123.25)):
    rows.append(
      {
        "phase": "epoch",
        "epoch": epoch,
        "valid/perplexity": perplexity,
        "valid/reward_policy": 0.625,
        "valid/reward_uniform": 0.375,
      }
    )
  _jsonl(workdir / "metrics.jsonl", rows)
  arc = {"prev": [0, 0], "op": [0, 1]}
  (workdir / "arc.json").write_text(json.dumps(arc))
  result = {"arc": arc | {"tokens": "0 0 1"}, "test_perplexity": 118.5}
  (workdir / "result.json").write_text(json.dumps(result))
  node = graph_lib.Node("h1", "h₁", 0)
  drawn = drawing.draw([graph_lib.Graph((node,), ())], "", "Found & drawn")
  (workdir / "arc.svg").write_text(
    '<?xml version="1.0" encoding="utf-8"?>\n' + drawn.svg, encoding="utf-8"
  )
  arcs = [
    {"arc": {"id": i}, "reward": i / 64, "perplexity": 80 / (i + 1)}
    for i in range(12)
  ]
  _jsonl(workdir / "arcs.jsonl", arcs)


class _Balance(parser.HTMLParser):
  """Fails on an end tag that closes another element than the open one."""

  def __init__(self):
    super().__init__()
    self.open = []

  def handle_starttag(self, tag, attrs):
    if tag not in ("meta", "br", "img"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def _report(workdir):
  path = report.write_report(workdir)
  assert path == workdir / "report.html"
  page = path.read_text(encoding="utf-8")
  balance = _Balance()
  balance.feed(page)
  assert balance.open == []
  return page


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


def test_report_shows_a_run(tmp_path):
  _write_run(tmp_path)
  page = _report(tmp_path)
  assert "<b>dataset</b> ptb&lt;1&gt;" in page
  assert "<b>preset</b> paper" in page
  assert "<b>seed</b> 7" in page
  assert "<tr><th>run.seed</th><td>7</td></tr>" in page
  assert page.count("<figure>") == 6
  assert (
    "<code>omega/loss_nats</code>: last 6 at step 30,"
    " lowest 6 at step 30, highest 9 at step 0"
  ) in page
  assert "<code>valid/perplexity</code>: last 123.25 at epoch 2" in page
  assert "<code>theta/reward</code>: last 2.5 at theta_step 2" in page
  assert "<code>theta/entropy_nats</code>: last 13.25" in page
  assert "<code>theta/loss_nats</code>: last 1.5 at theta_step 2" in page
  assert "<code>valid/reward_uniform</code>: last 0.375" in page
  [(source, words)] = re.findall(r'<img src="([^"]*)" alt="([^"]*)">', page)
  kind, _, data = source.partition(",")
  assert kind == "data:image/svg+xml;base64"
  assert base64.b64decode(data) == (tmp_path / "arc.svg").read_bytes()
  assert words == "Found &amp; drawn"
  assert "<?xml" not in page
  assert "&#34;prev&#34;: [" in page
  assert "<p>Tokens: <code>0 0 1</code></p>" in page
  assert (
    '<tr><th>test perplexity</th><td class="number">118.5</td></tr>' in page
  )
  title = f"Search of a recurrent cell: {tmp_path.name}"
  assert f"<title>{title}</title>" in page and f"<h1>{title}</h1>" in page
  assert 'class="missing"' not in page
  assert [p.name for p in tmp_path.glob("report*")] == ["report.html"]


def test_report_ranks_the_ten_best_architectures(tmp_path):
  _write_run(tmp_path)
  page = _report(tmp_path)
  table = page[page.index("<th>rank</th>") :]
  assert table.count("<td><code>") == 10
  ranks = [table.index(f"&#34;id&#34;: {i}}}") for i in range(11, 1, -1)]
  assert ranks == sorted(ranks)
  assert "&#34;id&#34;: 1}" not in table
  assert (
    '<tr><td class="number">1</td><td class="number">0.171875</td>'
    '<td class="number">6.66667</td>'
  ) in table
  assert "12 were evaluated" in table


def test_report_of_an_image_search(tmp_path):
  (tmp_path / "config.json").write_text('{"space": "micro"}')
  rows = [
    {"step": 10, "omega/loss_nats": 2.25, "omega/accuracy": 0.125},
    *({"epoch": e, "valid/accuracy": 0.5 + e / 16} for e in (1, 2)),
  ]
  _jsonl(tmp_path / "metrics.jsonl", rows)
  arc = {"space": "micro", "normal": {"inputs": [[0, 1]]}, "tokens": "0 1 1 4"}
  result = {"arc": arc, "valid_accuracy": 0.625, "test_accuracy": 0.59375}
  (tmp_path / "result.json").write_text(json.dumps(result))
  found = {"rank": 1, "reward": 0.75, "accuracy": 0.6875, "arc": arc}
  _jsonl(tmp_path / "arcs.jsonl", [found])
  page = _report(tmp_path)
  assert f"<h1>Search of convolutional cells: {tmp_path.name}</h1>" in page
  assert page.count("<figure>") == 3
  assert "<code>omega/accuracy</code>: last 12.5% at step 10" in page
  assert (
    "<code>valid/accuracy</code>: last 62.5% at epoch 2,"
    " lowest 56.25% at epoch 1, highest 62.5% at epoch 2"
  ) in page
  drawn = chart.line_chart(
    {"valid/accuracy": [(1, 56.25), (2, 62.5)]},
    x_label="epoch",
    y_label="accuracy, %",
  )
  assert drawn in page
  assert '<th>valid accuracy</th><td class="number">62.50%</td>' in page
  assert '<th>test accuracy</th><td class="number">59.38%</td>' in page
  assert page.count("<code>0 1 1 4</code>") == 2
  assert "perplexity" not in page
  table = page[page.index("<table><tr><th>rank</th>") :]
  assert table.startswith(
    "<table><tr><th>rank</th><th>reward</th><th>accuracy</th><th>arc</th></tr>"
    '\n<tr><td class="number">1</td><td class="number">0.75</td>'
    '<td class="number">68.75%</td><td><code>0 1 1 4</code></td></tr>'
  )


def test_report_titles_an_unknown_experiment_by_its_folder(tmp_path):
  for config in ('{"space": "other"}', '{"space": [1]}', "[1]"):
    (tmp_path / "config.json").write_text(config)
    assert f"<h1>{tmp_path.name}</h1>" in _report(tmp_path)


def test_report_survives_an_empty_directory(tmp_path):
  page = _report(tmp_path)
  files = ("config.json", "metrics.jsonl", "result.json")
  for name in (*files, "arc.svg", "arc.json", "arcs.jsonl"):
    assert f'<p class="missing">{name} is not there.</p>' in page


def test_report_survives_broken_files(tmp_path):
  (tmp_path / "config.json").write_text("{")
  (tmp_path / "arc.json").write_text("")
  (tmp_path / "result.json").write_text("[1]")
  (tmp_path / "arc.svg").write_text("<svg>")
  (tmp_path / "arcs.jsonl").write_text('[1]\n{"reward": "NaN"}\n')
  (tmp_path / "metrics.jsonl").write_bytes(b"\xff\x00\n{}\n{,}\n")
  page = _report(tmp_path)
  assert "config.json is not JSON" in page
  assert "arc.json is not JSON" in page
  assert "result.json is not an object" in page
  assert "arc.svg is not XML" in page
  assert "arcs.jsonl has 1 bad line." in page
  assert "metrics.jsonl has 2 bad lines." in page


def test_a_script_in_the_picture_does_not_reach_the_page(tmp_path):
  (tmp_path / "arc.svg").write_text(
    '<svg xmlns="http://www.w3.org/2000/svg"><title>"&gt;&lt;b></title>'
    "<script>alert(1)</script></svg>"
  )
  page = _report(tmp_path)
  # In an image browsers run no script.
  assert "<script" not in page and page.count("<img ") == 1
  assert 'alt="&#34;&gt;&lt;b&gt;"' in page


def test_report_is_readable_on_light_and_on_dark(tmp_path):
  page = _report(tmp_path)
  assert "color-scheme:light dark" in page
  light, dark = re.findall(
    r"--ink:(#\w+);--page:(#\w+)", page.replace("\n", "")
  )
  assert light != dark
  for ink, paper in (light, dark):
    assert abs(_brightness(ink) - _brightness(paper)) > 150
  # Charts and the picture bring dark letters, and so a white ground.
  assert ".charts svg,.picture img{background:#fff" in page


def _brightness(color):
  digits = color[1:] if len(color) == 7 else "".join(c * 2 for c in color[1:])
  return sum(bytes.fromhex(digits)) / 3


def test_report_refuses_other_xml_as_a_picture(tmp_path):
  (tmp_path / "arc.svg").write_text("<html><svg/></html>")
  assert "arc.svg is not SVG" in _report(tmp_path)


def test_report_leaves_out_what_is_not_a_number(tmp_path):
  (tmp_path / "metrics.jsonl").write_text(
    '{"step": 0, "omega/loss_nats": 4.0}\n'
    '{"step": 1, "omega/loss_nats": NaN}\n'
    '{"step": 2, "omega/loss_nats": Infinity}\n'
    '{"step": 3, "omega/loss_nats": "5"}\n'
    '{"step": 4, "omega/loss_nats": true}\n'
    '{"step": 5, "omega/loss_nats": 2.0}\n'
    '{"step": 6, "omega/loss_na'
  )
  (tmp_path / "arcs.jsonl").write_text(
    '{"arc": {"id": 1}, "reward": NaN}\n'
    '{"arc": {"id": 2}, "reward": 0.5, "perplexity": NaN}\n'
  )
  page = _report(tmp_path)
  drawn = chart.line_chart(
    {"omega/loss_nats": [(0, 4.0), (5, 2.0)]},
    x_label="step of omega",
    y_label="nats per prediction",
  )
  assert drawn in page
  assert "metrics.jsonl has" not in page
  assert "1 were evaluated" in page
  assert "<td>NaN</td>" in page


def test_report_keeps_the_last_row_of_a_step(tmp_path):
  losses = [(0, 9.0), (1, 8.0), (2, 7.0), (1, 8.5), (2, 6.5)]
  _jsonl(
    tmp_path / "metrics.jsonl",
    [{"step": step, "omega/loss_nats": loss} for step, loss in losses],
  )
  page = _report(tmp_path)
  assert "last 6.5 at step 2" in page
  assert "lowest 6.5 at step 2, highest 9 at step 0" in page


def test_report_escapes_everything(tmp_path):
  bad = "<script>alert(1)</script>"
  (tmp_path / "config.json").write_text(json.dumps({bad: bad, "seed": bad}))
  (tmp_path / "arc.json").write_text(json.dumps([bad]))
  result = {bad: bad, "arc": {"tokens": bad}, "accuracy": bad}
  (tmp_path / "result.json").write_text(json.dumps(result))
  _jsonl(
    tmp_path / "arcs.jsonl", [{"reward": 1.0, bad: bad, "arc": {bad: bad}}]
  )
  assert "<script" not in _report(tmp_path)
