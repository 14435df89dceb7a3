"""`--print_config`, and `--config` that starts from what it printed."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from enas_jax.spaces import arcs, registry
from tests import command_line, tiny

_SEARCH = (*tiny.command_flags(), "--dataset=python_docs")


def ask(script, *flags):
  """What `--print_config` prints."""
  answer = command_line.run(script, *flags, "--print_config")
  assert answer.returncode == 0, answer.stderr
  assert not answer.stderr, answer.stderr
  return json.loads(answer.stdout)


class SavedConfigTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )

  def _save(self, record, name="config.json"):
    path = self.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
    return f"--config={path}"

  def test_studies_start_from_what_they_printed(self):
    data = ("--preset=smoke", "--dataset=python_docs", "--seeds=5")
    small = ("--space=recurrent", "--study=search_disabled", "--hidden_size=9")
    first = ask("ablations", *data, *small)
    self.assertEqual(first["configs"]["search"]["child"]["hidden_size"], 9)
    again = ask("ablations", self._save(first))
    self.assertEqual(again | {"command": ""}, first | {"command": ""})
    data = ("--preset=smoke", "--dataset=digits", "--seeds=1")
    first = ask("baselines", *data, "--num_epochs=7")
    epochs = {c["run"]["num_epochs"] for c in first["configs"].values()}
    self.assertEqual(epochs, {7})
    again = ask("baselines", self._save(first))
    self.assertEqual(again["configs"], first["configs"])

  def test_it_is_what_the_flags_ask_for_and_writes_nothing(self):
    workdir = self.folder / "run"
    record = ask("ptb_search", *_SEARCH, f"--workdir={workdir}")
    self.assertFalse(workdir.exists())
    self.assertEqual(record["experiment"], "ptb_search")
    self.assertEqual(record["preset"], "smoke")
    self.assertEqual(record["config"]["child"]["num_nodes"], 3)
    self.assertEqual(record["config"]["omega"]["steps"], 6)
    preset = registry.preset("smoke", "recurrent")
    self.assertEqual(
      record["config"]["theta"]["reward_scale"], preset.theta.reward_scale
    )
    self.assertIn("versions", record)

  def test_a_search_starts_from_it_and_flags_override(self):
    first = ask("ptb_search", *_SEARCH, "--seed=7")
    config = self._save(first)
    again = ask("ptb_search", config)
    for name in ("space", "preset", "dataset", "config", "seed"):
      self.assertEqual(again[name], first[name], name)
    other = ask(
      "search", config, "--policy=random", "--num_epochs=9", "--dataset=ptb"
    )
    self.assertEqual(other["space"], "recurrent")
    self.assertEqual(other["dataset"], "ptb")
    self.assertEqual(other["config"]["run"]["policy"], "random")
    self.assertEqual(other["config"]["run"]["num_epochs"], 9)
    self.assertEqual(other["config"]["child"], first["config"]["child"])
    helps = command_line.run("search", config, "--help").stdout
    self.assertIn("--num_nodes=3 ", helps)

  def test_what_suits_the_data_gives_way_to_the_file(self):
    flags = ("--preset=smoke", "--dataset=digits")
    self.assertEqual(
      ask("cifar_macro", *flags)["config"]["data"]["image_size"], 0
    )
    first = ask("cifar_macro", *flags, "--image_size=6")
    again = ask("cifar_macro", self._save(first))
    self.assertEqual(again["config"]["data"]["image_size"], 6)
    self.assertEqual(again["config"], first["config"])

  def test_a_training_starts_from_it_with_its_architecture(self):
    first = ask(
      "ptb_train", "--preset=smoke", "--arc=0 0 1 0 2", "--omega_steps=3"
    )
    config = self._save(first)
    again = ask("ptb_train", config)
    for name in ("config", "arcs", "arc", "init", "retrain_top"):
      self.assertEqual(again[name], first[name], name)
    other = ask("ptb_train", config, "--arc=0 0 1 0 1")
    self.assertEqual(other["arc"], "0 0 1 0 1")
    self.assertNotEqual(other["arcs"], first["arcs"])
    self.assertEqual(other["config"], first["config"])

  def test_a_resumed_run_has_the_numbers_of_the_file(self):
    first = ask("ptb_search", *_SEARCH)
    run, config = self.folder / "run", self._save(first)
    self._save(first, "run/config.json")
    flags = (f"--workdir={run}", "--resume")
    same = ask("ptb_search", *flags, config)
    self.assertEqual(same["config"], first["config"])
    other = self._save(ask("ptb_search", *_SEARCH, "--drop_x=0.5"), "other")
    found = command_line.run("ptb_search", *flags, other)
    self.assertEqual(found.returncode, 2)
    self.assertIn(
      "--config, its drop_x is 0.5, but the run in --workdir has 0.0",
      found.stderr,
    )

  def test_data_are_looked_for_where_the_run_had_them(self):
    first = ask("ptb_search", *_SEARCH, f"--data_dir={self.folder}")
    self.assertEqual(first["data_dir"], str(self.folder))
    run = self.folder / "run"
    self._save(first, "run/config.json")
    resume = (f"--workdir={run}", "--resume")
    self.assertEqual(ask("ptb_search", *resume)["data_dir"], first["data_dir"])
    again = ask("ptb_search", f"--config={run / 'config.json'}")
    self.assertEqual(again["data_dir"], first["data_dir"])
    other = ask("ptb_search", *resume, "--data_dir=/")
    self.assertEqual(other["data_dir"], "/")
    self._save({**first, "data_dir": "/no/such"}, "run/config.json")
    found = command_line.run("ptb_search", *resume, "--print_config")
    self.assertEqual(found.returncode, 0)
    self.assertRegex(found.stderr, r"\Anote: /no/such, .* --data_dir .*\n\Z")

  def test_a_training_takes_the_data_of_the_run_of_its_architecture(self):
    record = ask(
      "search",
      "--space=macro",
      "--preset=smoke",
      "--dataset=digits",
      f"--data_dir={self.folder}",
    )
    self._save(record, "run/config.json")
    arc = registry.get("macro").named["enas_macro"].tokens
    loaded = arcs.load_arc(arc)
    path = self.folder / "run" / "arc.json"
    path.write_text(json.dumps(loaded.space.to_dict(loaded.arc)))
    flags = (f"--arc={path}", "--preset=smoke")
    found = ask("cifar_train", *flags)
    self.assertEqual(found["dataset"], "digits")
    self.assertEqual(found["data_dir"], str(self.folder))
    self.assertEqual(found["config"]["data"]["num_valid"], 300)  # suits them
    found = ask("cifar_train", *flags, "--dataset=cifar10")
    self.assertEqual(found["dataset"], "cifar10")
    # Of an architecture that is no run's, the task says which.
    found = ask("cifar_train", "--arc=enas_macro", "--preset=smoke")
    self.assertEqual(found["dataset"], "cifar10")
    self.assertIsNone(found["data_dir"])

  def test_bad_files(self):
    first = ask("ptb_search", *_SEARCH)
    config = self._save(first)
    damaged = self.folder / "damaged"
    damaged.write_text("{")
    without = self._save({**first, "dataset": None}, "without")
    older = self._save(
      {**first, "config": {**first["config"], "child": {"x": 1}}}, "older"
    )
    for script, flags, message in (
      ("ptb_search", (config, "--preset=small"), "give --preset or --config"),
      ("ptb_search", ("--config=NO",), "NO cannot be read: No such file"),
      ("ptb_search", (f"--config={self.folder}",), "Is a directory; give the"),
      (
        "ptb_search",
        (f"--config={damaged}",),
        "is damaged: it is not valid",
      ),
      ("ptb_search", (without,), "without is damaged: 'dataset' must be"),
      ("ptb_search", (older,), "config.json of --config is not one of this"),
      ("ptb_search", (config, "--drop_x=2"), r"drop_x must be in \[0, 1\)"),
      ("cifar_macro", (config,), "is of the recurrent space, not of macro"),
      (
        "ptb_train",
        (config, "--arc=enas_rnn"),
        "config.json is of a search, not of a training",
      ),
      ("ptb_train", (config,), "--arc must be given"),
    ):
      with self.subTest(message):
        found = command_line.run(script, *flags, "--print_config")
        self.assertEqual(found.returncode, 2, found.stdout)
        self.assertRegex(found.stderr, rf"\Aerror: [^\n]*{message}[^\n]*\n\Z")


if __name__ == "__main__":
  absltest.main()
