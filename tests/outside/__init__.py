"""What comes from outside the package; `plugin.py` registers it."""
