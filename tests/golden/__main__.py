"""`python -m tests.golden FILE.npz [FILE.npz ...]`."""

import sys

from tests.golden import checker

if __name__ == "__main__":
  sys.exit(checker.main(sys.argv[1:]))
