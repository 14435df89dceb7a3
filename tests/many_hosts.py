"""Searches of several processes that are killed, stopped and resumed.

  python -m tests.many_hosts 2 4

For every number of processes a tiny search, on forced devices of the CPU that
the loopback interface connects, runs to its end; another is stopped by a
SIGTERM to one process, a third loses its last process to a SIGKILL. These two
are resumed on as many processes, where they must end with the same bits, and
on 1 and 2. Minutes; `search_hosts_test` does less of it.
"""

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from tests import kill_and_resume, tiny

ROOT = pathlib.Path(__file__).resolve().parent.parent
_SHORT = (
  *("--preset=smoke", "--log_every=2", "--omega_steps=4", "--theta_steps=3"),
  *("--eval_arcs=1", "--derive_arcs=2", "--num_nodes=3", "--hidden_size=8"),
  *("--controller_hidden_size=8", "--batch_size=4", "--bptt_length=5"),
  *("--num_epochs=12", "--tune_arcs=2", "--tune_steps=4"),
)
_FILES = ("metrics.jsonl", "arcs.jsonl", "result.json")


class Run:
  """The processes of one search.

  Attributes:
    workdir: the search's folder.
    processes: they, by number.
  """

  def __init__(self, workdir, count, dataset, *flags, script="ptb_search"):
    self.workdir = workdir
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      port = free.getsockname()[1]
    command = [sys.executable, "-m", f"experiments.{script}", *_SHORT]
    command += [f"--dataset={dataset}", f"--workdir={workdir}"]
    command += ["--resume=auto", *flags]
    if count > 1:
      command += ["--multihost", f"--coordinator_address=127.0.0.1:{port}"]
      command += [f"--num_processes={count}"]
    self.processes = [
      subprocess.Popen(
        [*command, *([f"--process_id={index}"] if count > 1 else [])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
      for index in range(count)
    ]

  def wait_for_rows(self, count):
    """Waits for rows of the search's metrics.jsonl, or for its end."""
    path = self.workdir / "metrics.jsonl"
    while self.processes[0].poll() is None:
      if path.exists() and path.read_text().count("\n") >= count:
        return
      time.sleep(0.05)

  def end(self):
    """(status, lines on stderr) of each process, once all have ended."""
    answers = [process.communicate() for process in self.processes]
    # JAX's service notes a signal that it has caught.
    return [
      (process.returncode, [x for x in errors.splitlines() if x[:1] != "W"])
      for process, (_, errors) in zip(self.processes, answers, strict=True)
    ]


def same(first, second):
  """Whether two searches ended alike, bit for bit but for times."""
  return all(
    kill_and_resume.without_times(first / name)
    == kill_and_resume.without_times(second / name)
    for name in _FILES
  )


def gap(first, second):
  """The largest difference between the losses of two searches, nats."""
  losses = [
    [
      row["omega/loss_nats"]
      for row in kill_and_resume.without_times(folder / "metrics.jsonl")
      if "omega/loss_nats" in row
    ]
    for folder in (first, second)
  ]
  return max(abs(a - b) for a, b in zip(*losses, strict=True))


def compare(count, dataset, folder):
  """Prints how searches of so many processes end."""
  whole = folder / f"{count}-whole"
  statuses = Run(whole, count, dataset).end()
  print(json.dumps({"processes": count, "whole": statuses}), flush=True)
  last = count - 1
  for signum, victim in (
    (signal.SIGTERM, last),
    (signal.SIGKILL, last),
    (signal.SIGKILL, 0),
  ):
    cut = folder / f"{count}-{signum.name}-{victim}"
    run = Run(cut, count, dataset)
    run.wait_for_rows(7)
    run.processes[victim].send_signal(signum)
    begin = time.monotonic()
    record = {"signal": f"{signum.name} to {victim}", "ends": run.end()}
    record["seconds"] = round(time.monotonic() - begin, 1)
    for number in sorted({1, 2, count}):
      place = shutil.copytree(cut, folder / f"{cut.name}-{number}")
      resumed = Run(place, number, dataset).end()
      record[f"resumed on {number}"] = {
        "statuses": [status for status, _ in resumed],
        "loss_gap": gap(whole, place),
        "same_bits": same(whole, place),
      }
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
  with tempfile.TemporaryDirectory() as scratch:
    place = pathlib.Path(scratch)
    text = tiny.write_corpus(place)
    for argument in sys.argv[1:]:
      compare(int(argument), text, place)
