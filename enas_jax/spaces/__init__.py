"""What an architecture is: one module a search space."""
