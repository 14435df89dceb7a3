"""Holds the direction of imports and what modules may not do."""

import ast
import importlib
import pathlib

from absl.testing import absltest

import enas_jax

ROOT = pathlib.Path(enas_jax.__file__).parent
# What a module of each kind may import from the package; a prefix each.
ALLOWED = {
  "types": (),
  "spaces": ("types", "spaces"),
  "config": ("types", "spaces", "config"),
  "ops": ("types",),
  "cpu_kernels": ("types",),
  "image_ops": ("types", "cpu_kernels"),
  "supergraph": (
    *("types", "config", "spaces", "ops", "image_ops"),
    "supergraph",
  ),
  "controller": ("types", "config", "spaces"),
  "evolution": ("types", "config", "spaces"),
  "policies": ("types", "config", "spaces", "controller", "evolution"),
  "data": ("types", "config", "data"),
  "losses": ("types",),
  "reward": ("types", "config"),
  "optimizers": ("config",),
  "metrics": ("types",),
  "report": ("types", "report"),
  "analysis": (
    *("types", "config", "spaces", "controller", "evolution", "evaluate"),
    *("tasks", "states", "phases", "analysis"),
  ),
  "arcs": ("types", "spaces"),
  "describe": ("types", "config", "spaces", "image_ops", "supergraph"),
  "export": (
    *("types", "config", "spaces", "image_ops", "supergraph", "data"),
    "export",
  ),
  "tasks": ("types",),
  "states": (
    *("types", "config", "controller", "evolution", "optimizers", "reward"),
    "tasks",
  ),
  "phases": (
    *("types", "config", "spaces", "controller", "policies"),
    *("losses", "reward", "optimizers", "evolution", "tasks", "states"),
  ),
}


def imported(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        yield f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name


class ImportsTest(absltest.TestCase):
  def test_direction(self):
    checked = 0
    for path in ROOT.rglob("*.py"):
      kind = path.relative_to(ROOT).parts[0].removesuffix(".py")
      for name in imported(path):
        self.assertNotIn("experiments", name, path)
        if not name.startswith("enas_jax.") or kind not in ALLOWED:
          continue
        checked += 1
        self.assertIn(name.split(".")[1], ALLOWED[kind], f"{path}: {name}")
    self.assertGreater(checked, 20)

  def test_the_package_reads_no_flags_and_no_environment(self):
    for path in ROOT.rglob("*.py"):
      text = path.read_text()
      for word in ("absl.flags", "import flags", "os.environ", "getenv"):
        self.assertNotIn(word, text, path)

  def test_jit_lives_in_few_modules(self):
    users = {
      path.name
      for path in ROOT.rglob("*.py")
      if "jax.jit(" in path.read_text() or "@jax.jit" in path.read_text()
    }
    known = {"states.py", "phases.py", "evaluate.py", "tune.py", "serving.py"}
    # The model card shows it; a cell's edges are traced as one.
    self.assertEqual(users, known | {"card.py", "nasbench201.py"})

  def test_the_package_imports_its_names_when_they_are_used(self):
    tree = ast.parse((ROOT / "__init__.py").read_text())
    # What type checkers see; every name is really there in the next loop.
    seen = {
      alias.asname or alias.name: f"{node.module}:{alias.name}"
      for block in tree.body
      if isinstance(block, ast.If)
      for node in block.body
      if isinstance(node, ast.ImportFrom)
      for alias in node.names
    }
    self.assertEqual(sorted(seen), sorted(enas_jax.__all__))
    for name, source in seen.items():
      module, _, attribute = source.partition(":")
      found = getattr(importlib.import_module(module), attribute)
      self.assertIs(getattr(enas_jax, name), found, name)
      self.assertIn(name, dir(enas_jax))
    with self.assertRaisesRegex(AttributeError, "no attribute 'searhc'"):
      enas_jax.searhc  # noqa: B018


if __name__ == "__main__":
  absltest.main()
