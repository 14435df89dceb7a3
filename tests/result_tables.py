"""A small table of results, for tests."""

from enas_jax.report import results

COLUMNS = (
  results.Column("policy", "policy", "`{policy}`"),
  results.Column("seed", "seed"),
  results.Column("accuracy", "accuracy", ".1%"),
  results.Column(
    "reward", "a|b", ("{reward:.2f} +- {error:.2f}", "{reward:.2f}")
  ),
  results.Column("params", "parameters", ","),
)


ROWS = (
  {"policy": "a", "seed": 0, "accuracy": 0.5, "reward": 1.0, "error": 0.125},
  {"policy": "b", "seed": 0, "accuracy": 0.25, "params": 1234567},
  {"policy": "a", "seed": 1, "accuracy": 0.7, "reward": 2.0, "params": None},
  {"policy": "a", "seed": 2, "accuracy": 0.9, "reward": 6.0, "params": 7},
)


def table(**changes):
  values = {
    "name": "tiny",
    "title": "A tiny table",
    "columns": COLUMNS,
    "rows": ROWS,
    "command": ["python -m experiments.search --seed=SEED"],
    "commit": "abc",
    "device": "a CPU",
    "versions": {"jax": "1.2"},
    "seeds": [0, 1, 2],
  }
  return results.Table(**(values | changes))
