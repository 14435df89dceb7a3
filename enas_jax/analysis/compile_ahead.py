"""Compiles programs for a chip that is not there, and runs those that are.

XLA:TPU, in PyPI's `libtpu`, compiles for a named topology on any Linux machine.
For a GPU without one a program is lowered alone: XLA:GPU wants the device. What
a program would take is an estimate, see `program_costs`; where JAX has the
device, `measure` takes the time instead.
"""

import importlib.util
import operator
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies

from enas_jax import types
from enas_jax.analysis import chips, preset_programs, program_costs
from enas_jax.nn import image_ops, programs

_SECONDS = "estimated_step_seconds"


def find_chips(topology: str, count: int = 1) -> list[Any]:
  """The first chips of a TPU topology that need not be there.

  Raises:
    InputError: if there is no such topology, or it has fewer chips, or `libtpu`
      is not installed.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise types.InputError(
      f"topology {topology!r} needs the compiler for TPUs: pip install"
      " '.[tpu]'."
    )
  try:
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
  except (ValueError, RuntimeError) as error:
    words = " ".join(str(error).split())
    raise types.InputError(
      f"there is no topology {topology!r}: {words}."
    ) from None
  if count > len(found.devices):
    raise types.InputError(
      f"--num_chips must be in [1, {len(found.devices)}], got {count}: topology"
      f" {topology!r} has no more."
    )
  return found.devices[:count]


def compile_for(
  program: preset_programs.Program, devices: Sequence[Any], chip: chips.Chip
) -> dict[str, Any]:
  """Compiles a program for one chip of a topology, or for several.

  Args:
    program: the program, of a mesh of the chips if they are several.
    devices: the chips, of `find_chips`.
    chip: what each can do.

  Returns:
    JSON-ready, sizes those of each chip: "program", "chip", "num_chips",
    "compile_seconds"; "argument_bytes",
    "temporary_bytes", "used_bytes" and "memory_bytes", the chip's; whether it
    "fits" and "largest_batch", if temporaries grow with the batch; counts of
    `program_costs`, and "estimated_step_seconds". Sizes of a program that the
    compiler refuses for its memory are None, but for "used_bytes".
  """
  begin = time.perf_counter()
  whole: jax.sharding.Sharding = jax.sharding.SingleDeviceSharding(devices[0])
  if program.devices.mesh is not None:
    # State and data are whole on each chip, as `Devices.put` lays them out.
    spec = jax.sharding.PartitionSpec()
    whole = jax.sharding.NamedSharding(program.devices.mesh, spec)
  traced = _trace(program, whole)
  record = _costs(program, traced, chip)
  try:
    compiled = traced.lower().compile()
  except jax.errors.JaxRuntimeError as error:
    # Of a program that is too large the compiler says how much it takes.
    used = used_in(str(error))
    if used is None:
      raise
    nothing = dict.fromkeys(("temporary_bytes", "conditionals", "collectives"))
    nothing |= {"used_bytes": used, "fits": False, "largest_batch": None}
    return record | nothing | {"compile_seconds": time.perf_counter() - begin}
  record["compile_seconds"] = time.perf_counter() - begin
  counts = program_costs.count_compiled(compiled.as_text())
  return record | _memory(program, compiled, chip) | counts._asdict()


def lower_for(
  program: preset_programs.Program, chip: chips.Chip
) -> dict[str, Any]:
  """Lowers a program for a GPU that is not there.

  Returns:
    As `compile_for`; None is what only XLA's compiler knows.
  """
  traced = _trace(program, None)
  lowered = traced.lower(lowering_platforms=(chip.platform,))
  counts = program_costs.count_lowered(lowered.as_text())
  unknown = ("compile_seconds", "temporary_bytes", "used_bytes", "fits")
  return {
    **_costs(program, traced, chip),
    **dict.fromkeys((*unknown, "largest_batch")),
    **counts._asdict(),
  }


def measure(program: preset_programs.Program, rounds: int) -> dict[str, Any]:
  """Runs a program on the default device.

  Args:
    program: the program.
    rounds: how often it is timed.

  Returns:
    As `compile_for` without what is estimated, "memory_bytes", "fits" and
    "largest_batch"; and "step_seconds", the median.
  """
  arguments = program.build()
  begin = time.perf_counter()
  traced = program.function.trace(*arguments)
  compiled = traced.lower().compile()
  seconds = time.perf_counter() - begin
  times = []
  for _ in range(rounds + 1):
    begin = time.perf_counter()
    results = jax.block_until_ready(compiled(*arguments))
    times.append(time.perf_counter() - begin)
    # Its buffers were donated, and cannot be handed over again.
    if program.replaces:
      arguments = (results[0], *arguments[1:])
  counts = program_costs.count_compiled(compiled.as_text())
  return {
    "program": program.name,
    "chip": jax.devices()[0].device_kind,
    "runs": program.runs,
    "batch_size": program.batch_size,
    "compile_seconds": seconds,
    **_sizes(compiled),
    "multiply_adds": program_costs.Costs(traced.jaxpr).multiply_adds,
    **counts._asdict(),
    # The first one also loads the program.
    "step_seconds": float(np.median(times[1:])),
  }


def hours(records: Sequence[Mapping[str, Any]]) -> float:
  """Hours of all runs of the programs that a search or a training is of.

  Args:
    records: what this module says of these programs, on one chip.
  """
  # Measured where the chip was there, else estimated.
  seconds = (
    record.get("step_seconds", record.get(_SECONDS)) for record in records
  )
  runs = (record["runs"] for record in records)
  return sum(map(operator.mul, runs, seconds)) / 3600


def _trace(program: preset_programs.Program, sharding: Any) -> Any:
  """The program traced in the form that accelerators run."""
  arguments = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    program.shapes(),
  )
  with image_ops.using("plain"):
    return program.function.trace(*arguments)


def _costs(
  program: preset_programs.Program, traced: Any, chip: chips.Chip
) -> dict[str, Any]:
  """What the traced program says."""
  costs = program_costs.Costs(traced.jaxpr)
  # At best the chips share the work evenly, and talk for nothing.
  seconds = costs.seconds(chip.flops(program.config), chip.bandwidth)
  return {
    "program": program.name,
    "chip": chip.name,
    "num_chips": program.devices.count,
    "runs": program.runs,
    "batch_size": program.batch_size,
    "argument_bytes": _num_bytes(program.shapes()),
    "memory_bytes": chip.memory,
    "multiply_adds": costs.multiply_adds,
    "num_bytes": costs.num_bytes,
    _SECONDS: seconds / program.devices.count,
  }


def _num_bytes(arrays: Iterable[Any]) -> int:
  return sum(
    # A key is as large as its words.
    jax.eval_shape(jax.random.key_data, leaf).size * 4
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    else programs.num_bytes(leaf)
    for leaf in jax.tree.leaves(arrays)
  )


def _sizes(compiled: Any) -> dict[str, int]:
  """Bytes of a compiled program on its device."""
  memory = compiled.memory_analysis()
  arguments, temporary = (
    memory.argument_size_in_bytes,
    memory.temp_size_in_bytes,
  )
  # Results that take the place of donated arguments need no memory.
  results = memory.output_size_in_bytes - memory.alias_size_in_bytes
  return {
    "argument_bytes": arguments,
    "temporary_bytes": temporary,
    "used_bytes": arguments + temporary + results,
  }


def _memory(
  program: preset_programs.Program, compiled: Any, chip: chips.Chip
) -> dict[str, Any]:
  """Whether a compiled program fits, and the batch that would."""
  sizes = _sizes(compiled)
  # Temporaries are taken to grow with the batch, all else to stay.
  fixed = sizes["used_bytes"] - sizes["temporary_bytes"]
  share = (chip.memory - fixed) / max(sizes["temporary_bytes"], 1)
  return {
    **sizes,
    "fits": sizes["used_bytes"] <= chip.memory,
    "largest_batch": max(int(program.batch_size * share), 0),
  }


def used_in(message: str) -> int | None:
  """The bytes in "Used 17.2G of 15.75G hbm", which XLA:TPU refuses with."""
  found = re.search(r"Used ([\d.]+)([KMG]) of [\d.]+[KMG] hbm", message)
  if found is None:
    return None
  return int(float(found[1]) * 2 ** {"K": 10, "M": 20, "G": 30}[found[2]])
