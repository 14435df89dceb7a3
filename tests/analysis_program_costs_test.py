"""What traced and compiled programs are said to cost, against hand counts."""

import jax
import jax.numpy as jnp
from absl.testing import absltest
from jax import lax

from enas_jax import types
from enas_jax.analysis import chips, compile_ahead, preset_programs
from enas_jax.analysis import program_costs as costs
from tests import command_line, tiny


def costs_of(function, *args):
  return costs.Costs(jax.make_jaxpr(function)(*args))


class CostsTest(absltest.TestCase):
  def test_a_product_in_a_loop_counts_as_often_as_it_runs(self):
    def loop(w, x):
      return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, length=7)[0]

    found = costs_of(loop, jnp.ones((3, 3)), jnp.ones((2, 3)))
    self.assertEqual(found.multiply_adds, 7 * 2 * 3 * 3)
    # Of the product alone: tanh is fused.
    self.assertEqual(found.num_bytes, 7 * 4 * (2 * 3 + 3 * 3 + 2 * 3))

  def test_of_a_conditional_the_mean_counts(self):
    def choose(i, w, x):
      return lax.switch(i, [lambda x: x @ w @ w, lambda x: x, lambda x: -x], x)

    found = costs_of(choose, 0, jnp.ones((3, 3)), jnp.ones((2, 3)))
    self.assertAlmostEqual(found.multiply_adds, 2 * 18 / 3)

  def test_a_part_that_is_read_or_written_counts_alone(self):
    rows = jnp.ones((1000, 4))
    read = costs_of(lambda i: rows[i], jnp.zeros(5, int))
    self.assertEqual(read.num_bytes, 2 * 5 * 4 * 4)
    written = costs_of(lambda i: rows.at[i].add(1.0), jnp.zeros(5, int))
    self.assertEqual(written.num_bytes, 3 * 5 * 4 * 4)

  def test_the_slower_of_arithmetic_and_memory_counts(self):
    found = costs_of(jnp.dot, jnp.ones((2, 3)), jnp.ones((3, 5)))
    num_bytes, flops = 4 * (6 + 15 + 10), 2 * 30
    self.assertAlmostEqual(found.seconds(flops, num_bytes / 0.5), 1.0)
    self.assertAlmostEqual(found.seconds(flops, num_bytes / 3.0), 3.0)

  def test_counts_in_compiled_text(self):
    text = """
      %c = (f32[2]{0}) conditional(%i, %a), branch_computations={%x, %y}
      %r = f32[8,4]{1,0:T(8,128)} all-reduce(%p), to_apply=%add
      %s = (f32[2], bf16[3]{0}) all-reduce-start(%q), to_apply=%add
      %t = (f32[2], bf16[3]{0}) all-reduce-done(%s)
      %u = f32[8]{0} collective-permute(%p)
    """
    self.assertEqual(costs.count_compiled(text), (1, 3, 4 * 32 + 4 * 2 + 2 * 3))


class ProgramsTest(absltest.TestCase):
  def test_a_search_lowered_for_a_card(self):
    config = tiny.make_config()
    chip = chips.CHIPS["h100"]
    records = {
      program.name: compile_ahead.lower_for(program, chip)
      for program in preset_programs.of_search(config, "recurrent", 30)
    }
    omega, theta, evaluation = records.values()
    self.assertEqual([*records], [*preset_programs.NAMES[:3]])
    self.assertEqual([r["runs"] for r in records.values()][:2], [12, 10])
    # In two epochs two samples each in the 73,760 / 20 windows of the text, and
    # scores of both kinds; then scores of four of each, and what is kept.
    self.assertEqual(evaluation["runs"], 2 * (2 * 3688 + 4) + 8 + 3688)
    self.assertEqual(omega["fits"], None)
    # Three nodes' activations and the third's input; and three derivatives.
    self.assertEqual(omega["conditionals"], 7)
    # And whether the step counts.
    self.assertEqual(theta["conditionals"], 5)
    self.assertEqual(evaluation["conditionals"], 4)
    # Five steps of four streams: products with w_x [16, 16], two nodes' w_h
    # [8, 16] and the softmax [8, 30].
    window = 20 * (16 * 16 + 2 * 8 * 16 + 8 * 30)
    self.assertEqual(evaluation["multiply_adds"], window)
    self.assertGreater(omega["multiply_adds"], 2.5 * window)
    seconds = sum(
      r["runs"] * r["estimated_step_seconds"] for r in records.values()
    )
    found = compile_ahead.hours([*records.values()])
    self.assertAlmostEqual(found * 3600, seconds)

  def test_a_program_that_runs(self):
    config = tiny.make_config()
    program = next(preset_programs.of_search(config, "recurrent", 30))
    record = compile_ahead.measure(program, 1)
    self.assertGreater(record["step_seconds"], 0.0)
    self.assertGreater(record["temporary_bytes"], 0)

  def test_a_refusal_says_what_was_used(self):
    used = compile_ahead.used_in("Ran out: Used 1.50G of 1.00G hbm. Exceeded")
    self.assertEqual(used, 3 * 2**29)


class ChipsTest(absltest.TestCase):
  def test_the_kind_tells_chips_apart(self):
    self.assertEqual(chips.of_topology("v5e:2x2").name, "v5e")
    self.assertTrue(chips.CHIPS["v5e"].is_here("TPU v5 lite"))
    self.assertFalse(chips.CHIPS["v5p"].is_here("TPU v5 lite"))
    self.assertTrue(chips.CHIPS["h100"].is_here("NVIDIA H100 80GB HBM3"))

  def test_an_unknown_topology(self):
    for text in ("v9:2x2", "v5e", ""):
      with self.assertRaisesRegex(types.InputError, "such as v5e:2x2"):
        chips.of_topology(text)


class ScriptTest(absltest.TestCase):
  def test_bad_flags_end_with_one_line(self):
    for flag, words in (
      ("--topology=v9:2x2", "topology must be VERSION:SHAPE"),
      ("--price=1", "needs --topology or --card"),
    ):
      run = command_line.run("compile", flag)
      self.assertEqual(run.returncode, 2, run.stderr)
      self.assertEqual(run.stderr.count("\n"), 1)
      self.assertIn(words, run.stderr)


if __name__ == "__main__":
  absltest.main()
