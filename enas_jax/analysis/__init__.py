"""What searches find, measured against the truth."""
