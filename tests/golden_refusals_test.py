"""Vectors that the checker refuses: damaged, foreign, or of another format."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from tests import golden_files
from tests.golden import checker


def describe(path: pathlib.Path, **fields: object) -> None:
  """Replaces fields of a case's description, or of its configuration."""
  described = path.with_suffix(".json")
  record = json.loads(described.read_text())
  for name, value in fields.items():
    (record if name in record else record["config"])[name] = value
  described.write_text(json.dumps(record))


def refused(
  capsys: pytest.CaptureFixture[str], pattern: str, *names: object
) -> None:
  """The checker exits with 2 and one `error:` line that matches."""
  assert checker.main([str(name) for name in names]) == 2
  captured = capsys.readouterr()
  assert captured.out == ""
  assert re.fullmatch(f"error: .*{pattern}.*\n", captured.err)


class TestBadInput:
  def test_no_file(self, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "name at least one")

  def test_missing(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    refused(capsys, "there is no file .*a.npz", tmp_path / "a.npz")
    refused(capsys, "there is no file .*a.npz", tmp_path / "a.grads.npz")
    # A name that is wrong is told before the others are run.
    good = golden_files.FOLDER / "ptb_controller_N4.npz"
    refused(capsys, "there is no file .*a.npz", good, tmp_path / "a.npz")

  def test_not_npz(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    whole = (golden_files.FOLDER / "ptb_child_fixed_N4.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with (tmp_path / "array.npz").open("wb") as file:
      np.save(file, np.zeros(3))
    for name in ("text", "empty", "cut", "array"):
      refused(capsys, "is not an .npz file", tmp_path / f"{name}.npz")
    refused(
      capsys,
      "is not an .npz file",
      golden_files.FOLDER / "ptb_controller_N4.json",
    )
    refused(capsys, "is not an .npz file", tmp_path)

  def test_description(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    path = golden_files.copy("ptb_controller_N4", tmp_path)
    described = path.with_suffix(".json")
    for text, pattern in (
      ("{", "is not JSON"),
      ("[]", "JSON object"),
      ('{"case": 3}', "string `case`"),
    ):
      described.write_text(text)
      refused(capsys, pattern, path)
    described.unlink()
    refused(capsys, "there is no file .*json", path)

  def test_unknown_case(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    path = golden_files.copy("ptb_controller_N4", tmp_path)
    describe(path, case="ptb_other")
    known = ", ".join(re.escape(f"{prefix}*") for prefix in checker.CASES)
    refused(capsys, f"'ptb_other' is unknown; known are {known}", path)

  @pytest.mark.parametrize(
    ("field", "value", "pattern"),
    [
      ("N", 3, "layer_4/w.*num_nodes"),
      ("N", 5, "lack.*layer_5/w"),
      ("N", "4", "config.N must be a number"),
      ("N", 4.5, "config.N must be a positive integer"),
      ("hidden", 16, "must have the shape"),
      ("vocab", 99, "100 rows"),
      ("bptt", 0, "config.bptt must be a positive integer"),
      ("grad_bound", None, "config.grad_bound must be a number"),
      ("grad_bound", -1.0, "clip_norm must be zero or positive"),
      ("all_drop", 0.5, "all_drop must be 0"),
    ],
  )
  def test_configuration(
    self,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    field: str,
    value: object,
    pattern: str,
  ) -> None:
    path = golden_files.copy("ptb_child_search_N4", tmp_path)
    describe(path, **{field: value})
    refused(capsys, pattern, path)

  @pytest.mark.parametrize(
    ("arrays", "pattern"),
    [
      ({"x": np.full((6, 10), 100)}, r"x must be integers in \[0, 100\)"),
      ({"y": np.zeros((6, 9), int)}, r"y must have the shape \[6, 10\]"),
      ({"init_state": np.zeros((6, 8))}, "init_state must have the shape"),
      ({"arcs": np.full((2, 8), 9)}, r"must be in \[0, 1\)"),
      ({"arcs": np.zeros((2, 6), int)}, "has 8 tokens"),
      ({"arcs": np.zeros((2, 8))}, "arcs must be integers"),
      ({"x": np.zeros(3, int)}, "x must have 2 axes"),
    ],
  )
  def test_arrays(
    self,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    arrays: dict[str, np.ndarray],
    pattern: str,
  ) -> None:
    path = golden_files.copy("ptb_child_fixed_N4", tmp_path)
    golden_files.change(path, **arrays)
    refused(capsys, pattern, path)

  def test_companion(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    path = golden_files.copy("ptb_child_fixed_N4", tmp_path)
    companion = path.with_suffix(".grads.npz")
    companion.write_text("hello")
    refused(capsys, "grads.npz is not an .npz file", path)
    shutil.copy(golden_files.FOLDER / companion.name, companion)


class TestBadControllers:
  @pytest.mark.parametrize(
    ("stem", "field", "value", "pattern"),
    [
      ("macro_controller", "num_layers", 5, "has 15 tokens, got 21"),
      ("macro_controller", "lstm_num_layers", 2, "must be 1, got 2"),
      ("macro_controller", "num_branches", 4, "must be 6, got 4"),
      ("macro_controller", "skip_target", None, "skip_target must be a number"),
      ("macro_controller", "skip_target", 1.5, r"must be in \(0, 1\)"),
      ("micro_controller", "num_cells", 4, "has 16 tokens for each"),
      ("micro_controller", "lstm_size", 8, "must have the shape"),
      ("micro_controller", "op_tanh_reduce", 0, "must be positive"),
    ],
  )
  def test_configuration(
    self,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    stem: str,
    field: str,
    value: object,
    pattern: str,
  ) -> None:
    path = golden_files.copy(stem, tmp_path)
    describe(path, **{field: value})
    refused(capsys, pattern, path)

  @pytest.mark.parametrize(
    ("arrays", "pattern"),
    [
      ({"reduce_arcs": np.zeros((3, 20), int)}, "must be as many"),
      ({"normal_arcs": np.zeros((16, 20))}, "which are integers"),
      ({"normal_arcs": np.full((16, 20), 2)}, r"must be in \[0, 2\), got 2"),
      ({"grad_normal_arc": np.zeros((0, 20), int)}, "must be as many"),
    ],
  )
  def test_arrays(
    self,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    arrays: dict[str, np.ndarray],
    pattern: str,
  ) -> None:
    path = golden_files.copy("micro_controller", tmp_path)
    golden_files.change(path, **arrays)
    refused(capsys, pattern, path)
