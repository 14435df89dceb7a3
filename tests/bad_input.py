"""Files that are damaged, too large, or not what they should be."""

import gzip
import json
import os
import pathlib
import zipfile

import numpy as np

from enas_jax.spaces import registry
from tests import tiny

_ROW = "000000,11.1\n"
_HEAD = "ops,cifar10_test_200\n"
_DEEP = "[" * 100_000 + "]" * 100_000
_LONG = "9" * 400
_LONGER = "9" * 5_000
_CELL = {"space": "recurrent", "num_nodes": 2, "prev": [0, 0]}
_CELL |= {"ops": ["tanh", "relu"]}


def write(folder: pathlib.Path) -> None:
  """Writes all of them into an empty folder.

  Args:
    folder: the folder.
  """
  (folder / "text").mkdir()
  tiny.write_corpus(folder / "text")
  os.mkfifo(folder / "fifo")
  _write_tables(folder)
  _write_archives(folder)
  _write_architectures(folder)
  _write_candidates(folder)
  _write_runs(folder)
  _write_studies(folder)
  _write_corpora(folder)
  _write_images(folder)


def _write_tables(folder: pathlib.Path) -> None:
  packed = gzip.compress((_HEAD + _ROW * 50).encode())
  (folder / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
  changed = bytearray(packed)
  changed[12:20] = b"\xff" * 8
  (folder / "changed.csv.gz").write_bytes(changed)
  (folder / "plain.csv.gz").write_text(_HEAD + _ROW)
  with gzip.open(folder / "bomb.csv.gz", "wb", compresslevel=1) as file:
    for _ in range(101):
      file.write(bytes(1_000_000))
  for name, text in {
    "underscore": _HEAD + "000000,9_0\n",
    "nan": _HEAD + "000000,nan\n",
    "huge": _HEAD + "000000,1e999\n",
    "doubled": "ops,cifar10_test_200,cifar10_test_200\n000000,1,2\n",
    "twice": _HEAD + _ROW * 2,
    "cell": _HEAD + "000009,1\n",
    "headless": _ROW,
    "empty": "",
    "short": _HEAD + "000000\n",
    "field": _HEAD + '000000,"' + "1" * 200_000 + '"\n',
    "few": _HEAD + _ROW,
  }.items():
    (folder / f"{name}.csv").write_text(text)
  (folder / "latin1.csv").write_bytes(_HEAD.encode() + b"\xe9,1\n")
  (folder / "code.anb").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")


def _write_archives(folder: pathlib.Path) -> None:
  images = np.zeros((20, 8, 8), np.uint8)
  labels = np.arange(20) % 2
  arrays = {"x_train": images, "y_train": labels}
  arrays |= {"x_test": images, "y_test": labels}
  good = folder / "good.npz"
  np.savez(good, **arrays)
  content = good.read_bytes()
  (folder / "cut.npz").write_bytes(content[:1000])
  (folder / "none.npz").write_bytes(b"nothing")
  np.save(folder / "one.npz.npy", images)
  os.rename(folder / "one.npz.npy", folder / "one.npz")
  np.savez(folder / "objects.npz", **arrays | {"y_test": labels.astype(object)})
  np.savez(folder / "nan.npz", **arrays | {"x_test": images * np.nan})
  np.savez(folder / "lacks.npz", x_train=images)
  np.savez(folder / "gap.npz", **arrays | {"y_train": labels * 10**15})
  # The bit that says so, in the heads of both the members and the directory.
  secret = bytearray(content)
  for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
    at = secret.find(mark)
    while at >= 0:
      secret[at + place] |= 1
      at = secret.find(mark, at + 1)
  (folder / "encrypted.npz").write_bytes(secret)
  with zipfile.ZipFile(folder / "lying.npz", "w") as archive:
    for name in arrays:
      shape = "(10000000000000,)"
      head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"
      head = head.ljust(117) + "\n"
      size = len(head).to_bytes(2, "little")
      member = b"\x93NUMPY\x01\x00" + size + head.encode()
      archive.writestr(f"{name}.npy", member)


def _write_architectures(folder: pathlib.Path) -> None:
  cell = json.dumps(_CELL)
  for name, text in {
    "nested": _DEEP,
    "cut": cell[:-9],
    "list": "[1]",
    "digits400": cell.replace('"num_nodes": 2', f'"num_nodes": {_LONG}'),
    "digits5000": cell.replace('"num_nodes": 2', f'"num_nodes": {_LONGER}'),
    "infinite": cell.replace('"num_nodes": 2', '"num_nodes": 1e999'),
    "float": cell.replace('"num_nodes": 2', '"num_nodes": 2.0'),
    "large": cell.replace('"num_nodes": 2', '"num_nodes": 100000'),
    "spaceless": cell.replace("recurrent", "recursive"),
    "forward": cell.replace("[0, 0]", "[0, 1]"),
    "op": cell.replace("relu", "gelu"),
    "twice": cell[:-1] + ', "num_nodes": 3}',
    "layers": '{"space": "macro", "num_layers": 100000, "ops": [],'
    ' "skips": []}',
  }.items():
    (folder / f"{name}.json").write_text(text)
  (folder / "latin1.json").write_bytes(cell.encode("utf-8") + b"\xe9")


def _write_candidates(folder: pathlib.Path) -> None:
  row = json.dumps({"rank": 1, "reward": 1.0, "arc": _CELL}) + "\n"
  for name, text in {
    "cut": row + row[:-9],
    "few": row,
    "list": "[1]\n[2]\n",
    "arcless": '{"rank": 1}\n' * 2,
    "rank": row + row.replace('"rank": 1', '"rank": "one"'),
    "cell": row + row.replace("relu", "gelu"),
    "nested": row + _DEEP + "\n",
    "digits": row + row.replace('"rank": 1', f'"rank": {_LONG}'),
  }.items():
    (folder / f"{name}.jsonl").write_text(text)
  (folder / "latin1.jsonl").write_bytes(row.encode() + b"\xe9\n")


def _write_runs(folder: pathlib.Path) -> None:
  """Folders of a search that hold a `config.json` each, and nothing else."""
  saved = {
    "experiment": "ptb_search",
    "space": "recurrent",
    "preset": "smoke",
    "dataset": f"text:{folder / 'text'}",
    "config": registry.preset("smoke", "recurrent").to_dict(),
    "seed": 0,
    "command": "python -m experiments.ptb_search",
  }
  text = json.dumps(saved)
  size = saved["config"]["data"]["batch_size"]
  batch = f'"batch_size": {size}'
  bad = {
    "good": text,
    "cut": text[:-20],
    "nested": _DEEP,
    "list": "[]",
    "float": text.replace(batch, f'"batch_size": {size}.5'),
    "whole": text.replace(batch, f'"batch_size": {size}.0'),
    "string": text.replace(batch, f'"batch_size": "{size}"'),
    "bool": text.replace(batch, '"batch_size": true'),
    "null": text.replace(batch, '"batch_size": null'),
    "digits": text.replace(batch, f'"batch_size": {_LONG}'),
    "nan": text.replace(batch, '"batch_size": NaN'),
    "infinite": text.replace(batch, '"batch_size": 1e999'),
    "field": text.replace("batch_size", "batch_sizes"),
    "config": json.dumps(saved | {"config": 3}),
    "dataset": json.dumps(saved | {"dataset": 3}),
    "space": json.dumps(saved | {"space": "recursive"}),
    "other": json.dumps(saved | {"experiment": "ptb_train"}),
  }
  for name, content in bad.items():
    run = folder / f"run_{name}"
    run.mkdir()
    (run / "config.json").write_text(content)
  (folder / "run_latin1").mkdir()
  (folder / "run_latin1" / "config.json").write_bytes(text.encode() + b"\xe9")
  for name, content in {"cut": "{", "list": "[1]", "nested": _DEEP}.items():
    run = folder / f"result_{name}"
    run.mkdir()
    (run / "config.json").write_text(text)
    (run / "result.json").write_text(content)


def _write_studies(folder: pathlib.Path) -> None:
  """Folders of ablations whose `config.json` somebody has edited."""
  search = registry.preset("smoke", "recurrent").to_dict()
  training = registry.train_preset("smoke", "recurrent").to_dict()
  saved = {
    "experiment": "ablations",
    "space": "recurrent",
    "preset": "smoke",
    "dataset": f"text:{folder / 'text'}",
    "config": search,
    "study": ["guided_random"],
    "seeds": [0],
    "sizes": {"num_draws": 1, "ensemble": 8, "num_samples": 4},
    "configs": {"training": training, "search": search},
    "reference": {"trained": _CELL, "searched": _CELL},
  }
  bad = {
    "lacking": {name: saved[name] for name in saved if name != "study"},
    "study": saved | {"study": [3]},
    "seeds": saved | {"seeds": [0.5]},
    "sizes": saved | {"sizes": {"ensemble": 8}},
    "configs": saved | {"configs": {"search": 3}},
    "reference": saved | {"reference": {}},
  }
  for name, content in bad.items():
    run = folder / f"studies_{name}"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(content))


def _write_corpora(folder: pathlib.Path) -> None:
  for name in ("latin1", "pipe", "empty"):
    corpus = folder / f"text_{name}"
    corpus.mkdir()
    tiny.write_corpus(corpus)
  (folder / "text_latin1" / "valid.txt").write_bytes(b"a \xe9 b\n")
  (folder / "text_empty" / "valid.txt").write_text("")
  (folder / "text_pipe" / "valid.txt").unlink()
  os.mkfifo(folder / "text_pipe" / "valid.txt")


def _write_images(folder: pathlib.Path) -> None:
  """CIFAR-10 in both its forms, whose first file is bad."""
  for name, suffix in (("binary", ".bin"), ("code", ""), ("laughs", "")):
    place = folder / f"cifar_{name}"
    place.mkdir()
    for stem in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
      (place / f"{stem}{suffix}").write_bytes(b"")
  (folder / "cifar_code" / "data_batch_1").write_bytes(
    b"cos\nsystem\n(S'touch ran'\ntR."
  )
  (folder / "cifar_laughs" / "data_batch_1").write_bytes(_laughs())


def _laughs() -> bytes:
  """A pickle of a batch whose labels are lists of lists of lists."""
  # Each list holds the one before it twice; 2^40 items if they were printed.
  body = b"]q\x00"
  for level in range(1, 41):
    get = b"h" + bytes([level - 1])
    body += b"]q" + bytes([level]) + b"(" + get + get + b"e"
  labels = b"](" + b"h\x28" * 10_000 + b"e"
  array = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    b"(K\x01(M\x10'M\x00\x0ctcnumpy\ndtype\n(U\x02u1K\x00K\x01tR\x89T"
    + (30_720_000).to_bytes(4, "little")
    + bytes(30_720_000)
    + b"tb"
  )
  data = b"U\x04data" + array + b"U\x06labels" + labels
  return b"\x80\x02" + body + b"}(" + data + b"u."
