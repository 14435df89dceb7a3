import base64
import hashlib
import html as html_lib
import json
import re
from html import parser

from enas_jax.report import (
  candidates,
  drawing,
  page_chart,
)
from enas_jax.report import html as report
from enas_jax.spaces import graph as graph_lib
from enas_jax.spaces import registry

_SVG = "{http://www.w3.org/2000/svg}"


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
  result |= {"mean_reward_policy": 0.5, "standard_error_policy": 0.03}
  result |= {"mean_reward_uniform": 0.25, "standard_error_uniform": 0.04}
  (workdir / "result.json").write_text(json.dumps(result))
  node = graph_lib.Node("h1", "h₁", 0)
  drawn = drawing.draw([graph_lib.Graph((node,), ())], "", "Found & drawn")
  (workdir / "arc.svg").write_text(
    '<?xml version="1.0" encoding="utf-8"?>\n' + drawn.svg, encoding="utf-8"
  )
  rewards = {"policy": [0.6, 0.4], "uniform": [0.3, 0.2]}
  (workdir / "rewards.json").write_text(json.dumps(rewards))
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
    if tag not in ("meta", "br", "img", "image"):
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


def test_report_shows_a_run(tmp_path):
  _write_run(tmp_path)
  page = _report(tmp_path)
  assert "<b>dataset</b> ptb&lt;1&gt;" in page
  assert "<b>preset</b> paper" in page
  assert "<b>seed</b> 7" in page
  assert "<tr><th>run.seed</th><td>7</td></tr>" in page
  assert page.count("<figure data-values=") == 7  # one of the rewards
  assert (
    "<code>omega/loss_nats</code>: last 6 at step 30,"
    " lowest 6 at step 30, highest 9 at step 0"
  ) in page
  assert "<code>valid/perplexity</code>: last 123.25 at epoch 2" in page
  assert "<code>theta/reward</code>: last 2.5 at theta_step 2" in page
  assert "<code>theta/entropy_nats</code>: last 13.25" in page
  assert "<code>theta/loss_nats</code>: last 1.5 at theta_step 2" in page
  assert "<code>valid/reward_uniform</code>: last 0.375" in page
  [(source, words)] = re.findall(r'<img src="([^"]*)" alt="([^"]+)">', page)
  kind, _, data = source.partition(",")
  assert kind == "data:image/svg+xml;base64"
  assert base64.b64decode(data) == (tmp_path / "arc.svg").read_bytes()
  assert words == "Found &amp; drawn"
  assert "<?xml" not in page
  assert "&#34;prev&#34;: [" in page
  assert "<p>Tokens: <code>0 0 1</code></p>" in page
  assert (
    "<tr><th>test perplexity</th>"
    '<td class="number" data-number="118.5">118.5</td></tr>'
  ) in page
  assert "samples earn 0.2500 ± 0.0500 above uniform ones" in page
  assert '<th>uniform, best</th><td class="number">0.3000</td>'
  title = f"Search of a recurrent cell: {tmp_path.name}"
  assert f"<title>{title}</title>" in page and f"<h1>{title}</h1>" in page
  assert 'class="missing"' not in page
  assert [p.name for p in tmp_path.glob("report*")] == ["report.html"]


def test_report_ranks_the_best_of_different_candidates(tmp_path):
  _write_run(tmp_path)
  rows = [{"arc": {"id": i % 24}, "reward": i / 64} for i in range(36)]
  _jsonl(tmp_path / "arcs.jsonl", rows)
  page = _report(tmp_path)
  table = page[page.index('<th scope="col">rank</th>') :]
  assert table.count("<td><code>") == candidates.MOST_SHOWN == 20
  # The rewards of 12 to 35, of which those from 24 on came before.
  places = [*range(11, -1, -1), *range(23, 15, -1)]
  ranks = [table.index(f"&#34;id&#34;: {i}}}") for i in places]
  assert ranks == sorted(ranks)
  assert "&#34;id&#34;: 15}" not in table
  assert (
    '<td class="number" data-number="1.0">1</td>'
    '<td class="number" data-number="0.546875">0.546875</td>'
    '<td class="number" data-number="2.0">2</td>'
  ) in table
  assert "36 were evaluated, 24 different ones" in table


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
  assert page.count("<figure data-values=") == 3
  assert "<code>omega/accuracy</code>: last 12.5% at step 10" in page
  assert (
    "<code>valid/accuracy</code>: last 62.5% at epoch 2,"
    " lowest 56.25% at epoch 1, highest 62.5% at epoch 2"
  ) in page
  drawn = page_chart.lines(
    {"valid/accuracy": [(1.0, 56.25), (2.0, 62.5)]}, "epoch", "accuracy, %"
  )
  assert drawn.svg in page and drawn.values in html_lib.unescape(page)
  assert (
    '<th>valid accuracy</th><td class="number" data-number="0.625">62.50%</td>'
    in page
  )
  assert (
    '<th>test accuracy</th><td class="number" data-number="0.59375">59.38%</td>'
    in page
  )
  assert page.count("<code>0 1 1 4</code>") == 2
  assert "perplexity" not in page
  table = page[page.index('<th scope="col">rank</th>') :]
  assert (
    '<td class="number" data-number="0.75">0.75</td>'
    '<td class="number" data-number="0.6875">68.75%</td>'
    '<td class="number" data-number="1.0">1</td><td><code>0 1 1 4</code></td>'
  ) in table


def test_pictures_of_several_runs_share_one_limit(tmp_path, monkeypatch):
  preset = registry.preset("smoke", "nasbench201")
  space, folders = preset.child.space(), []
  saved = {"space": "nasbench201", "config": preset.to_dict()}
  arcs = [space.from_digits(digits) for digits in ("333333", "111111")]
  for name in "abc":
    folders.append(tmp_path / name)
    folders[-1].mkdir()
    (folders[-1] / "config.json").write_text(json.dumps(saved))
    rows = [
      # Costs that are known need no trace of the network.
      {"reward": 0.5, "arc": space.to_dict(arc), "params": 1}
      | {"multiply_adds": 1}
      for arc in arcs
    ]
    _jsonl(folders[-1] / "arcs.jsonl", rows)
  path = report.write_comparison(folders, tmp_path / "all.html")
  drawn = re.findall(r'<img src="([^"]+)"', path.read_text())
  assert len(drawn) == 6
  # Room for three and a little of the fourth, which is still drawn whole.
  monkeypatch.setattr(candidates, "_MOST_DRAWN", sum(map(len, drawn[::2])) + 1)
  report.write_comparison(folders, path)
  rows = re.findall(r"<tr>(<td>.*?<code>.*?)</tr>", path.read_text(), re.DOTALL)
  # The best of each run comes before the second of any.
  assert ["<img" in row for row in rows] == [
    *(True, True), *(True, False), *(True, False)
  ]  # fmt: skip


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
  assert "alert" not in page and page.count("<img ") == 1
  assert 'alt="&#34;&gt;&lt;b&gt;"' in page


def test_report_is_readable_on_light_and_on_dark(tmp_path):
  page = _report(tmp_path)
  assert "color-scheme:light dark" in page
  light, dark, paper = re.findall(
    r"--ink:(#\w+);--page:(#\w+)", page.replace("\n", "")
  )
  assert paper == ("#000", "#fff")
  assert light != dark
  for ink, paper in (light, dark):
    assert abs(_brightness(ink) - _brightness(paper)) > 150
  # Pictures bring dark letters, and so a white ground; charts have the page's.
  assert ".picture img,td img{background:#fff" in page
  drawn = page_chart.lines({"a": [(0, 1)], "b": [(1, 2)]}, "x", "y")
  assert drawn.svg.count("currentColor") > 10
  # Of the page's ground and of no other.
  assert "fill: #ffffff" not in drawn.svg and "#000" not in drawn.svg


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
  drawn = page_chart.lines(
    {"omega/loss_nats": [(0, 4.0), (5, 2.0)]},
    "step of omega",
    "nats per prediction",
  )
  assert drawn.svg in page
  assert "metrics.jsonl has" not in page
  assert "1 were evaluated" in page
  assert "<td>NaN</td>" in page


def test_report_leaves_out_numbers_that_no_chart_can_bear(tmp_path):
  """Whose differences and sums are no longer finite."""
  most = 1.7976931348623157e308
  for big in (1e308, most):
    rows = [
      *({"step": i, "omega/loss_nats": big * (-1) ** i} for i in range(3)),
      *({"epoch": i, "valid/perplexity": big / (i + 1)} for i in range(3)),
      *({"step": big, "omega/accuracy": big} for i in range(3)),
      *({"step": i, "omega/learning_rate": 0.5} for i in range(3)),
    ]
    _jsonl(tmp_path / "metrics.jsonl", rows)
    rewards = {"policy": [big, -big, 0.25], "uniform": [big, 0.5]}
    (tmp_path / "rewards.json").write_text(json.dumps(rewards))
    result = {"reward": big, "test_accuracy": big, "mean_reward_policy": -big}
    (tmp_path / "result.json").write_text(json.dumps(result))
    page = _report(tmp_path)
    assert page.count("<figure data-values=") == 2
    assert "<code>omega/learning_rate</code>: last 0.5 at step 2" in page
    # In a table it stands as the file has it.
    assert f"<td>{big!r}</td>" in page and ">inf" not in page


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
  _jsonl(tmp_path / "metrics.jsonl", [{"epoch": 1, f"valid/{bad}": 0.5}])
  other = tmp_path / f"{bad[:7]} & $ _"
  other.mkdir()
  _jsonl(other / "metrics.jsonl", [{"epoch": 1, "valid/a": 0.5}])
  path = report.write_comparison([tmp_path, other], tmp_path / "two.html")
  for page in (_report(tmp_path), path.read_text(encoding="utf-8")):
    # Ours alone, which the policy of the page names.
    [script] = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    assert page.count("<script") == 1 and "alert" not in script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    policy = f"script-src 'sha256-{digest.decode()}'"
    assert "default-src 'none'; img-src data:;" in page and policy in page


def test_several_runs_on_one_page(tmp_path):
  folders = [tmp_path / name / "run" for name in ("a", "b")]
  for folder in folders:
    folder.mkdir(parents=True)
    _write_run(folder)
  path = report.write_comparison(folders, tmp_path / "page.html")
  page = path.read_text(encoding="utf-8")
  assert "<h1>2 runs compared</h1>" in page
  assert "Search of a recurrent cell: run (2)</h2>" in page
  listed = re.findall(r'data-values="([^"]*)"', page)
  names = [
    [one["name"] for one in json.loads(html_lib.unescape(text))["series"]]
    for text in listed
  ]
  assert ["run omega/loss_nats", "run (2) omega/loss_nats"] in names
  assert [
    *("run policy", "run uniform", "run (2) policy", "run (2) uniform")
  ] in names
  # The ten best of each.
  assert page.count("<td><code>") == 20
