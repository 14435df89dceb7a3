"""What whoever waits for the compiler is told."""

import types
from unittest import mock

import jax
from absl.testing import absltest

from enas_jax.nn import programs
from enas_jax.search import compiling


class Step:
  """A step of so many operations, which takes its time to be compiled."""

  def __init__(self, clock, size, tracing, compile_):
    self._clock, self.size = clock, size
    self._tracing, self._compile, self.args = tracing, compile_, None

  def trace(self, *args):
    self.args = args
    self._clock.pass_by(self._tracing)
    return types.SimpleNamespace(jaxpr=self, lower=lambda: self)

  def compile(self):
    self._clock.pass_by(self._compile)


class Clock:
  """Time that passes when it is told to; then someone waits."""

  def __init__(self):
    self.now, self.tick = 0.0, None

  def monotonic(self):
    return self.now

  def pass_by(self, seconds):
    self.now += seconds
    self.tick(self.now)


class CompilingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.clock, self.told = Clock(), []
    self.enter_context(mock.patch.object(compiling, "time", self.clock))

    def call(function, tick):
      self.clock.tick = tick
      return function()

    patched = types.SimpleNamespace(call=call)
    self.enter_context(mock.patch.object(compiling, "patience", patched))
    size = lambda jaxpr: jaxpr.size
    self.enter_context(mock.patch.object(programs, "size", size))

  def _compiler(self, backend="cpu"):
    with mock.patch.object(jax, "default_backend", lambda: backend):
      return compiling.Compiler(lambda *told: self.told.append(told))

  def _said(self, compiler, what, size, tracing, compile_):
    self.clock.now = 0.0
    self.told.clear()
    step = Step(self.clock, size, tracing, compile_)
    compiler.compile(what, step, "state", "data")
    self.assertEqual(step.args, ("state", "data"))
    return list(self.told)

  def test_a_larger_program_is_said_to_take_longer(self):
    # 0.095 * 50,000 ** 0.55 = 36.48, and tracing that has taken 5.
    compiler = self._compiler()
    self.assertEqual(
      self._said(compiler, "the omega step", 50_000, 5.0, 30.0),
      [
        ("tracing the omega step", 5.0),
        ("compiling the omega step (once, about 41 s)", 35.0),
      ],
    )
    # Known, it is not worth a word again.
    said = self._said(compiler, "the omega step", 50_000, 5.0, 30.0)
    self.assertEqual(said, [])

  def test_the_step_before_tells_how_fast_the_machine_is(self):
    compiler = self._compiler()
    law = 0.095 * 50_000**0.55
    self._said(compiler, "the omega step", 50_000, 7.0, 2 * law)
    _, (text, _) = self._said(compiler, "the theta step", 50_000, 0.0, 1.0)
    self.assertEqual(text, "compiling the theta step (once, about 73 s)")
    # In no time: out of the cache, which tells nothing of the compiler.
    _, (text, _) = self._said(compiler, "the third", 50_000, 0.0, 30.0)
    self.assertEqual(text, "compiling the third (once, about 73 s)")

  def test_of_another_compiler_nothing_is_foreseen(self):
    compiler = self._compiler("gpu")
    law = 0.095 * 50_000**0.55
    _, (text, _) = self._said(compiler, "one", 50_000, 0.0, 3 * law)
    self.assertEqual(text, "compiling one (once)")
    _, (text, _) = self._said(compiler, "another", 50_000, 0.0, 30.0)
    self.assertEqual(text, "compiling another (once, about 109 s)")

  def test_what_is_called_says_nothing_of_its_time(self):
    compiler = self._compiler()

    def work():
      self.clock.pass_by(2.0)
      return 7

    self.assertEqual(compiler.call("the evaluation", work), 7)
    self.assertEqual(compiler.call("the evaluation", work), 7)
    self.assertEqual(self.told, [("compiling the evaluation (once)", 2.0)])


if __name__ == "__main__":
  absltest.main()
