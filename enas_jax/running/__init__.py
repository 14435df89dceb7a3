"""A whole run: its options, folder, progress, and what is left in the end.

What the scripts, a notebook and `enas_jax.search(...)` have in common.
"""
