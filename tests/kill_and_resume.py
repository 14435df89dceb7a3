"""Kills searches at random moments and compares what they end with.

  python -m tests.kill_and_resume --kills=5 --space=recurrent --seed=0

For each space a tiny search runs once to its end. Another one is killed again
and again, by SIGTERM or SIGKILL at a random moment of one phase after another
(`_PHASES`), and resumed until it ends. Meanwhile it also saves every few
seconds. Both must leave the same rows, candidates and result, bit for bit but
for times.
Minutes for each space; not part of the suite, which stops searches at chosen
moments instead.
"""

import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from enas_jax.search import heartbeat
from tests import tiny

ROOT = pathlib.Path(__file__).resolve().parent.parent
_EPOCHS = 4
# The last two come after the last row of metrics.
_PHASES = ("omega", "theta", "epoch", "derive", "tune")
_SHORT = (
  *("--preset=smoke", f"--num_epochs={_EPOCHS}", "--log_every=2"),
  *("--omega_steps=6", "--theta_steps=5", "--eval_arcs=2", "--derive_arcs=6"),
  *("--controller_hidden_size=8", "--tune_arcs=3", "--tune_steps=6"),
)
_SMALL = {
  "recurrent": ("--num_nodes=3", "--hidden_size=8", "--bptt_length=5"),
  "macro": ("--num_layers=2", "--num_filters=4"),
  "micro": ("--num_nodes=3", "--num_layers=3", "--num_filters=4"),
  "nasbench201": ("--num_cells=1", "--num_filters=2", "--tune_changes="),
}


def main(argv):
  """Runs the comparison and says how it went."""
  del argv
  values = flags.FLAGS
  rng = random.Random(values.seed)
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    for space in values.space or _SMALL:
      command = _command(space, folder)
      whole = folder / f"{space}-whole"
      status = _finish([*command, f"--workdir={whole}"])
      if status:
        sys.exit(f"{space}: the search that is not killed fails, {status}")
      rows = without_times(whole / "metrics.jsonl")
      moments = _draw_moments(rows, values.kills, rng)
      saves = "--checkpoint_every_minutes=0.05"
      kills = _kill([*command, saves], folder / space, moments, rng)
      _compare(space, whole, folder / space)
      print(f"{space}: the same after {kills}", flush=True)


def _command(space, folder):
  data = "--dataset=digits"
  if space == "recurrent":
    data = f"--dataset={tiny.write_corpus(folder)}"
  flags_of = (*_SHORT, *_SMALL[space], data, f"--space={space}")
  return [sys.executable, "-m", "experiments.search", *flags_of]


def _finish(command):
  done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL)
  return done.returncode


def _draw_moments(rows, count, rng):
  """Phases, each as often as another, with the rows before them, in order."""
  moments = []
  for number in range(count):
    phase = _PHASES[number % len(_PHASES)]
    before = [i for i, row in enumerate(rows) if row["phase"] == phase]
    moments.append((rng.choice(before or [len(rows)]), phase))
  return sorted(moments, key=lambda one: (one[0], one[1] == "tune"))


def _is_reached(workdir, moment):
  num_rows, phase = moment
  if phase == "tune":
    return (workdir / "tuned.json").exists()
  return _count_rows(workdir) >= num_rows


def _kill(command, workdir, moments, rng):
  """Kills the run at every moment, then lets it end.

  Returns:
    The signals, with the phases that they came in.
  """
  sent = []
  for moment in moments:
    process = subprocess.Popen(
      [*command, f"--workdir={workdir}", "--resume=auto"],
      cwd=ROOT,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not _is_reached(workdir, moment):
      time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 0.2))
    signum = rng.choice((signal.SIGTERM, signal.SIGKILL))
    process.send_signal(signum)
    if process.wait() == 0:
      break  # it was done before the signal came
    sent.append(f"{signum.name} in {moment[1]} after {moment[0]} rows")
  status = _finish([*command, f"--workdir={workdir}", "--resume=auto"])
  if status:
    sys.exit(f"{workdir.name}: cannot be resumed after {sent}, {status}")
  return ", ".join(sent) or "no kill"


def _count_rows(workdir):
  path = workdir / "metrics.jsonl"
  return path.read_text().count("\n") if path.exists() else 0


def _compare(space, whole, killed):
  for name in ("metrics.jsonl", "policy.jsonl", "arcs.jsonl", "result.json"):
    first, second = (without_times(path / name) for path in (whole, killed))
    if first != second:
      sys.exit(f"{space}: {name} is another one:\n{first}\n{second}")


def without_times(path):
  text = path.read_text()
  lines = [text] if path.suffix == ".json" else text.splitlines()
  rows = [json.loads(line) for line in lines]
  for row in rows:
    for name in (*heartbeat.FIELDS, "search_seconds"):
      row.pop(name, None)
  return rows


if __name__ == "__main__":
  flags.DEFINE_integer("kills", 3, "of each search", 1)
  flags.DEFINE_multi_enum("space", [], tuple(_SMALL), "by default all")
  flags.DEFINE_integer("seed", 0, "of the moments and signals")
  app.run(main)
