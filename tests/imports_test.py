"""Holds the direction of imports and what modules may not do."""

import ast
import graphlib
import importlib
import pathlib

from absl.testing import absltest

import enas_jax

ROOT = pathlib.Path(enas_jax.__file__).parent
# Rooms of the package, each above what it may import.
ALLOWED = {
  "types": (),
  "files": ("types",),
  "nn": ("types",),
  "config": ("types",),
  "data": ("types", "files"),
  "loggers": ("types", "config"),
  "spaces": ("types", "files", "nn", "config"),
  "strategies": ("types", "nn", "config", "spaces"),
  "tasks": ("types", "nn", "config", "data", "spaces"),
  "search": (
    *("types", "files", "nn", "config", "data", "spaces", "strategies"),
    *("tasks", "loggers"),
  ),
}
_BELOW = (*ALLOWED, "search")
ALLOWED |= {
  "analysis": (*_BELOW,),
  "report": ("types", "files", "nn", "config", "spaces"),
  "released": ("types", "nn", "config", "spaces"),
  # An exported model loads without the search.
  "export": ("types", "files", "nn", "config", "data", "spaces"),
  "running": (*_BELOW, "report", "export"),
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
        if not name.startswith("enas_jax.") or kind == "__init__":
          continue
        checked += 1
        known = (*ALLOWED[kind], kind)
        self.assertIn(name.split(".")[1], known, f"{path}: {name}")
    self.assertGreater(checked, 100)

  def test_pytorch_stands_in_the_name_of_what_imports_it(self):
    """The reference leaves such modules out (Makefile): it is an extra."""
    at_once = {
      path.stem
      for path in ROOT.rglob("*.py")
      for node in ast.parse(path.read_text()).body
      if isinstance(node, ast.Import)
      and any(alias.name.split(".")[0] == "torch" for alias in node.names)
    }
    self.assertNotEmpty(at_once)
    for name in at_once:
      self.assertIn("torch", name)
    makefile = (ROOT.parent / "Makefile").read_text()
    # It takes away from what stands before it.
    self.assertRegex(makefile, r"enas_jax \$\(ROOMS\) '!\.\*torch'\n")

  def test_no_two_files_import_each_other(self):
    """Neither for types alone; the face of the package names all others."""
    modules = {
      ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
      for path in ROOT.rglob("*.py")
      if path.name != "__init__.py"
    }
    order = graphlib.TopologicalSorter(
      {
        name: set(imported(path)) & set(modules)
        for name, path in modules.items()
      }
    )
    self.assertLen(list(order.static_order()), len(modules))

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
    known = {
      "state.py",
      "steps.py",
      "theta_steps.py",
      "evaluate.py",
      "groups.py",
      "tune.py",
      "serving.py",
    }
    # What is compiled for one child alone, and for scores that train nothing.
    known |= {"timing.py", "selfcheck.py", "zero_cost.py"}
    # A cell's edges are traced as one.
    self.assertEqual(users, known | {"cell.py"})

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
