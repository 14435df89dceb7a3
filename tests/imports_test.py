"""Holds the direction of imports and what modules may not do."""

import ast
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
  "policies": ("types", "config", "spaces", "controller"),
  "data": ("types", "config", "data"),
  "losses": ("types",),
  "reward": ("types", "config"),
  "optimizers": ("config",),
  "metrics": ("types",),
  "report": ("types", "report"),
  "arcs": ("types", "spaces"),
  "describe": ("types", "config", "spaces", "image_ops", "supergraph"),
  "phases": (
    *("types", "config", "spaces", "controller", "policies"),
    *("losses", "reward", "optimizers"),
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

  def test_jit_lives_in_two_modules(self):
    users = {
      path.name
      for path in ROOT.rglob("*.py")
      if "jax.jit(" in path.read_text() or "@jax.jit" in path.read_text()
    }
    self.assertEqual(users, {"phases.py", "evaluate.py"})


if __name__ == "__main__":
  absltest.main()
