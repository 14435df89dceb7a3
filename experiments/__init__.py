"""Command-line experiments: `python -m experiments.NAME`."""

import os

# XLA calls a compilation of two minutes an error and asks for a bug report.
# What really fails raises, with the same words. JAX reads this as it starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
