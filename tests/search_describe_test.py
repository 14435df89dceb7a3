"""What a search says of its candidates, of an epoch and of its end."""

import pathlib
import tempfile
import types
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from enas_jax.search import search
from enas_jax.spaces import decisions
from tests import tiny

TASK = types.SimpleNamespace(
  metric="perplexity", format_metric=lambda value: f"{value:.1f}"
)


def row(reward, tokens, **more):
  return {"reward": reward, "arc": {"tokens": tokens}, **more}


def result(**changes):
  return {
    **{"candidates": 4, "policy": "controller", "search_seconds": 61.2},
    **{"mean_reward_policy": 0.50, "standard_error_policy": 0.03},
    **{"mean_reward_uniform": 0.39, "standard_error_uniform": 0.04},
    **{"valid_perplexity": 99.0, "test_perplexity": 98.0},
    **changes,
  }


class DescribeTest(parameterized.TestCase):
  def test_equal_candidates_are_told_once(self):
    rows = [
      row(0.9, "1 2", rank=1, perplexity=88.88),
      row(0.8, "1 3", rank=2, perplexity=100.0),
      row(0.9, "1 2", rank=3, perplexity=88.88),
      row(None, "0 0", rank=4),
    ]
    self.assertEqual(
      search.describe_candidates(rows, TASK),
      [
        "3 different candidates of 4; the best:",
        "  perplexity 88.9, 2 times: 1 2",
        "  perplexity 100.0: 1 3",
        "  reward none: 0 0",
      ],
    )
    self.assertLen(search.describe_candidates(rows, TASK, most=1), 2)

  @parameterized.parameters(
    # Two standard errors of the difference are 2 * sqrt(.03^2 + .04^2) = 0.1.
    ({}, False),
    ({"mean_reward_policy": 0.48}, True),
    ({"mean_reward_policy": 0.3}, True),
    ({"mean_reward_policy": None}, True),
  )
  def test_chance_is_called_so(self, changes, chance):
    lines = search.describe_result(result(**changes), TASK, 3)
    said = [
      line for line in lines if line.endswith("chance chose this architecture")
    ]
    self.assertLen(said, int(chance))
    self.assertEndsWith(lines[0], "; 3 architectures each, controller policy")
    self.assertEqual(
      lines[-1],
      "best of 4 with shared weights: perplexity 99.0 (validation), 98.0"
      " (test); 61 s of search",
    )


class EpochTest(parameterized.TestCase):
  @parameterized.parameters(
    ((30.0, 10.0, 20.0), 1), ((20.0, float("nan"), 10.0), 2)
  )
  def test_an_epochs_best_sample_has_the_least_perplexity(self, measured, best):
    config = tiny.make_config(run={"eval_arcs": len(measured)})
    folder = pathlib.Path(tempfile.mkdtemp())
    task, splits = tiny.make_task(config, tiny.write_corpus(folder))
    run = search.Search(config, task, splits, folder / "run")
    left = iter(measured)
    proposed = []

    def propose(*given):
      proposed.append(given)
      return task.space.sample_uniform(given[1], len(measured))

    ask = mock.Mock(
      costs=None,
      propose=propose,
      propose_uniform=propose,
      evaluate=lambda *_: next(left),
      score=lambda *_: [0.5] * len(measured),
    )
    run._derivation = ask
    row, arc = run._evaluate_epoch()
    arcs = task.space.sample_uniform(proposed[0][1], len(measured))
    wanted = task.space.validate(jax.device_get(decisions.nth(arcs, best)))
    self.assertEqual(arc, wanted)
    mean = np.mean([one for one in measured if np.isfinite(one)])
    self.assertAlmostEqual(row["valid/perplexity"], mean)


if __name__ == "__main__":
  absltest.main()
