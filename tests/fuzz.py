"""Gives mutants of good files to everything that reads files.

  python -m tests.fuzz --count=1000000 --seed=0

An exception that is not `types.InputError` is a defect: the script prints the
parser and the exception, keeps the mutant under `--keep`, and ends with status
1. It prints how many mutants each parser read and refused. `fuzz_test.py` has
a few of them from hypothesis.
"""

import collections
import gzip
import io
import json
import os
import pathlib
import pickle
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from absl import app, flags
from PIL import Image

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import benchmark_table, truth
from enas_jax.data import cifar, image_folder, images, text
from enas_jax.export import description
from enas_jax.export import folder as export_folder
from enas_jax.loggers import base as loggers
from enas_jax.report import candidates as candidates_lib
from enas_jax.report import html, results, run_charts, run_files
from enas_jax.search import costs, metrics, runs, train
from enas_jax.spaces import arcs, records, registry

# What breaks readers: numbers that are too large, text that is none.
TOKENS = (
  *(b"null", b"true", b"[]", b"{}", b'""', b"-1", b"0", b"1.5", b"1e999"),
  *(b"NaN", b"Infinity", b"9" * 19, b"9" * 400, b"9" * 5000, b"[" * 2000),
  *(b'{"a":' * 500, b"\xff", b"\x00", b"\xef\xbb\xbf", b"\\ud800", b"9_0"),
  *(b"\n", b",", b'"', b"\\", b"~nosuch/x", "\u0663".encode(), b"1e30"),
  *(b"100000", b"\xff\xff\xff\x7f", b"\x80", b"macro", b"micro", b"arc"),
)
Edit = tuple[int, float, int]  # what is done, where, and with what


class Parser(NamedTuple):
  """A reader of one kind of file.

  Attributes:
    seeds: contents of good files.
    read: (content) -> None; raises InputError for a bad one.
  """

  seeds: Sequence[bytes]
  read: Callable[[bytes], object]


def mutate(content: bytes, edits: Sequence[Edit]) -> bytes:
  """A content with edits done one after the other."""
  for kind, place, value in edits:
    at = int(place * len(content))
    token = TOKENS[value % len(TOKENS)]
    if kind == 0:
      content = content[:at] + bytes([value % 256]) + content[at + 1 :]
    elif kind == 1:
      content = content[:at]
    elif kind == 2:
      content = content[:at] + token + content[at:]
    elif kind == 3:  # in the place of a word or a number
      end = at
      while end < len(content) and content[end : end + 1].isalnum():
        end += 1
      content = content[:at] + token + content[max(end, at + 1) :]
    elif kind == 4:
      content = content[:at] + content[at + value % 40 :]
    else:
      content = content[: at + value % 60] + content[at:]
  return content


def _saved(space: str) -> bytes:
  record = {
    "experiment": "search",
    "space": space,
    "preset": "smoke",
    "dataset": "digits",
    "config": registry.preset("smoke", space).to_dict(),
  }
  return json.dumps(record).encode()


def _architectures() -> dict[str, bytes]:
  """Of each space, the JSON of an architecture."""
  tokens = {
    "recurrent": "0 0 1 1 2",
    "macro": "1 2 1 0 1 1",
    "micro": " ".join(["0 1 1 0"] * 2),
    "nasbench201": "0 1 2 3 4 0",
  }
  written = {}
  for name, line in tokens.items():
    space = registry.get(name).of_count(len(line.split()))
    record = space.to_dict(space.from_tokens(line))
    written[name] = records.dumps(record).encode()
  return written


def _archive(compressed: bool) -> bytes:
  pixels, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
  stream = io.BytesIO()
  save = np.savez_compressed if compressed else np.savez
  save(stream, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
  return stream.getvalue()


def _picture(mode: str) -> bytes:
  """A PNG of 8 x 8 pixels."""
  stream = io.BytesIO()
  Image.new(mode, (8, 8), 9).save(stream, "PNG")
  return stream.getvalue()


def _drawn(label: bytes, planes: bytes) -> bytes:
  """A batch of CIFAR-10 of two images, as Python 2 pickled it."""
  return (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\n"
    b"q\x03cnumpy\nndarray\nq\x04K\x00\x85q\x05U\x01bq\x06\x87q\x07Rq\x08"
    b"(K\x01K\x02M\x00\x0c\x86q\x09cnumpy\ndtype\nq\x0aU\x02u1q\x0bK\x00K\x01"
    b"\x87q\x0cRq\x0d(K\x03U\x01|q\x0eNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    b"K\x00tq\x0fb\x89T"
    + len(planes).to_bytes(4, "little")
    + planes
    + b"q\x10tq\x11bU\x06labelsq\x12]q\x13("
    + label * 2
    + b"eu."
  )


def parsers(folder: pathlib.Path) -> dict[str, Parser]:
  """The parsers by name.

  Args:
    folder: an empty folder, for the files that they read.
  """

  def of_file(name: str, read: Callable[[pathlib.Path], object]):
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)

    def call(content: bytes) -> object:
      path.write_bytes(content)
      return read(path)

    return call

  cifar._BATCH_IMAGES = 2  # 30 MB a batch would be slow
  written = _architectures()
  candidates = b"".join(
    json.dumps({"rank": rank, "reward": 0.5, "arc": json.loads(arc)}).encode()
    + b"\n"
    for rank, arc in enumerate(written.values())
  )
  rows = b'{"phase": "epoch", "epoch": 1, "step": 3, "theta_step": 2}\n' * 3
  table = b"ops,cifar10_test_200\n000000,11.1\n000001,22.2\n"
  batch = bytes(2 * (1 + 3072))
  planes = bytes(2 * 3072)
  corpus = b"a b c\na b\n"
  for split in ("train", "valid", "test"):
    of_file(f"text/{split}.txt", lambda path: None)(corpus)
  for split in ("train", "test"):
    of_file(f"pictures/{split}/cat/1.png", lambda path: None)(_picture("L"))
  pictures = f"{image_folder.PREFIX}{folder / 'pictures'}"
  read_table = benchmark_table.BenchmarkTable.load
  made = {
    "tokens": Parser(
      [
        b"0 0 1 1 2",
        b"1 2 1",
        b"0 1 2 3 4 0",
        b"|nor_conv_3x3~0|",
        b"random:3",
      ],
      lambda content: arcs.load_arc(content.decode("latin-1")),
    ),
    "architecture": Parser(
      list(written.values()),
      of_file("arc.json", lambda path: arcs.load_arc(str(path))),
    ),
    "configuration": Parser(
      [_saved(space) for space in registry.names()],
      of_file("run/config.json", lambda path: runs.read_config(path.parent)),
    ),
    "table": Parser([table], of_file("table.csv", read_table)),
    "packed table": Parser(
      [gzip.compress(table, mtime=0)], of_file("table.csv.gz", read_table)
    ),
    "analog table": Parser(
      [pickle.dumps({"a": 1.0}), b"cos\nsystem\n(S'exit 1'\ntR."],
      of_file("table.anb", lambda path: read_table(path, "accuracy")),
    ),
    "archive": Parser(
      [_archive(False), _archive(True)],
      of_file(
        "data.npz",
        lambda path: images.load(f"npz:{path}", None, num_valid=2),
      ),
    ),
    "picture": Parser(
      [_picture("L"), _picture("RGB"), _picture("P")],
      of_file(
        "pictures/train/cat/0.png", lambda path: image_folder.load(pictures)
      ),
    ),
    "binary batch": Parser([batch], of_file("batch.bin", cifar._read_binary)),
    "pickled batch": Parser(
      [_drawn(b"K\x01", planes)], of_file("batch", cifar._read_python)
    ),
    "text": Parser(
      [corpus],
      of_file(
        "text/valid.txt", lambda path: text.load(f"text:{path.parent}", None)
      ),
    ),
    "candidates": Parser(
      [candidates],
      of_file("arcs.jsonl", lambda path: train.best_candidates(str(path), 2)),
    ),
    "truth": Parser([candidates], of_file("truth.jsonl", truth.read_objects)),
    "metrics": Parser(
      [rows],
      of_file(
        "metrics.jsonl",
        lambda path: metrics._keep_rows(path, loggers.Place(6, 3, 1)),
      ),
    ),
    "results": Parser([_results()], of_file("results.json", results.load)),
  }
  for name, read in (
    ("config.json", html._config_part),
    ("result.json", html._result_part),
    ("arc.json", html._arc_part),
    ("metrics.jsonl", run_files.read_rows),
    ("policy.jsonl", _read_policy),
    ("arcs.jsonl", _read_candidates),
  ):
    seed = candidates if name.endswith("l") else _saved("macro")
    if name == "policy.jsonl":
      seed = b'{"epoch": 1, "frequencies": [[0.5, 0.5], [1.0]]}\n' * 2
    made[f"report's {name}"] = Parser([seed], of_file(f"page/{name}", read))
  made["report's network"] = Parser(
    [_saved("macro"), _saved("recurrent")],
    of_file("page/config.json", _read_network),
  )
  table = {"cost": "params", "target": 2.0, "base": 1.0, "error": 0.0}
  table["slopes"] = [1.0, 2.0]
  priced = registry.preset("smoke", "macro")
  priced = config_lib.override(priced, "run", cost="params")
  made["table of costs"] = Parser(
    [json.dumps(table).encode()],
    of_file("costs.json", lambda path: costs.read(priced, path)),
  )
  svg = b'<svg xmlns="http://www.w3.org/2000/svg"><title>a</title></svg>'
  made["report's arc.svg"] = Parser(
    [svg], of_file("page/arc.svg", html._picture_part)
  )
  return made | _of_exports(of_file, written)


def _read_network(path: pathlib.Path) -> None:
  saved = run_files.read_object(path)
  candidates_lib.network(saved, {"data": saved.get("config")})


def _read_policy(path: pathlib.Path) -> None:
  run_charts.policy_table(run_files.read_rows(path)[0])


def _read_candidates(path: pathlib.Path) -> None:
  rows, _ = run_files.read_rows(path)
  network = candidates_lib.network(json.loads(_saved("macro")), {})
  # As if all were of that space, and none is measured.
  candidates_lib.distinct(rows, network, most=0)
  for row in rows:
    candidates_lib._read_arc(row.get("arc"), network)


def _results() -> bytes:
  """A table of results that is shown."""
  record = {
    "name": "a",
    "title": "b",
    "columns": [{"key": "x", "heading": "X", "format": ".1f"}],
    "rows": [{"x": 1.5, "seed": 0}, {"x": 2.5, "seed": 1}],
    "command": ["python -m experiments.search"],
    "commit": "0" * 40,
    "device": "CPU",
    "versions": {"jax": "0"},
    "seeds": [0, 1],
  }
  return json.dumps(record).encode()


def _of_exports(of_file, written: dict[str, bytes]) -> dict[str, Parser]:
  """The parsers of the parts of an exported folder."""
  described, prepared = [], []
  for name in registry.trainable():
    definition = registry.get(name)
    arc = json.loads(written[name])
    space, _ = definition.of_record(arc)
    child = dict(
      registry.train_preset("smoke", name).to_dict()["child"],
      **{k: v for k, v in vars(space).items() if k.startswith("num")},
    )
    record = {"format": description.FORMAT, "version": description.VERSION}
    record |= {"space": name, "arc": arc, "child": child}
    described.append(json.dumps(record).encode())
    what: description.Preprocessing = description.TextPreprocessing(("a", "b"))
    if definition.network.kind != "text":
      numbers = (0.5, 0.5, 0.5)
      what = description.ImagePreprocessing((8, 8, 3), numbers, numbers, "ab")
    content = description.to_preprocessing(what)
    prepared.append(json.dumps({"space": name, **content}).encode())

  def read_preprocessing(path: pathlib.Path) -> object:
    record = export_folder._read_json(path)
    space = record.pop("space", "recurrent")
    if space not in registry.trainable():
      space = "macro"
    with export_folder._naming(path):
      return description.read_preprocessing(space, record)

  def read_architecture(path: pathlib.Path) -> object:
    record = export_folder._read_json(path)
    with export_folder._naming(path):
      return description.read_architecture(record)

  weights = safetensors.numpy.save(
    {"a/b": np.ones((2, 3), np.float32), "c": np.zeros(4, np.float32)}
  )
  return {
    "exported architecture": Parser(
      described, of_file("out/architecture.json", read_architecture)
    ),
    "exported preprocessing": Parser(
      prepared, of_file("out/preprocessing.json", read_preprocessing)
    ),
    "exported weights": Parser(
      [weights],
      of_file("out/weights.safetensors", export_folder._read_weights),
    ),
  }


def _edits(rng: random.Random) -> list[Edit]:
  return [
    (rng.randrange(6), rng.random(), rng.randrange(2**16))
    for _ in range(rng.randint(1, 4))
  ]


def main(argv: Sequence[str]) -> None:
  """Reads the mutants and prints the counts."""
  del argv
  values = flags.FLAGS
  rng = random.Random(values.seed)
  refused: collections.Counter[str] = collections.Counter()
  counts: collections.Counter[str] = collections.Counter()
  seconds: collections.Counter[str] = collections.Counter()
  defects: collections.Counter[str] = collections.Counter()
  end = time.monotonic() + values.seconds
  with tempfile.TemporaryDirectory(dir=values.scratch) as folder:
    os.chdir(folder)  # a token string might be a file's name
    known = parsers(pathlib.Path(folder))
    for name in values.parser or known:
      for seed in known[name].seeds[:1]:
        if name not in ("analog table", "tokens"):
          known[name].read(seed)  # what is not changed is accepted
    names = values.parser or list(known)
    for number in range(values.count):
      if time.monotonic() > end:
        break
      name = names[number % len(names)]
      content = mutate(rng.choice(known[name].seeds), _edits(rng))
      began = time.process_time()
      try:
        known[name].read(content)
      except types.InputError as error:
        refused[name] += 1
        if "\n" in str(error):
          defects[f"{name}: message of several lines"] += 1
      except Exception as error:  # noqa: BLE001
        place = traceback.extract_tb(error.__traceback__)[-1]
        label = f"{name}: {type(error).__name__} in {place.name}"
        if not defects[label] and values.keep:
          kept = pathlib.Path(values.keep) / f"{len(defects)}-{name}"
          kept.write_bytes(content)
        if not defects[label]:
          print(f"{label}, line {place.lineno}: {str(error)[:200]}", flush=True)
        defects[label] += 1
      counts[name] += 1
      seconds[name] += time.process_time() - began
  for name in names:
    print(
      f"{name:24} {counts[name]:>9,} read, {refused[name]:>9,} refused,"
      f" {seconds[name]:.1f} s"
    )
  for label, count in defects.items():
    print(f"defect: {count:,} x {label}")
  print(f"{counts.total():,} mutants, {defects.total():,} defects")
  sys.exit(bool(defects))


if __name__ == "__main__":
  flags.DEFINE_integer("count", 1_000_000, "mutants", 1)
  flags.DEFINE_integer("seed", 0, "seed of the mutants")
  flags.DEFINE_float("seconds", 1e9, "when to stop before that")
  flags.DEFINE_multi_string("parser", [], "only this one")
  flags.DEFINE_string("keep", None, "a folder for the mutants that are defects")
  flags.DEFINE_string("scratch", None, "a folder for files; by default of /tmp")
  app.run(main)
