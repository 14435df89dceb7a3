"""Compile time is the cost of this suite: compile fast, and each thing once.

The flags must be set before JAX starts.
"""

import ctypes
import gc
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _set_xla_flags():
  """Shapes are tiny: good machine code would take longer to make than to run.

  XLA's older emitters of loops compile a search three times as fast as those
  that it has on a CPU by default. They round otherwise, as a GPU does.

  XLA ends a process that names a flag it does not know, and flags come and go
  with its versions. So another process tries them, once for all workers.
  """
  if "PYTEST_XDIST_WORKER" in os.environ:
    return
  given = os.environ.get("XLA_FLAGS", "")
  least = f"{given} --xla_backend_optimization_level=0"
  wanted = (
    f"{least} --xla_cpu_parallel_codegen_split_count=1"
    " --xla_cpu_use_fusion_emitters=false"
  )
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


_MIB = 2**20
# Compiled programs stay in memory until JAX is told to forget them. Up to here
# they may: the next file can use what the one before has traced.
_KEPT_BYTES = 1000 * _MIB
_STEP_BYTES = 300 * _MIB


_limit = pytest.StashKey[int]()


def _resident_bytes():
  """What the process holds now; where /proc is absent, the most it ever did."""
  statm = pathlib.Path("/proc/self/statm")
  if not statm.exists():
    return _peak_bytes()
  return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes():
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else peak * 1024


def _give_memory_back():
  import jax  # only now: the flags above are set by then

  jax.clear_caches()
  gc.collect()
  # glibc keeps freed memory unless it is asked for; other libraries do not.
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
  """Forgets programs between tests, once they take too much memory."""
  limit = item.config.stash.get(_limit, _KEPT_BYTES)
  if nextitem is not None and _resident_bytes() > limit:
    _give_memory_back()
    # What a file of tests holds on to cannot be had back: to forget all again
    # after each of its tests would only compile everything anew.
    limit = max(_KEPT_BYTES, _resident_bytes() + _STEP_BYTES)
    item.config.stash[_limit] = limit


_peaks: dict[str, int] = {}


def pytest_sessionfinish(session):
  """A worker tells its peak to the process that prints the summary."""
  output = getattr(session.config, "workeroutput", None)
  if output is not None:
    output["peak_bytes"] = _peak_bytes()


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node):
  """Takes in what a worker told."""
  output = getattr(node, "workeroutput", None) or {}
  if "peak_bytes" in output:
    _peaks[node.gateway.id] = output["peak_bytes"]


def pytest_terminal_summary(terminalreporter):
  """One line, so that a log shows how far the suite is from its bound."""
  peaks = _peaks or {"alone": _peak_bytes()}
  shown = ", ".join(f"{k} {v // _MIB} MiB" for k, v in sorted(peaks.items()))
  terminalreporter.write_line(f"peak memory: {shown}")
