"""Mutants of good files, found by hypothesis: refused in one line, or read."""

import pathlib
import tempfile

import hypothesis
from absl.testing import absltest
from hypothesis import strategies as st

from enas_jax import types
from enas_jax.data import cifar
from tests import fuzz

_EDITS = st.lists(
  st.tuples(
    st.integers(0, 5),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**16 - 1),
  ),
  min_size=1,
  max_size=4,
)
_SETTINGS = hypothesis.settings(
  derandomize=True,  # the same mutants in every run
  database=None,
  deadline=None,
  max_examples=40,
  suppress_health_check=list(hypothesis.HealthCheck),
)


class FuzzTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enterContext(tempfile.TemporaryDirectory())
    images = cifar._BATCH_IMAGES  # which the parsers' batches are not
    self.addCleanup(setattr, cifar, "_BATCH_IMAGES", images)
    self.parsers = fuzz.parsers(pathlib.Path(folder))

  def test_good_files_are_read(self):
    # Its table is a pickle of other records.
    for name in self.parsers.keys() - {"analog table", "tokens"}:
      with self.subTest(name):
        for seed in self.parsers[name].seeds:
          if name != "configuration":
            self.parsers[name].read(seed)

  def test_nothing_but_input_errors(self):
    refused = sum(map(self.refused, self.parsers))
    self.assertGreater(refused, 300)

  def refused(self, name):
    """How many mutants of a parser's files are refused; none is a defect."""
    parser, messages = self.parsers[name], []

    @_SETTINGS
    @hypothesis.given(seed=st.sampled_from(parser.seeds), edits=_EDITS)
    def check(seed, edits):
      try:
        parser.read(fuzz.mutate(seed, edits))
      except types.InputError as error:
        messages.append(str(error))

    with self.subTest(name):
      check()
    self.assertFalse([line for line in messages if "\n" in line], name)
    return len(messages)


if __name__ == "__main__":
  absltest.main()
