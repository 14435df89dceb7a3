"""Every script, given bad input: one line, status 2, and nothing is made."""

import pathlib
import tempfile

from absl.testing import absltest, parameterized

from tests import bad_input, command_line

_SMALL = ("--batch_size=4", "--bptt_length=5")
_TEXT = ("--preset=smoke", "--dataset=text:text", *_SMALL)
_IMAGES = ("--preset=smoke", "--dataset=npz:good.npz", "--num_valid=4")
_TABLE = ("--preset=smoke", "--policies=table_random", "--seeds=0")
_HUGE = "1" + "0" * 30


def _searches(*cases):
  return [("ptb_search", (*_TEXT, *flags), message) for flags, message in cases]


def _studies(*cases):
  return [
    ("ablations", (f"--workdir=studies_{name}", "--resume"), message)
    for name, message in cases
  ]


def _archives(*cases):
  return [
    ("cifar_macro", ("--preset=smoke", f"--dataset=npz:{name}.npz"), message)
    for name, message in cases
  ]


def _tables(*cases):
  return [
    ("baselines", (*_TABLE, f"--benchmark_table={name}"), message)
    for name, message in cases
  ]


def _architectures(*cases):
  return [("describe", (f"--arc={arc}",), message) for arc, message in cases]


def _candidates(*cases):
  flags = (*_TEXT, "--retrain_top=2")
  return [
    ("ptb_train", (*flags, f"--arc={name}.jsonl"), message)
    for name, message in cases
  ]


def _resumed(*cases):
  return [
    ("ptb_search", (f"--workdir=run_{name}", "--resume"), message)
    for name, message in cases
  ]


CASES = [
  *_searches(
    (["--num_nodes=1"], "num_nodes must be at least 2"),
    (["--num_nodes=100000"], "num_nodes must be at most 256, got 100000"),
    ([f"--num_nodes={_HUGE}"], "num_nodes must be at most 256"),
    (["--hidden_size=1000000000"], "hidden_size must be at most 16,384"),
    (["--batch_size=1000000000"], "batch_size must be at most 16,384"),
    (["--bptt_length=-1"], "bptt_length must be positive, got -1"),
    (["--bptt_length=1000000"], "bptt_length must be at most 16,384"),
    (["--length_std=1e9"], "length_std must be at most"),
    (["--length_std=nan"], "length_std must be zero or positive, got nan"),
    (["--policy=random", "--theta_warmup_epochs=1e30"], "must be at most 2,14"),
    (["--theta_warmup_epochs=inf"], "theta_warmup_epochs must be"),
    (["--omega_learning_rate=nan"], "omega_learning_rate must be positive"),
    (["--omega_learning_rate=1e999"], "learning_rate must be at most 1e.30"),
    ([f"--num_epochs={'9' * 400}"], "num_epochs must be at most 2,147"),
    ([f"--num_epochs={'9' * 5000}"], "num_epochs"),
    (["--policy=random", "--omega_op_weights=1_0,1,1,1"], "with commas betw"),
    (["--seed=4294967296"], r"seed must be in \[0, 2\^32\)"),
    (["--cost=luck"], "cost must be one of , params, multiply_adds, latency"),
    (["--cost=params"], "every architecture of the recurrent space has the sa"),
    (["--cost_target=-1"], "cost_target must be zero or positive, got -1"),
    (["--workdir=~nosuch/x"], "there is no home folder ~nosuch; give the wh"),
    (["--workdir=a\udcff"], r"the path a\\udcff is not UTF-8; rename it"),
    ([f"--workdir={'a' * 300}"], "cannot be used: File name too long"),
    (["--workdir=fifo"], "fifo cannot be used: Not a directory"),
    (["--dataset=text:~nosuch/x"], "there is no home folder ~nosuch"),
    (["--dataset=text:text_latin1"], "valid.txt cannot be read: it is not UTF"),
    (["--dataset=text:text_pipe"], "valid.txt cannot be read: it is not a reg"),
    (["--dataset=text:text_empty"], "valid.txt is empty"),
    (["--dataset=ptb", "--data_dir=~nosuch/x"], "there is no home folder"),
  ),
  *_resumed(
    ("cut", "config.json is damaged: it is not valid JSON: .*; its run cannot"),
    ("nested", "is damaged: it is nested deeper than 64; its run cannot be re"),
    ("list", "must hold one JSON object; its run cannot be read"),
    ("latin1", "config.json cannot be read: it is not UTF-8"),
    ("float", "batch_size must be of type int, got [0-9]+.5"),
    ("whole", "batch_size must be of type int, got [0-9]+.0"),
    ("string", "batch_size must be of type int, got '"),
    ("bool", "batch_size must be of type int, got True"),
    ("null", "batch_size must be of type int, got None"),
    ("digits", "it has an integer of more than 19 digits, 999999999999..."),
    ("nan", "it has NaN, which is no number of JSON"),
    ("infinite", "it has a number that is not finite, 1e999"),
    ("field", "not one of this version of enas_jax .*batch_sizes"),
    ("config", "'config' must be an object, got 3; give another --workdir"),
    ("dataset", "'dataset' must be text, got 3; give another --workdir"),
    ("other", "holds a run of ptb_train, not of ptb_search"),
  ),
  *_studies(
    ("lacking", "studies_lacking/config.json lacks 'study'; give another"),
    ("study", "studies_study/config.json is damaged: give another --workdir"),
    ("seeds", "studies_seeds/config.json is damaged: give another --workdir"),
    ("sizes", "studies_sizes/config.json is damaged: give another --workdir"),
    ("configs", "studies_configs/config.json is damaged: give another --wor"),
    ("reference", "studies_reference/config.json is damaged: give another"),
  ),
  *_archives(
    ("cut", "cut.npz cannot be read: File is not a zip file; write it with"),
    ("none", "none.npz cannot be read: File is not a zip file; write it with"),
    ("one", "one.npz cannot be read: it is one array, not an archive: write"),
    ("objects", "y_test.npy has Python objects, which are not read; store num"),
    ("nan", r"x_test has values in \[nan, nan\]; floating point images must"),
    ("lacks", "lacks y_train and x_test and y_test; it has x_train"),
    ("gap", "y_train goes up to 1000000000000000 but lacks 1; labels must be"),
    ("encrypted", "is encrypted, password required"),
    ("lying", "announces an array of 10,000,000,000,128 bytes and has 128"),
    ("~nosuch/x", "there is no home folder ~nosuch; give the whole path"),
    ("missing", "looked for a file 'missing.npz', which is missing"),
  ),
  *_tables(
    ("cut.csv.gz", "cut.csv.gz cannot be read: its gzip data end too early"),
    ("changed.csv.gz", "cannot be read: its gzip data are damaged"),
    ("plain.csv.gz", "cannot be read: its gzip data are damaged"),
    ("bomb.csv.gz", "it unpacks to more than 100,000,000 bytes"),
    ("underscore.csv", "must be a number in .0, 100., got '9_0'"),
    ("nan.csv", "must be a number in .0, 100., got 'nan'"),
    ("huge.csv", "must be a number in .0, 100., got '1e999'"),
    ("doubled.csv", "has the column 'cifar10_test_200' twice; leave one"),
    ("twice.csv", "line 3: the cell 000000 comes twice"),
    ("cell.csv", r"line 2: arc.ops.5. must be in .0, 5., got 9"),
    ("headless.csv", "lacks the column 'ops'; needed are ops and cifar10"),
    ("empty.csv", "lacks the column 'ops'; needed are ops and cifar10"),
    ("short.csv", "must be a number in .0, 100., got"),
    ("field.csv", "field larger than field limit"),
    ("latin1.csv", "latin1.csv cannot be read: it is not UTF-8"),
    ("few.csv", "has 1 of the 15,625 cells"),
    ("code.anb", "is no table of analog-nasbench: it names os.system"),
    ("fifo", "fifo cannot be read: it is not a regular file"),
    ("text", "text cannot be read: Is a directory"),
    ("~nosuch/x", "there is no home folder ~nosuch; give the whole path"),
  ),
  *_architectures(
    ("nested.json", "the architecture is nested deeper than 64"),
    ("cut.json", "the architecture is not valid JSON"),
    ("list.json", "must be a JSON object, got list"),
    ("digits400.json", "has an integer of more than 19 digits"),
    ("digits5000.json", "has an integer of more than 19 digits"),
    ("infinite.json", "has a number that is not finite, 1e999"),
    ("float.json", "num_nodes must be an integer, got 2.0"),
    ("large.json", "num_nodes must be at most 256, got 100000"),
    ("layers.json", "num_layers must be at most 256, got 100000"),
    ("spaceless.json", '"space" must be one of recurrent, macro'),
    ("forward.json", r"arc.prev\[1\] must be in \[0, 1\), got 1"),
    ("op.json", "unknown operation 'gelu'; known are tanh, relu"),
    ("twice.json", "has the field 'num_nodes' twice"),
    ("latin1.json", "latin1.json cannot be read: it is not UTF-8"),
    ("fifo", "fifo cannot be read: it is not a regular file"),
    ("text", "text cannot be read: Is a directory"),
    ("~nosuch/x", "there is no home folder ~nosuch; give the whole path"),
    ("0 " + "9" * 400, "tokens must be integers"),
    ("1_0", "no architecture '1_0'"),
    ("random:99999999999", r"needs an integer in \[0, 2\^32\)"),
  ),
  *_candidates(
    ("cut", "cut.jsonl, line 2 is damaged: it is not valid JSON"),
    ("few", "--retrain_top is 2, but few.jsonl has 1 candidates"),
    ("list", 'list.jsonl, line 1: each line must have an "arc"'),
    ("arcless", 'arcless.jsonl, line 1: each line must have an "arc"'),
    ("rank", "rank.jsonl is damaged: rank must be a number; copy it from"),
    ("cell", "cell.jsonl: unknown operation 'gelu'; known are"),
    ("nested", "nested.jsonl, line 2 is damaged: it is nested deeper than 64"),
    ("digits", "line 2 is damaged: it has an integer of more than 19 digits"),
    ("latin1", "latin1.jsonl cannot be read: it is not UTF-8"),
    ("missing", "missing.jsonl cannot be read: No such file"),
    ("~nosuch/x", "there is no home folder ~nosuch; give the whole path"),
  ),
  ("describe", ("--arc=enas_rnn", "--draw=~nosuch/x.svg"), "no home folder"),
  ("describe", ("--space=macro", "--num_layers=100000"), "at most 256, got 1"),
  ("describe", ("--space=micro", "--num_layers=100000"), "at most 256, got 1"),
  ("benchmark", ("--space=macro", "--num_filters=1000000"), "at most 16,384"),
  (
    "cifar_macro",
    ("--policy=random", "--hypernetwork_rank=1000000000"),
    "hypernetwork_rank must be at most 16,384",
  ),
  ("scale", ("--sizes=4,x",), "--sizes must be positive numbers, separated"),
  ("scale", ("--sizes=4,8,4",), "the first and the last of which differ"),
  ("cifar_macro", (*_IMAGES, "--num_layers=100000"), "num_layers must be at"),
  ("cifar_micro", (*_IMAGES, "--num_layers=100000"), "num_layers must be at"),
  ("cifar_micro", (*_IMAGES, "--image_size=100000"), "image_size must be at"),
  ("cifar_micro", ("--dataset=images:text",), "text: there are no train imag"),
  ("cifar_micro", ("--dataset=images:cut.npz",), "cut.npz cannot be read: Not"),
  ("cifar_micro", (*_IMAGES, "--loggers=wand"), "loggers must be one of tenso"),
  ("cifar_micro", (*_IMAGES, "--data_dir=~nosuch/x", "--dataset=cifar10"),
   "there is no home folder ~nosuch"),
  ("cifar_train", (*_IMAGES, "--arc=layers.json"), "num_layers must be at mo"),
  ("cifar_train", ("--dataset=cifar10", "--data_dir=cifar_binary",
                   "--arc=enas_micro"), r"data_batch_1\.bin is damaged"),
  ("cifar_train", ("--dataset=cifar10", "--data_dir=cifar_code",
                   "--arc=enas_micro"), "it refers to os.system"),
  ("cifar_train", ("--dataset=cifar10", "--data_dir=cifar_laughs",
                   "--arc=enas_micro"), r"a label is \[\[\["),
  ("nasbench201", (*_IMAGES, "--benchmark_table=bomb.csv.gz"), "unpacks to mo"),
  ("nasbench201", (*_IMAGES, "--num_cells=100000"), "num_cells must be at mo"),
  ("nasbench201", (*_IMAGES, "--ranking_arcs=1"), "must be 0, or at least 2"),
  ("baselines", (*_TABLE, "--equal_seconds=inf"), "must be a finite number"),
  ("search", (*_TEXT, "--space=recurrent", "--num_nodes=100000"), "at most 25"),
  ("train", (*_TEXT, "--arc=nested.json"), "nested deeper than 64"),
  ("train", (*_TEXT, "--arc=enas_rnn", "--init=omega:~nosuch/x"), "no home f"),
  ("train", (*_TEXT, "--arc=enas_rnn", "--init=omega:run_cut"), "run_cut is n"),
  ("derive", ("--run=~nosuch/x",), "there is no home folder ~nosuch"),
  ("report", (), "--run must be given: the folder of a run; once for each"),
  ("report", ("--run=~nosuch/x",), "there is no home folder ~nosuch"),
  ("report", ("--run=text",), "--run=text is not the folder of a run: it has"),
  ("report", ("--run=run_cut", "--to=fifo/x"), "written: Not a directory; giv"),
  ("derive", ("--run=run_cut",), "run_cut is not the folder of a search"),
  ("derive", ("--run=run_cut", "--seed=4294967296"), "seed=4294967296"),
  ("ranking", ("--run=run_cut", "--seed=4294967296"), "seed=4294967296"),
  ("analyze_controller", ("--seed=4294967296",), "seed=4294967296"),
  ("derive", ("--run=run_float",), "batch_size must be of type int"),
  ("derive", ("--run=run_space",), "space must be one of recurrent, macro"),
  ("derive", ("--run=run_dataset",), '"dataset" of its config.json must be'),
  ("export", ("--run=~nosuch/x", "--to=out"), "there is no home folder ~nos"),
  ("export", ("--run=run_nested", "--to=out"), "nested deeper than 64; --run"),
  ("export", ("--run=run_good", "--to=out"), "is not the folder of a training"),
  ("ranking", ("--run=~nosuch/x", "--tune_steps=1"), "there is no home folder"),
  ("ranking", ("--run=run_digits", "--tune_steps=1"), "not the folder of a s"),
  ("place", ("--run=run_digits",), "--table must be given"),
  ("place", ("--table=run_digits",), "--run must be given"),
  ("place", ("--table=run_digits", "--run=a"), "not the folder of a s"),
  ("place", ("--table=run_digits", "--run=a", "--to=nosuch/x"),
   "--to=nosuch/x is in no folder that is there"),
  ("analyze_controller", ("--run=~nosuch/x",), "there is no home folder"),
  ("analyze_controller", ("--run=run_latin1",), "not the folder of a search"),
  ("ablations", ("--space=recurrent", "--run=~nosuch/x"), "no home folder"),
  ("ablations", ("--space=recurrent", "--arc=nested.json"), "nested deeper"),
  ("ablations", ("--config=studies_sizes/config.json",),
   "studies_sizes/config.json is damaged: give the config.json of a run"),
  ("selfcheck", ("--preset=smoke", "--batch_size=1000000000"),
   "batch_size must be at most"),
  ("results", ("--collect=a", "--title=t", "--run=~nosuch/x"), "no home fold"),
  ("compile", ("--preset=smoke", "--price=1"), "--price needs --topology"),
  ("compile", ("--card=h100", "--price=nan"), "must be a finite number"),
  ("compile", ("--card=h100", "--num_chips=2"), "--num_chips needs --topology"),
  ("compile", ("--preset=smoke", "--batch_size=0"), "batch_size must be"),
  ("results", ("--collect=a", "--title=t", "--run=result_cut"),
   "result.json is damaged: it is not valid JSON"),
  ("results", ("--collect=a", "--title=t", "--run=result_list"),
   "result.json must hold one JSON object"),
  ("results", ("--collect=a", "--title=t", "--run=result_nested"),
   "result.json is damaged: it is nested deeper than 64"),
]  # fmt: skip


def _listing(folder):
  """What there is in a folder, and when each file was written."""
  return {
    path: path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns)
    for path in folder.rglob("*")
    if path.name != ".lock"  # stays behind when a process ends
  }


class BadInputTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(
      cls.enterClassContext(tempfile.TemporaryDirectory())
    )
    bad_input.write(cls.folder)
    cls.before = _listing(cls.folder)

  def test_there_are_many_and_of_every_script(self):
    self.assertGreaterEqual(len(CASES), 80)
    scripts = {
      path.stem for path in (command_line.ROOT / "experiments").glob("[!_]*.py")
    }
    # It has numbers alone as flags, and reads nothing.
    self.assertEqual({case[0] for case in CASES}, scripts - {"depthwise"})

  @parameterized.parameters(*CASES)
  def test_one_line_and_nothing_made(self, script, flags, message):
    ran = command_line.run(
      script, *flags, cwd=self.folder, pythonpath=(command_line.ROOT,)
    )
    self.assertEqual(ran.returncode, 2, ran.stderr[-2000:])
    self.assertLen(ran.stderr.strip().splitlines(), 1, ran.stderr[-2000:])
    self.assertStartsWith(ran.stderr, "error: ")
    self.assertRegex(ran.stderr, message)
    self.assertLess(len(ran.stderr), 1000)
    self.assertEqual(_listing(self.folder), self.before)


if __name__ == "__main__":
  absltest.main()
