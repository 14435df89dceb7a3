"""Convolutional cells (Section 2.4)."""
