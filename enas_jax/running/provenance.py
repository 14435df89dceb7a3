"""What a run was made with: code, packages, devices."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax

from enas_jax.search import hosts

_PACKAGES = (
  *("enas_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint"),
  "numpy",
)


def provenance() -> dict[str, Any]:
  """What a process runs on, JSON-ready.

  Returns:
    "device"; "versions", by package; "commit", None if the code does not run
    from a checkout.
  """
  versions = {name: _version(name) for name in _PACKAGES}
  return {
    "device": device_name(),
    "versions": {
      "python": platform.python_version(),
      **{name: version for name, version in versions.items() if version},
    },
    "commit": _commit(),
  }


def machine() -> dict[str, Any]:
  """The host and every device that JAX sees, JSON-ready.

  Returns:
    "hosts", the name of each process's; "devices", with "id", "platform",
    "kind" and "host", the number of the process that has it.
  """
  return {
    # Every process of a run must come here: the names are gathered from all.
    "hosts": hosts.of_all(platform.node()),
    "devices": [
      {
        "id": device.id,
        "platform": device.platform,
        "kind": device.device_kind,
        "host": device.process_index,
      }
      for device in jax.devices()
    ],
  }


def device_name() -> str:
  """The devices that JAX runs on, in words."""
  devices = jax.devices()
  kind = devices[0].device_kind
  if devices[0].platform == "cpu":
    kind = f"{platform.machine()} CPU, {os.cpu_count()} cores"
  return f"{len(devices)} x {kind}"


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> str | None:
  """The commit that the code is at, if it runs from a checkout."""
  here = pathlib.Path(__file__).resolve()
  # Of a package in an environment within another project's checkout git would
  # name the commit of that one.
  tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
  return tracked and _git(here.parent, "rev-parse", "--verify", "HEAD")


def _git(folder: pathlib.Path, *words: str) -> str | None:
  """What git answers in a folder; None if it refuses or is not there."""
  try:
    answer = subprocess.run(
      ["git", "-C", str(folder), *words],
      capture_output=True,
      text=True,
      timeout=10,  # seconds; a network drive may hang
    )
  except (OSError, subprocess.TimeoutExpired):
    return None
  return None if answer.returncode else answer.stdout.strip() or None
