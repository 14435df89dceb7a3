"""Weights in the naming of the code that the authors released."""
