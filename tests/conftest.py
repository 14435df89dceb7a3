"""Compile time is the cost of this suite: compile fast, and each thing once.

The flags must be set before JAX starts.
"""

import gc
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _set_xla_flags():
  """Shapes are tiny: good machine code would take longer to make than to run.

  XLA ends a process that names a flag it does not know, and flags come and go
  with its versions. So another process tries them, once for all workers.
  """
  if "PYTEST_XDIST_WORKER" in os.environ:
    return
  given = os.environ.get("XLA_FLAGS", "")
  least = f"{given} --xla_backend_optimization_level=0"
  wanted = f"{least} --xla_cpu_parallel_codegen_split_count=1"
  tried = subprocess.run(
    [sys.executable, "-c", "import jax; jax.devices()"],
    env={**os.environ, "XLA_FLAGS": wanted},
    capture_output=True,
  )
  os.environ["XLA_FLAGS"] = wanted if tried.returncode == 0 else least


_set_xla_flags()
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
