"""Timings of tiny steps: what is counted, and that times are times."""

from unittest import mock

import jax
from absl.testing import absltest

from enas_jax import config as config_lib
from enas_jax.analysis import stopwatch, timing
from enas_jax.spaces import registry
from tests import tiny


class SearchTest(absltest.TestCase):
  def test_a_search(self):
    timer = timing.SearchTimer(tiny.make_config(), "recurrent", 30)
    before = timer.compiled.count
    counted = timer.compilations(3)
    # One program serves every architecture.
    self.assertEqual(counted["omega_compilations"], 1)
    self.assertEqual(counted["theta_compilations"], 1)
    self.assertGreater(timer.compiled.count, before)
    self.assertGreater(counted["first_call_seconds"], 0.0)
    parts = ("init", "omega", "theta", "evaluation")
    self.assertAlmostEqual(
      counted["start_compile_seconds"],
      sum(counted[f"{part}_compile_seconds"] for part in parts),
    )
    omega = timer.omega(2, 3)
    self.assertEqual((omega["arcs"], omega["rounds"]), (2, 3))
    for name in ("traced_seconds", "static_seconds", "traced_over_static"):
      self.assertGreater(omega[name], 0.0)
    one = timer.omega(
      2, 1, static=False, peers=[lambda: stopwatch.Seconds(1.0, 2.0)] * 2
    )
    self.assertEqual((one["peer_seconds"], one["peer_cpu_seconds"]), (1.0, 2.0))
    self.assertAlmostEqual(
      one["traced_over_peer_cpu"], one["traced_cpu_seconds"] / 2.0
    )
    self.assertNotIn("static_seconds", one)
    theta = timer.theta(2)
    self.assertGreater(theta["theta_seconds"], 0.0)
    self.assertBetween(theta["theta_host_share"], 0.0, 1.0)

  def test_what_is_timed_has_the_precision_of_the_search(self):
    config = tiny.make_config(run={"matmul_precision": "highest"})
    timer = timing.SearchTimer(config, "recurrent", 30)
    texts = []

    class Traced(stopwatch.Timed):
      def __call__(self, *args):
        texts.append(str(jax.make_jaxpr(self._step)(self._state, *args)))
        return stopwatch.Seconds(1.0, 1.0)

    with mock.patch.object(stopwatch, "Timed", Traced):
      timer.omega(1, 1)
      timer.theta(1)
      timer.reward(1, 1, [lambda: stopwatch.Seconds(1.0, 1.0)])
    # Twice each: shared and static, fused and looped, and the reward alone.
    self.assertLen(texts, 10)
    for text in texts:
      products = text.count("dot_general[")
      self.assertGreater(products, 0)
      highest = text.count("Precision.HIGHEST, Precision.HIGHEST")
      self.assertEqual(highest, products)

  def test_a_training(self):
    config = registry.train_preset("smoke", "recurrent")
    config = config_lib.override(
      config, "child", num_nodes=3, hidden_size=8, init_range=0.1
    )
    config = config_lib.override(config, "data", **tiny.FLAGS["data"])
    arc = config.child.space().from_tokens("0 0 1 0 2")
    record = timing.time_training(config, "recurrent", arc, 30, 2)
    task = tiny.text_task(config, 30, arc)
    self.assertEqual(record["params"], _count(task))
    self.assertGreater(record["first_call_seconds"], record["train_seconds"])


def _count(task):
  """Numbers in the weights, by the shapes of a fresh network."""
  shapes = jax.eval_shape(task.init_omega, jax.random.key(0))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


if __name__ == "__main__":
  absltest.main()
