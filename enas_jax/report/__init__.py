"""Drawings of architectures, and the HTML report of a run."""
