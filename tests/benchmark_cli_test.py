"""A benchmark of all spaces, a process for each."""

import subprocess
import sys
from unittest import mock

from absl.testing import absltest

from enas_jax.spaces import registry
from experiments import benchmark


class AllTest(absltest.TestCase):
  def test_every_space_has_the_flags_that_were_given(self):
    given = ["--space", "all", "--steps=1"]
    done = mock.Mock(returncode=0, stdout="")
    with (
      mock.patch.object(sys, "argv", ["benchmark", *given]),
      mock.patch.object(subprocess, "run", return_value=done) as run,
      mock.patch.object(benchmark.flags, "FLAGS", mock.Mock(arc=None)) as flags,
    ):
      flags.json = False
      benchmark._measure_all()
    commands = [call.args[0][3:] for call in run.call_args_list]
    self.assertEqual(
      commands, [[*given, f"--space={space}"] for space in registry.names()]
    )


if __name__ == "__main__":
  absltest.main()
