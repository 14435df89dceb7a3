"""Whole convolutional networks (Section 2.3)."""
