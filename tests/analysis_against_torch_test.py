"""PyTorch beside ours: what is refused, and what is measured."""

import dataclasses
import importlib.util
import os
import threading
import types as python_types
from unittest import mock

import pytest
from absl.testing import absltest

from enas_jax import types
from enas_jax.analysis import against_torch, timing
from enas_jax.spaces import registry
from tests import tiny


def end_at_once(*given):
  """In the place of `_serve`: a process that was killed."""
  del given
  os._exit(7)


_FOUND = mock.patch.object(importlib.util, "find_spec", lambda name: name)


class RefusedTest(absltest.TestCase):
  def test_without_pytorch(self):
    with mock.patch.object(importlib.util, "find_spec", lambda name: None):
      with self.assertRaisesRegex(types.InputError, r"pip install .*\[torch\]"):
        against_torch.check(tiny.make_config(), "recurrent")

  def test_a_space_without_a_child_in_it(self):
    plain = dataclasses.replace(registry.get("recurrent"), torch_child=None)
    with mock.patch.object(registry, "get", lambda name: plain), _FOUND:
      with self.assertRaisesRegex(types.InputError, "'recurrent' has no child"):
        against_torch.check(tiny.make_config(), "recurrent")

  def test_a_step_that_does_more(self):
    config = tiny.make_config(omega={"num_arcs": 2})
    with self.assertRaisesRegex(types.InputError, "num_arcs must be 1"), _FOUND:
      against_torch.check(config, "recurrent")

  def test_options_that_the_children_lack(self):
    pytest.importorskip("torch")
    for space, option, value in (
      ("micro", "drop_path", 0.5),
      ("nasbench201", "moving_statistics", True),
    ):
      config = tiny.make_image_config(space, child={option: value})
      with self.assertRaisesRegex(types.InputError, f"{option} must be off"):
        against_torch.check(config, space)


class ProcessTest(absltest.TestCase):
  def test_one_that_dies_is_not_waited_for(self):
    timer = python_types.SimpleNamespace(
      config=tiny.make_config(), child=lambda arc: {}, batches=lambda: ()
    )
    with mock.patch.object(against_torch, "_serve", end_at_once):
      children = against_torch.Children(timer, [None])
    raised = []

    def ask():
      try:
        children.trained[0]()
      except types.InputError as error:
        raised.append(str(error))

    # Another thread's: one that waits for ever would hold up the suite.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(20)
    self.assertLen(raised, 1)
    self.assertRegex(raised[0], "PyTorch's process has ended with status 7")


class CompareTest(absltest.TestCase):
  def test_a_text_search(self):
    pytest.importorskip("torch")
    timer = timing.SearchTimer(tiny.make_config(), "recurrent", 30)
    record = against_torch.compare(timer, 2, 2, static=False)
    for name in ("traced", "torch", "reward", "torch_reward"):
      self.assertGreater(record[f"{name}_cpu_seconds"], 0.0)
    self.assertAlmostEqual(
      record["torch_share_of_peak"] * record["torch_cpu_seconds"],
      record["traced_share_of_peak"] * record["traced_cpu_seconds"],
    )
    self.assertNotIn("traced_over_static", record)
    # Weights of a process that has never compiled.
    self.assertLess(record["torch_peak_rss_mb"], 1000.0)
    # B T = 20 words: node 1 reads a word and a state, nodes 2 and 3 a node,
    # each by D x 2D products; and the softmax.
    step = 6e-9 * 20 * (4 * 8 * 16 + 8 * 30)
    self.assertAlmostEqual(record["step_gflop"], step)


if __name__ == "__main__":
  absltest.main()
