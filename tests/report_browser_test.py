"""The pages in a browser, where one is installed."""

import json

import pytest

from enas_jax.report import html as report
from tests import browser

pytestmark = pytest.mark.skipif(
  browser.PATH is None, reason="there is no Chromium here"
)
_LOSSES = [(10.0, 9.5), (20.0, 7.25), (30.0, 8.0)]


def _write(folder):
  folder.mkdir()
  config = {"space": "macro", "config": {"theta": {}}, "seed": 0}
  (folder / "config.json").write_text(json.dumps(config))
  lines = {
    "metrics.jsonl": [
      {"step": step, "omega/loss_nats": loss} for step, loss in _LOSSES
    ],
    "policy.jsonl": [
      {"epoch": epoch, "frequencies": [[0.5, 0.5]]} for epoch in (1, 2)
    ],
    "arcs.jsonl": [
      {
        "reward": reward,
        "params": params,
        "multiply_adds": 2 * params,
        "arc": i,
      }
      for i, (reward, params) in enumerate([(0.5, 90), (0.75, 1000), (0.25, 8)])
    ],
  }
  for name, rows in lines.items():
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text)
  rewards = {"policy": [0.5, 0.75], "uniform": [0.25, 0.5]}
  (folder / "rewards.json").write_text(json.dumps(rewards))
  return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  root = tmp_path_factory.mktemp("pages")
  runs = [_write(root / name) for name in ("a", "b")]
  urls = [
    path.as_uri()
    for path in (
      report.write_report(runs[0]),
      report.write_comparison(runs, root / "comparison.html"),
    )
  ]
  with browser.Browser() as page:
    page.urls = urls
    yield page


def test_nothing_is_complained_about_and_nothing_fetched(page):
  for url in page.urls:
    page.open(url)
    for scheme in ("light", "dark"):
      for width in (360, 1280):
        page.emulate(width, scheme)
        # Nothing is wider than the window.
        assert page.evaluate(
          "document.documentElement.scrollWidth <= innerWidth"
        )
  assert page.complaints == []
  # A script that someone has put into the page does not run; it is said.
  page.evaluate(
    "document.body.append(Object.assign(document.createElement('script'),"
    " {textContent: 'window.bad = true'}))"
  )
  assert page.evaluate("window.bad") is None
  assert "Content Security Policy" in json.dumps(page.complaints)
  page.complaints.clear()


def test_a_table_is_sorted_by_a_click_and_by_a_key(page):
  page.open(page.urls[0])
  params = (
    "[...document.querySelectorAll('table.sortable tbody tr')]"
    ".map(row => row.cells[3].textContent)"
  )
  head = "document.querySelectorAll('table.sortable th')[3]"
  assert page.evaluate(f"{head}.textContent") == "params"
  assert page.evaluate(params) == ["1000", "90", "8"]  # by reward
  page.evaluate(f"{head}.querySelector('button').click()")
  # As numbers, and not as words.
  assert page.evaluate(params) == ["8", "90", "1000"]
  assert page.evaluate(f"{head}.getAttribute('aria-sort')") == "ascending"
  page.evaluate(f"{head}.querySelector('button').focus()")
  page.press(" ")
  assert page.evaluate(params) == ["1000", "90", "8"]
  assert page.evaluate(f"{head}.getAttribute('aria-sort')") == "descending"


def test_a_chart_says_the_values_of_the_metrics(page):
  page.open(page.urls[0])
  page.emulate(1280)
  figure = (
    "[...document.querySelectorAll('figure')].find("
    "figure => figure.textContent.includes('Training loss'))"
  )
  [series] = json.loads(page.evaluate(f"{figure}.dataset.values"))["series"]
  assert [tuple(point[:2]) for point in series["points"]] == _LOSSES
  page.evaluate(f"{figure}.querySelector('svg').focus()")
  said = []
  for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
    page.press(key)
    said.append(page.evaluate(f"{figure}.querySelector('output').textContent"))
  assert said == [
    "omega/loss_nats: 9.5 at step of omega 10",
    "omega/loss_nats: 7.25 at step of omega 20",
    *["omega/loss_nats: 8 at step of omega 30"] * 2,
  ]
  # Under the pointer: where the mark was put is where its value is.
  page.press("ArrowLeft")
  page.evaluate(f"{figure}.scrollIntoView()")
  x, y = page.evaluate(
    f"(() => {{ const at = {figure}.querySelector('circle')"
    ".getBoundingClientRect();"
    " return [at.x + at.width / 2, at.y + at.height / 2]; })()"
  )
  page.press("ArrowRight")
  page.point_at(x + 3, y - 3)
  assert page.evaluate(f"{figure}.querySelector('output').textContent") == (
    "omega/loss_nats: 7.25 at step of omega 20"
  )


def test_it_is_dark_in_the_dark_and_light_on_paper(page):
  page.open(page.urls[0])
  colors = (
    "[getComputedStyle(document.body).backgroundColor,"
    " getComputedStyle(document.querySelector('figure svg text')).fill]"
  )
  seen = {}
  for scheme, media in (
    *(("light", "screen"), ("dark", "screen")),
    ("dark", "print"),
  ):
    page.emulate(800, scheme, media)
    seen[scheme, media] = page.evaluate(colors)
  assert seen["light", "screen"] == ["rgb(255, 255, 255)", "rgb(31, 41, 55)"]
  assert seen["dark", "screen"] == ["rgb(17, 24, 39)", "rgb(229, 231, 235)"]
  assert seen["dark", "print"] == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
  page.emulate(800)
