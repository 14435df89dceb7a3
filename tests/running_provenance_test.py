"""Where the code of a run comes from."""

import pathlib
import subprocess
from unittest import mock

import pytest

from enas_jax.running import provenance


def git(folder: pathlib.Path, *words: str) -> str:
  author = ("-c", "user.name=a", "-c", "user.email=a@b")
  done = subprocess.run(
    ["git", "-C", str(folder), *author, *words],
    check=True,
    capture_output=True,
    text=True,
  )
  return done.stdout.strip()


def test_the_commit_is_that_of_a_checkout_alone(tmp_path: pathlib.Path):
  git(tmp_path, "init", "-q")
  place = tmp_path / "env" / "provenance.py"
  place.parent.mkdir()
  place.write_text("")
  with mock.patch.object(provenance, "__file__", str(place)):
    assert provenance._commit() is None  # of no commit yet
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project's")
    assert provenance._commit() is None  # an environment within it
    git(tmp_path, "add", "env")
    git(tmp_path, "commit", "-q", "-m", "code")
    assert provenance._commit() == git(tmp_path, "rev-parse", "HEAD")


if __name__ == "__main__":
  raise SystemExit(pytest.main([__file__]))
