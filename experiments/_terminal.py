"""What is shown at once."""

import os
import sys


def answer(text: str) -> None:
  """Prints a long text, which need not be read to its end."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    # Python writes again when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
