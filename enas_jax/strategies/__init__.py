"""Who proposes architectures, and how it learns: a method a file."""
