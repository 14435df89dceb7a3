"""Efficient Neural Architecture Search in JAX."""

__version__ = "0.1.0"
