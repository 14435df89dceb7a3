"""Loaders that return host arrays, and minibatches."""
