"""Tables of results: their files, their Markdown, and this repository's own."""

import dataclasses
import functools
import json
import pathlib
import re
import shutil
import tempfile
from unittest import mock
from xml.etree import ElementTree

import numpy as np
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.report import chart, results, results_figure
from experiments import results as script
from tests import command_line, result_tables

ROOT = command_line.ROOT
# Tables from before runs told where their numbers come from. No other joins.
_OLD = {
  *("published", "speed_recurrent", "speed_images", "speed_paper"),
  *("ranking_weights", "ranking_operations", "ranking_steps"),
  *("ranking_schedule", "ranking_depth", "ranking_begin", "ranking_score"),
  *("ranking_score_small", "ranking_candidates", "ranking_derive"),
  *("ranking_last_step", "ranking_spaces"),
}


def _figure(kind, y):
  return {"kind": kind, "x": "seed", "y": y}


def _summary(keys, cells):
  return {"group_by": keys, "cells": cells}


class MarkdownTest(absltest.TestCase):
  def test_formats(self):
    self.assertEqual(
      results.to_markdown(result_tables.table()).splitlines(),
      [
        r"| policy | seed | accuracy | a\|b | parameters |",
        "|---|---|---|---|---|",
        "| `a` | 0 | 50.0% | 1.00 +- 0.12 | |",
        "| `b` | 0 | 25.0% | | 1,234,567 |",
        "| `a` | 1 | 70.0% | 2.00 | |",
        "| `a` | 2 | 90.0% | 6.00 | 7 |",
      ],
    )

  def test_summary(self):
    summary = results.Summary(
      ["policy"],
      {
        "seed": "mean +- sd",
        "accuracy": "{mean:.1p} +- {sd:.1%}",
        "reward": "{mean:.3f} +- {standard_error:.3f} of {count}",
        # One value has no deviation.
        "params": ("{mean:.0f} +- {sd:.0f}", "{mean:.0f}"),
      },
    )
    lines = results.to_markdown(
      result_tables.table(summary=summary)
    ).splitlines()
    # Rewards 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, sd = sqrt(14 / 2) =
    # 2.6458, over sqrt(3): 1.5275. Accuracies are 20 points apart. The single
    # row of `b` is no group.
    self.assertLen(lines, 7)
    self.assertEqual(
      lines[-1],
      "| `a` | mean +- sd | 70.0 +- 20.0% | 3.000 +- 1.528 of 3 | 7 |",
    )

  def test_transposed(self):
    table = result_tables.table(
      columns=result_tables.COLUMNS[:3],
      rows=result_tables.ROWS[:2],
      transposed=True,
    )
    self.assertEqual(
      results.to_markdown(table),
      "| policy | `a` | `b` |\n|---|---|---|\n| seed | 0 | 0 |\n"
      "| accuracy | 50.0% | 25.0% |",
    )


class FileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(tempfile.mkdtemp()) / "tiny.json"

  def test_a_table_comes_back(self):
    table = result_tables.table(
      note="é",
      summary=results.Summary(["policy"], {"seed": "mean"}),
      figure=results.Figure("bars", "policy", "accuracy"),
      transposed=True,
    )
    results.save(table, self.path)
    again = results.load(self.path)
    self.assertEqual(results.to_markdown(again), results.to_markdown(table))
    for field in ("title", "commit", "versions", "summary", "figure", "note"):
      self.assertEqual(getattr(again, field), getattr(table, field), field)
    # A row is a line, so that a difference between two versions can be read.
    row = json.dumps(result_tables.ROWS[1])
    self.assertIn(f"    {row},", self.path.read_text().splitlines())

  @parameterized.parameters(
    ({"commit": None}, "lacks the field 'commit'"),
    ({"commit": ""}, "commit must be words"),
    ({"colour": "red"}, "unknown field 'colour'"),
    ({"rows": []}, "rows must not be empty"),
    ({"rows": 3}, "rows must be a list"),
    ({"rows": [{"policy": ["a"]}]}, r"rows\[0\].policy must be text"),
    ({"columns": [{"key": "seed"}]}, r"columns\[0\] lacks .*'heading'"),
    ({"columns": [{"key": "x", "heading": ""}]}, r"columns\[0\].key names 'x'"),
    ({"seeds": ["0"]}, "seeds must be a list of integers"),
    ({"versions": {}}, "versions must be texts"),
    ({"command": []}, "command must be a list"),
    ({"figure": _figure("pie", "seed")}, "figure.kind must be one of"),
    ({"figure": _figure("bars", "policy")}, "figure.y names 'policy'"),
    ({"figure": _figure("bars", "seed") | {"low": "seed"}}, "go together"),
    ({"summary": _summary(["x"], {})}, "summary.group_by names 'x'"),
    ({"summary": _summary([], {"x": ""})}, "summary.cells.x must be the key"),
    (
      {"summary": _summary([], {"seed": "{median}"})},
      "cells.seed names 'median'",
    ),
    ({"summary": _summary("policy", {})}, "summary.group_by must be a list"),
    (
      {"summary": _summary([], {"seed": 3})},
      "summary.cells.seed must be a text",
    ),
    (
      {"columns": [{"key": "seed", "heading": 3}]},
      "heading must be text, got 3",
    ),
    ({"figure": _figure("bars", [])}, r"figure.y must be text, got \[\]"),
  )
  def test_a_bad_file_is_named_with_its_field(self, changes, message):
    record = results.to_dict(result_tables.table()) | changes
    record = {key: value for key, value in record.items() if value is not None}
    self.path.write_text(json.dumps(record))
    with self.assertRaisesRegex(types.InputError, message) as caught:
      results.load(self.path)
    self.assertStartsWith(str(caught.exception), f"{self.path}: ")
    self.assertNotIn("\n", str(caught.exception))

  @parameterized.parameters(
    (".1f", r"rows\[0\] cannot be shown as '{policy:.1f}'"),
    ("{policy", "the format '{policy'"),
    ("{policy.__class__}", "must name fields"),
    ("{0}", "must name fields"),
    ("{policy:{width}}", "must name fields"),
    ("{other}", r"columns\[0\].format names 'other'"),
  )
  def test_a_bad_format_is_named(self, form, message):
    with self.assertRaisesRegex(types.InputError, message):
      result_tables.table(columns=[results.Column("policy", "policy", form)])

  def test_what_is_no_json_is_named(self):
    with self.assertRaisesRegex(types.InputError, "cannot be read: No such"):
      results.load(self.path)
    self.path.write_text("{")
    with self.assertRaisesRegex(
      types.InputError, "tiny.json is damaged: it is not valid JSON"
    ):
      results.load(self.path)
    self.path.write_text("[]")
    with self.assertRaisesRegex(types.InputError, "must be a JSON object"):
      results.load(self.path)


class FigureTest(absltest.TestCase):
  def test_rows_that_agree_are_one_bar(self):
    table = result_tables.table(
      figure=results.Figure("bars", "policy", "reward", "policy")
    )
    with mock.patch.object(chart, "bar_chart", return_value="<svg/>") as bars:
      drawing = results_figure.draw(table)
    self.assertEqual(drawing, f"{results_figure.fingerprint(table)}\n<svg/>")
    (series,), words = bars.call_args
    self.assertEqual(words, {"x_label": "policy", "y_label": "reward"})
    # Rewards 1, 2, 6; `b` has none.
    self.assertEqual(list(series), ["a"])
    self.assertEqual(list(series["a"]), ["a"])
    height, spread = series["a"]["a"]
    self.assertAlmostEqual(height, 3.0)
    self.assertAlmostEqual(spread, 7**0.5)

  def test_rows_that_agree_are_one_point_of_a_line(self):
    table = result_tables.table(
      figure=results.Figure("lines", "seed", "accuracy")
    )
    with mock.patch.object(chart, "line_chart", return_value="<svg/>") as lines:
      results_figure.draw(table)
    (series,), _ = lines.call_args
    # Seed 0 has 0.5 and 0.25.
    self.assertEqual(series, {"": [(0.0, 0.375), (1.0, 0.7), (2.0, 0.9)]})

  def test_a_line_has_a_band_between_two_fields(self):
    figure = results.Figure("lines", "seed", "accuracy", low="low", high="high")
    rows = [
      {"seed": 1, "accuracy": 0.5, "low": 0.2, "high": 0.6},
      {"seed": 0, "accuracy": 0.4, "low": 0.1, "high": 0.7},
      {"seed": 0, "accuracy": 0.2, "low": 0.2, "high": 0.9},
    ]
    columns = [results.Column("seed", "seed")]
    table = result_tables.table(columns=columns, rows=rows, figure=figure)
    with mock.patch.object(chart, "line_chart", return_value="<svg/>") as lines:
      results_figure.draw(table)
    _, words = lines.call_args
    np.testing.assert_allclose(
      words["bands"][""], [[0.0, 0.15, 0.8], [1.0, 0.2, 0.6]]
    )
    with self.assertRaisesRegex(
      types.InputError, r"rows\[1\] has one of 'low'"
    ):
      half = [rows[0], rows[1] | {"high": None}]
      dataclasses.replace(table, rows=half)
    other = [rows[0] | {"high": 0.7}, *rows[1:]]
    self.assertNotEqual(
      results_figure.fingerprint(table),
      results_figure.fingerprint(dataclasses.replace(table, rows=other)),
    )

  def test_bars_are_as_high_as_their_values(self):
    draw = lambda: chart.bar_chart(
      {
        "one": {"$x": chart.Bar(1.0), "y": chart.Bar(3.0)},
        "two": {"y": chart.Bar(2.0, 0.5)},
      },
      x_label="where",
      y_label="how much",
    )
    self.assertEqual(draw(), draw())
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(draw())
    texts = [text.text for text in root.iter(f"{svg}text")]
    for word in ("$x", "y", "where", "how much", "one", "two"):
      self.assertIn(word, texts)
    heights = []
    for group in root.iter(f"{svg}g"):
      if group.get("id", "").startswith("patch_"):
        for path in group.iter(f"{svg}path"):
          if "clip-path" in path.attrib:  # bars; frames have none
            ys = [
              float(y) for y in re.findall(r"[ML] \S+ (\S+)", path.get("d"))
            ]
            heights.append(max(ys) - min(ys))
    np.testing.assert_allclose(
      np.divide(heights, heights[0]), [1.0, 3.0, 2.0], rtol=1e-4
    )

  def test_each_row_is_an_architecture(self):
    figure = results.Figure("architectures", "picture", "tokens", "space")
    row = {"space": "nasbench201", "preset": "smoke", "tokens": "0 1 2 3 4 0"}
    rows = [row | {"picture": "one"}]
    rows += [row | {"picture": "two", "tokens": "0 1 2 3 4 1"}]
    columns = [results.Column("tokens", "tokens")]
    make = functools.partial(result_tables.table, figure=figure)
    one, two = results_figure.drawings(make(columns=columns, rows=rows))
    self.assertEqual((one.name, two.name), ("one", "two"))
    self.assertNotEqual(one.fingerprint, two.fingerprint)
    self.assertStartsWith(two.draw(), f"{two.fingerprint}\n<svg")
    self.assertIn("<title>Cell of NAS-Bench-201</title>", one.draw())
    wrong = make(columns=columns, rows=[rows[0] | {"tokens": "0 1 9"}])
    with self.assertRaises(types.InputError):
      results_figure.drawings(wrong)
    with self.assertRaisesRegex(types.InputError, r"rows\[0\].preset must be"):
      make(columns=columns, rows=[rows[0] | {"preset": None}])

  def test_its_fingerprint_is_that_of_what_is_drawn(self):
    table = result_tables.table(
      figure=results.Figure("lines", "seed", "reward", "policy")
    )
    first = results_figure.fingerprint(table)
    self.assertStartsWith(results_figure.draw(table), f"{first}\n<svg")
    renamed = dataclasses.replace(table, title="Another title")
    self.assertEqual(results_figure.fingerprint(renamed), first)
    rows = [*result_tables.ROWS[:3], result_tables.ROWS[3] | {"reward": 6.5}]
    other = dataclasses.replace(table, rows=rows)
    self.assertNotEqual(results_figure.fingerprint(other), first)


class DocumentsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())
    (self.root / "experiments" / "results").mkdir(parents=True)
    (self.root / "experiments" / "figures").mkdir()

  def _write(self, text, *tables):
    (self.root / "README.md").write_text(text)
    for table in tables:
      path = self.root / script.RESULTS / f"{table.name}.json"
      results.save(table, path)

  def test_this_repository_says_what_its_results_say(self):
    script.write_documents(ROOT, check=True)

  def test_new_tables_tell_where_they_come_from(self):
    for path in (ROOT / script.RESULTS).glob("*.json"):
      table = results.load(path)
      told = (table.commit, table.device, table.versions)
      if path.stem in _OLD:
        self.assertIn(results.NOT_RECORDED, told, path)
      else:
        self.assertNotIn(results.NOT_RECORDED, told, path)

  def test_a_spoilt_number_is_found_and_mended(self):
    for name in ("README.md", "BUILD.md", "experiments/README.md"):
      shutil.copy(ROOT / name, self.root / name)
    for name in (script.RESULTS, script.FIGURES, "experiments/docs"):
      shutil.copytree(ROOT / name, self.root / name, dirs_exist_ok=True)
    name = "experiments/docs/reproducing_the_paper.md"
    path = self.root / name
    right = path.read_text()
    number = results.load(ROOT / script.RESULTS / "ptb_small.json").rows[0]
    shown = f"| {number['valid_perplexity']:.1f} |"
    path.write_text(right.replace(shown, "| 99.9 |", 1))
    (self.root / script.FIGURES / "cifar_small.svg").write_text("<svg/>")
    answer = command_line.run("results", "--check", cwd=self.root)
    self.assertEqual(answer.returncode, 2)
    self.assertEqual(
      answer.stderr,
      f"error: not what the results say: ptb_small in {name},"
      " experiments/figures/cifar_small.svg; run python -m"
      " experiments.results.\n",
    )
    self.assertIn("| 99.9 |", path.read_text())
    answer = command_line.run("results", cwd=self.root)
    self.assertEqual(answer.returncode, 0, answer.stderr)
    self.assertEqual(path.read_text(), right)
    script.write_documents(self.root, check=True)

  def test_a_figure_stands_below_its_table(self):
    table = result_tables.table(
      figure=results.Figure("bars", "policy", "accuracy")
    )
    block = "before\n<!-- results: tiny -->\n{}<!-- end -->\nafter\n"
    self._write(block.format("old\n"), table)
    guide = self.root / "experiments" / "docs" / "guide.md"
    guide.parent.mkdir()
    guide.write_text(block.format(""))
    script.write_documents(self.root)
    shown = results.to_markdown(table)
    for path, folder in (
      (self.root / "README.md", "experiments/figures"),
      (guide, "../figures"),
    ):
      body = f"{shown}\n\n![A tiny table]({folder}/tiny.svg)\n"
      self.assertEqual(path.read_text(), block.format(body))
    ElementTree.parse(self.root / script.FIGURES / "tiny.svg")

  def test_a_figure_alone(self):
    block = "<!-- results: tiny (figure) -->\n{}<!-- end -->\n"
    figure = results.Figure("bars", "policy", "accuracy")
    self._write(block.format("old\n"), result_tables.table(figure=figure))
    script.write_documents(self.root)
    self.assertEqual(
      (self.root / "README.md").read_text(),
      block.format("![A tiny table](experiments/figures/tiny.svg)\n"),
    )
    self._write(block.format(""), result_tables.table())
    with self.assertRaisesRegex(types.InputError, "'tiny' asks for no figure"):
      script.write_documents(self.root)

  def test_a_part_of_a_table(self):
    table = result_tables.table(
      summary=results.Summary(["policy"], {"seed": "mean"})
    )
    block = "<!-- results: tiny (2 rows: {}) -->\n{}<!-- end -->\n"
    self._write(block.format("seed, policy", "old\n"), table)
    script.write_documents(self.root)
    body = "| seed | policy |\n|---|---|\n| 0 | `a` |\n| 0 | `b` |\n"
    shown = (self.root / "README.md").read_text()
    self.assertEqual(shown, block.format("seed, policy", body))
    for text, message in (
      (block.format("seed, luck", ""), "'luck' is none of the columns policy"),
      (
        shown.replace("2 rows", "9 rows"),
        "README.md, .*: the table has 4 rows",
      ),
    ):
      self._write(text)
      with self.assertRaisesRegex(types.InputError, message):
        script.write_documents(self.root)

  def test_what_has_no_counterpart_is_named(self):
    end = "<!-- end -->\n"
    begin = "<!-- results: tiny -->\n"
    for text, message in (
      ("", "tiny.json is shown by no document"),
      (f"{begin}{end}<!-- results: b -->\n{end}", "README.md shows .* 'b'"),
      (f"\n{begin}", "README.md, line 2: '<!-- results: tiny -->' stands"),
      (f"{begin}{begin}{end}", "line 2: '<!-- results: tiny -->' stands"),
      (f"{begin}{end}{end}", "line 3: '<!-- end -->' stands alone"),
    ):
      self._write(text, result_tables.table())
      with self.assertRaisesRegex(types.InputError, message):
        script.write_documents(self.root)
      self.assertEqual((self.root / "README.md").read_text(), text)

  def test_a_file_has_the_name_of_its_table(self):
    self._write("", result_tables.table())
    place = self.root / script.RESULTS
    (place / "tiny.json").rename(place / "other.json")
    with self.assertRaisesRegex(types.InputError, "name must be 'other'"):
      script.write_documents(self.root)

  def test_elsewhere_there_is_nothing_to_write(self):
    with self.assertRaisesRegex(types.InputError, "at the root of a checkout"):
      script.write_documents(self.root)


if __name__ == "__main__":
  absltest.main()
