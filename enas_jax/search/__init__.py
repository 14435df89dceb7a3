"""The phases, the loops around them, and what a run keeps."""
