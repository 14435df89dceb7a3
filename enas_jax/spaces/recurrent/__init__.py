"""Recurrent cells (Section 2.1)."""
