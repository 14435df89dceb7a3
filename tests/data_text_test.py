import builtins
import os
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import files, types
from enas_jax.data import text


def write(folder: pathlib.Path, **contents: str | bytes) -> str:
  """Writes `train="..."` to train.txt; `__` in a name stands for a dot."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, content in contents.items():
    data = content.encode() if isinstance(content, str) else content
    (folder / f"{name.replace('__', '.')}.txt").write_bytes(data)
  return str(folder)


def fails(pattern: str, dataset: str, data_dir: str | None = None) -> str:
  with pytest.raises(types.InputError, match=pattern) as caught:
    text.load(dataset, data_dir)
  message = str(caught.value)
  assert "\n" not in message
  return message


class TestFolder:
  def test_ids_by_hand(self, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path, train=" b a\nc a \n", valid="a b\n", test="c\n\nb")
    data = text.load(f"text:{folder}", None)
    assert data.name == f"text:{folder}"
    assert data.vocabulary == ("<eos>", "a", "b", "c")
    assert data.train.tolist() == [2, 1, 0, 3, 1, 0]
    assert data.valid.tolist() == [1, 2, 0]
    # A blank line is one more <eos>; the unclosed last line has none.
    assert data.test.tolist() == [3, 0, 0, 2]
    assert {x.dtype for x in data[1:4]} == {np.dtype(np.int32)}

  def test_unknown_words_add_unk(self, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path, train="b a\n", valid="a z\n", test="y a\n")
    data = text.load(f"text:{folder}", None)
    assert data.vocabulary == ("<eos>", "<unk>", "a", "b")
    assert data.train.tolist() == [3, 2, 0]
    assert data.valid.tolist() == [2, 1, 0]
    assert data.test.tolist() == [1, 2, 0]

  def test_unk_of_train_is_used(self, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path, train="a <unk>\n", valid="z\n", test="a\n")
    data = text.load(f"text:{folder}", None)
    assert data.vocabulary == ("<eos>", "<unk>", "a")
    assert data.valid.tolist() == [1, 0]

  def test_prefixed_names_and_hidden_files(
    self, tmp_path: pathlib.Path
  ) -> None:
    folder = write(
      tmp_path, my__train="a b\n", valid="a\n", my__test="b\n", _="no"
    )
    write(tmp_path, __my__train="hidden")
    write(tmp_path, untrain="not a split")
    assert (tmp_path / ".my.train.txt").exists()
    assert text.load(f"text:{folder}", None).train.tolist() == [1, 2, 0]

  def test_utf8_bom_and_crlf(self, tmp_path: pathlib.Path) -> None:
    bom = b"\xef\xbb\xbf"
    folder = write(
      tmp_path, train=bom + "é a\r\n".encode(), valid="a\r\n", test="é\n"
    )
    data = text.load(f"text:{folder}", None)
    assert data.vocabulary == ("<eos>", "a", "é")
    assert data.train.tolist() == [2, 1, 0]

  def test_invalid_bytes(self, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path, train="a\n", valid=b"ab \xff\n", test="a\n")
    fails(
      r"valid\.txt cannot be read: it is not UTF-8: .* at byte 3\.$",
      f"text:{folder}",
    )

  @pytest.mark.parametrize(
    "content, pattern",
    [
      ("", r"test\.txt is empty"),
      ("  ", r"test\.txt is empty"),
      ("a", r"test\.txt is too short: it has 1 token"),
    ],
  )
  def test_too_short(
    self, tmp_path: pathlib.Path, content: str, pattern: str
  ) -> None:
    folder = write(tmp_path, train="a\n", valid="a\n", test=content)
    fails(pattern, f"text:{folder}")

  def test_unreadable(
    self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
  ) -> None:
    folder = write(tmp_path, train="a\n", valid="a\n", test="a\n")

    def refuse(path: pathlib.Path, mode: str) -> bytes:
      raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "open", refuse, raising=False)
    fails(r"train\.txt cannot be read: Permission denied", f"text:{folder}")

  def test_unreadable_folder(
    self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
  ) -> None:
    def refuse(path: pathlib.Path) -> list[str]:
      raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    fails(rf"cannot read {tmp_path}: Permission denied", f"text:{tmp_path}")

  def test_missing_split(self, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path, train="a\n", test="a\n")
    message = fails(r"^the valid split is missing", f"text:{folder}")
    assert f"valid.txt or one *.valid.txt in {folder}" in message
    assert "--dataset=python_docs needs no download" in message

  def test_ambiguous_split(self, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path, a__train="a\n", train="a\n", valid="a", test="a")
    fails(
      r"2 files for the train split \(a\.train\.txt, train\.txt\)",
      f"text:{folder}",
    )

  def test_missing_folder(self, tmp_path: pathlib.Path) -> None:
    fails(r"'.*nowhere', which is missing", f"text:{tmp_path}/nowhere")
    fails(r"--dataset=text:: .*takes a folder", "text:")


class TestPtb:
  def test_unknown_dataset(self) -> None:
    fails("unknown dataset 'wiki': .*ptb, text:DIR, python_docs", "wiki")

  def test_missing_names_every_place(self, tmp_path: pathlib.Path) -> None:
    base = str(tmp_path)
    message = fails(r"^the Penn Treebank is missing", "ptb", base)
    places = [base, f"{base}/ptb", f"{base}/data"]
    places.append(f"{base}/simple-examples/data")
    assert f"looked in {', '.join(places)};" in message
    for part in ("ptb.train.txt", "RNNLM toolkit", "--data_dir"):
      assert part in message
    assert "--dataset=python_docs needs no download" in message

  def test_missing_without_data_dir(
    self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
  ) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    message = fails(r"^the Penn Treebank is missing", "ptb")
    here = pathlib.Path.cwd()
    places = [here / "data" / "ptb", here / "data"]
    places.append(tmp_path / "home" / "tensorflow_datasets" / "ptb")
    assert f"looked in {', '.join(map(str, places))};" in message

  def test_incomplete_folder(self, tmp_path: pathlib.Path) -> None:
    write(tmp_path / "ptb", ptb__train="a\n", ptb__test="a\n")
    fails(r"/ptb \(which lacks ptb\.valid\.txt\)", "ptb", str(tmp_path))

  @pytest.mark.parametrize("place", ["", "ptb", "data", "simple-examples/data"])
  @pytest.mark.parametrize("prefix", ["ptb__", ""])
  def test_wrong_count(
    self, tmp_path: pathlib.Path, place: str, prefix: str
  ) -> None:
    names = [prefix + split for split in ("train", "valid", "test")]
    write(tmp_path / place, **dict.fromkeys(names, "a b\n"))
    message = fails(
      r"expected 929,589 tokens, found 3;.*--dataset=text:DIR",
      "ptb",
      str(tmp_path),
    )
    name = names[0].replace("__", ".")
    assert message.startswith(f"{tmp_path / place / name}.txt is not")

  def test_ptb_names_win_over_plain_names(self, tmp_path: pathlib.Path) -> None:
    write(tmp_path, train="a\n", valid="a\n", test="a\n")
    contents = dict.fromkeys(["ptb__train", "ptb__valid", "ptb__test"], "a\n")
    write(tmp_path / "ptb", **contents)
    fails(r"/ptb/ptb\.train\.txt is not Mikolov's", "ptb", str(tmp_path))

  def test_counts_and_vocabulary_are_verified(
    self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
  ) -> None:
    counts = {"train": 6, "valid": 3, "test": 2}
    monkeypatch.setattr(text, "PTB_TOKENS", counts)
    monkeypatch.setattr(text, "_PTB_VOCABULARY", 4)
    folder = write(
      tmp_path, ptb__train="a b c\na\n", ptb__valid="a b\n", ptb__test="c\n"
    )
    data = text.load("ptb", folder)
    assert data.name == "ptb"
    assert data.vocabulary == ("<eos>", "a", "b", "c")
    assert data.train.tolist() == [1, 2, 3, 0, 1, 0]
    counts["test"] = 9
    fails(r"ptb\.test\.txt .* expected 9 tokens, found 2;", "ptb", folder)
    counts["test"] = 2
    monkeypatch.setattr(text, "_PTB_VOCABULARY", 5)
    fails(
      r"ptb\.train\.txt .* expected 5 distinct words, found 4;", "ptb", folder
    )

  def test_real(self) -> None:
    data_dir = os.environ.get("ENAS_DATA_DIR")
    if not data_dir:
      pytest.skip("ENAS_DATA_DIR does not say where the Penn Treebank is")
    if not (pathlib.Path(data_dir) / "ptb" / "ptb.train.txt").exists():
      pytest.skip("the folder of ENAS_DATA_DIR has no ptb/ptb.train.txt")
    data = text.load("ptb", data_dir)
    assert [len(x) for x in data[1:4]] == [929_589, 73_760, 82_430]
    assert len(data.vocabulary) == 10_000
    words = [data.vocabulary[i] for i in data.valid[:5]]
    assert words == ["consumers", "may", "want", "to", "move"]
    assert data.vocabulary[data.train[24]] == "<eos>"
    assert "<unk>" in data.vocabulary
    assert max(x.max() for x in data[1:4]) < 10_000
    assert min(x.min() for x in data[1:4]) == 0


class TestPythonDocs:
  def test_sizes_and_range(self) -> None:
    data = text.load("python_docs", None)
    assert data.name == "python_docs"
    # The text differs between Python versions, so the bounds are loose.
    assert len(data.train) > 50_000
    for split in data[1:4]:
      assert split.dtype == np.int32
      assert 0 <= split.min() and split.max() < len(data.vocabulary)
    total = sum(len(x) for x in data[1:4])
    assert 0.7 < len(data.train) / total < 0.9
    assert len(data.valid) > 3_000 and len(data.test) > 3_000
    assert 1_000 < len(data.vocabulary) <= 10_002
    assert list(data.vocabulary) == sorted(set(data.vocabulary))
    assert {"<eos>", "<unk>", "the", "(", "statement"} < set(data.vocabulary)

  def test_deterministic(self) -> None:
    one, two = (text.load("python_docs", None) for _ in range(2))
    assert one.vocabulary == two.vocabulary
    for a, b in zip(one[1:4], two[1:4], strict=True):
      np.testing.assert_array_equal(a, b)

  def test_unk_is_rare_and_seen_in_train(self) -> None:
    data = text.load("python_docs", None)
    unknown = data.vocabulary.index("<unk>")
    rates = [float(np.mean(x == unknown)) for x in data[1:4]]
    assert 0 < rates[0] < 0.05
    assert max(rates) < 0.08

  def test_small_topics_by_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydoc_data import topics

    # One paragraph each; the 33rd goes to valid and the 37th to test.
    texts = {f"{n:02d}": f"A\n*{n}*.\n" for n in range(37)}
    texts["00"] = "Title\n*****\n\nA *0*.\n\n====\n\nA *0*.\n"
    monkeypatch.setattr(topics, "topics", dict(reversed(texts.items())))
    data = text.load("python_docs", None)
    # Numbers occur once and are unknown, as is `title`.
    assert data.vocabulary == ("*", ".", "<eos>", "<unk>", "a")
    assert data.train.tolist() == [3, 2] + [4, 0, 3, 0, 1, 2] * 31
    assert data.valid.tolist() == [4, 0, 3, 0, 1, 2] * 4
    assert data.test.tolist() == [4, 0, 3, 0, 1, 2] * 2

  def test_frequent_vocabulary_breaks_ties_by_the_alphabet(self) -> None:
    words = "d d c c b b b a <eos> <eos> <eos>".split()
    assert text._frequent_vocabulary(words, 2) == ("<eos>", "<unk>", "b", "c")
    # `a` occurs once.
    every = ("<eos>", "<unk>", "b", "c", "d")
    assert text._frequent_vocabulary(words, 9) == every

  def test_python_without_topics(self, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pydoc_data", raising=False)
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
      if name.startswith("pydoc_data"):
        raise ImportError(name)
      return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    fails(r"lacks its help texts .*--dataset=text:DIR", "python_docs")


class TestStream:
  def test_batchify_by_hand(self) -> None:
    stream = text.batchify(np.arange(11), 3)
    assert stream.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert stream.dtype == np.int32

  @pytest.mark.parametrize(
    "batch_size, pattern",
    [
      (6, r"at batch size 6 give streams of length 1, .*lower the batch size"),
      (20, r"11 tokens at batch size 20 give streams of length 0"),
      (0, r"batch size is 0; it must be at least 1"),
    ],
  )
  def test_batchify_fails(self, batch_size: int, pattern: str) -> None:
    with pytest.raises(types.InputError, match=pattern):
      text.batchify(np.arange(11), batch_size)

  @pytest.mark.parametrize(
    "steps, length, count", [(7, 3, 2), (6, 3, 1), (4, 3, 1), (2, 1, 1)]
  )
  def test_num_windows(self, steps: int, length: int, count: int) -> None:
    assert text.num_windows(np.zeros((steps, 5)), length, "train") == count

  def test_num_windows_fails(self) -> None:
    pattern = (
      r"the valid split has 3 steps at batch size 5, .*bptt length 3"
      r" \(it takes 4\): lower the batch size or the bptt length"
    )
    with pytest.raises(types.InputError, match=pattern):
      text.num_windows(np.zeros((3, 5)), 3, "valid")
    with pytest.raises(types.InputError, match="bptt length is 0"):
      text.num_windows(np.zeros((3, 5)), 0, "valid")

  def test_the_longest_window_must_fit_too(self) -> None:
    # 35 + 2 x 5 steps, and the target of the last one.
    pattern = (
      r"\Athe train split has 45 steps at batch size 5, too few for the longest"
      r" window of bptt length 35 and length std 5 \(it takes 46\): lower one"
      r" of the three\Z"
    )
    with pytest.raises(types.InputError, match=pattern):
      text.num_windows(np.zeros((45, 5)), 35, "train", 5.0)
    assert text.num_windows(np.zeros((46, 5)), 35, "train", 5.0) == 1

  def test_window_by_hand(self) -> None:
    stream = jnp.asarray(text.batchify(np.arange(14), 2))
    batch = text.window(stream, jnp.int32(2), 2)
    assert batch.inputs.tolist() == [[2, 9], [3, 10]]
    assert batch.targets.tolist() == [[3, 10], [4, 11]]
    assert batch.inputs.dtype == batch.targets.dtype == jnp.int32

  @pytest.mark.parametrize("steps", [7, 8, 9])
  def test_windows_cover_the_stream_in_order(self, steps: int) -> None:
    stream = jnp.asarray(text.batchify(np.arange(2 * steps), 2))
    cut = jax.jit(text.window, static_argnums=2)
    count = text.num_windows(stream, 3, "train")
    batches = [cut(stream, jnp.int32(3 * i), 3) for i in range(count)]
    inputs = np.concatenate([batch.inputs for batch in batches])
    targets = np.concatenate([batch.targets for batch in batches])
    np.testing.assert_array_equal(inputs, stream[: 3 * count])
    np.testing.assert_array_equal(targets, stream[1 : 3 * count + 1])
    assert 0 <= steps - 1 - 3 * count < 3
