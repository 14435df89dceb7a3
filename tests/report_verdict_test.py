"""What a page says of a run in a sentence."""

from enas_jax.report import verdict


def test_a_difference_within_the_noise_is_called_so():
  result = {"mean_reward_policy": 0.5, "standard_error_policy": 0.03}
  result |= {"mean_reward_uniform": 0.41, "standard_error_uniform": 0.04}
  told = verdict.of(result, {})["sentence"]
  assert "cannot be told apart" in told and "0.0900 ± 0.0500" in told
  result["mean_reward_uniform"] = 0.61
  told = verdict.of(result, {})["sentence"]
  assert "0.1100 ± 0.0500 below uniform" in told
  assert verdict.of({"reward": 0.5}, {})["sentence"] == ""
  known = {"true_accuracy": 91.5, "mean_true_accuracy": 88.25}
  assert verdict.of(known, {})["rows"] == [
    ("kept, true accuracy", "91.50%", "88.25% on average of all candidates")
  ]
