"""What a search says of its candidates and of its end."""

import types

from absl.testing import absltest, parameterized

from enas_jax.search import search

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


if __name__ == "__main__":
  absltest.main()
