"""What the documents tell people to type, and where their links lead."""

import contextlib
import io
import itertools
import json
import pathlib
import re
import shlex
import tempfile
import tomllib

import jax
import numpy as np
from absl.testing import absltest
from PIL import Image

from enas_jax import config as config_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import zero_cost
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import registry as tasks
from experiments import _commands
from tests import command_line, tiny

ROOT = command_line.ROOT
DOCUMENTS = (
  *(ROOT / "README.md", ROOT / "BUILD.md"),
  *sorted((ROOT / "experiments").rglob("*.md")),
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)\)")
_SCRIPT = re.compile(r"\bexperiments\.(\w+)")
# Not of the arrows of a diagram.
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z_0-9]*+(?:-[a-z]+)?)(?!-)=?([\w,]*)")
# Flags of pip and of the tests, and what is read before flags are.
_OTHERS = {
  *("no-deps", "count", "help", "version", "keep", "completion", "kills"),
  *("gres", "time", "signal", "requeue", "wrap"),  # SLURM's
  *("nodes", "ntasks"),
  *("xla_force_host_platform_device_count", "logdir"),
}
# In a script's name or a value, what a reader would put there.
_PLACEHOLDERS = {
  **{"SEARCH": "ptb_search", "SPACE": "macro"},
  **{"POLICY": "random", "SCORE": "nll", "SEED": "0", "RATE": "0.1", "E": "2"},
  **{"WEIGHTS": "1,1,1,1,1", "STEPS": "2", "N": "2", "CELLS": "2"},
  **{"IMAGES": "0", "ARCS": "2", "BATCHES": "1"},
}
_RUNS = ("RUN", "RUN_0", "RUN_1", "RANDOM_0", "RANDOM_1")
_CAPITALS = re.compile(r"\b[A-Z][A-Z_0-9]*\b")
# Those who would wait for others are one here.
_HOSTS = ("multihost", "coordinator_address", "num_processes", "process_id")
# Of these the flags alone are read: they take long, in processes that nothing
# would stop, or write in the checkout; `ScriptsTest` has one that exports.
_PARSED = ("depthwise", "results", "export", "scale")
# Sizes at which a search of the README is over within seconds.
_SHORT = (
  *("--num_epochs=1", "--omega_steps=2", "--theta_steps=2", "--eval_arcs=1"),
  *("--derive_arcs=3", "--tune_arcs=0"),
)
_SMALL = {
  "ptb_search": ("--num_nodes=3", "--hidden_size=8", "--bptt_length=5"),
  "cifar_macro": ("--num_layers=2", "--num_filters=4", "--image_size=0"),
  "cifar_micro": ("--num_nodes=3", "--num_filters=4", "--image_size=0"),
}


def blocks(path, language):
  found = _BLOCK.findall(path.read_text())
  return [text for kind, text in found if kind == language]


def commands():
  """(document, words) of every example command, a word for each argument."""
  for path in DOCUMENTS:
    for text in blocks(path, "console"):
      for line in re.sub(r"\\\n\s*", "", text).splitlines():
        assert line.startswith("$ "), f"{path}: {line}"
        yield path.name, shlex.split(line[2:], comments=True)


def scripts():
  """Name of a script, its arguments, where they stand."""
  for name, words in commands():
    if words[:2] == ["python", "-m"] and words[2].startswith("experiments."):
      yield words[2].removeprefix("experiments."), words[3:], name
    elif words[0] == "enas" and not words[1].startswith("-"):
      yield _commands.find(words[1]), words[2:], name


def save_run(folder, space, policy, dataset):
  """The folder of a search, but for its weights."""
  folder.mkdir(parents=True)
  config = strategies.with_policy(spaces.preset("smoke", space), policy)
  task = tasks.get(spaces.get(space).task)
  suited = task.suited(dataset, config)
  config = config_lib.override(config, "data", **suited)
  record = {
    **{"experiment": "search", "space": space, "preset": "smoke"},
    **{"dataset": dataset, "config": config.to_dict(), "seed": 0},
  }
  if space == "recurrent":
    record["experiment"] = "ptb_search"
  folder_lib.write_json(folder / folder_lib.CONFIG, record)
  known = config.child.space()
  drawn = known.sample_uniform(jax.random.key(0), 1)
  drawn = jax.tree.map(lambda leaf: np.asarray(leaf)[0], drawn)
  arc = known.to_dict(known.validate(drawn))
  folder_lib.write_json(folder / folder_lib.ARC, arc)
  rows = [{"reward": 1.0, "perplexity": 90.0, "arc": arc}] * 3
  folder_lib.write_rows(folder / folder_lib.CANDIDATES, rows)


class Desk:
  """What stands in for the placeholders of a reader at work.

  Attributes:
    folder: where all of it lies.
  """

  def __init__(self, folder):
    self.folder = folder
    (folder / "text").mkdir()
    self.text = tiny.write_corpus(folder / "text", 3000)
    arrays = {}
    for split, count in (("train", 5400), ("test", 300)):
      labels = np.arange(count, dtype=np.uint8) % 3
      arrays[f"y_{split}"] = labels
      arrays[f"x_{split}"] = np.tile(labels[:, None, None], (1, 8, 8))
    (code,) = blocks(ROOT / "experiments" / "docs" / "own_images.md", "python")
    with contextlib.chdir(folder):
      exec(code, arrays)
    self.images = folder / "images.npz"
    self.classes = folder / "classes"
    for index in range(20):
      place = self.classes / "ab"[index % 2]
      place.mkdir(parents=True, exist_ok=True)
      Image.new("L", (8, 8), index).save(place / f"{index}.png")
    self.table = folder / "table.csv"
    cells = ["".join(ops) for ops in itertools.product("01234", repeat=6)]
    rows = [f"{cell},{50 + int(cell, 5) / 1000}" for cell in cells]
    self.table.write_text("\n".join(["ops,cifar10_test_200", *rows]) + "\n")
    for space in ("recurrent", "macro", "nasbench201"):
      data = self.text if space == "recurrent" else "digits"
      for name in _RUNS:
        policy = "random" if name.startswith("RANDOM") else "controller"
        save_run(folder / space / name.lower(), space, policy, data)
    self._new = itertools.count()

  def fill_in(self, script, words):
    """The script and its arguments as a reader would give them."""
    script = re.sub("[A-Z]+", lambda m: _PLACEHOLDERS[m[0]], script)
    flags = dict(word.lstrip("-").partition("=")[::2] for word in words)
    space = self._space(script, flags)
    filled = []
    for word in words:
      name, equals, value = word.lstrip("-").partition("=")
      if name in _HOSTS:
        continue
      filled.append(f"--{name}{equals}{self._value(name, value, space, flags)}")
    if "data_dir" in flags and "dataset" not in flags:
      if script not in ("derive", "ranking", "place", "analyze_controller"):
        data = self.text if space == "recurrent" else "digits"
        filled.append(f"--dataset={data}")
    return script, filled

  def _space(self, script, flags):
    if "space" in flags:
      return _PLACEHOLDERS.get(flags["space"], flags["space"])
    if script == "nasbench201" or "benchmark_table" in flags:
      return "nasbench201"
    return "macro" if script.startswith("cifar") else "recurrent"

  def _value(self, name, value, space, flags):
    """One value; what stands in capitals must be known."""
    if name == "preset":
      assert value in config_lib.PRESETS, value
      return "smoke"
    if name == "num_devices":
      return 1  # of a machine that has no more
    if name == "workdir" and "resume" not in flags:
      return self.folder / f"new{next(self._new)}"
    if name == "benchmark_table" and value == "FILE":
      return self.table
    if name == "data_dir":
      return self.folder
    if value == "ARC":
      return next(iter(spaces.get(space).named))
    if value == "DIR_1,DIR_2":
      return self.folder
    value = value.replace("npz:FILE", f"npz:{self.images}")
    value = value.replace("images:DIR", f"images:{self.classes}")
    value = value.replace("text:DIR", self.text)
    for run in _RUNS:
      place = str(self.folder / space / run.lower())
      value = re.sub(rf"\b{run}\b", place, value)
    return _PLACEHOLDERS.get(value, value)


class CommandsTest(absltest.TestCase):
  """Nothing is trained: each stops where the work would start."""

  def test_every_example_command(self):
    desk = Desk(pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())))
    done = set()
    for name, words, document in scripts():
      script, flags = desk.fill_in(name, words)
      key = (script, *(flag for flag in flags if "/new" not in flag))
      if key in done:
        continue
      done.add(key)
      with self.subTest(document, command=f"{name} {shlex.join(words)}"):
        until = "work"
        if script in _PARSED or (script == "ablations" and "--resume" in flags):
          until = "parsed"
        elif "--against=torch" in flags or "--space=all" in flags:
          until = "parsed"  # an extra; and processes that nothing would stop
        elif any("wandb" in flag or "mlflow" in flag for flag in flags):
          until = "parsed"  # extras, too
        elif left := [word for word in flags if _CAPITALS.search(word)]:
          self.fail(f"a placeholder that this test does not know: {left}")
        answer = command_line.run(
          script, *flags, cwd=desk.folder, pythonpath=(ROOT,), until=until
        )
        self.assertEqual(answer.returncode, 0, answer.stderr)
    self.assertGreater(len(done), 50)

  def test_make_knows_its_targets(self):
    makefile = (ROOT / "Makefile").read_text()
    for path in DOCUMENTS:
      for target in re.findall(r"`make (\w+)`", path.read_text()):
        self.assertIn(f"\n{target}:", makefile, path)


class ScriptsTest(absltest.TestCase):
  """The Python of the README, and what takes its run further, for real."""

  def test_the_search_in_one_call(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    text = tiny.write_corpus(folder)
    (code,) = blocks(ROOT / "README.md", "python")
    tiny_options = (
      'preset="smoke", num_nodes=3, hidden_size=8, batch_size=4, bptt_length=5,'
      " omega_steps=2, theta_steps=2, num_epochs=1, derive_arcs=3"
    )
    self.assertIn('preset="smoke"', code)
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
      code = code.replace('preset="smoke"', tiny_options)
      exec(code.replace("python_docs", text), {})
    run = folder / "runs" / "first"
    self.assertIn("<svg", (run / "arc.svg").read_text())
    result = json.loads((run / "result.json").read_text())
    tree, _, last = out.getvalue().rstrip().rpartition("\n")
    self.assertEqual(last, f"perplexity {result['valid_perplexity']}")
    self.assertIn("loose end", tree)

    trained, model = folder / "trained", folder / "model"
    self._run("describe", f"--run={run}")
    self._run("derive", f"--run={run}", f"--workdir={folder / 'more'}")
    self._run("ranking", f"--run={run}", "--tune_steps=2", "--num_arcs=2")
    short = (
      "--omega_steps=2",
      "--num_epochs=1",
      "--batch_size=4",
      "--bptt_length=5",
    )
    self._run("train", f"--run={run}", f"--workdir={trained}", *short)
    self._run("export", f"--run={trained}", f"--to={model}")
    self.assertTrue((model / "model.jaxexport").exists())

  def test_the_searches_of_the_readme(self):
    """Each to its end; those that need a run are above."""
    desk = Desk(pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())))
    # The last of each script: that on data of one's own, where there are two.
    searches = {
      name: words
      for name, words, document in scripts()
      if document == "README.md" and "--resume" not in words
    }
    for name, sizes in _SMALL.items():
      words = searches[name]
      with self.subTest(command=f"{name} {shlex.join(words)}"):
        _, flags = desk.fill_in(name, words)
        workdir = desk.folder / f"whole_{name}"
        flags += [*_SHORT, *sizes, f"--workdir={workdir}"]
        self._run(name, *flags)
        self.assertTrue((workdir / "arc.svg").exists())
        record = json.loads((workdir / "result.json").read_text())
        self.assertGreater(record["omega_steps"], 0)

  def _run(self, script, *flags):
    answer = command_line.run(script, *flags)
    self.assertEqual(answer.returncode, 0, f"{script}: {answer.stderr}")


class WordsTest(absltest.TestCase):
  """What stands in running text."""

  def test_flags_policies_presets_and_scores_exist(self):
    names = {path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")}
    flags = set(_OTHERS)
    for name in names:
      answer = command_line.run(name, until="defined")
      self.assertEqual(answer.returncode, 0, answer.stderr)
      flags |= set(answer.stdout.split())
    scores = {"nll", *zero_cost.SCORES}
    scores |= {tasks.get(name).metric for name in tasks.names()}
    known = {
      "policy": {*strategies.names(), "bandit"},
      "preset": {*config_lib.PRESETS},
      "space": {*spaces.names(), "widths", "all"},
      "score": scores,
    }
    for path in DOCUMENTS:
      text = path.read_text()
      for name in _SCRIPT.findall(text):
        if name.islower():
          self.assertIn(name, names, path)
      for flag, value in _FLAG.findall(text):
        with self.subTest(path.name, flag=flag, value=value):
          begins = [name for name in flags if name.startswith(flag)]
          given = flag.removeprefix("no") if flag not in flags else flag
          known_flag = given in flags or (flag.endswith("_") and begins)
          self.assertTrue(known_flag, "no script has this flag")
          for part in value.split(",") if flag in known and value else ():
            if not _CAPITALS.fullmatch(part):
              self.assertIn(part, known[flag])

  def test_a_part_of_a_preset_is_replaced(self):
    guide = ROOT / "experiments" / "docs" / "command_line.md"
    (code,) = blocks(guide, "python")
    names = {}
    exec(code, names)
    self.assertEqual(names["config"].run.num_epochs, 1)

  def test_links_lead_somewhere(self):
    for path in DOCUMENTS:
      for target in _LINK.findall(path.read_text()):
        if not target.startswith("https://"):
          self.assertTrue((path.parent / target).exists(), f"{path}: {target}")

  def test_every_guide_is_in_the_index(self):
    index = ROOT / "experiments" / "README.md"
    linked = {index.parent / to for to in _LINK.findall(index.read_text())}
    self.assertContainsSubset(index.parent.glob("docs/*.md"), linked)

  def test_a_package_index_can_show_the_readme(self):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hooks = project["tool"]["hatch"]["metadata"]["hooks"]
    readme = (ROOT / "README.md").read_text()
    text = readme
    for change in hooks["fancy-pypi-readme"]["substitutions"]:
      text = re.sub(change["pattern"], change["replacement"], text)
    links = [to for to in _LINK.findall(readme) if to.startswith("https://")]
    self.assertEqual(_LINK.findall(text), links)
    self.assertNotIn("![", text)
    self.assertIn("(BUILD, traps)", text)
    self.assertEqual(text.count("```"), readme.count("```"))

  def test_the_readme_is_read_in_five_minutes(self):
    self.assertLessEqual(len((ROOT / "README.md").read_text().split()), 1200)


if __name__ == "__main__":
  absltest.main()
