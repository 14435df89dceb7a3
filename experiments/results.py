"""Writes every table of measured numbers from the data behind it.

  python -m experiments.results
  python -m experiments.results --check
  python -m experiments.results --collect=NAME --title=TITLE --run=A --run=B

It runs at the root of a checkout. `experiments/results/NAME.json` holds a table
and where its numbers come from: commands, commit, device, versions, seeds
(`enas_jax.report.results`). README.md, BUILD.md and the documents below
`experiments/` show it between two lines, and what lies between them is written
anew:

  <!-- results: NAME -->
  <!-- end -->

or, where a part is enough, its first rows and some columns, by their keys:

  <!-- results: NAME (5 rows: KEY, KEY) -->
  <!-- end -->

A table that asks for a chart gets `experiments/figures/NAME.svg` beside; of one
that asks for pictures, each row's architecture is drawn there. Of a table that
is too long to be read, the chart alone is shown by

  <!-- results: NAME (figure) -->
  <!-- end -->

`--check` changes nothing; it ends with status 2 if anything would change.

`--collect` makes such a file from the folders of finished searches and
trainings, or adds their rows to it. Then put its two lines where it belongs.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from absl import flags

from enas_jax import files, types
from enas_jax.report import results, results_figure
from enas_jax.search import folder
from experiments import _cli, _collect

RESULTS = pathlib.Path("experiments/results")
FIGURES = pathlib.Path("experiments/figures")
_DOCUMENTS = ("README.md", "BUILD.md", "experiments/**/*.md")
_MARKER = re.compile(r"^<!-- (results: .*|end) -->$\n?", re.MULTILINE)
_PART = re.compile(r"(\S+) \((\d+) rows: (.+)\)")
_FIGURE = " (figure)"
Tables = Mapping[str, results.Table]


def main() -> None:
  """Does what the flags ask for."""
  values = flags.FLAGS
  if values.collect is None:
    for name in ("run", "title", "command"):
      if values[name].value:
        raise types.InputError(f"--{name} needs --collect, the table's name.")
    write_documents(pathlib.Path(), check=values.check)
    return
  if values.check:
    raise types.InputError("--check and --collect do not go together.")
  path = _collect.collect(
    RESULTS,
    values.collect,
    [files.expand(run) for run in values.run],
    title=values.title,
    command=values.command,
  )
  print(f"wrote {path}")


def write_documents(root: pathlib.Path, *, check: bool = False) -> None:
  """Writes the tables into the documents, and draws the figures.

  Args:
    root: the root of a checkout.
    check: whether to change nothing.

  Raises:
    InputError: if a file or a document is wrong, or a table is shown nowhere;
      or, with `check`, if something would change.
  """
  tables = _load_all(root / RESULTS)
  contents: dict[pathlib.Path, str] = {}
  shown: set[str] = set()
  outdated: list[str] = []
  for path in _documents(root):
    old = path.read_text(encoding="utf-8")
    blocks = _Blocks(old, path.relative_to(root), tables)
    shown |= blocks.names
    outdated += [f"{name} in {blocks.path}" for name in blocks.outdated]
    if blocks.text != old:
      contents[path] = blocks.text
  for name, table in tables.items():
    if name not in shown:
      raise types.InputError(
        f"{RESULTS / name}.json is shown by no document; put"
        f" {_begin(name)!r} and '<!-- end -->' into one, or delete it."
      )
    for drawing in results_figure.drawings(table):
      path = root / FIGURES / f"{drawing.name}.svg"
      if not _is_drawn(drawing, path):
        contents[path] = drawing.draw()
        outdated.append(f"{FIGURES / drawing.name}.svg")
  if check and outdated:
    raise types.InputError(
      f"not what the results say: {', '.join(outdated)}; run"
      " python -m experiments.results."
    )
  # Only now: what is wrong anywhere leaves every file as it was.
  for path, text in contents.items():
    folder.write(path, text)
    print(f"wrote {path.relative_to(root)}")
  print(f"tables that say what the results say: {len(tables)}")


def _load_all(place: pathlib.Path) -> Tables:
  paths = sorted(place.glob("*.json"))
  if not paths:
    raise types.InputError(
      f"{RESULTS} holds no tables here; run it at the root of a checkout."
    )
  tables = {path.stem: results.load(path) for path in paths}
  for path in paths:
    if tables[path.stem].name != path.stem:
      raise types.InputError(
        f"{path}: name must be {path.stem!r}, as the file's, got"
        f" {tables[path.stem].name!r}."
      )
  return tables


def _documents(root: pathlib.Path) -> list[pathlib.Path]:
  return [path for form in _DOCUMENTS for path in sorted(root.glob(form))]


def _begin(name: str) -> str:
  return f"<!-- results: {name} -->"


class _Blocks:
  """A document with its tables written anew.

  Attributes:
    path: the document, from the root of the checkout.
    text: what it shall say.
    names: the tables that it shows.
    outdated: those of them that it shows otherwise now.
  """

  def __init__(self, old: str, path: pathlib.Path, tables: Tables) -> None:
    """Raises InputError if a marker stands alone or names no table."""
    self.path = path
    self.names: set[str] = set()
    self.outdated: list[str] = []
    markers = list(_MARKER.finditer(old))
    for place, marker in enumerate(markers):
      # Beginnings are at even places, ends at odd ones.
      if marker[1].startswith("results: ") == bool(place % 2):
        raise self._unpaired(old, marker)
    if len(markers) % 2:
      raise self._unpaired(old, markers[-1])
    parts, end = [], 0
    for begin, close in zip(markers[::2], markers[1::2], strict=True):
      name, body = self._body(begin[1].removeprefix("results: "), tables)
      if old[begin.end() : close.start()] != body:
        self.outdated.append(name)
      self.names.add(name)
      parts += [old[end : begin.end()], body]
      end = close.start()
    self.text = "".join([*parts, old[end:]])

  def _body(self, asked: str, tables: Tables) -> tuple[str, str]:
    """The name of a table, and what stands between its two markers."""
    part = _PART.fullmatch(asked)
    name = part[1] if part else asked.removesuffix(_FIGURE)
    if name not in tables:
      raise types.InputError(
        f"{self.path} shows the results {name!r}, but there is no"
        f" {RESULTS / name}.json."
      )
    if part:
      try:
        table = _part(tables[name], int(part[2]), part[3].split(", "))
      except types.InputError as error:
        raise types.InputError(f"{self.path}, {asked!r}: {error}") from None
      return name, results.to_markdown(table) + "\n"
    # Relative to the document, as its readers resolve it.
    target = os.path.relpath(FIGURES / f"{name}.svg", self.path.parent)
    picture = f"![{tables[name].title}]({target})\n"
    figure = tables[name].figure
    has_chart = figure is not None and figure.kind != results.PICTURES
    if asked.endswith(_FIGURE):
      if not has_chart:
        raise types.InputError(f"{self.path}: {name!r} asks for no figure.")
      return name, picture
    text = results.to_markdown(tables[name]) + "\n"
    return name, f"{text}\n{picture}" if has_chart else text

  def _unpaired(self, old: str, marker: re.Match[str]) -> types.InputError:
    line = old.count("\n", 0, marker.start()) + 1
    return types.InputError(
      f"{self.path}, line {line}: {marker[0].strip()!r} stands alone; a block"
      " begins with '<!-- results: NAME -->' and ends with '<!-- end -->'."
    )


def _part(
  table: results.Table, num_rows: int, keys: Sequence[str]
) -> results.Table:
  """The first rows of a table, and some of its columns, in that order.

  Raises:
    InputError: if it has fewer rows, or lacks a column.
  """
  columns = {column.key: column for column in table.columns}
  for key in keys:
    if key not in columns:
      raise types.InputError(
        f"{key!r} is none of the columns {', '.join(columns)}."
      )
  if not 1 <= num_rows <= len(table.rows):
    raise types.InputError(f"the table has {len(table.rows)} rows.")
  return dataclasses.replace(
    table,
    columns=[columns[key] for key in keys],
    rows=table.rows[:num_rows],
    summary=None,
    figure=None,
  )


def _is_drawn(drawing: results_figure.Drawing, path: pathlib.Path) -> bool:
  """Whether a file has the drawing of these data."""
  try:
    with path.open(encoding="utf-8") as file:
      return file.readline().strip() == drawing.fingerprint
  except OSError:
    return False


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_boolean("check", False, "change nothing; fail if it would")
  flags.DEFINE_string(
    "collect", None, "make this table from --run, or add rows to it"
  )
  flags.DEFINE_multi_string(
    "run", [], "the folder of a finished run; may be given more than once"
  )
  flags.DEFINE_string("title", None, "what a new table shows, in a few words")
  flags.DEFINE_string(
    "command", None, "the command line of runs whose config.json lacks it"
  )


if __name__ == "__main__":
  define_flags()
  _cli.run(main)
