"""What `--help` lists, and what it leaves out."""

import re

from absl.testing import absltest, parameterized

from enas_jax.spaces import registry
from enas_jax.strategies import registry as strategies
from tests import command_line

_SCRIPTS = sorted(
  path.stem for path in (command_line.ROOT / "experiments").glob("[a-z]*.py")
)
_FLAG = re.compile(r"^  --(\w+)(?:=(.+?))?(?:  .*)?$", re.MULTILINE)
_GROUP = re.compile(r"^(\w[^\n]*):$", re.MULTILINE)


def show(script, *words):
  """The text of a script's help, and its flags with their defaults."""
  answer = command_line.run(script, *words, "--help")
  assert answer.returncode == 0, answer.stderr
  assert not answer.stderr, answer.stderr
  return answer.stdout, dict(_FLAG.findall(answer.stdout))


class HelpTest(parameterized.TestCase):
  def test_the_numbers_are_those_of_the_preset(self):
    text, shown = show("ptb_search", "--preset=small")
    self.assertStartsWith(text, "Searches a recurrent cell on Penn Treebank")
    self.assertIn("python -m experiments.ptb_search", text)
    self.assertIn("Defaults are those of --preset=small.", text)
    config = registry.preset("small", "recurrent")
    for name, value in vars(config.omega).items():
      typed = "" if value == () else str(value).lower()
      self.assertEqual(shown[f"omega_{name}"], typed, name)
    for name in ("num_nodes", "hidden_size"):
      self.assertEqual(shown[name], str(getattr(config.child, name)))
    self.assertEqual(
      shown["controller_temperature"],
      str(config.strategy.controller.temperature),
    )
    self.assertEqual(shown["dataset"], "ptb")
    self.assertEqual(shown["workdir"], "")
    paper = registry.preset("paper", "recurrent")
    self.assertNotEqual(paper.omega.learning_rate, config.omega.learning_rate)
    self.assertEqual(shown["compilation_cache_dir"], "~/.cache/enas_jax")

  def test_groups_hold_what_belongs_together(self):
    text, _ = show("nasbench201", "--preset=smoke")
    self.assertEqual(
      _GROUP.findall(text),
      [
        "This script",
        "Run",
        "Data",
        "Network",
        "Omega, the weights",
        "Theta, which proposes architectures",
        "Last step, which keeps one architecture",
      ],
    )
    _, *parts = _GROUP.split(text)
    flags = {
      title: [name for name, _ in _FLAG.findall(part)]
      for title, part in zip(parts[::2], parts[1::2], strict=True)
    }
    self.assertContainsSubset(
      ["benchmark_table", "ranking_arcs"], flags["This script"]
    )
    self.assertEqual(flags["Run"][0], "preset")
    self.assertContainsSubset(["workdir", "seed", "policy"], flags["Run"])
    self.assertContainsSubset(["dataset", "batch_size"], flags["Data"])
    self.assertIn("num_cells", flags["Network"])
    (theta,) = (part for title, part in flags.items() if "Theta" in title)
    self.assertContainsSubset(
      ["theta_steps", "theta_learning_rate", "controller_hidden_size"], theta
    )
    self.assertContainsSubset(["derive_arcs", "tune_steps"], flags[parts[-2]])

  def test_what_does_nothing_with_the_policy_is_left_out(self):
    _, shown = show("ptb_search", "--policy=evolution")
    self.assertEqual(shown["policy"], "evolution")
    self.assertNotIn("theta_learning_rate", shown)
    default = strategies.get("evolution").options().population_size
    self.assertEqual(shown["theta_population_size"], str(default))

  def test_a_script_of_several_spaces_asks_for_one(self):
    text, shown = show("search")
    self.assertRegex(text, r"--space=recurrent,\s+macro")
    self.assertNotIn("omega_steps", shown)
    self.assertEqual(shown["seed"], "0")
    self.assertEqual(shown["num_epochs"], "")  # as the space has it
    text, shown = show("search", "--space=macro", "--preset=smoke")
    config = registry.preset("smoke", "macro")
    self.assertEqual(shown["num_epochs"], str(config.run.num_epochs))
    self.assertEqual(shown["num_layers"], str(config.child.num_layers))
    self.assertEqual(shown["num_valid"], str(config.data.num_valid))
    self.assertNotIn("streams of text", text)
    _, suited = show("cifar_macro", "--preset=smoke", "--dataset=digits")
    self.assertEqual(suited["num_valid"], "300")
    self.assertEqual(suited["flip"], "false")
    self.assertNotIn("num_nodes", shown)

  def test_a_benchmark_without_a_preset_has_sizes_of_its_own(self):
    self.assertRegex(show("benchmark")[1]["hidden_size"], r"^200 \(search\)")
    shown = show("benchmark", "--preset=paper")[1]["hidden_size"]
    self.assertNotIn("200", shown)

  @parameterized.parameters(*_SCRIPTS)
  def test_every_script_lists_its_own_flags(self, script):
    text, shown = show(script)
    doc = (command_line.ROOT / "experiments" / f"{script}.py").read_text()
    first = doc.lstrip("r").removeprefix('"""').splitlines()[0]
    self.assertStartsWith(text, first)
    self.assertIn(f"\n  python -m experiments.{script}", text)
    self.assertNotEmpty(shown)
    for name in shown:
      # absl's, absltest's, chex's and JAX's.
      self.assertNotRegex(name, "^(test_|chex|jax|pdb|run_with|v$|only_check)")
    words = [line for line in text.splitlines() if line.endswith("\\")]
    for line in words:
      self.assertStartsWith(line, "  python -m ")

  def test_flags_that_a_script_refuses_are_left_out(self):
    for script in ("baselines", "ablations"):
      shown = show(script)[1]
      self.assertIn("seeds", shown)
      self.assertNotIn("seed", shown)
      self.assertNotIn("policy", shown)

  def test_bad_flags_are_refused_beside_it(self):
    for flag, message in (
      ("--num_nods=3", "Unknown command line flag 'num_nods'"),
      ("--policy=annealing", "policy must be one of controller"),
    ):
      answer = command_line.run("ptb_search", flag, "-h")
      self.assertEqual(answer.returncode, 2)
      self.assertRegex(answer.stderr, rf"\Aerror: .*{message}.*\n\Z")
      self.assertEqual(answer.stdout, "")


if __name__ == "__main__":
  absltest.main()
