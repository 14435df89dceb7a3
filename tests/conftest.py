"""Compile time is the cost of this suite: compile fast, and each thing once.

The flags must be set before JAX starts.
"""

import gc
import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Shapes are tiny: optimised machine code would take longer to make than to run.
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
)
# JAX does not write its files at once: a worker must not read another's.
_CACHE = (
  pathlib.Path(tempfile.gettempdir())
  / f"enas_jax_tests_{os.getuid()}"
  / os.environ.get("PYTEST_XDIST_WORKER", "alone")
)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Traced programs are many small objects that live on: looking through them for
# cycles at Python's usual pace takes longer the more tests have run.
gc.set_threshold(100_000, 50, 100)
