"""Tables of results from the folders of runs."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from enas_jax import types
from enas_jax.report import results
from experiments import _collect, _workdir
from experiments import results as script
from tests import command_line, result_tables


def _write_search(folder, seed, commit="c1", perplexity=100.0, **config):
  folder.mkdir(parents=True)
  record = {
    "experiment": "ptb_search",
    "space": "recurrent",
    "preset": "small",
    "dataset": "text:/home/me/corpus",
    "config": {"theta": {}, "run": {"policy": "random"}},
    "seed": seed,
    "device": "a CPU",
    "versions": {"jax": "1.2", "flax": None},
    "commit": commit,
    "command": "python -m experiments.ptb_search --preset=small"
    f" --policy=random --data_dir=/home/me/data --seed={seed} --theta_steps=7",
  }
  (folder / "config.json").write_text(json.dumps(record | config))
  result = {
    "arc": {"tokens": "0 0 1"},
    "mean_reward_policy": 0.5,
    "standard_error_policy": 0.0625,
    "valid_perplexity": perplexity,
    "search_seconds": 60.25,
    "kendall_tau": 0.5,
    "kendall_tau_interval": [0.25, 0.75],
    "seed": seed,
  }
  (folder / "result.json").write_text(json.dumps(result))
  rows = [{"phase": "epoch", "valid/perplexity": 300 - i} for i in range(2)]
  lines = [json.dumps(row) + "\n" for row in (*rows, {"phase": "theta"})]
  (folder / "metrics.jsonl").write_text("".join(lines))
  return folder


class CollectTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.place = self.folder / "results"

  def _collect(self, *runs, title="Searches", command=None):
    return _collect.collect(
      self.place, "new", runs, title=title, command=command
    )

  def test_finished_searches_are_rows(self):
    runs = [
      _write_search(self.folder / str(seed), seed, perplexity=100.0 + seed)
      for seed in range(2)
    ]
    answer = command_line.run(
      "results",
      *("--collect=new", "--title=Searches"),
      *(f"--run={run}" for run in runs),
      cwd=self.folder,
    )
    self.assertEqual(answer.returncode, 0, answer.stderr)
    path = self.folder / script.RESULTS / "new.json"
    self.assertEqual(answer.stdout, f"wrote {script.RESULTS}/new.json\n")
    table = results.load(path)
    # Validation 100 and 101: sd = 1 / sqrt(2).
    self.assertEqual(
      results.to_markdown(table).splitlines(),
      [
        "| space | policy | options | seed | mean reward |"
        " perplexity of children | validation perplexity | Kendall tau |"
        " seconds of search |",
        "|" + 9 * "---|",
        "| recurrent | `random` | `--theta_steps=7` | 0 | 0.500 +- 0.062 |"
        " 299.0 | 100.0 | 0.50 [0.25, 0.75] | 60 |",
        "| recurrent | `random` | `--theta_steps=7` | 1 | 0.500 +- 0.062 |"
        " 299.0 | 101.0 | 0.50 [0.25, 0.75] | 60 |",
        "| recurrent | `random` | `--theta_steps=7` | mean +- sd |"
        " 0.500 +- 0.000 | 299.0 +- 0.0 | 100.5 +- 0.7 | 0.50 +- 0.00 | 60 |",
      ],
    )
    self.assertEqual(
      table.command,
      [
        "python -m experiments.ptb_search --preset=small --policy=random"
        f" --data_dir=DIR --seed={seed} --theta_steps=7"
        for seed in range(2)
      ],
    )
    self.assertEqual((table.commit, table.device), ("c1", "a CPU"))
    self.assertEqual(table.versions, {"jax": "1.2"})
    self.assertEqual(table.seeds, [0, 1])
    self.assertEqual(table.rows[0]["tokens"], "0 0 1")
    self.assertEqual(table.rows[0]["dataset"], "text:DIR/corpus")
    self.assertNotIn("/home", path.read_text())

  def test_rows_are_added_to_those_that_are_there(self):
    self._collect(_write_search(self.folder / "a", 3))
    other = {"versions": {"jax": "1.3"}, "device": "a GPU"}
    run = _write_search(self.folder / "b", 1, commit="c2", **other)
    table = results.load(self._collect(run, title=None))
    self.assertEqual(table.title, "Searches")
    self.assertEqual([row["seed"] for row in table.rows], [3, 1])
    self.assertEqual([row["commit"] for row in table.rows], ["c1", "c2"])
    self.assertEqual((table.commit, table.seeds), ("c1, c2", [1, 3]))
    self.assertEqual(table.versions, {"jax": "1.2, 1.3"})
    self.assertEqual(table.device, "a CPU; a GPU")
    with self.assertRaisesRegex(types.InputError, "seed=1.* already"):
      self._collect(run)

  def test_trainings_are_rows(self):
    training = {
      "experiment": "ptb_train",
      "config": {"run": {}},
      "arc": "/home/me/run/arc.json",
      "command": None,
    }
    run = _write_search(self.folder / "a", 0, **training)
    with self.assertRaisesRegex(types.InputError, "give --command"):
      self._collect(run)
    line = "python -m experiments.ptb_train --arc=ARC --seed=SEED"
    table = results.load(self._collect(run, command=line))
    self.assertEqual(table.command, [line])
    (row,) = table.rows
    self.assertEqual((row["arc"], row["seed"]), ("DIR/arc.json", 0))
    for absent in ("policy", "options", "children_perplexity"):
      self.assertNotIn(absent, row)

  def test_searches_and_trainings_share_a_table(self):
    search = _write_search(self.folder / "a", 0)
    training = {"config": {"run": {}}, "arc": "random:0"}
    trained = _write_search(self.folder / "b", 0, **training)
    table = results.load(self._collect(search, trained))
    lines = results.to_markdown(table).splitlines()
    self.assertStartsWith(lines[0], "| space | policy | `--arc` | options |")
    self.assertStartsWith(lines[2], "| recurrent | `random` | | `--theta_")
    self.assertStartsWith(lines[3], "| recurrent | | `random:0` | `--theta_")
    self.assertLen(lines, 4)

  def test_what_cannot_be_collected_leaves_no_file(self):
    run = _write_search(self.folder / "a", 0)
    for runs, title, message in (
      ((), "Searches", "needs --run"),
      ((run,), None, "needs --title"),
      ((run, run), "Searches", "already"),
      ((self.folder / "none",), "Searches", "config.json cannot be read"),
    ):
      with self.assertRaisesRegex(types.InputError, message):
        self._collect(*runs, title=title)
    loose = _write_search(self.folder / "b", 0, commit=None)
    with self.assertRaisesRegex(types.InputError, "does not tell its commit"):
      self._collect(loose)
    (run / "result.json").unlink()
    with self.assertRaisesRegex(types.InputError, "result.json cannot be read"):
      self._collect(run)
    self.assertFalse(self.place.exists())

  def test_numbers_without_an_origin_get_no_company(self):
    self.place.mkdir()
    old = result_tables.table(name="new", versions=results.NOT_RECORDED)
    results.save(old, self.place / "new.json")
    with self.assertRaisesRegex(types.InputError, "into a new table"):
      self._collect(_write_search(self.folder / "a", 0))

  def test_flags_that_would_do_nothing_are_refused(self):
    for flags, message in (
      (("--title=T",), "--title needs --collect"),
      (("--run=a",), "--run needs --collect"),
      (("--collect=new", "--check"), "do not go together"),
      (("--collect=a/b", "--run=a"), "must be a name"),
    ):
      answer = command_line.run("results", *flags, cwd=self.folder)
      self.assertEqual(answer.returncode, 2)
      self.assertIn(message, answer.stderr)


class OriginTest(absltest.TestCase):
  def test_a_command_is_shown_without_the_paths_of_a_machine(self):
    line = (
      "python -m experiments.cifar_train --data_dir=/d/c --workdir runs/a"
      " --arc=/r/arc.json --init=omega:runs/b --dataset=npz:/x/y.npz"
      " --benchmark_table=t.csv --seed=1 --drop_x=0.5"
    )
    self.assertEqual(
      _workdir.shown_command(line),
      "python -m experiments.cifar_train --data_dir=DIR --workdir RUN"
      " --arc=DIR/arc.json --init=omega:DIR/b --dataset=npz:DIR/y.npz"
      " --benchmark_table=FILE --seed=1 --drop_x=0.5",
    )
    # The slash between two cells is no path.
    tokens = "python -m experiments.describe --arc='0 1 / 2 3'"
    self.assertEqual(
      _workdir.shown_command(tokens),
      "python -m experiments.describe '--arc=0 1 / 2 3'",
    )

  def test_the_origin_of_numbers_fits_a_table(self):
    table = result_tables.table(**_workdir.origin())
    self.assertLen(table.command, 1)
    self.assertIn("jax", table.versions)


if __name__ == "__main__":
  absltest.main()
