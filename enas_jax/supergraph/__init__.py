"""The shared networks: one module a search space."""
